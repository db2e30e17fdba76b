//! Stacks: where their frames lie, and what becomes of that when code comes and goes.

mod support;

use std::num::NonZeroU64;

use mmaptrace_common::record::{self, Region, backing, cause, kind, stack};
use mmaptrace_model::{
    Event, Model,
    event::Stacks,
    stack::{End, Frame, Place, Unidentified},
};
use support::{Words, apply, commit, commit_words, header, seed_words, words};
use zerocopy::IntoBytes as _;

const CODE: u64 = 0x5;
const DATA: u64 = 0x3;
const KEY: u64 = 0x77;

fn file(start: u64, flags: u64, name: u64) -> Region {
    let (ino, backing) = (name + 100, backing::FILE);
    Region { start, end: start + 0x2000, flags, pgoff: 3, ino, name, dev: 8, backing }
}

fn path(key: u64, name: &[u8]) -> Words {
    let len = name.len() as u32;
    words(&record::Path { header: header(kind::PATH, 0), key, len, ..Default::default() }, name)
}

fn stack(flags: u32, addresses: &[u64]) -> Words {
    let count = addresses.len() as u32;
    let record = record::Stack { header: header(kind::STACK, 0), key: KEY, count, flags };
    words(&record, addresses.as_bytes())
}

/// A space with code of file 1 and data of file 2.
fn model() -> Model {
    let mut model = Model::default();
    apply(&mut model, &path(1, b"code\0"));
    apply(&mut model, &path(2, b"data\0"));
    let regions = [file(0x1000, CODE, 1), file(0x4000, DATA, 2)];
    let seed = record::Commit { map_count: 2, total_vm: 4, ..commit(2) };
    apply(&mut model, &seed_words(&seed, &regions));
    model
}

fn places(model: &Model) -> Vec<(u64, Place)> {
    let key = NonZeroU64::new(KEY).expect("not 0");
    let stack = model.stacks().get(key).expect("a stack");
    stack.frames.iter().map(|frame| (frame.address, frame.place.clone())).collect()
}

fn in_file(key: u64, path: &str, offset: u64) -> Place {
    Place::File { key, path: path.as_bytes().into(), offset, dev: 8, ino: key + 100 }
}

#[test]
fn a_frame_lies_in_a_file_or_says_where_else() {
    let mut model = model();
    apply(&mut model, &stack(stack::USER, &[0x1234, 0x4010, 0x9000]));
    let expected = [
        (0x1234, in_file(1, "/code", 0x3234)),
        (0x4010, in_file(2, "/data", 0x3010)),
        (0x9000, Place::Unmapped),
    ];
    assert_eq!(places(&model), expected);
    let space = model.spaces().next().expect("a space").id();
    let asked = [&expected[0], &expected[1]].map(|(address, place)| {
        let frame = Frame { address: *address, place: place.clone() };
        Unidentified { space, frame }
    });
    assert_eq!(model.take_unidentified(), asked);
    let id = record::BuildId { header: header(kind::BUILD_ID, 0), key: 1, len: 3, pad: 0 };
    apply(&mut model, &words(&id, b"\x01\x02\x03"));
    assert_eq!(model.stacks().build_id(1).map(|id| &id[..]), Some(&[1, 2, 3][..]));
    assert_eq!(model.stacks().build_id(2), None);
    apply(&mut model, &stack(stack::USER, &[0x1234]));
    assert_eq!(model.take_unidentified(), [], "asked for once");
}

#[test]
fn what_the_stack_pointer_points_to_is_a_frame_only_if_it_can_be_one() {
    for (addresses, frames) in [
        (&[0x1010, 0x1020, 0x1030][..], &[0x1010, 0x1020, 0x1030][..]),
        (&[0x1010, 0x4020, 0x1030], &[0x1010, 0x1030]),
        (&[0x1010, 0x1030, 0x1030], &[0x1010, 0x1030]),
        (&[0x1010, 0x7ffe], &[0x1010]),
    ] {
        let mut model = model();
        apply(&mut model, &stack(stack::USER | stack::LEAF, addresses));
        let told: Vec<_> = places(&model).into_iter().map(|(address, _)| address).collect();
        assert_eq!(told, frames);
    }
}

#[test]
fn a_stack_says_why_it_ends() {
    for (flags, end) in [(0, End::Null), (stack::CUT, End::Depth), (stack::BROKEN, End::Broken)] {
        let mut model = model();
        apply(&mut model, &stack(stack::USER | flags, &[0x1234]));
        let key = NonZeroU64::new(KEY).expect("not 0");
        assert_eq!(model.stacks().get(key).expect("a stack").end, end);
    }
}

/// `dlclose`, and `dlopen` of something else at the same address: the commit that takes the code
/// away is still made by what was there; the next with the same key is not.
#[test]
fn a_frame_is_in_what_was_mapped_when_its_event_began() {
    let mut model = model();
    apply(&mut model, &stack(stack::USER, &[0x1234]));
    let stacks = Stacks { user: NonZeroU64::new(KEY), kernel: None };
    let replaced = |id| record::Commit {
        lo: 0x1000,
        hi: 0x3000,
        map_count: 2,
        total_vm: 4,
        user_stack: KEY,
        ..commit(id)
    };
    apply(&mut model, &path(9, b"other\0"));
    let events = apply(&mut model, &commit_words(&replaced(4), &[file(0x1000, CODE, 9)]));
    let [Event::Commit { stacks: told, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(*told, stacks);
    assert_eq!(places(&model), [(0x1234, in_file(1, "/code", 0x3234))]);
    let call =
        record::Call { header: header(kind::CALL, 0), user_stack: KEY, ..Default::default() };
    let events = apply(&mut model, &words(&call, b""));
    let [Event::Call { stacks: told, duration: None, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(*told, stacks);
    assert_eq!(places(&model), [(0x1234, in_file(9, "/other", 0x3234))]);
    // Data that comes and goes is no reason to look again.
    let code = |model: &Model| model.spaces().next().expect("a space").code();
    let before = code(&model);
    let removed = record::Commit { lo: 0x4000, hi: 0x6000, map_count: 1, ..replaced(6) };
    apply(&mut model, &commit_words(&removed, &[]));
    assert_eq!(code(&model), before);
}

#[test]
fn a_stack_of_the_kernel_lies_in_no_file_and_outlives_the_space() {
    let mut model = model();
    apply(&mut model, &stack(0, &[0xffff_ffff_8123_4567, 0x1234]));
    let kernel = [(0xffff_ffff_8123_4567, Place::Kernel), (0x1234, Place::Kernel)];
    assert_eq!(places(&model), kernel);
    let growth = record::Commit { cause: cause::KERNEL, nr: -1, kernel_stack: KEY, ..commit(4) };
    apply(&mut model, &commit_words(&growth, &[]));
    assert_eq!(places(&model), kernel);
    apply(&mut model, &words(&header(kind::END, 0), b""));
    assert_eq!(places(&model), kernel);
}

#[test]
fn a_users_stack_goes_with_its_space() {
    let mut model = model();
    apply(&mut model, &stack(stack::USER, &[0x1234]));
    apply(&mut model, &words(&header(kind::END, 0), b""));
    assert!(model.stacks().is_empty());
}

/// The kernel's side is told of a key before the stack is dropped, and what it had sent by then
/// still finds it.
#[test]
fn a_stack_is_dropped_when_no_event_had_it_for_long() {
    let mut model = model();
    apply(&mut model, &stack(stack::USER, &[0x1234]));
    assert_eq!(model.retain_stacks(), []);
    assert_eq!(model.retain_stacks(), [KEY]);
    assert_eq!(model.stacks().len(), 1);
    let call =
        record::Call { header: header(kind::CALL, 0), user_stack: KEY, ..Default::default() };
    apply(&mut model, &words(&call, b""));
    assert_eq!(model.retain_stacks(), [], "it was used");
    assert_eq!((model.retain_stacks().len(), model.stacks().len()), (1, 1));
    model.retain_stacks();
    assert!(model.stacks().is_empty());
}

#[test]
fn how_long_a_call_took() {
    let mut model = model();
    let mut call =
        record::Call { header: header(kind::CALL, 0), entered: 100, ..Default::default() };
    call.header.time = 350;
    let events = apply(&mut model, &words(&call, b""));
    let [Event::Call { duration, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(*duration, Some(250));
}

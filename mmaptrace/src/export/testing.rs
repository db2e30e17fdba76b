//! What the tests of the exporters share: a small story, as the kernel's side writes it.

use mmaptrace_common::record::{self, Header, Region, backing, cause, flag, kind};
use mmaptrace_model::{Event, HeapRule, Model};
use zerocopy::{Immutable, IntoBytes};

use super::{About, Format, Scope, exporter};
use crate::sink::Clock;

const MM: u64 = 0xffff_8880_1234_5600;
/// A path that no output may take for anything but a path.
pub(super) const PATH: &[u8] = b"/tmp/</script>;a\n\xe2\x80\xa8,\"=\xff";
/// A name, likewise.
pub(super) const COMM: [u8; 16] = *b"=e;\"<b>\n,x\xff\0\0\0\0\0";

/// Of the story.
pub(super) const ABOUT: About = About {
    clock: Clock { offset: 0, utc_offset: 0 },
    heap: HeapRule::Exclusive,
    scope: Scope { pid: None },
};

/// A record, in words so that its bytes are aligned.
pub(super) type Step = Vec<u64>;

fn words(record: &(impl IntoBytes + Immutable), rest: &[u8]) -> Step {
    let bytes = [record.as_bytes(), rest].concat();
    let mut words = vec![0_u64; bytes.len().div_ceil(8)];
    let room = words.as_mut_bytes();
    room[..bytes.len()].copy_from_slice(&bytes);
    room[4..8].copy_from_slice(&(bytes.len() as u32).to_ne_bytes());
    words
}

const fn header(kind: u16, time: u64) -> Header {
    Header { kind, flags: 0, size: 0, time, mm: MM, pid: 100, tid: 100, lost: 0, generation: 0 }
}

const fn region(start: u64, end: u64, flags: u64) -> Region {
    let (pgoff, ino, name, dev, backing) = (start >> 12, 0, 0, 0, backing::ANON);
    Region { start, end, flags: 0x70 | flags, pgoff, ino, name, dev, backing }
}

const fn code() -> Region {
    let mut code = region(0x40_0000, 0x40_2000, 5);
    (code.pgoff, code.ino, code.name, code.backing) = (0, 9, 1, backing::FILE);
    code
}

const fn stack() -> Region {
    region(0x7ffe_0000_0000, 0x7ffe_0002_1000, 3 | 0x100)
}

/// The commit after which these are all regions.
fn commit(time: u64, id: u64, cause: u32, call: (i32, [u64; 6]), regions: &[Region]) -> Step {
    let mut header = header(kind::COMMIT, time);
    header.flags = flag::WRITE | flag::SEQUENCED | flag::WHOLE;
    let commit = record::Commit {
        header,
        id,
        lo: 0,
        hi: u64::MAX - 4095,
        map_count: regions.len() as u32,
        count: regions.len() as u32,
        start_stack: 0x7ffe_0002_0000,
        cause,
        nr: call.0,
        args: call.1,
        comm: COMM,
        ..record::Commit::default()
    };
    words(&commit, regions.as_bytes())
}

fn call(time: u64, (nr, args): (i32, [u64; 6]), result: i64) -> Step {
    let header = header(kind::CALL, time);
    words(&record::Call { header, args, result, nr, comm: COMM, ..record::Call::default() }, &[])
}

/// A program starts, maps four pages, protects the second, unmaps it and the third, asks for too
/// much, and ends.
pub(super) fn story() -> Vec<Step> {
    const MMAP: (i32, [u64; 6]) = (9, [0, 0x4000, 3, 0x22, u64::MAX, 0]);
    const MPROTECT: (i32, [u64; 6]) = (10, [0x7f00_0000_1000, 0x1000, 1, 0, 0, 0]);
    const MUNMAP: (i32, [u64; 6]) = (11, [0x7f00_0000_1000, 0x2000, 0, 0, 0, 0]);
    const TOO_MUCH: (i32, [u64; 6]) = (9, [0, 1 << 60, 3, 0x22, u64::MAX, 0]);
    let path = [b"\0tmp".as_slice()].concat();
    let path = [&PATH[5..], &path].concat();
    let name = record::Path { len: path.len() as u32, key: 1, ..record::Path::default() };
    let exec = record::Exec { path_len: 5, comm: COMM, ..record::Exec::default() };
    let at = |first: u64, end: u64, flags| {
        region(0x7f00_0000_0000 + first * 0x1000, 0x7f00_0000_0000 + end * 0x1000, flags)
    };
    vec![
        words(&record::Path { header: header(kind::PATH, 9), ..name }, &path),
        words(&record::Exec { header: header(kind::EXEC, 10), ..exec }, b"/x;y\0"),
        commit(20, 4, cause::EXEC, (-1, [0; 6]), &[code(), stack()]),
        commit(30, 6, cause::CALL, MMAP, &[code(), at(0, 4, 3), stack()]),
        call(31, MMAP, 0x7f00_0000_0000),
        commit(
            40,
            8,
            cause::CALL,
            MPROTECT,
            &[code(), at(0, 1, 3), at(1, 2, 1), at(2, 4, 3), stack()],
        ),
        call(41, MPROTECT, 0),
        commit(50, 10, cause::CALL, MUNMAP, &[code(), at(0, 1, 3), at(3, 4, 3), stack()]),
        call(51, MUNMAP, 0),
        call(60, TOO_MUCH, -12),
        words(&record::Exit { header: exit(), status: 0x300, pad: 0 }, &[]),
        words(&header(kind::END, 80), &[]),
    ]
}

/// The beginning of the story; then two of the four pages are mapped again where they are, with this
/// protection (which no effect tells if it is 3, as it was), and it ends.
pub(super) fn mapped_over_its_like(protection: u64) -> Vec<Step> {
    const AT: u64 = 0x7f00_0000_1000;
    let fixed = (9, [AT, 0x2000, protection, 0x32, u64::MAX, 0]);
    let mut steps = story();
    let end = steps.split_off(10);
    steps.truncate(5);
    let new = region(AT, AT + 0x2000, protection);
    let whole = region(AT - 0x1000, AT + 0x3000, 3);
    let apart =
        [code(), region(AT - 0x1000, AT, 3), new, region(AT + 0x2000, AT + 0x3000, 3), stack()];
    let all = [code(), whole, stack()];
    let all = if protection == 3 { &all[..] } else { &apart };
    steps.push(commit(40, 8, cause::CALL, fixed, all));
    steps.push(call(41, fixed, AT.cast_signed()));
    [steps, end].concat()
}

fn exit() -> Header {
    Header { flags: flag::GROUP, ..header(kind::EXIT, 70) }
}

/// A first picture, after the fourth step of the story.
pub(super) fn seed_of(steps: &[Step]) -> Step {
    let mut seed = steps[3].clone();
    // Where a header has its flags, and a commit its cause.
    let bytes = seed.as_mut_bytes();
    bytes[2..4].copy_from_slice(&flag::WHOLE.to_ne_bytes());
    let at = std::mem::offset_of!(record::Commit, cause);
    bytes[at..at + 4].copy_from_slice(&cause::SEED.to_ne_bytes());
    seed
}

/// Runs records through a model.
pub(super) fn replay(steps: &[Step], mut each: impl FnMut(&Event, &Model)) -> Model {
    let (mut model, mut events) = (Model::default(), Vec::new());
    for step in steps {
        model.apply(step.as_bytes(), &mut events);
        events.drain(..).for_each(|event| each(&event, &model));
    }
    model
}

/// The story as a format has it.
pub(super) fn export(format: Format) -> Vec<u8> {
    export_steps(format, &story())
}

/// Another story, likewise.
pub(super) fn export_steps(format: Format, steps: &[Step]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut export = exporter(format, &mut out, ABOUT);
    replay(steps, |event, model| {
        export.event(event, model).expect("memory takes all");
    });
    export.finish(&["cut in </script>".to_owned()]).expect("memory takes all");
    out
}

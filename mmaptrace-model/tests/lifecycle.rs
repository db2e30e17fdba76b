//! Tasks: calls and their commits, forks, new images, ends, and the totals of each process.

mod support;

use mmaptrace_common::record::{self, Region, backing, cause, flag, kind};
use mmaptrace_model::{
    Event, Model, Space,
    event::{Cause, Doubt, SpaceId, Syscall},
    region::PAGE,
};
use support::{MM, apply, commit, commit_words, header, seed_words, words};
use zerocopy::IntoBytes as _;

fn regions(count: u64) -> Vec<Region> {
    let page = |at: u64| Region {
        start: 2 * at * PAGE,
        end: (2 * at + 1) * PAGE,
        pgoff: 2 * at,
        backing: backing::ANON,
        ..Region::default()
    };
    (1..=count).map(page).collect()
}

fn counted(id: u64, count: u64) -> record::Commit {
    let (map_count, total_vm) = (count as u32, count);
    record::Commit { map_count, total_vm, hi: u64::MAX - (PAGE - 1), ..commit(id) }
}

/// A commit of the call with these arguments, after which there are `count` regions.
fn changed(model: &mut Model, id: u64, count: u64, args: [u64; 6]) -> Vec<Event> {
    let commit = record::Commit { args, ..counted(id, count) };
    apply(model, &commit_words(&commit, &regions(count)))
}

fn returned(model: &mut Model, args: [u64; 6]) -> Vec<u64> {
    let header = header(kind::CALL, 0);
    let call = record::Call { header, args, nr: 9, ..record::Call::default() };
    match apply(model, &words(&call, &[])).pop() {
        Some(Event::Call { commits, call, .. }) => {
            assert_eq!(call, Syscall { nr: 9, compat: false, args });
            commits.into_vec()
        }
        other => panic!("{other:?}"),
    }
}

fn seeded() -> Model {
    let mut model = Model::default();
    apply(&mut model, &seed_words(&counted(10, 1), &regions(1)));
    model
}

fn exit(mm: u64, flags: u16, pid: u32, tid: u32) -> Vec<u64> {
    let header = record::Header { mm, pid, tid, ..header(kind::EXIT, flags) };
    words(&record::Exit { header, status: 256, pad: 0 }, &[])
}

fn end(mm: u64) -> Vec<u64> {
    words(&record::Header { mm, ..header(kind::END, 0) }, &[])
}

#[test]
fn a_call_finds_its_commits_and_no_others() {
    let mut model = seeded();
    changed(&mut model, 12, 2, [1; 6]);
    changed(&mut model, 14, 3, [2; 6]);
    changed(&mut model, 16, 2, [2; 6]);
    assert_eq!(returned(&mut model, [2; 6]), [14, 16]);
    assert_eq!(returned(&mut model, [1; 6]), [], "its return was lost");
    // Growth of the stack stands for itself.
    let growth = record::Commit { cause: cause::GROWTH, args: [3; 6], ..counted(18, 3) };
    apply(&mut model, &commit_words(&growth, &regions(3)));
    assert_eq!(returned(&mut model, [3; 6]), []);
    assert_eq!(model.totals().events, 7);
}

#[test]
fn a_call_that_never_returns_leaves_its_commits_to_the_end() {
    let mut model = seeded();
    changed(&mut model, 12, 2, [1; 6]);
    let events = apply(&mut model, &exit(MM, 0, 100, 101));
    let [Event::Exit { commits, last: false, task, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((&commits[..], &task.comm[..6]), (&[12][..], &b"worker"[..]));
}

#[test]
fn a_child_has_its_own_space_and_a_thread_has_not() {
    let mut model = seeded();
    let fork = |mm, flags, child_pid, child_tid| {
        let header = record::Header { mm, ..header(kind::FORK, flags) };
        words(&record::Fork { header, child_pid, child_tid, comm: [b'c'; 16] }, &[])
    };
    let events = apply(&mut model, &fork(MM, flag::SHARED_MM, 100, 102));
    assert!(matches!(events[..], [Event::Fork { shared: true, space: SpaceId(1), .. }]));
    assert_eq!(model.processes().count(), 1);

    apply(&mut model, &fork(0x5000, 0, 200, 200));
    let mut image = record::Commit { cause: cause::FORK, ..counted(2, 1) };
    (image.header.mm, image.header.pid) = (0x5000, 200);
    image.header.flags |= flag::WHOLE;
    let events = apply(&mut model, &commit_words(&image, &regions(1)));
    let [Event::Commit { exact: true, effects, cause: Cause::Fork, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(effects.is_empty());
    let child = model.space_of(200).expect("the child's");
    assert_eq!((child.id(), child.map().len(), child.doubt()), (SpaceId(2), 1, None));
    // A vfork's child runs in its parent's.
    apply(&mut model, &fork(MM, flag::SHARED_MM, 300, 300));
    assert_eq!(model.space_of(300).map(Space::id), Some(SpaceId(1)));
}

#[test]
fn a_new_image_takes_the_process_to_a_new_space() {
    let mut model = seeded();
    changed(&mut model, 12, 2, [1; 6]);
    let header = record::Header { mm: 0x6000, ..header(kind::EXEC, 0) };
    let (path, argv) = (b"/bin/ls\0", b"ls\0\0-l\0");
    let (path_len, argv_len) = (path.len() as u32, argv.len() as u32);
    let exec = record::Exec { header, old_tid: 103, path_len, argv_len, pad: 0, comm: [0; 16] };
    let events = apply(&mut model, &words(&exec, &[&path[..], argv].concat()));
    let [Event::Exec { path, argv, old_tid: Some(103), cut: false, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(**path, *b"/bin/ls");
    assert_eq!(argv.iter().map(|it| &it[..]).collect::<Vec<_>>(), [&b"ls"[..], b"", b"-l"]);

    let mut image = record::Commit { cause: cause::EXEC, ..counted(4, 3) };
    image.header.mm = 0x6000;
    image.header.flags |= flag::WHOLE;
    let events = apply(&mut model, &commit_words(&image, &regions(3)));
    assert!(matches!(&events[..], [Event::Commit { effects, .. }] if effects.len() == 3));
    assert_eq!(model.space_of(100).map(Space::mm), Some(0x6000));
    assert_eq!(model.spaces().count(), 2, "the old one is there until its end");
    // A picture that was asked for before.
    apply(&mut model, &seed_words(&counted(12, 2), &regions(2)));
    assert_eq!(model.space_of(100).map(Space::mm), Some(0x6000), "no process goes back");
    assert!(matches!(apply(&mut model, &end(MM))[..], [Event::End { space: SpaceId(1), .. }]));
    assert_eq!(returned(&mut model, [1; 6]), [], "of the old image");
}

/// A picture may come between when a process has its new space and when that has its image, and of a
/// child between when it is there and when it is told of. What is at the same address after its end is
/// another.
#[test]
fn a_picture_of_a_space_in_the_making_is_of_that_space() {
    let picture = |model: &mut Model, pid, id, count| {
        let mut picture = record::Commit { cause: cause::SEED, ..counted(id, count) };
        (picture.header.mm, picture.header.pid, picture.header.tid) = (0x6000, pid, pid);
        picture.header.generation = 7;
        picture.header.flags = flag::WHOLE | flag::SEQUENCED;
        apply(model, &commit_words(&picture, &regions(count)));
    };
    let space = |event: Option<Event>| match event {
        Some(Event::Exec { space, .. } | Event::Fork { space, .. }) => space,
        other => panic!("{other:?}"),
    };
    for (generation, expected) in [(7, 2), (8, 3)] {
        let mut model = seeded();
        picture(&mut model, 100, 20, 2);
        assert_eq!(model.space_of(100).map(Space::id), Some(SpaceId(2)));
        let header = record::Header { mm: 0x6000, generation, ..header(kind::EXEC, 0) };
        let exec = record::Exec { header, path_len: 1, ..record::Exec::default() };
        let told = space(apply(&mut model, &words(&exec, b"\0")).pop());
        assert_eq!((told, model.spaces().count()), (SpaceId(expected), 2));
        assert_eq!(model.space_of(100).and_then(Space::doubt), Some(Doubt::Unseeded));
        let mut image = record::Commit { cause: cause::EXEC, ..counted(22, 3) };
        (image.header.mm, image.header.flags) = (0x6000, flag::WHOLE | flag::SEQUENCED);
        image.header.generation = generation;
        let events = apply(&mut model, &commit_words(&image, &regions(3)));
        let [Event::Commit { exact: true, effects, .. }] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(effects.len(), 3, "all of an image is new");

        let mut model = seeded();
        picture(&mut model, 200, 20, 2);
        let header = record::Header { mm: 0x6000, generation, ..support::header(kind::FORK, 0) };
        let fork = record::Fork { header, child_pid: 200, child_tid: 200, comm: [b'c'; 16] };
        let told = space(apply(&mut model, &words(&fork, &[])).pop());
        assert_eq!((told, model.spaces().count()), (SpaceId(expected), 2));
        let children = model.process_totals().filter(|it| it.pid == 200).count();
        assert_eq!(children, if generation == 8 { 2 } else { 1 });
    }
}

/// The end of a space was lost, and what began the one that is at its address now: it is another all the
/// same, and what was lost of it counts from the start.
#[test]
fn a_space_in_the_place_of_a_lost_one_is_another() {
    let mut model = Model::default();
    let mut old = counted(10, 1);
    (old.header.generation, old.header.lost) = (1, 5);
    apply(&mut model, &seed_words(&old, &regions(1)));
    let mut change = record::Commit { args: [1; 6], ..counted(2, 2) };
    (change.header.pid, change.header.tid) = (200, 200);
    (change.header.generation, change.header.lost) = (2, 4);
    let events = apply(&mut model, &commit_words(&change, &regions(2)));
    assert!(matches!(events[0], Event::End { space: SpaceId(1), .. }), "{events:?}");
    let space = model.space_of(200).expect("it was found at work there");
    assert_eq!((space.id(), space.lost(), space.doubt()), (SpaceId(2), 4, Some(Doubt::Lost(4))));
    assert_eq!((model.totals().lost, model.space_of(100).map(Space::id)), (9, None));
    // Of the old one nothing comes any more; of one that nobody numbers it is not known.
    let mut again = counted(4, 3);
    again.header.lost = 4;
    apply(&mut model, &commit_words(&again, &regions(3)));
    assert_eq!(model.space_of(200).map(Space::commit), Some(4));
}

/// The count of losses has 32 bits.
#[test]
fn the_count_of_losses_comes_back_to_0() {
    let mut model = seeded();
    let mut told = |lost| {
        let header = record::Header { lost, ..header(kind::LOSS, 0) };
        apply(&mut model, &words(&header, &[]));
        model.totals().lost
    };
    let most = i32::MAX.cast_unsigned();
    let counts = [most, most - 1, 2 * most, 1, 0].map(&mut told);
    let whole = u64::from(most);
    assert_eq!(counts, [whole, whole, 2 * whole, 2 * whole + 3, 2 * whole + 3]);
}

/// The records of an exec were lost: the process is where it is found at work.
#[test]
fn an_exec_that_nobody_told_of_shows_in_what_the_process_does() {
    let fork = |mm| {
        let header = record::Header { mm, ..header(kind::FORK, flag::SHARED_MM) };
        words(&record::Fork { header, child_pid: 300, child_tid: 300, comm: [b'c'; 16] }, &[])
    };
    let work = |model: &mut Model, mm, pid| {
        let mut commit = record::Commit { args: [1; 6], ..counted(2, 1) };
        (commit.header.mm, commit.header.pid, commit.header.tid) = (mm, pid, pid);
        apply(model, &commit_words(&commit, &regions(1)));
    };
    let mut model = seeded();
    apply(&mut model, &fork(MM));
    work(&mut model, 0x7000, 300);
    assert_eq!(model.space_of(300).map(Space::mm), Some(0x7000), "a child of vfork");
    assert!(model.in_doubt().any(|(space, pid)| (space.mm(), pid) == (0x7000, 300)));
    apply(&mut model, &end(MM));
    let header = record::Header { mm: 0x8000, ..header(kind::CALL, 0) };
    apply(&mut model, &words(&record::Call { header, nr: 9, ..record::Call::default() }, &[]));
    assert_eq!(model.space_of(100).map(Space::mm), Some(0x8000), "whose space has ended");
    // What is told of the old one, late, takes nobody back.
    work(&mut model, 0x7000, 100);
    assert_eq!(model.space_of(100).map(Space::mm), Some(0x8000));
}

/// A child of vfork that nobody follows works in its parent's space, and leaves it with nobody telling.
#[test]
fn who_is_found_in_the_space_of_another_is_no_process_by_that() {
    let mut model = seeded();
    let mut commit = record::Commit { args: [1; 6], ..counted(12, 2) };
    (commit.header.pid, commit.header.tid) = (300, 300);
    apply(&mut model, &commit_words(&commit, &regions(2)));
    let mut header = header(kind::CALL, 0);
    (header.pid, header.tid) = (300, 300);
    let call = record::Call { header, nr: 59, result: -2, ..record::Call::default() };
    assert!(matches!(apply(&mut model, &words(&call, &[]))[..], [Event::Call { .. }]));
    assert_eq!(model.processes().map(|it| it.pid).collect::<Vec<_>>(), [100]);
}

/// A picture that was begun while an image was made comes after it, and has the break of before.
#[test]
fn a_late_picture_of_an_image_knows_less_of_its_break() {
    let mut model = seeded();
    let exec =
        record::Exec { header: header(kind::EXEC, 0), path_len: 1, ..record::Exec::default() };
    apply(&mut model, &words(&exec, b"\0"));
    let whole = flag::WHOLE | flag::SEQUENCED;
    let mut image = record::Commit { cause: cause::EXEC, brk: 0x9000, ..counted(22, 3) };
    image.header.flags = whole;
    apply(&mut model, &commit_words(&image, &regions(3)));
    let mut picture = record::Commit { cause: cause::SEED, brk: 0x5000, ..counted(22, 3) };
    picture.header.flags = whole;
    apply(&mut model, &commit_words(&picture, &regions(3)));
    let brk = |model: &Model| model.space_of(100).map(|space| space.layout().brk);
    assert_eq!(brk(&model), Some(0x9000));
    let moved = record::Commit { args: [1; 6], brk: 0xa000, ..counted(24, 3) };
    apply(&mut model, &commit_words(&moved, &regions(3)));
    picture.id = 24;
    picture.brk = 0xb000;
    apply(&mut model, &commit_words(&picture, &regions(3)));
    assert_eq!(brk(&model), Some(0xb000), "a prctl moves it without the lock for writing");
}

/// The move of a break right after an image was made takes no id, and may be what was lost.
#[test]
fn a_picture_after_a_loss_tells_of_the_break_of_an_image() {
    let mut model = seeded();
    let exec =
        record::Exec { header: header(kind::EXEC, 0), path_len: 1, ..record::Exec::default() };
    apply(&mut model, &words(&exec, b"\0"));
    let mut image = record::Commit { cause: cause::EXEC, brk: 0x9000, ..counted(22, 3) };
    image.header.flags = flag::WHOLE | flag::SEQUENCED;
    apply(&mut model, &commit_words(&image, &regions(3)));
    let mut picture = record::Commit { cause: cause::SEED, brk: 0xa000, ..image };
    picture.header.lost = 1;
    let events = apply(&mut model, &commit_words(&picture, &regions(3)));
    assert!(matches!(events.last(), Some(Event::Healed { lost: 1, .. })), "{events:?}");
    assert_eq!(model.space_of(100).map(|space| space.layout().brk), Some(0xa000));
}

/// Ended processes are forgotten in the end, but not that one was never made exact again.
#[test]
fn a_doubt_outlives_its_process() {
    let mut model = seeded();
    let mut lost = record::Commit { args: [1; 6], ..counted(12, 1) };
    lost.header.lost = 1;
    apply(&mut model, &commit_words(&lost, &regions(1)));
    apply(&mut model, &exit(MM, flag::GROUP, 100, 100));
    apply(&mut model, &end(MM));
    for pid in 1000..6000 {
        let mut child = record::Commit { cause: cause::FORK, ..counted(10, 1) };
        (child.header.mm, child.header.pid, child.header.tid) = (0x6000, pid, pid);
        child.header.flags = flag::WHOLE | flag::SEQUENCED;
        let exit = exit(0x6000, flag::GROUP, pid, pid);
        for record in [commit_words(&child, &regions(1)), exit, end(0x6000)] {
            model.apply(record.as_bytes(), &mut Vec::new());
        }
    }
    assert!(model.process_totals().all(|process| process.exact), "it is remembered");
    let (forgotten, remembered) = (model.forgotten(), model.process_totals().count() as u64);
    assert!(forgotten.in_doubt && forgotten.processes + remembered == 5001);
    assert_eq!(forgotten.regions, forgotten.processes, "one each");
    assert!(!model.is_exact());
    assert_eq!(model.totals().doubts, 1);
}

/// What was lost of an image in the making is told, and healed by the image's own commit.
#[test]
fn a_loss_before_an_image_is_told_and_healed() {
    let mut model = seeded();
    let mut picture = record::Commit { cause: cause::SEED, ..counted(20, 2) };
    (picture.header.mm, picture.header.flags) = (0x6000, flag::WHOLE | flag::SEQUENCED);
    picture.header.generation = 7;
    apply(&mut model, &commit_words(&picture, &regions(2)));
    let header = record::Header { mm: 0x6000, generation: 7, lost: 1, ..header(kind::EXEC, 0) };
    let exec = record::Exec { header, path_len: 1, ..record::Exec::default() };
    let events = apply(&mut model, &words(&exec, b"\0"));
    assert!(matches!(events[0], Event::Doubt { why: Doubt::Lost(1), .. }), "{events:?}");
    let mut image = record::Commit { cause: cause::EXEC, ..counted(22, 3) };
    (image.header.mm, image.header.lost) = (0x6000, 1);
    image.header.flags = flag::WHOLE | flag::SEQUENCED;
    let events = apply(&mut model, &commit_words(&image, &regions(3)));
    assert!(matches!(&events[..], [Event::Commit { .. }, Event::Healed { .. }]), "{events:?}");
    assert_eq!(model.totals().healed, 1);
}

/// Of a child in its parent's space, and of one whose space has ended.
#[test]
fn an_exec_that_nobody_told_of_shows_in_a_picture() {
    let mut model = seeded();
    let header = header(kind::FORK, flag::SHARED_MM);
    let fork = record::Fork { header, child_pid: 300, child_tid: 300, comm: [b'c'; 16] };
    apply(&mut model, &words(&fork, &[]));
    for mm in [0x7000, 0x8000] {
        let mut picture = record::Commit { cause: cause::SEED, ..counted(20, 3) };
        (picture.header.mm, picture.header.pid, picture.header.tid) = (mm, 300, 300);
        picture.header.flags = flag::WHOLE | flag::SEQUENCED;
        apply(&mut model, &commit_words(&picture, &regions(3)));
        let child = model.space_of(300).expect("the new image's");
        assert_eq!((child.mm(), child.map().len()), (mm, 3));
        assert_eq!(model.space_of(100).map(Space::mm), Some(MM), "the parent stays");
        apply(&mut model, &end(mm));
        assert!(model.space_of(300).is_none());
    }
}

#[test]
fn ended_processes_keep_their_totals() {
    for end_first in [false, true] {
        let mut model = seeded();
        changed(&mut model, 12, 2, [1; 6]);
        // A commit is lost and its space healed.
        changed(&mut model, 16, 3, [1; 6]);
        let mut seed = counted(16, 3);
        seed.header.lost = 1;
        apply(&mut model, &seed_words(&seed, &regions(3)));
        let mut last = [exit(MM, flag::GROUP, 100, 100), end(MM)];
        if end_first {
            last.reverse();
        }
        for record in &last {
            apply(&mut model, record);
        }
        assert_eq!((model.processes().count(), model.spaces().count()), (0, 0));
        let totals: Vec<_> = model.process_totals().collect();
        let [process] = &totals[..] else { panic!("{totals:?}") };
        assert!(process.status.is_some() && process.exact);
        assert_eq!((process.pid, process.events, process.regions), (100, 3, 3));
        assert_eq!((process.lost, process.healed), (1, 1));
    }
}

/// A picture that comes between a new image and its commit tells what the commit then does not.
#[test]
fn what_a_new_image_maps_is_told_once() {
    let mut model = seeded();
    let header = record::Header { mm: 0x6000, ..header(kind::EXEC, 0) };
    apply(&mut model, &words(&record::Exec { header, ..record::Exec::default() }, &[]));
    let mut image = record::Commit { cause: cause::EXEC, ..counted(4, 3) };
    image.header.mm = 0x6000;
    let picture = apply(&mut model, &seed_words(&image, &regions(3)));
    assert!(matches!(&picture[..], [Event::Commit { effects, .. }] if effects.len() == 3));
    image.header.flags |= flag::WHOLE;
    let events = apply(&mut model, &commit_words(&image, &regions(3)));
    assert!(matches!(&events[..], [Event::Commit { effects, .. }] if effects.is_empty()));
}

/// Nothing more comes of a space, and its last records are lost: user space tells.
#[test]
fn a_loss_is_told_by_a_record_of_its_own() {
    let mut model = seeded();
    let loss = words(&record::Header { lost: 2, ..header(kind::LOSS, 0) }, &[]);
    let events = apply(&mut model, &loss);
    assert!(matches!(events[..], [Event::Doubt { why: Doubt::Lost(2), after: 10, .. }]));
    assert_eq!(apply(&mut model, &loss), [], "it is known");
    assert_eq!(model.totals().lost, 2);
}

/// A dump that needs a picture and gets none is in doubt, and so are the totals of then; what comes after it is
/// not.
#[test]
fn a_picture_that_is_missing_is_no_doubt_of_commits() {
    let mut model = seeded();
    let missing = record::Header { flags: flag::NO_PICTURE, ..header(kind::LOSS, 0) };
    assert_eq!(apply(&mut model, &words(&missing, &[])), [], "it is no event");
    assert_eq!(
        model.space_of(100).and_then(|it| it.doubt_of_dump(model.names())),
        Some(Doubt::NoPicture)
    );
    assert_eq!(model.in_doubt().count(), 0, "nothing is asked for again");
    assert!(!model.is_exact() && model.process_totals().all(|process| !process.exact));
    let events = apply(&mut model, &commit_words(&counted(12, 2), &regions(2)));
    assert!(matches!(events[..], [Event::Commit { exact: true, .. }]), "{events:?}");
    assert_eq!(model.space_of(100).and_then(Space::doubt), None);
    assert!(model.is_exact() && model.process_totals().all(|process| process.exact));
}

/// User space tells of losses when it knows of them, before it has read what was written earlier.
#[test]
fn a_loss_is_not_healed_by_what_was_read_before_it() {
    let mut model = seeded();
    apply(&mut model, &words(&record::Header { lost: 2, ..header(kind::LOSS, 0) }, &[]));
    for (lost, doubt) in [(1, Some(Doubt::Lost(2))), (2, None)] {
        let mut picture = counted(10, 2);
        picture.header.lost = lost;
        apply(&mut model, &seed_words(&picture, &regions(2)));
        let space = model.spaces().next().expect("the space");
        assert_eq!(space.doubt(), doubt);
    }
}

#[test]
fn an_mm_used_again_is_another_space() {
    let mut model = seeded();
    apply(&mut model, &end(MM));
    assert_eq!(model.space_of(100).map(Space::id), None);
    apply(&mut model, &seed_words(&counted(4, 2), &regions(2)));
    let space = model.spaces().next().expect("the second");
    assert_eq!((space.id(), space.map().len(), space.doubt()), (SpaceId(2), 2, None));
}

#[test]
fn what_is_no_record_is_told_and_counted() {
    let mut model = Model::default();
    let events = apply(&mut model, &vec![77, 0]);
    assert_eq!(events, [Event::Malformed { kind: 0, len: 16 }]);
    assert_eq!(model.totals().malformed, 1);
}

//! When a space is exact, when it is in doubt, and what ends that.

mod support;

use mmaptrace_common::record::{self, Region, backing, cause, flag, kind};
use mmaptrace_model::{
    Effect, Event, HeapRule, Model, RegionName, Space,
    event::{Doubt, SpaceId},
    region::PAGE,
};
use support::{apply, commit, commit_words, header, seed_words, words};

fn region(start: u64, end: u64, flags: u64) -> Region {
    let (start, end, pgoff) = (start * PAGE, end * PAGE, start);
    Region { start, end, flags, pgoff, backing: backing::ANON, ..Region::default() }
}

/// The commit after which `all` is all there is, with the counters that go with it.
fn counted(id: u64, all: &[Region]) -> record::Commit {
    let mut commit = commit(id);
    commit.map_count = all.len() as u32;
    commit.total_vm = all.iter().map(|it| (it.end - it.start) / PAGE).sum();
    commit.hi = u64::MAX - (PAGE - 1);
    commit
}

fn seeded(id: u64, all: &[Region]) -> Model {
    let mut model = Model::default();
    let events = apply(&mut model, &seed_words(&counted(id, all), all));
    assert!(matches!(events[..], [Event::Commit { exact: true, .. }]), "{events:?}");
    model
}

fn space(model: &Model) -> &Space {
    model.spaces().next().expect("a space")
}

const ONE: SpaceId = SpaceId(1);

#[test]
fn a_space_never_seeded_is_in_doubt_and_its_first_seed_is_no_heal() {
    let mut model = Model::default();
    let all = [region(1, 3, 3)];
    let events = apply(&mut model, &commit_words(&counted(10, &all), &all));
    assert!(matches!(events[..], [Event::Commit { exact: false, .. }]), "{events:?}");
    assert_eq!(space(&model).doubt(), Some(Doubt::Unseeded));
    assert_eq!(model.in_doubt().map(|(_, pid)| pid).collect::<Vec<_>>(), [100]);
    let events = apply(&mut model, &seed_words(&counted(10, &all), &all));
    assert!(matches!(events[..], [Event::Commit { exact: true, .. }]), "{events:?}");
    assert_eq!((model.in_doubt().count(), model.totals().healed), (0, 0));
}

#[test]
fn a_seed_with_another_count_of_regions_proves_nothing() {
    let all = [region(1, 3, 3)];
    let mut model = Model::default();
    let commit = record::Commit { map_count: 2, ..counted(10, &all) };
    apply(&mut model, &seed_words(&commit, &all));
    assert_eq!(space(&model).doubt(), Some(Doubt::Unseeded));
}

#[test]
fn a_hole_is_told_once_with_its_place_and_healed_once() {
    let all = [region(1, 3, 3)];
    let mut model = seeded(10, &all);
    let events = apply(&mut model, &commit_words(&counted(18, &all), &all));
    let why = Doubt::Hole(3);
    assert_eq!(events[0], Event::Doubt { time: 1, space: ONE, after: 10, why });
    assert!(matches!(events[1..], [Event::Commit { exact: false, .. }]));
    let events = apply(&mut model, &commit_words(&counted(30, &all), &all));
    assert!(matches!(events[..], [Event::Commit { exact: false, .. }]), "{events:?}");
    assert_eq!((space(&model).doubt(), space(&model).doubts()), (Some(why), 2));
    let events = apply(&mut model, &seed_words(&counted(30, &all), &all));
    assert_eq!(events[1], Event::Healed { time: 1, space: ONE, id: 30, differences: 0, lost: 0 });
    assert_eq!((space(&model).healed(), model.totals().healed), (1, 1));
}

/// The commit with the id 14 whose hook saw that of 12 nothing was sent, and what it read then.
fn checked(model: &mut Model, all: &[Region]) -> (Vec<Event>, Vec<Event>) {
    let mut commit = counted(14, all);
    commit.header.flags |= flag::CHECKED;
    (commit.lo, commit.hi) = (0, 0);
    let told = apply(model, &commit_words(&commit, &[]));
    (told, apply(model, &seed_words(&counted(14, all), all)))
}

#[test]
fn a_hole_in_which_nothing_changed_is_no_doubt() {
    let all = [region(1, 3, 3)];
    let mut model = seeded(10, &all);
    let (told, check) = checked(&mut model, &all);
    assert!(matches!(told[..], [Event::Commit { exact: false, .. }]), "{told:?}");
    assert!(matches!(check[..], [Event::Commit { exact: true, .. }]), "{check:?}");
}

#[test]
fn a_hole_in_which_something_changed_is_told_with_its_place() {
    let mut model = seeded(10, &[region(1, 3, 3)]);
    let (_, check) = checked(&mut model, &[region(1, 3, 1)]);
    let why = Doubt::Contradiction { at: PAGE };
    assert_eq!(check[0], Event::Doubt { time: 1, space: ONE, after: 10, why });
    assert_eq!(check[2], Event::Healed { time: 1, space: ONE, id: 14, differences: 1, lost: 0 });
}

/// A picture that is ahead of the commits told, of a kernel that counts them.
fn ahead(id: u64, all: &[Region]) -> record::Commit {
    let mut commit = counted(id, all);
    commit.header.flags |= flag::SEQUENCED;
    commit
}

#[test]
fn a_picture_may_show_what_is_unmapped_and_yet_to_be_told() {
    for id in [12, 14] {
        let mut model = seeded(10, &[region(1, 3, 3), region(5, 6, 3)]);
        let now = [region(1, 2, 3), region(5, 6, 3)];
        apply(&mut model, &seed_words(&ahead(id, &now), &now));
        apply(&mut model, &commit_words(&ahead(id, &now), &now));
        assert_eq!((space(&model).doubts(), model.totals().healed), (0, 0), "{id}");
    }
}

#[test]
fn a_picture_may_show_a_stack_that_has_grown_and_is_yet_to_be_told() {
    const STACK: u64 = 0x103;
    let mut model = seeded(10, &[region(5, 6, STACK)]);
    let now = [region(3, 6, STACK)];
    apply(&mut model, &seed_words(&ahead(12, &now), &now));
    assert_eq!((space(&model).doubts(), model.totals().healed), (0, 0));
}

#[test]
fn a_picture_that_shows_what_nobody_told_says_so() {
    for (id, missing) in [(12, 1), (16, 3)] {
        for now in [vec![region(1, 3, 1)], vec![region(1, 3, 3), region(5, 6, 3)]] {
            let mut model = seeded(10, &[region(1, 3, 3)]);
            let events = apply(&mut model, &seed_words(&ahead(id, &now), &now));
            let why = Doubt::Hole(missing);
            assert_eq!(events[0], Event::Doubt { time: 1, space: ONE, after: 10, why });
            assert_eq!(
                events[2],
                Event::Healed { time: 1, space: ONE, id, differences: 1, lost: 0 }
            );
            assert_eq!(space(&model).corrected(), 1);
        }
    }
}

#[test]
fn loss_is_told_by_any_record_of_the_space() {
    let all = [region(1, 3, 3)];
    let mut model = seeded(10, &all);
    let mut header = header(kind::CALL, 0);
    header.lost = 5;
    let call = record::Call { header, ..record::Call::default() };
    let events = apply(&mut model, &words(&call, &[]));
    assert!(matches!(events[0], Event::Doubt { why: Doubt::Lost(5), after: 10, .. }), "{events:?}");
    assert_eq!((model.totals().lost, space(&model).lost()), (5, 5));
}

#[test]
fn ids_wrap_at_32_bits() {
    let all = [region(1, 3, 3)];
    let mut model = seeded(0xffff_fffe, &all);
    apply(&mut model, &commit_words(&counted(0, &all), &all));
    assert_eq!(space(&model).doubt(), None);
    apply(&mut model, &commit_words(&counted(0xffff_fffe, &all), &all));
    assert_eq!(space(&model).doubt(), Some(Doubt::Malformed), "it came before");
}

/// Where the kernel does not number commits, a picture has the number of the last one; another reader of the
/// lock may tell of a stack that has grown before it is sent.
#[test]
fn a_picture_that_was_overtaken_is_not_taken() {
    let (was, is) = ([region(3, 4, 3)], [region(2, 4, 3)]);
    let mut model = seeded(10, &was);
    apply(&mut model, &commit_words(&counted(12, &is), &is));
    let mut picture = counted(10, &was);
    picture.header.flags = flag::WHOLE;
    assert_eq!(apply(&mut model, &seed_words(&picture, &was)), []);
    let space_of = |model: &Model| {
        let space = space(model);
        (space.doubt(), space.commit(), space.map().pages())
    };
    assert_eq!(space_of(&model), (None, 12, 2));

    // Between its parts.
    let mut whole = commit(12);
    (whole.cause, whole.header.flags) = (cause::SEED, flag::WHOLE);
    (whole.total_vm, whole.map_count) = (2, 1);
    let middle = PAGE << 20;
    let first = record::Commit { hi: middle, ..whole };
    let last = record::Commit { lo: middle, hi: u64::MAX, ..whole };
    let mut more = first;
    more.header.flags |= flag::MORE;
    assert_eq!(apply(&mut model, &commit_words(&more, &is)), []);
    let mut next = counted(14, &was);
    next.header.flags = flag::COUNTED;
    let events = apply(&mut model, &commit_words(&next, &was));
    assert!(matches!(events[..], [Event::Commit { .. }]), "{events:?}");
    assert_eq!(apply(&mut model, &commit_words(&last, &[])), []);
    assert_eq!(space_of(&model), (None, 14, 1));
}

/// Of two readers of the lock who tell where the break is the one with the larger number is right; until both
/// have come it is known that one is missing.
#[test]
fn a_reader_may_overtake_another() {
    let all = [region(1, 3, 3)];
    let mut model = seeded(10, &all);
    let at = |id, brk| {
        let mut commit = record::Commit { brk, lo: 0, hi: 0, ..counted(id, &all) };
        commit.header.flags = 0;
        commit_words(&commit, &[])
    };
    let events = apply(&mut model, &at(14, 14));
    assert!(matches!(events[..], [Event::Commit { id: 14, exact: false, .. }]), "{events:?}");
    assert_eq!(space(&model).doubt(), Some(Doubt::Hole(1)));
    let events = apply(&mut model, &at(12, 12));
    assert!(matches!(events[..], [Event::Commit { id: 12, exact: true, .. }]), "{events:?}");
    assert_eq!((space(&model).doubt(), space(&model).layout().brk), (None, 14));

    // Not so many.
    let mut far = Model::from_keyframe(&model.to_keyframe()).expect("as made");
    apply(&mut far, &at(0x7000_0000, 1));
    assert_eq!(space(&far).doubt(), Some(Doubt::Hole(0x3800_0000 - 8)));
    apply(&mut far, &at(0x20, 1));
    assert_eq!(space(&far).layout().brk, 1);

    // No reader comes after a writer.
    apply(&mut model, &at(18, 18));
    let mut writer = counted(20, &all);
    writer.header.flags = flag::WRITE | flag::COUNTED;
    let events = apply(&mut model, &commit_words(&writer, &all));
    assert!(matches!(events[0], Event::Doubt { why: Doubt::Hole(1), after: 14, .. }), "{events:?}");
    assert_eq!(apply(&mut model, &at(16, 16)), []);
    assert_eq!((space(&model).doubts(), space(&model).layout().brk), (2, writer.brk));
}

#[test]
fn the_counters_are_held_against_the_map() {
    let all = [region(1, 3, 3)];
    let mut model = seeded(10, &all);
    let mut commit = counted(12, &all);
    commit.map_count = 2;
    apply(&mut model, &commit_words(&commit, &all));
    assert_eq!(space(&model).doubt(), Some(Doubt::Count { kernel: 2, model: 1 }));
}

#[test]
fn the_size_may_be_off_but_by_the_same_number_of_pages() {
    let all = [region(1, 3, 3)];
    let off =
        |id, by: u64| record::Commit { total_vm: 2_u64.wrapping_add(by), ..counted(id, &all) };
    let mut model = Model::default();
    apply(&mut model, &seed_words(&off(10, u64::MAX), &all));
    apply(&mut model, &commit_words(&off(12, u64::MAX), &all));
    apply(&mut model, &commit_words(&off(14, u64::MAX), &all));
    assert_eq!(space(&model).doubt(), None);
    apply(&mut model, &commit_words(&off(16, 0), &all));
    assert_eq!(space(&model).doubt(), Some(Doubt::Pages { kernel: 2, model: 1 }));
    apply(&mut model, &seed_words(&off(16, 0), &all));
    apply(&mut model, &commit_words(&off(18, 0), &all));
    assert_eq!(space(&model).doubt(), None, "it is off by another number from now on");
}

#[test]
fn an_edge_of_what_was_read_cuts_what_was_there() {
    let mut model = seeded(10, &[region(1, 9, 3)]);
    let all = [region(1, 3, 3), region(3, 9, 1)];
    let commit = record::Commit { lo: 3 * PAGE, ..counted(12, &all) };
    let events = apply(&mut model, &commit_words(&commit, &all[1..]));
    let [Event::Commit { effects, exact: true, .. }] = &events[..] else { panic!("{events:?}") };
    let split = Effect::Split { at: 3 * PAGE, was: (PAGE, 9 * PAGE) };
    assert!(effects.len() == 2 && effects[1] == split, "{effects:?}");
}

#[test]
fn what_lies_between_two_ranges_in_one_region_stays() {
    let mut model = seeded(10, &[region(1, 9, 3)]);
    let all = [region(1, 3, 3), region(4, 6, 3), region(7, 9, 3)];
    let first = record::Commit { lo: 3 * PAGE, hi: 4 * PAGE, ..counted(12, &all) };
    let first = record::Commit {
        header: record::Header { flags: first.header.flags | flag::MORE, ..first.header },
        ..first
    };
    let last = record::Commit { lo: 6 * PAGE, hi: 7 * PAGE, ..counted(12, &all) };
    apply(&mut model, &commit_words(&first, &[]));
    let events = apply(&mut model, &commit_words(&last, &[]));
    let [Event::Commit { effects, exact: true, .. }] = &events[..] else { panic!("{events:?}") };
    let within = (PAGE, 9 * PAGE);
    let removed =
        |effect: &Effect| matches!(*effect, Effect::Removed { within: it, .. } if it == within);
    assert!(effects.len() == 2 && effects.iter().all(removed), "{effects:?}");
}

#[test]
fn a_seed_that_differs_from_what_was_exact_tells_an_error() {
    let mut model = seeded(10, &[region(1, 9, 3)]);
    let all = [region(1, 9, 1)];
    let events = apply(&mut model, &seed_words(&counted(10, &all), &all));
    let why = Doubt::Contradiction { at: PAGE };
    assert_eq!(events[0], Event::Doubt { time: 1, space: ONE, after: 10, why });
    assert!(matches!(&events[1], Event::Commit { effects, .. } if effects.len() == 1));
    assert_eq!(events[2], Event::Healed { time: 1, space: ONE, id: 10, differences: 1, lost: 0 });
}

#[test]
fn a_seed_may_come_before_the_record_of_the_commit_it_shows() {
    // A munmap has downgraded its lock, and the tracer's reading is released first.
    let mut model = seeded(10, &[region(1, 3, 3), region(5, 6, 3)]);
    let all = [region(1, 3, 3)];
    let early = record::Commit { total_vm: 3, ..counted(12, &all) };
    let events = apply(&mut model, &seed_words(&early, &all));
    assert!(matches!(events[..], [Event::Commit { exact: true, .. }]), "{events:?}");
    let events = apply(&mut model, &commit_words(&counted(12, &all), &all));
    assert!(
        matches!(&events[..], [Event::Commit { exact: true, effects, .. }] if effects.is_empty())
    );
}

#[test]
fn what_the_main_thread_reads_may_come_in_the_middle_of_a_picture() {
    let all = [region(1, 3, 3), region(5, 6, 3)];
    let mut model = seeded(10, &all);
    let of_main = |commit: record::Commit| {
        let header = record::Header { tid: 100, ..commit.header };
        record::Commit { header, ..commit }
    };
    let part = |lo, hi, flags| {
        let mut part = record::Commit { lo, hi, cause: cause::SEED, ..counted(10, &all) };
        part.header.flags |= flag::WHOLE | flags;
        of_main(part)
    };
    let first = part(0, 3 * PAGE, flag::MORE);
    let last = part(3 * PAGE, u64::MAX - (PAGE - 1), 0);
    assert!(apply(&mut model, &commit_words(&first, &all[..1])).is_empty());
    let between = of_main(counted(10, &all));
    assert_eq!(apply(&mut model, &commit_words(&between, &all)).len(), 1);
    assert_eq!(apply(&mut model, &commit_words(&last, &all[1..])).len(), 1);
    assert_eq!((space(&model).doubt(), space(&model).map().len()), (None, 2));
}

#[test]
fn a_reading_with_a_part_missing_is_not_whole() {
    let all = [region(1, 3, 3), region(5, 6, 3)];
    let mut model = seeded(10, &all);
    let mut last = record::Commit { lo: 3 * PAGE, ..counted(10, &all) };
    last.header.flags |= flag::WHOLE;
    last.header.lost = 1;
    apply(&mut model, &commit_words(&last, &all[1..]));
    assert_eq!(space(&model).doubt(), Some(Doubt::Lost(1)));
}

#[test]
fn a_reading_that_lost_its_end_does_not_join_the_next() {
    let all = [region(1, 3, 3), region(5, 6, 3)];
    let mut model = seeded(10, &all);
    let mut first = record::Commit { lo: 0, hi: 3 * PAGE, ..counted(10, &all) };
    first.header.flags |= flag::WHOLE | flag::MORE;
    first.cause = cause::SEED;
    apply(&mut model, &commit_words(&first, &all[..1]));
    let events = apply(&mut model, &seed_words(&counted(10, &all), &all));
    assert!(matches!(events[0], Event::Doubt { why: Doubt::Malformed, .. }), "{events:?}");
    assert!(matches!(events[2], Event::Healed { differences: 0, .. }), "{events:?}");
}

#[test]
fn truncated_regions_are_taken_as_far_as_they_go() {
    let all = [region(1, 3, 3), region(5, 6, 3)];
    let mut model = seeded(10, &all);
    let now = [region(1, 3, 1), region(5, 6, 3)];
    let mut commit = counted(12, &now);
    commit.header.flags |= flag::TRUNCATED;
    let events = apply(&mut model, &commit_words(&commit, &now[..1]));
    assert!(matches!(events[0], Event::Doubt { why: Doubt::Truncated, .. }));
    let map: Vec<_> = space(&model).map().iter().map(|it| it.flags.0).collect();
    assert_eq!(map, [1, 3]);
}

#[test]
fn the_break_moves_without_a_region() {
    let all = [region(1, 3, 3)];
    let mut model = seeded(10, &all);
    let commit = record::Commit { brk: 0x1234, ..counted(12, &all) };
    let events = apply(&mut model, &commit_words(&commit, &all));
    assert!(matches!(events[..], [Event::Commit { brk: Some((0, 0x1234)), .. }]));
    assert_eq!(model.totals().events, 1);
}

#[test]
fn a_renamed_file_is_no_error() {
    let file = |name| Region { backing: backing::FILE, ino: 5, name, ..region(1, 3, 1) };
    let mut model = seeded(10, &[file(1)]);
    let all = [file(2)];
    let commit = record::Commit { renames: 1, ..counted(10, &all) };
    let events = apply(&mut model, &seed_words(&commit, &all));
    let [Event::Commit { effects, exact: true, .. }] = &events[..] else { panic!("{events:?}") };
    assert!(matches!(effects[..], [Effect::Changed { .. }]));
    assert_eq!(space(&model).renames(), 1);
}

/// A file has its new name before the call that gives it returns. If none does, another did it that
/// nobody has told of.
#[test]
fn a_rename_that_is_under_way_is_no_error_for_a_second() {
    const SECOND: u64 = 1_000_000_000;
    let file = |name| Region { backing: backing::FILE, ino: 5, name, ..region(1, 3, 1) };
    for (renames, later, doubts) in
        [(1, 2 * SECOND, false), (0, SECOND, false), (0, 2 * SECOND, true)]
    {
        let mut model = seeded(10, &[file(1)]);
        let all = [file(2)];
        let mut commit = counted(10, &all);
        let events = apply(&mut model, &seed_words(&commit, &all));
        assert!(matches!(&events[..], [Event::Commit { exact: true, .. }]), "{events:?}");
        commit = record::Commit { renames, ..counted(12, &all) };
        commit.header.time += later;
        let events = apply(&mut model, &commit_words(&commit, &all));
        let why = Doubt::Contradiction { at: PAGE };
        let doubted =
            events.iter().any(|it| matches!(it, Event::Doubt { why: it, .. } if *it == why));
        assert_eq!(doubted, doubts, "{events:?}");
        assert_eq!(space(&model).corrected(), u64::from(doubts));
    }
}

#[test]
fn heap_and_stack_are_told_as_the_kernel_does() {
    use RegionName::{Anon, Heap, None, Special, Stack};

    let special = Region { backing: backing::SPECIAL, name: 9, ..region(1, 3, 1) };
    let named = |start, end| Region { backing: backing::NAMED, name: 8, ..region(start, end, 3) };
    let all = [special, named(3, 5), region(5, 6, 3), region(7, 9, 3), named(20, 21)];
    let mut model = Model::default();
    for (key, text) in [(8, b"arena"), (9, b"[vdo]")] {
        let name = record::Name { header: header(kind::NAME, 0), key, len: 5, pad: 0 };
        apply(&mut model, &words(&name, text));
    }
    let commit = record::Commit {
        start_brk: 3 * PAGE,
        brk: 5 * PAGE,
        start_stack: 9 * PAGE,
        ..counted(10, &all)
    };
    apply(&mut model, &seed_words(&commit, &all));
    let names = |rule| -> Vec<_> {
        let space = space(&model);
        space.map().iter().map(|region| space.name(region, model.names(), rule)).collect()
    };
    let arena = Anon(b"arena");
    assert_eq!(names(HeapRule::Exclusive), [Special(b"[vdo]"), Heap, None, Stack, arena]);
    assert_eq!(names(HeapRule::Inclusive), [Special(b"[vdo]"), Heap, Heap, Stack, arena]);
    assert_eq!(HeapRule::of_kernel(6, 6), HeapRule::Inclusive);
    assert_eq!(HeapRule::of_kernel(6, 7), HeapRule::Exclusive);
    assert_eq!(HeapRule::of_kernel(7, 0), HeapRule::Exclusive);
}

/// Of a path that nobody has told, or of which only the end was, a dump does not say that it is exact.
#[test]
fn a_name_that_is_not_known_is_a_doubt_of_what_is_shown() {
    let file = Region { backing: backing::FILE, ino: 5, name: 7, ..region(3, 5, 1) };
    let mut model = seeded(10, &[region(1, 3, 3), file]);
    let doubt = |model: &Model| space(model).doubt_of_dump(model.names());
    let unknown = Some(Doubt::Name { at: 3 * PAGE });
    assert_eq!((space(&model).doubt(), doubt(&model)), (None, unknown));
    assert_eq!(space(&model).untold_names(model.names()), [7].into());
    for (flags, expected) in [(flag::CUT, unknown), (0, None)] {
        let header = header(kind::PATH, flags);
        let path = record::Path { header, key: 7, len: 2, ..record::Path::default() };
        apply(&mut model, &words(&path, b"f\0"));
        assert_eq!(doubt(&model), expected);
        assert!(space(&model).untold_names(model.names()).is_empty());
    }
}

use mmaptrace_model::{Backing, Flags};

use super::*;
use crate::sink::testing::{Fake, SPACE, file, region};

const A: u64 = 0x7f84_c36c_7000;

fn lines_of(effects: &[Effect], brk: Option<(u64, u64)>, filter: &Filter) -> String {
    let mut fake = Fake::new();
    fake.0.insert(2, b"jit\x1b]0;x\x07");
    let mut out = String::new();
    Effects { space: SPACE, all: effects, brk, view: &fake, filter, palette: Palette::new(false) }
        .push_lines(&mut out);
    out
}

fn lines(effects: &[Effect]) -> String {
    lines_of(effects, None, &Filter::default())
}

fn removed(start: u64, end: u64, within: (u64, u64)) -> Effect {
    Effect::Removed { pages: region(start, end, "rw-p"), within }
}

#[test]
fn mmap_alone_and_merged() {
    let pages = region(A, A + 0x4000, "rw-p");
    assert_eq!(
        lines(&[Effect::Added { pages, within: (A, A + 0x4000) }]),
        "+ 7f84c36c7000-7f84c36cb000 rw-p 16K\n"
    );
    assert_eq!(
        lines(&[Effect::Added { pages, within: (A, A + 0x2c000) }]),
        "+ 7f84c36c7000-7f84c36cb000 rw-p 16K   (merged into 7f84c36c7000-7f84c36f3000 176K)\n"
    );
    let pages = file(A, A + 0x4000, "r-xp", 0x2000);
    assert_eq!(
        lines(&[Effect::Added { pages, within: (A, A + 0x4000) }]),
        "+ 7f84c36c7000-7f84c36cb000 r-xp 16K /usr/bin/sleep @0x2000\n"
    );
}

#[test]
fn munmap_in_the_middle_at_an_end_and_across_regions() {
    assert_eq!(
        lines(&[removed(A + 0x1000, A + 0x2000, (A, A + 0x4000))]),
        "- 7f84c36c8000-7f84c36c9000 rw-p 4K   \
         (leaves 7f84c36c7000-7f84c36c8000 4K and 7f84c36c9000-7f84c36cb000 8K)\n"
    );
    assert_eq!(
        lines(&[removed(A, A + 0x2000, (A, A + 0x4000))]),
        "- 7f84c36c7000-7f84c36c9000 rw-p 8K   (leaves 7f84c36c9000-7f84c36cb000 8K)\n"
    );
    assert_eq!(
        lines(&[
            removed(A + 0x3000, A + 0x4000, (A, A + 0x4000)),
            removed(A + 0x4000, A + 0x6000, (A + 0x4000, A + 0x6000)),
        ]),
        "- 7f84c36ca000-7f84c36cb000 rw-p 4K   (leaves 7f84c36c7000-7f84c36ca000 12K)\n\
         - 7f84c36cb000-7f84c36cd000 rw-p 8K\n"
    );
}

#[test]
fn what_is_left_is_not_said_where_more_happened_to_it() {
    let pages = region(A, A + 0x1000, "r--p");
    let old = region(A, A + 0x1000, "rw-p");
    let changed =
        Effect::Changed { old, new: pages, was_within: (A, A + 0x4000), within: (A, A + 0x1000) };
    assert_eq!(
        lines(&[changed, removed(A + 0x3000, A + 0x4000, (A, A + 0x4000))]),
        "~ 7f84c36c7000-7f84c36c8000 rw-p -> r--p 4K   (cut from 7f84c36c7000-7f84c36cb000 16K)\n\
         - 7f84c36ca000-7f84c36cb000 rw-p 4K   (cut from 7f84c36c7000-7f84c36cb000 16K)\n"
    );
}

#[test]
fn two_holes_in_one_region_do_not_each_claim_what_is_left() {
    let within = (A, A + 0x5000);
    assert_eq!(
        lines(&[removed(A + 0x1000, A + 0x2000, within), removed(A + 0x3000, A + 0x4000, within)]),
        "- 7f84c36c8000-7f84c36c9000 rw-p 4K   (cut from 7f84c36c7000-7f84c36cc000 20K)\n\
         - 7f84c36ca000-7f84c36cb000 rw-p 4K   (cut from 7f84c36c7000-7f84c36cc000 20K)\n"
    );
}

#[test]
fn mprotect_in_an_arena_says_its_edges_once() {
    let (old, mut new) = (region(A, A + 0x1000, "---p"), region(A, A + 0x1000, "rw-p"));
    new.flags.0 |= 1 << 20;
    assert_eq!(
        lines(&[
            Effect::Changed {
                old,
                new,
                was_within: (A, A + 0x400_0000),
                within: (A - 0x2_1000, A + 0x1000),
            },
            Effect::Merged { at: A, into: (A - 0x2_1000, A + 0x1000) },
            Effect::Split { at: A + 0x1000, was: (A, A + 0x400_0000) },
        ]),
        "~ 7f84c36c7000-7f84c36c8000 ---p -> rw-p +ac 4K   \
         (cut from 7f84c36c7000-7f84c76c7000 64M, merged into 7f84c36a6000-7f84c36c8000 136K)\n"
    );
}

#[test]
fn other_flags_by_their_letters() {
    let old = region(A, A + 0x1000, "rw-p");
    let mut new = old;
    new.flags.0 |= Flags::LOCKED.0;
    let mut was = old;
    was.flags.0 |= Flags::DONTCOPY.0;
    let within = (A, A + 0x1000);
    assert_eq!(
        lines(&[Effect::Changed { old: was, new, was_within: within, within }]),
        "~ 7f84c36c7000-7f84c36c8000 rw-p +lo -dc 4K\n"
    );
}

#[test]
fn names_that_change_and_names_that_bite() {
    let old = region(A, A + 0x1000, "rw-p");
    let new = Region { backing: Backing::Named { name: 2 }, ..old };
    let lost = Region { backing: Backing::Named { name: 3 }, ..old };
    let within = (A, A + 0x1000);
    assert_eq!(
        lines(&[
            Effect::Changed { old, new, was_within: within, within },
            Effect::Added { pages: lost, within },
        ]),
        "~ 7f84c36c7000-7f84c36c8000 rw-p 4K anon -> [anon:jit\\033]0;x\\007]\n\
         + 7f84c36c7000-7f84c36c8000 rw-p 4K (name lost)\n"
    );
}

#[test]
fn replaced_by_another_mapping() {
    let old = region(A, A + 0x1000, "---p");
    let new = file(A, A + 0x1000, "r-xp", 0x2_6000);
    assert_eq!(
        lines(&[
            Effect::Replaced { old, new },
            Effect::Split { at: A + 0x1000, was: (A, A + 0x4000) },
        ]),
        "= 7f84c36c7000-7f84c36c8000 ---p 4K anon -> r-xp /usr/bin/sleep @0x26000\n"
    );
}

#[test]
fn edges_alone() {
    assert_eq!(
        lines(&[
            Effect::Split { at: A, was: (A - 0x1000, A + 0x1000) },
            Effect::Merged { at: A + 0x2000, into: (A + 0x1000, A + 0x3000) },
        ]),
        "| 7f84c36c7000 splits 7f84c36c6000-7f84c36c8000 8K\n\
         ^ 7f84c36c9000 joined in 7f84c36c8000-7f84c36ca000 8K\n"
    );
}

#[test]
fn heap_and_stack() {
    let heap = 0x4000_0000;
    let pages = region(heap + 0x2_1000, heap + 0x4_2000, "rw-p");
    assert_eq!(
        lines(&[Effect::Added { pages, within: (heap, heap + 0x4_2000) }]),
        "+ 40021000-40042000 rw-p 132K [heap]   (heap grown to 40000000-40042000 264K)\n"
    );
    assert_eq!(
        lines(&[Effect::Removed { pages, within: (heap, heap + 0x4_2000) }]),
        "- 40021000-40042000 rw-p 132K [heap]   (heap shrunk to 40000000-40021000 132K)\n"
    );
    let stack = region(0xc000_0000, 0xc000_1000, "rw-p");
    assert_eq!(
        lines(&[Effect::Added { pages: stack, within: (0xc000_0000, 0xc002_2000) }]),
        "+ c0000000-c0001000 rw-p 4K [stack]   (stack grown to c0000000-c0022000 136K)\n"
    );
    // The whole heap went, and with it what its name hung on.
    let gone = removed(0x1000, 0x2000, (0x1000, 0x2000));
    assert_eq!(
        lines_of(&[gone], Some((0x1800, 0x1000)), &Filter::default()),
        "- 1000-2000 rw-p 4K [heap]\n"
    );
    assert_eq!(lines_of(&[], Some((0x1800, 0x1900)), &Filter::default()), "~ brk 1800 -> 1900\n");
}

#[test]
fn small_effects_are_hidden_and_said_to_be() {
    let filter = Filter { min_size: 0x2000, ..Filter::default() };
    let fake = Fake::new();
    let small = removed(A, A + 0x1000, (A, A + 0x1000));
    let large = removed(A + 0x1000, A + 0x3000, (A + 0x1000, A + 0x3000));
    let mut out = String::new();
    let hidden = |effects: &[Effect], out: &mut String| {
        let (filter, palette) = (&filter, Palette::new(false));
        Effects { space: SPACE, all: effects, brk: None, view: &fake, filter, palette }
            .push_lines(out)
    };
    assert!(hidden(&[small, large], &mut out));
    assert_eq!(out, "- 7f84c36c8000-7f84c36ca000 rw-p 8K\n");
    assert!(!hidden(&[large], &mut out));
}

#[test]
fn colours_are_closed_on_each_line() {
    let mut out = String::new();
    let fake = Fake::new();
    let (filter, palette) = (&Filter::default(), Palette::new(true));
    let effects = &[removed(A, A + 0x1000, (A, A + 0x2000))];
    Effects { space: SPACE, all: effects, brk: None, view: &fake, filter, palette }
        .push_lines(&mut out);
    assert_eq!(
        out,
        "\x1b[31m- 7f84c36c7000-7f84c36c8000 rw-p 4K\x1b[0m   \
         \x1b[2m(leaves 7f84c36c8000-7f84c36c9000 4K)\x1b[0m\n"
    );
}

//! The rules of the difference, one by one, and that it can be undone.

use proptest::prelude::*;

use super::*;
use crate::region::PAGE;

fn with(start: u64, end: u64, flags: u64, pgoff: u64, backing: Backing) -> Region {
    Region { start: start * PAGE, end: end * PAGE, flags: Flags(flags), pgoff, backing }
}

fn anonymous(start: u64, end: u64, flags: u64) -> Region {
    with(start, end, flags, start, Backing::Anonymous)
}

fn file(start: u64, end: u64, ino: u64) -> Region {
    with(start, end, 1, start, Backing::File { dev: 1, ino, path: ino })
}

fn at(page: u64) -> u64 {
    page * PAGE
}

#[test]
fn pages_added_to_a_neighbour_are_one_effect() {
    let new = [anonymous(1, 5, 3)];
    let pages = anonymous(3, 5, 3);
    let effects = diff(&[anonymous(1, 3, 3)], &new);
    assert_eq!(effects, [Effect::Added { pages, within: (at(1), at(5)) }]);
}

#[test]
fn a_hole_made_in_a_region_is_no_split() {
    let effects = diff(&[anonymous(1, 9, 3)], &[anonymous(1, 4, 3), anonymous(6, 9, 3)]);
    let pages = anonymous(4, 6, 3);
    assert_eq!(effects, [Effect::Removed { pages, within: (at(1), at(9)) }]);
}

#[test]
fn a_protection_in_the_middle_splits_twice_and_back_merges_twice() {
    let whole = [anonymous(1, 9, 3)];
    let parts = [anonymous(1, 4, 3), anonymous(4, 6, 1), anonymous(6, 9, 3)];
    let (was, now) = ((at(1), at(9)), (at(4), at(6)));
    let (rw, ro) = (anonymous(4, 6, 3), anonymous(4, 6, 1));
    assert_eq!(
        diff(&whole, &parts),
        [
            Effect::Changed { old: rw, new: ro, was_within: was, within: now },
            Effect::Split { at: at(4), was },
            Effect::Split { at: at(6), was },
        ]
    );
    assert_eq!(
        diff(&parts, &whole),
        [
            Effect::Changed { old: ro, new: rw, was_within: now, within: was },
            Effect::Merged { at: at(4), into: was },
            Effect::Merged { at: at(6), into: was },
        ]
    );
}

#[test]
fn an_edge_alone_is_a_split() {
    let effects = diff(&[anonymous(1, 5, 3)], &[anonymous(1, 3, 3), anonymous(3, 5, 3)]);
    assert_eq!(effects, [Effect::Split { at: at(3), was: (at(1), at(5)) }]);
}

#[test]
fn another_source_or_offset_is_a_replacement() {
    let moved = with(1, 3, 3, 77, Backing::Anonymous);
    for (old, new) in [
        (anonymous(1, 3, 3), file(1, 3, 5)),
        (file(1, 3, 5), file(1, 3, 6)),
        (file(1, 3, 5), with(1, 3, 1, 9, file(1, 3, 5).backing)),
        (moved, anonymous(1, 3, 3)),
        (
            with(1, 3, 1, 0, Backing::Special { name: 1 }),
            with(1, 3, 1, 0, Backing::Special { name: 2 }),
        ),
    ] {
        assert_eq!(diff(&[old], &[new]), [Effect::Replaced { old, new }]);
    }
}

#[test]
fn a_name_is_a_change() {
    let inode = |path| Backing::File { dev: 1, ino: 2, path };
    let (was_within, within) = ((at(1), at(3)), (at(1), at(3)));
    for (old, new) in [
        (Backing::Anonymous, Backing::Named { name: 1 }),
        (Backing::Named { name: 1 }, Backing::Named { name: 2 }),
        (inode(7), inode(8)),
        (inode(7), Backing::NamedShared { dev: 1, ino: 2, name: 3 }),
    ] {
        let (old, new) = (with(1, 3, 3, 1, old), with(1, 3, 3, 1, new));
        assert_eq!(diff(&[old], &[new]), [Effect::Changed { old, new, was_within, within }]);
    }
}

/// Any regions of 60 pages: what lies beside what is for the generator to find.
fn regions() -> impl Strategy<Value = Vec<Region>> {
    let backing = prop_oneof![
        Just(Backing::Anonymous),
        Just(Backing::Named { name: 1 }),
        (1_u64..3).prop_map(|ino| Backing::File { dev: 1, ino, path: ino }),
    ];
    let region = (0_u64..3, 1_u64..8, 0_u64..2, 0_u64..2, backing);
    prop::collection::vec(region, 0..12).prop_map(|parts| {
        let mut at = 1;
        let place = |(gap, size, flags, shift, backing)| {
            let start = at + gap;
            at = start + size;
            with(start, at, flags, start + shift, backing)
        };
        parts.into_iter().map(place).collect()
    })
}

proptest! {
    #[test]
    fn effects_give_the_new_map(old in regions(), new in regions()) {
        let effects = diff(&old, &new);
        prop_assert_eq!(apply(&old, &effects), new.clone());
        prop_assert_eq!(effects.is_empty(), old == new);
        let edge = |effect: &Effect| matches!(effect, Effect::Split { .. } | Effect::Merged { .. });
        let order = |effect: &Effect| (effect.start(), edge(effect));
        prop_assert!(effects.is_sorted_by(|a, b| order(a) < order(b)));
    }
}

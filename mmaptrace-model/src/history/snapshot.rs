//! What one map has that another has not: the same effects that a commit has, of all that happened
//! in between.

use std::collections::HashMap;

use crate::{
    effect::Effect,
    label::RegionName,
    region::{Backing, Region},
};

/// Names of regions that outlive their model, the same key for the same name: maps of different
/// moments, or of different recordings, can be compared.
#[derive(Debug, Default)]
pub struct Labels {
    keys: HashMap<Label, u64>,
    labels: Vec<Label>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Label {
    Heap,
    Stack,
    Path(Box<[u8]>),
    Special(Box<[u8]>),
    Anon(Box<[u8]>),
    AnonShmem(Box<[u8]>),
    Unknown,
}

impl Labels {
    /// The region with keys of these labels. That it is the heap or the stack is a name like any
    /// other here.
    #[must_use]
    pub fn take(&mut self, region: &Region, name: RegionName<'_>) -> Region {
        let label = match name {
            RegionName::None => return *region,
            RegionName::Heap => Label::Heap,
            RegionName::Stack => Label::Stack,
            RegionName::Path(text) => Label::Path(text.into()),
            RegionName::Special(text) => Label::Special(text.into()),
            RegionName::Anon(text) => Label::Anon(text.into()),
            RegionName::AnonShmem(text) => Label::AnonShmem(text.into()),
            RegionName::Unknown => Label::Unknown,
        };
        let key = *self.keys.entry(label).or_insert_with_key(|label| {
            self.labels.push(label.clone());
            (self.labels.len() - 1) as u64
        });
        let backing = match region.backing {
            Backing::Anonymous | Backing::Named { .. } => Backing::Named { name: key },
            Backing::File { dev, ino, .. } => Backing::File { dev, ino, path: key },
            Backing::Special { .. } => Backing::Special { name: key },
            Backing::NamedShared { dev, ino, .. } => Backing::NamedShared { dev, ino, name: key },
        };
        Region { backing, ..*region }
    }

    /// The name of a region that [`Labels::take`] gave, or of a part of one.
    pub fn name(&self, region: &Region) -> RegionName<'_> {
        let key = match region.backing {
            Backing::Anonymous => return RegionName::None,
            Backing::File { path: key, .. }
            | Backing::Special { name: key }
            | Backing::Named { name: key }
            | Backing::NamedShared { name: key, .. } => key,
        };
        let label = usize::try_from(key).ok().and_then(|key| self.labels.get(key));
        match label {
            Some(Label::Heap) => RegionName::Heap,
            Some(Label::Stack) => RegionName::Stack,
            Some(Label::Path(text)) => RegionName::Path(text),
            Some(Label::Special(text)) => RegionName::Special(text),
            Some(Label::Anon(text)) => RegionName::Anon(text),
            Some(Label::AnonShmem(text)) => RegionName::AnonShmem(text),
            Some(Label::Unknown) | None => RegionName::Unknown,
        }
    }
}

/// How many, and how large together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub count: u64,
    /// In bytes.
    pub bytes: u64,
}

impl Sum {
    /// Adds one.
    pub const fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// The totals of a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Regions that are new.
    pub added: Sum,
    /// Regions that are gone.
    pub removed: Sum,
    /// What regions that were there have gained.
    pub grown: Sum,
    /// What regions that are still there have lost.
    pub shrunk: Sum,
    /// Pages of another protection.
    pub protected: Sum,
    /// Pages of another name.
    pub renamed: Sum,
    /// Pages that other flags tell from what they were, and no protection: a lock, an advice.
    pub flagged: Sum,
    /// Pages in place of others.
    pub replaced: Sum,
    /// Edges within regions that are new, or gone; no bytes.
    pub edges: u64,
}

impl Tally {
    /// The totals of `effects`, the difference between `old` and `new`, each in address order.
    pub fn of(effects: &[Effect], old: &[Region], new: &[Region]) -> Self {
        let mut tally = Self::default();
        for effect in effects {
            match effect {
                Effect::Added { pages, within } => {
                    let sum =
                        if any_within(old, *within) { &mut tally.grown } else { &mut tally.added };
                    sum.add(pages.size());
                }
                Effect::Removed { pages, within } => {
                    let sum = if any_within(new, *within) {
                        &mut tally.shrunk
                    } else {
                        &mut tally.removed
                    };
                    sum.add(pages.size());
                }
                Effect::Replaced { new, .. } => tally.replaced.add(new.size()),
                Effect::Changed { old, new, .. } => {
                    let sum = if old.flags.permissions() != new.flags.permissions() {
                        &mut tally.protected
                    } else if old.backing == new.backing {
                        &mut tally.flagged
                    } else {
                        &mut tally.renamed
                    };
                    sum.add(new.size());
                }
                Effect::Split { .. } | Effect::Merged { .. } => tally.edges += 1,
            }
        }
        tally
    }
}

/// Whether a region has an address in the range.
fn any_within(regions: &[Region], (start, end): (u64, u64)) -> bool {
    let first = regions.partition_point(|region| region.end <= start);
    regions.get(first).is_some_and(|region| region.start < end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        effect::diff,
        region::{Flags, PAGE},
    };

    fn region(start: u64, end: u64, flags: u64) -> Region {
        let (start, end, pgoff) = (start * PAGE, end * PAGE, start);
        Region { start, end, flags: Flags(flags), pgoff, backing: Backing::Anonymous }
    }

    fn sum(count: u64, pages: u64) -> Sum {
        Sum { count, bytes: pages * PAGE }
    }

    #[test]
    fn what_grew_is_not_what_is_new() {
        let old = [region(1, 4, 3), region(10, 14, 3), region(20, 24, 3), region(40, 42, 3)];
        let new = [
            region(1, 6, 3),
            region(10, 12, 3),
            region(20, 22, 1),
            region(22, 24, 3),
            region(30, 33, 3),
        ];
        let tally = Tally::of(&diff(&old, &new), &old, &new);
        let expected = Tally {
            added: sum(1, 3),
            removed: sum(1, 2),
            grown: sum(1, 2),
            shrunk: sum(1, 2),
            protected: sum(1, 2),
            edges: 1,
            ..Tally::default()
        };
        assert_eq!(tally, expected);
    }

    #[test]
    fn keys_of_different_models_do_not_matter() {
        let mut labels = Labels::default();
        let file =
            |path| Region { backing: Backing::File { dev: 1, ino: 2, path }, ..region(1, 2, 1) };
        let old = labels.take(&file(7), RegionName::Path(b"/a"));
        let new = labels.take(&file(9), RegionName::Path(b"/a"));
        let other = labels.take(&file(9), RegionName::Path(b"/b"));
        assert_eq!(diff(&[old], &[new]), []);
        assert_eq!(labels.name(&other), RegionName::Path(b"/b"));
        let effects = diff(&[old], &[other]);
        assert_eq!(Tally::of(&effects, &[old], &[other]).renamed, sum(1, 1));
        let heap = labels.take(&region(5, 6, 3), RegionName::Heap);
        assert_eq!(labels.name(&heap), RegionName::Heap);
        assert_eq!(Tally::of(&diff(&[region(5, 6, 3)], &[heap]), &[], &[]).renamed, sum(1, 1));
    }
}

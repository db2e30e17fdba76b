//! Effects: what a commit did to the regions, told so that the old map and the effects give the
//! new one.
//!
//! Both maps are cut at the edges of either, which leaves pieces that lie in at most one region of
//! each. Every piece that is not the same in both is one of [`Effect::Added`], [`Effect::Removed`],
//! [`Effect::Replaced`] or [`Effect::Changed`]. An edge is told, as [`Effect::Split`] or
//! [`Effect::Merged`], if the pages on both sides of it are mapped in both maps and it is in one of
//! them only; where a page was added, its `within` tells the edges.
//!
//! *The same pages* are those of the same source at the same offset; anonymous memory is one
//! source, with or without a name. The offset counts for anonymous memory as well: the kernel never
//! changes it in place, so that another one means other memory, which `mremap` moved here or which
//! took the place of what was moved here. Anonymous memory mapped over anonymous memory of the same
//! offset and flags cannot be told from what was there: it is no effect.

mod apply;

pub use apply::apply;

use crate::event::Effects;
use crate::region::{Backing, Flags, Region};

/// One effect. Ranges are of addresses, page-aligned, the end exclusive.
///
/// A commit's effects are in address order of their start, page changes before the edges within
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Pages that were not mapped now are.
    Added {
        /// The pages, as a region of their own: its flags, offset and backing.
        pages: Region,
        /// The region of the new map that holds them; larger than `pages` if they joined a
        /// neighbour.
        within: (u64, u64),
    },
    /// Pages that were mapped no longer are.
    Removed {
        /// The pages, as they were.
        pages: Region,
        /// The region of the old map that held them; larger than `pages` if something of it
        /// stays.
        within: (u64, u64),
    },
    /// Pages of one backing in place of another's, as `MAP_FIXED` does.
    Replaced {
        /// The pages, as they were.
        old: Region,
        /// The same pages, as they are.
        new: Region,
    },
    /// Pages of the same backing with other flags (a protection, a lock, an advice) or another name.
    Changed {
        /// The pages, as they were.
        old: Region,
        /// The same pages, as they are.
        new: Region,
        /// The region of the old map that held them.
        was_within: (u64, u64),
        /// The region of the new map that holds them.
        within: (u64, u64),
    },
    /// An edge between two mapped pages that was not there.
    Split {
        /// The first address after the edge.
        at: u64,
        /// The region of the old map that was split there.
        was: (u64, u64),
    },
    /// An edge between two mapped pages that is gone.
    Merged {
        /// The first address after the former edge.
        at: u64,
        /// The region of the new map that spans it.
        into: (u64, u64),
    },
}

impl Effect {
    /// The first address it is about.
    pub const fn start(&self) -> u64 {
        match *self {
            Self::Added { pages, .. } | Self::Removed { pages, .. } => pages.start,
            Self::Replaced { old, .. } | Self::Changed { old, .. } => old.start,
            Self::Split { at, .. } | Self::Merged { at, .. } => at,
        }
    }
}

/// What has changed between `old` and `new`, each the regions of one range in address order.
pub fn diff(old: &[Region], new: &[Region]) -> Vec<Effect> {
    let mut effects = Effects::new();
    diff_into(old, new, &mut effects);
    effects.into_vec()
}

/// [`diff`], appended to `out`.
pub fn diff_into(old: &[Region], new: &[Region], out: &mut Effects) {
    if old == new {
        return;
    }
    let (mut old, mut new) = (old, new);
    let mut at = 0;
    // The regions of the piece that ends at `at`.
    let mut before: (Option<&Region>, Option<&Region>) = (None, None);
    while let Some(piece) = next_piece(at, &mut old, &mut new) {
        let (lo, hi) = (piece.lo, piece.hi);
        if lo != at {
            before = (None, None);
        }
        match (piece.old, piece.new) {
            (None, Some(new)) => {
                out.push(Effect::Added { pages: new.clip(lo, hi), within: span(new) });
            }
            (Some(old), None) => {
                out.push(Effect::Removed { pages: old.clip(lo, hi), within: span(old) });
            }
            (Some(old), Some(new)) => {
                out.extend(compare(old, new, lo, hi));
                if let (Some(old_before), Some(new_before)) = before {
                    let (was_edge, is_edge) = (old_before != old, new_before != new);
                    if is_edge && !was_edge {
                        out.push(Effect::Split { at: lo, was: span(old) });
                    } else if was_edge && !is_edge {
                        out.push(Effect::Merged { at: lo, into: span(new) });
                    }
                }
            }
            (None, None) => {}
        }
        before = (piece.old, piece.new);
        at = hi;
    }
}

/// The pages in `[lo, hi)`, which lie in both regions.
fn compare(old: &Region, new: &Region, lo: u64, hi: u64) -> Option<Effect> {
    let (was_within, within) = (span(old), span(new));
    let (old, new) = (old.clip(lo, hi), new.clip(lo, hi));
    if old == new {
        None
    } else if old.pgoff == new.pgoff && same_source(old.backing, new.backing) {
        Some(Effect::Changed { old, new, was_within, within })
    } else {
        Some(Effect::Replaced { old, new })
    }
}

/// Whether two backings are of the same memory, whatever its name.
fn same_source(old: Backing, new: Backing) -> bool {
    #[derive(PartialEq)]
    enum Source {
        Anonymous,
        Inode(u32, u64),
        Special(u64),
    }
    let source = |backing| match backing {
        Backing::Anonymous | Backing::Named { .. } => Source::Anonymous,
        Backing::File { dev, ino, .. } | Backing::NamedShared { dev, ino, .. } => {
            Source::Inode(dev, ino)
        }
        Backing::Special { name } => Source::Special(name),
    };
    source(old) == source(new)
}

const fn span(region: &Region) -> (u64, u64) {
    (region.start, region.end)
}

/// Addresses without an edge of either map among them, and the region of each that holds them.
struct Piece<'a> {
    lo: u64,
    hi: u64,
    old: Option<&'a Region>,
    new: Option<&'a Region>,
}

/// The first piece at or after `at` that is mapped in either map.
fn next_piece<'a>(at: u64, old: &mut &'a [Region], new: &mut &'a [Region]) -> Option<Piece<'a>> {
    let first = |regions: &mut &'a [Region]| {
        if let Some((first, rest)) = regions.split_first()
            && first.end <= at
        {
            *regions = rest;
        }
        regions.first()
    };
    let (old, new) = (first(old), first(new));
    let start = |region: Option<&Region>| region.map_or(u64::MAX, |region| region.start.max(at));
    let lo = start(old).min(start(new));
    // The end of the region that has begun, else the start of the one that has not.
    let edge = |region: &Region| if region.start <= lo { region.end } else { region.start };
    let hi = [old, new].into_iter().flatten().map(edge).min()?;
    let begun = |region: &&Region| region.start <= lo;
    Some(Piece { lo, hi, old: old.filter(begun), new: new.filter(begun) })
}

/// Flags that [`Flags`] of the two sides differ in.
pub const fn changed(old: Flags, new: Flags) -> Flags {
    Flags(old.0 ^ new.0)
}

#[cfg(test)]
mod tests;

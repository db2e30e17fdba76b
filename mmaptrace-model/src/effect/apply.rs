//! The way back: effects to the new map.

use super::Effect;
use crate::region::Region;

/// The regions that `effects` make of `old`: `apply(old, &diff(old, new)) == new`. Written for
/// clearness, to hold [`diff`](super::diff) against, not for speed.
///
/// Effects that are no difference from `old` give a map of no meaning, and no panic.
pub fn apply(old: &[Region], effects: &[Effect]) -> Vec<Region> {
    let mut cells = Cells(old.iter().map(|&pages| Cell { pages, joined: false }).collect());
    // Pages first, all of them, so that an edge finds the pages on both its sides.
    for effect in effects {
        match *effect {
            Effect::Added { pages, within } => cells.set(pages, Some(within)),
            Effect::Removed { pages, .. } => cells.remove(&pages),
            Effect::Replaced { new, .. } | Effect::Changed { new, .. } => cells.set(new, None),
            Effect::Split { .. } | Effect::Merged { .. } => {}
        }
    }
    for effect in effects {
        match *effect {
            Effect::Split { at, .. } => cells.join(at, false),
            Effect::Merged { at, .. } => cells.join(at, true),
            Effect::Added { .. }
            | Effect::Removed { .. }
            | Effect::Replaced { .. }
            | Effect::Changed { .. } => {}
        }
    }
    cells.regions()
}

/// A part of a region.
#[derive(Clone, Copy)]
struct Cell {
    pages: Region,
    /// No edge between this one and the one before.
    joined: bool,
}

struct Cells(Vec<Cell>);

impl Cells {
    /// Makes `at` the start of a cell, if it is within one.
    fn cut(&mut self, at: u64) {
        let index = self.0.partition_point(|cell| cell.pages.end <= at);
        if let Some(cell) = self.0.get_mut(index).filter(|cell| cell.pages.start < at) {
            let upper = cell.pages.clip(at, cell.pages.end);
            cell.pages.end = at;
            self.0.insert(index + 1, Cell { pages: upper, joined: true });
        }
    }

    /// Cuts `pages` out, and tells where they were.
    fn take(&mut self, pages: &Region) -> (usize, bool) {
        self.cut(pages.start);
        self.cut(pages.end);
        let from = self.0.partition_point(|cell| cell.pages.end <= pages.start);
        let to = self.0.partition_point(|cell| cell.pages.start < pages.end);
        let joined = self.0.drain(from..to.max(from)).next().is_some_and(|cell| cell.joined);
        (from, joined)
    }

    fn remove(&mut self, pages: &Region) {
        let (index, _) = self.take(pages);
        if let Some(next) = self.0.get_mut(index) {
            next.joined = false;
        }
    }

    /// `within` tells the edges of pages that were not there; else they stay as they are.
    fn set(&mut self, pages: Region, within: Option<(u64, u64)>) {
        let (index, was_joined) = self.take(&pages);
        let joined = within.map_or(was_joined, |within| within.0 < pages.start);
        self.0.insert(index, Cell { pages, joined });
        if let (Some(within), Some(next)) = (within, self.0.get_mut(index + 1))
            && next.pages.start == pages.end
        {
            next.joined = within.1 > pages.end;
        }
    }

    fn join(&mut self, at: u64, joined: bool) {
        self.cut(at);
        if let Ok(index) = self.0.binary_search_by_key(&at, |cell| cell.pages.start) {
            self.0[index].joined = joined;
        }
    }

    fn regions(self) -> Vec<Region> {
        let mut regions: Vec<Region> = Vec::new();
        for Cell { pages, joined } in self.0 {
            match regions.last_mut() {
                Some(last) if joined && last.end == pages.start => last.end = pages.end,
                Some(_) | None => regions.push(pages),
            }
        }
        regions
    }
}

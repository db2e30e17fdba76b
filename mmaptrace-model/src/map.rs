//! The regions of one address space, in address order.
//!
//! They lie in chunks, sorted vectors of some tens of regions, so that a change moves a few
//! KiB at most however many regions there are, and allocates only when a chunk is split:
//!
//! ```text
//! starts   [ 0x1000          | 0x7f00000000      | ... ]   first address of each chunk
//! chunks   [ r r r r r       | r r r             | ... ]   never empty
//! ```

use std::ops::Range;

use crate::region::Region;

/// The most regions in a chunk. Large enough that the index of 60,000 regions stays in the L1
/// cache, small enough that moving half a chunk costs less than finding it.
const CHUNK: usize = 64;

/// Neighbours that together have no more than this are joined. Well below [`CHUNK`], so that a
/// chunk that was split is not joined again at once.
const JOIN: usize = CHUNK / 4;

/// What a chunk has room for: a replacement may go beyond [`CHUNK`] before the chunk is split.
const ROOM: usize = CHUNK + 8;

/// Regions that are not in order, overlap, or leave the range they are to be put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a region at {at:#x} is out of order or out of range")]
pub struct Disordered {
    /// The first such region's start.
    pub at: u64,
}

/// The regions of one address space.
#[derive(Clone, Debug, Default)]
pub struct Map {
    starts: Vec<u64>,
    chunks: Vec<Vec<Region>>,
    len: usize,
    pages: u64,
}

/// Where a region is, or would be: the chunk, and the place in it. Never past a chunk's end,
/// except for the end of the last chunk.
type Place = (usize, usize);

impl Map {
    /// How many regions there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The size of all regions, in pages.
    pub const fn pages(&self) -> u64 {
        self.pages
    }

    /// All regions, in address order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Region> {
        self.chunks.iter().flatten()
    }

    /// The region that holds `address`.
    pub fn at(&self, address: u64) -> Option<&Region> {
        let (chunk, index) = self.ends_after(address);
        let region = self.chunks.get(chunk)?.get(index)?;
        region.contains(address).then_some(region)
    }

    /// The last region that ends at or before `address`.
    pub fn below(&self, address: u64) -> Option<&Region> {
        self.before(self.ends_after(address))
    }

    /// The regions that have an address in `[lo, hi)`, in address order.
    pub fn overlapping(&self, lo: u64, hi: u64) -> impl Iterator<Item = &Region> {
        let (chunk, index) = self.ends_after(lo);
        let first = self.chunks.get(chunk).map_or(&[][..], |regions| &regions[index..]);
        let rest = self.chunks.get(chunk + 1..).unwrap_or_default();
        first.iter().chain(rest.iter().flatten()).take_while(move |region| region.start < hi)
    }

    /// Makes `new` all there is in `[lo, hi)`, both page-aligned. What reached across an end of the
    /// range is cut there, and stays outside of it.
    ///
    /// `old_out` gets what was there, and `new` what is left of it outside, so that the two are all
    /// that was and all that is of the regions this touched.
    ///
    /// # Errors
    /// `new` is no list of regions of that range; nothing is changed.
    pub fn replace(
        &mut self,
        lo: u64,
        hi: u64,
        new: &mut Vec<Region>,
        old_out: &mut Vec<Region>,
    ) -> Result<(), Disordered> {
        check(lo, hi, new)?;
        if lo == hi {
            return Ok(());
        }
        let from = self.ends_after(lo);
        let to = self.starts_from(from, hi);
        if let Some(first) = self.get(from).filter(|region| region.start < lo) {
            new.insert(0, first.clip(first.start, lo));
        }
        if let Some(last) = self.before(to).filter(|region| region.end > hi) {
            new.push(last.clip(hi, last.end));
        }
        let removed = old_out.len();
        if from.0 == to.0 {
            self.within_chunk(from.0, from.1..to.1, new, old_out);
        } else {
            self.across_chunks(from, to, new, old_out);
        }
        let removed = &old_out[removed..];
        self.len = self.len - removed.len() + new.len();
        self.pages = self.pages - sum(removed) + sum(new);
        self.settle(from.0);
        Ok(())
    }

    /// The first region that ends after `address`.
    fn ends_after(&self, address: u64) -> Place {
        // The last chunk that starts at or before the address; it, or the start of the next.
        let chunk = self.starts.partition_point(|&start| start <= address).saturating_sub(1);
        let Some(regions) = self.chunks.get(chunk) else { return (0, 0) };
        let index = regions.partition_point(|region| region.end <= address);
        if index == regions.len() && chunk + 1 < self.chunks.len() {
            (chunk + 1, 0)
        } else {
            (chunk, index)
        }
    }

    /// The first region from `from` on that starts at `address` or later. Mostly it is near.
    fn starts_from(&self, (chunk, index): Place, address: u64) -> Place {
        const NEAR: usize = 8;
        let near = self.chunks.get(chunk).and_then(|regions| regions.get(index..)).unwrap_or(&[]);
        if let Some(ahead) = near.iter().take(NEAR).position(|region| region.start >= address) {
            return (chunk, index + ahead);
        }
        let (chunk, index) = self.ends_after(address);
        match self.get((chunk, index)) {
            Some(region) if region.start < address => self.next((chunk, index)),
            Some(_) | None => (chunk, index),
        }
    }

    fn get(&self, (chunk, index): Place) -> Option<&Region> {
        self.chunks.get(chunk)?.get(index)
    }

    fn next(&self, (chunk, index): Place) -> Place {
        let last = index + 1 == self.chunks[chunk].len() && chunk + 1 < self.chunks.len();
        if last { (chunk + 1, 0) } else { (chunk, index + 1) }
    }

    fn before(&self, (chunk, index): Place) -> Option<&Region> {
        match index.checked_sub(1) {
            Some(index) => self.get((chunk, index)),
            None => self.chunks.get(chunk.checked_sub(1)?)?.last(),
        }
    }

    fn within_chunk(
        &mut self,
        chunk: usize,
        range: Range<usize>,
        new: &[Region],
        old_out: &mut Vec<Region>,
    ) {
        let Some(regions) = self.chunks.get_mut(chunk) else {
            // The map is empty.
            self.chunks.push(new.to_vec());
            self.starts.push(0);
            return;
        };
        old_out.extend_from_slice(&regions[range.clone()]);
        regions.splice(range, new.iter().copied());
    }

    fn across_chunks(&mut self, from: Place, to: Place, new: &[Region], old_out: &mut Vec<Region>) {
        old_out.extend(self.chunks[from.0].drain(from.1..));
        old_out.extend(self.chunks[from.0 + 1..to.0].iter().flatten());
        old_out.extend(self.chunks[to.0].drain(..to.1));
        self.chunks[from.0].extend_from_slice(new);
        if let Some(first) = self.chunks[to.0].first() {
            self.starts[to.0] = first.start;
            self.drop_chunks(from.0 + 1..to.0);
        } else {
            self.drop_chunks(from.0 + 1..to.0 + 1);
        }
    }

    /// Brings the chunk that was changed back to its size, and the index with it.
    fn settle(&mut self, chunk: usize) {
        let Some(regions) = self.chunks.get_mut(chunk) else { return };
        if regions.is_empty() {
            self.drop_chunks(chunk..chunk + 1);
            return;
        }
        if regions.len() > CHUNK {
            let tail = regions.split_off(CHUNK / 2);
            regions.shrink_to(ROOM);
            let pieces: Vec<_> = tail.chunks(CHUNK / 2).map(with_room).collect();
            let starts: Vec<_> = pieces.iter().map(|piece| piece[0].start).collect();
            let next = chunk + 1;
            self.chunks.splice(next..next, pieces);
            self.starts.splice(next..next, starts);
        } else if let Some(next) = self.chunks.get(chunk + 1)
            && self.chunks[chunk].len() + next.len() <= JOIN
        {
            let next = std::mem::take(&mut self.chunks[chunk + 1]);
            self.chunks[chunk].extend_from_slice(&next);
            self.drop_chunks(chunk + 1..chunk + 2);
        }
        self.starts[chunk] = self.chunks[chunk][0].start;
    }

    fn drop_chunks(&mut self, range: Range<usize>) {
        if !range.is_empty() {
            self.chunks.drain(range.clone());
            self.starts.drain(range);
        }
    }
}

/// A chunk of these regions that seldom grows its allocation.
fn with_room(regions: &[Region]) -> Vec<Region> {
    let mut chunk = Vec::with_capacity(ROOM);
    chunk.extend_from_slice(regions);
    chunk
}

fn sum(regions: &[Region]) -> u64 {
    regions.iter().map(Region::pages).sum()
}

fn check(lo: u64, hi: u64, new: &[Region]) -> Result<(), Disordered> {
    let mut free = lo;
    for region in new {
        if region.start < free || region.end <= region.start || region.end > hi {
            return Err(Disordered { at: region.start });
        }
        free = region.end;
    }
    if lo > hi { Err(Disordered { at: lo }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::region::{Backing, Flags, PAGE};

    fn region(start: u64, end: u64, flags: u64) -> Region {
        let pgoff = start;
        let (start, end) = (start * PAGE, end * PAGE);
        Region { start, end, flags: Flags(flags), pgoff, backing: Backing::Anonymous }
    }

    fn map(regions: &[Region]) -> Map {
        let mut map = Map::default();
        map.replace(0, u64::MAX, &mut regions.to_vec(), &mut Vec::new()).expect("in order");
        map
    }

    #[test]
    fn what_is_below_ends_there_at_most() {
        let map = map(&[region(1, 2, 1), region(2, 3, 2), region(5, 6, 1)]);
        let below = |page| map.below(page * PAGE).map(|region| region.start / PAGE);
        let expected = [None, None, Some(1), Some(2), Some(2), Some(2), Some(5), Some(5)];
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(below), expected);
    }

    #[test]
    fn what_reaches_across_an_end_is_cut_there() {
        let mut map = map(&[region(10, 20, 1)]);
        let (mut old, mut new) = (Vec::new(), vec![region(13, 14, 2)]);
        map.replace(12 * PAGE, 15 * PAGE, &mut new, &mut old).expect("in order");
        assert_eq!(old, [region(10, 20, 1)]);
        let left: Vec<_> = map.iter().copied().collect();
        let rest = Region { pgoff: 15, ..region(15, 20, 1) };
        assert_eq!(left, [region(10, 12, 1), region(13, 14, 2), rest]);
        assert_eq!(new, left, "all that is of what was touched");
        assert_eq!((map.len(), map.pages()), (3, 8));
    }

    #[test]
    fn disordered_regions_change_nothing() {
        let mut map = map(&[region(1, 2, 1)]);
        let mut old = Vec::new();
        for new in [
            &[region(5, 6, 0), region(4, 5, 0)][..],
            &[region(4, 6, 0), region(5, 7, 0)],
            &[region(9, 11, 0)],
            &[region(3, 5, 0)],
        ] {
            let result = map.replace(4 * PAGE, 10 * PAGE, &mut new.to_vec(), &mut old);
            assert!(result.is_err(), "{new:?}");
        }
        assert!(old.is_empty());
        assert_eq!((map.len(), map.pages()), (1, 1));
    }

    #[test]
    fn lookups_know_holes() {
        let map = map(&[region(1, 3, 0), region(5, 6, 0)]);
        assert_eq!(map.at(3 * PAGE - 1), Some(&region(1, 3, 0)));
        assert_eq!(map.at(3 * PAGE), None);
        assert_eq!(map.at(6 * PAGE), None);
        assert_eq!(map.overlapping(2 * PAGE, 5 * PAGE).count(), 1);
        assert_eq!(map.overlapping(2 * PAGE, 5 * PAGE + 1).count(), 2);
        assert_eq!(map.overlapping(3 * PAGE, 5 * PAGE).count(), 0);
        assert_eq!(Map::default().at(0), None);
    }

    /// A page-by-page map of the same replacements.
    type Dense = BTreeMap<u64, u64>;

    fn dense(map: &Map) -> Dense {
        let pages = |region: &Region| {
            let flags = region.flags.0;
            (region.start / PAGE..region.end / PAGE).map(move |page| (page, flags))
        };
        map.iter().flat_map(pages).collect()
    }

    proptest! {
        /// Many small regions, so that chunks split, join and vanish.
        #[test]
        fn equals_a_page_table(
            steps in prop::collection::vec((0_u64..2000, 1_u64..300, 1_u64..6, 0_u64..3), 1..60)
        ) {
            let mut map = Map::default();
            let mut pages = Dense::new();
            for (step, (lo, len, size, gap)) in steps.into_iter().enumerate() {
                let hi = lo + len;
                let mut new = Vec::new();
                let mut at = lo;
                while at + size <= hi && size > gap {
                    new.push(region(at, at + size, step as u64));
                    at += size + gap;
                }
                let regions = new.clone();
                map.replace(lo * PAGE, hi * PAGE, &mut new, &mut Vec::new()).expect("in order");
                pages.retain(|&page, _| page < lo || page >= hi);
                for region in &regions {
                    pages.extend((region.start / PAGE..region.end / PAGE).map(|p| (p, step as u64)));
                }
                prop_assert_eq!(dense(&map), pages.clone());
                prop_assert_eq!(map.len(), map.iter().count());
                prop_assert_eq!(map.pages(), pages.len() as u64);
                prop_assert!(map.chunks.iter().all(|c| !c.is_empty() && c.len() <= CHUNK + 2));
                let starts: Vec<_> = map.chunks.iter().map(|c| c[0].start).collect();
                prop_assert_eq!(&starts, &map.starts);
            }
        }
    }
}

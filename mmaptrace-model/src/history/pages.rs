//! Something known of each page: ranges of pages with a value.

use std::ops::Range;

pub(super) use rangemap::RangeMap;

/// A value for each page that has one; neighbours of one value are one range.
pub(super) type Pages<T> = RangeMap<u64, T>;

/// The ranges that have an address in `range`, cut at its ends.
pub(super) fn overlapping<T: Clone + Eq>(
    pages: &Pages<T>,
    range: Range<u64>,
) -> impl Iterator<Item = (Range<u64>, &T)> {
    let Range { start, end } = range;
    // The map refuses an empty range.
    let range = (start < end).then_some(range);
    let found = range.into_iter().flat_map(|range| pages.overlapping(range));
    found.map(move |(range, value)| (range.start.max(start)..range.end.min(end), value))
}

/// The same, the values copied, so that the pages may be changed meanwhile.
pub(super) fn copied<T: Clone + Eq>(
    pages: &Pages<T>,
    range: Range<u64>,
) -> smallvec::SmallVec<[(Range<u64>, T); 4]> {
    overlapping(pages, range).map(|(range, value)| (range, value.clone())).collect()
}

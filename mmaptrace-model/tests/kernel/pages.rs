//! The dense oracle: what is behind each page, and nothing of regions.

use std::collections::BTreeMap;

use mmaptrace_model::{Backing, Region, region::PAGE};

/// Flags, offset in pages and backing of each page, by its number.
pub(crate) type Pages = BTreeMap<u64, (u64, u64, Backing)>;

/// Of regions larger than this, only the pages at both ends are looked at: those that calls may
/// reach are smaller.
const LARGE: u64 = 128;

/// The pages of regions.
pub(crate) fn pages(regions: &[Region]) -> Pages {
    let mut pages = Pages::new();
    for region in regions {
        let (first, end) = (region.start / PAGE, region.end / PAGE);
        let step = if region.pages() > LARGE { end - 1 - first } else { 1 };
        for page in (first..end).step_by(step as usize) {
            let part = region.clip(page * PAGE, (page + 1) * PAGE);
            pages.insert(page, (part.flags.0, part.pgoff, part.backing));
        }
    }
    pages
}

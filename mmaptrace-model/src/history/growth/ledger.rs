//! The account: every mapping is an entry, of a site, until its last page is unmapped.

use std::{collections::HashMap, ops::Range};

use super::figures::{Figures, Key, Site};
use crate::{
    history::{
        Deed,
        pages::{Pages, copied, overlapping},
    },
    region::{Flags, Region},
};

/// The books.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    ids: HashMap<Key, u32>,
    sites: Vec<(Site, Figures)>,
    entries: Vec<Entry>,
    /// Entries whose pages are all gone, to be used again.
    free: Vec<u32>,
}

/// One mapping.
#[derive(Clone, Copy, Debug)]
struct Entry {
    site: u32,
    /// When: ns of `CLOCK_MONOTONIC`.
    born: u64,
    /// What of it is left, in bytes.
    left: u64,
}

impl Ledger {
    pub(super) fn sites(&self) -> impl Iterator<Item = (&Site, &Figures)> {
        self.sites.iter().map(|(site, figures)| (site, figures))
    }

    /// Enters new pages, but for those of `except`.
    pub(super) fn map(
        &mut self,
        pages: &mut Pages<u32>,
        deed: &Deed,
        new: &Region,
        except: &Range<u64>,
    ) {
        let Region { start, end, .. } = *new;
        let parts = if except.start < end && start < except.end {
            [start..except.start, except.end..end]
        } else {
            [start..end, 0..0]
        };
        for part in parts.into_iter().filter(|part| part.start < part.end) {
            let size = part.end - part.start;
            let site = self.site(deed, Some(new));
            let figures = &mut self.sites[site as usize].1;
            figures.churn += size;
            figures.mapped += 1;
            add(figures, new, size);
            let entry = Entry { site, born: deed.time, left: size };
            let id = if let Some(id) = self.free.pop() {
                self.entries[id as usize] = entry;
                id
            } else {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            };
            pages.insert(part, id);
        }
    }

    /// Strikes out pages that are gone, as they were.
    pub(super) fn unmap(&mut self, pages: &mut Pages<u32>, time: u64, old: &Region) {
        for (range, id) in copied(pages, old.start..old.end) {
            let size = range.end - range.start;
            let entry = &mut self.entries[id as usize];
            let figures = &mut self.sites[entry.site as usize].1;
            entry.left -= size;
            subtract(figures, old, size);
            if entry.left == 0 {
                figures.unmapped += 1;
                figures.lifetimes.add(time.saturating_sub(entry.born));
                self.free.push(id);
            }
        }
        pages.remove(old.start..old.end);
    }

    /// The parts of a range that no entry has which was made then or later: ns of `CLOCK_MONOTONIC`.
    pub(super) fn older(
        &self,
        pages: &Pages<u32>,
        range: Range<u64>,
        time: u64,
    ) -> Vec<Range<u64>> {
        let mut parts = Vec::new();
        let mut from = range.start;
        for (entered, &id) in overlapping(pages, range.clone()) {
            if self.entries[id as usize].born >= time {
                parts.push(from..entered.start);
                from = entered.end;
            }
        }
        parts.push(from..range.end);
        parts.retain(|part| part.start < part.end);
        parts
    }

    /// Notes that pages can be accessed, or no longer.
    pub(super) fn change(&mut self, pages: &Pages<u32>, old: &Region, new: &Region) {
        if is_accessible(old) == is_accessible(new) {
            return;
        }
        for (range, &id) in overlapping(pages, new.start..new.end) {
            let site = self.entries[id as usize].site;
            let figures = &mut self.sites[site as usize].1;
            subtract(figures, old, range.end - range.start);
            add(figures, new, range.end - range.start);
        }
    }

    /// Notes that a region was cut in two.
    pub(super) fn split(&mut self, deed: &Deed) {
        let site = self.site(deed, None);
        self.sites[site as usize].1.splits += 1;
    }

    fn site(&mut self, deed: &Deed, pages: Option<&Region>) -> u32 {
        let site = Site::of(deed, pages);
        let id = *self.ids.entry(site.key()).or_insert_with(|| {
            self.sites.push((site, Figures::default()));
            (self.sites.len() - 1) as u32
        });
        let known = &mut self.sites[id as usize].0;
        if known.pages.is_none() {
            known.pages = site.pages;
        }
        id
    }
}

fn add(figures: &mut Figures, region: &Region, size: u64) {
    if is_accessible(region) {
        figures.held += size;
        figures.peak = figures.peak.max(figures.held);
    } else {
        figures.reserved += size;
    }
}

fn subtract(figures: &mut Figures, region: &Region, size: u64) {
    if is_accessible(region) {
        figures.held = figures.held.saturating_sub(size);
    } else {
        figures.reserved = figures.reserved.saturating_sub(size);
    }
}

const fn is_accessible(region: &Region) -> bool {
    region.flags.0 & (Flags::READ.0 | Flags::WRITE.0 | Flags::EXEC.0) != 0
}

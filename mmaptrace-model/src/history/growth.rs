//! Growth: what was mapped and is there still, by where it was asked for.
//!
//! Pages are those of the site that mapped them, wherever `mremap` takes them and whatever
//! protection they get. What was there before anyone looked is nobody's; what a fork hands down
//! counts with the parent, for a child has it without having asked.

mod figures;
mod ledger;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    ops::Range,
};

pub use figures::{Figures, Kind, Lifetimes, Population, Site};
use ledger::Ledger;

use super::{
    deed::{Deed, Move, Replacing},
    pages::{Pages, copied},
};
use crate::{
    effect::Effect,
    event::{Event, SpaceId},
    model::Model,
};

/// What grew, and what did not.
#[derive(Debug, Default)]
pub struct Growth {
    ledger: Ledger,
    /// The entry of the ledger that each page is of.
    pages: HashMap<SpaceId, Pages<u32>>,
    replacing: Replacing,
    populations: BTreeMap<SpaceId, Population>,
}

impl Growth {
    /// Takes an event, and the model after it.
    pub fn event(&mut self, event: &Event, model: &Model) {
        if let Some((deed, range)) = self.replacing.event(event) {
            self.replaced(&deed, range, model);
        }
        match event {
            Event::Commit { space, effects, .. } => {
                if let (Some(deed), [_, ..]) = (Deed::of(event), &effects[..]) {
                    self.commit(&deed, effects, model);
                }
                self.count(*space, model);
            }
            // What is mapped then is left: nobody unmapped it. What was seen of an image in the making is
            // told again.
            Event::End { space, .. } | Event::Exec { space, .. } => {
                self.pages.remove(space);
            }
            Event::Call { .. }
            | Event::Fork { .. }
            | Event::Exit { .. }
            | Event::Doubt { .. }
            | Event::Healed { .. }
            | Event::Lost { .. }
            | Event::Malformed { .. } => {}
        }
    }

    /// Counts the regions of a space of which perhaps no event told.
    pub fn meet(&mut self, space: SpaceId, model: &Model) {
        self.count(space, model);
    }

    /// The sites: those that hold most first, the images of programs last.
    pub fn sites(&self) -> Vec<(&Site, &Figures)> {
        let mut sites: Vec<_> = self.ledger.sites().collect();
        sites.sort_by_key(|(site, figures)| {
            (site.is_image(), Reverse((figures.held, figures.reserved, figures.churn)))
        });
        sites
    }

    /// How many regions each space has and had, in the order in which they were first seen.
    pub const fn populations(&self) -> &BTreeMap<SpaceId, Population> {
        &self.populations
    }

    fn count(&mut self, space: SpaceId, model: &Model) {
        let Some(now) = model.space(space).map(|space| space.map().len() as u64) else { return };
        let population = self.populations.entry(space).or_default();
        population.now = now;
        population.peak = population.peak.max(now);
        if population.owner.is_none() {
            population.owner = model.process_of(space).map(|process| (process.pid, process.comm));
        }
    }

    /// New pages in place of others that no effect tells from them.
    fn replaced(&mut self, deed: &Deed, range: Range<u64>, model: &Model) {
        let Some(space) = model.space(deed.space) else { return };
        let pages = self.pages.entry(deed.space).or_default();
        for region in space.map().overlapping(range.start, range.end) {
            let region = region.clip(region.start.max(range.start), region.end.min(range.end));
            // Those of this commit were entered by its effects, later ones by theirs.
            for older in self.ledger.older(pages, region.start..region.end, deed.time) {
                let region = region.clip(older.start, older.end);
                self.ledger.unmap(pages, deed.time, &region);
                self.ledger.map(pages, deed, &region, &(0..0));
            }
        }
    }

    fn commit(&mut self, deed: &Deed, effects: &[Effect], model: &Model) {
        let (ledger, time) = (&mut self.ledger, deed.time);
        let pages = self.pages.entry(deed.space).or_default();
        let moved = Move::of(deed, effects);
        // Taken away beforehand, pages that move do not end.
        let carried = moved.as_ref().map(|moved| {
            let carried = copied(pages, moved.from.clone());
            pages.remove(moved.from.clone());
            carried
        });
        let moved_to = moved.as_ref().map(Move::destination).unwrap_or_default();
        let replaced = deed.replaces().unwrap_or_default();
        for effect in effects {
            match effect {
                Effect::Added { pages: new, .. } => ledger.map(pages, deed, new, &moved_to),
                Effect::Removed { pages: old, within } => {
                    ledger.unmap(pages, time, old);
                    if within.0 < old.start && old.end < within.1 {
                        ledger.split(deed);
                    }
                }
                Effect::Replaced { old, new } => {
                    ledger.unmap(pages, time, old);
                    ledger.map(pages, deed, new, &moved_to);
                }
                Effect::Changed { old, new, .. } if replaced.contains(&new.start) => {
                    ledger.unmap(pages, time, old);
                    ledger.map(pages, deed, new, &moved_to);
                }
                Effect::Changed { old, new, .. } => ledger.change(pages, old, new),
                Effect::Split { .. } => ledger.split(deed),
                Effect::Merged { .. } => {}
            }
        }
        let (Some(moved), Some(carried)) = (moved, carried) else { return };
        let map = model.space(deed.space).map(crate::Space::map);
        let at = |address| map.and_then(|map| map.at(address)).copied();
        // Memory that no effect told from what took its place.
        if let Some(region) = at(moved.to) {
            let to = moved.destination();
            ledger.unmap(pages, time, &region.clip(to.start, to.end));
        }
        if let (true, Some(region)) = (moved.leaves, at(moved.from.start)) {
            let from = &moved.from;
            ledger.map(pages, deed, &region.clip(from.start, from.end), &(0..0));
        }
        for (range, entry) in carried {
            pages.insert(moved.place(range.start)..moved.place(range.end), entry);
        }
    }
}

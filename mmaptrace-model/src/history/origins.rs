//! Who made the pages of each address space, and who changed them last.

use std::{collections::HashMap, ops::Range, sync::Arc};

use super::{
    deed::{Deed, Move, Replacing},
    pages::{Pages, copied, overlapping},
};
use crate::{
    effect::Effect,
    event::{Event, SpaceId},
    model::Model,
};

/// Where pages come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// What made them; `None`: they were there before anyone looked. A move keeps it, and so does a
    /// fork.
    pub created: Option<Arc<Deed>>,
    /// What last gave them another protection, flag, name or place; `None`: nothing has.
    pub changed: Option<Arc<Deed>>,
}

/// The origins of all pages of all spaces that live.
#[derive(Debug, Default)]
pub struct Origins {
    spaces: HashMap<SpaceId, Pages<Origin>>,
    replacing: Replacing,
}

impl Origins {
    /// Takes an event, and the model after it.
    pub fn event(&mut self, event: &Event, model: &Model) {
        if let Some((deed, pages)) = self.replacing.event(event) {
            self.replaced(deed, pages, model);
        }
        match event {
            Event::Commit { space, effects, .. } => {
                if let (Some(deed), [_, ..]) = (Deed::of(event), &effects[..]) {
                    self.commit(*space, &Arc::new(deed), effects);
                }
            }
            // The child has what its parent had. Its own map says what of it is there.
            Event::Fork { space, task, shared: false, .. } => {
                let parent = model.space_of(task.pid).and_then(|it| self.spaces.get(&it.id()));
                if let Some(pages) = parent.cloned() {
                    self.spaces.insert(*space, pages);
                }
            }
            // What was seen of an image in the making is told again.
            Event::End { space, .. } | Event::Exec { space, .. } => {
                self.spaces.remove(space);
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

    /// The pages in `[lo, hi)` of which something is known, in address order. It tells of mapped
    /// pages only where the model has some; of the others it may tell what they were.
    pub fn of(
        &self,
        space: SpaceId,
        lo: u64,
        hi: u64,
    ) -> impl Iterator<Item = (Range<u64>, &Origin)> {
        let pages = self.spaces.get(&space).into_iter();
        pages.flat_map(move |pages| overlapping(pages, lo..hi))
    }

    /// Who made the page of an address, and who changed it last.
    pub fn at(&self, space: SpaceId, address: u64) -> Option<&Origin> {
        self.spaces.get(&space)?.get(&address)
    }

    fn commit(&mut self, space: SpaceId, deed: &Arc<Deed>, effects: &[Effect]) {
        let pages = self.spaces.entry(space).or_default();
        let moved = Move::of(deed, effects).map(|moved| {
            let carried = copied(pages, moved.from.clone());
            (moved, carried)
        });
        let replaced = deed.replaces().unwrap_or_default();
        let created = || Origin { created: Some(Arc::clone(deed)), changed: None };
        for effect in effects {
            match effect {
                Effect::Added { pages: new, .. } | Effect::Replaced { new, .. } => {
                    pages.insert(new.start..new.end, created());
                }
                Effect::Removed { pages: old, .. } => pages.remove(old.start..old.end),
                Effect::Changed { new, .. } if replaced.contains(&new.start) => {
                    pages.insert(new.start..new.end, created());
                }
                Effect::Changed { new, .. } => change(pages, new.start..new.end, deed),
                Effect::Split { .. } | Effect::Merged { .. } => {}
            }
        }
        if let Some((moved, carried)) = moved {
            // Of what nothing is known nothing is known there either.
            pages.remove(moved.destination());
            for (range, origin) in carried {
                pages.insert(moved.place(range.start)..moved.place(range.end), origin);
            }
            change(pages, moved.destination(), deed);
        }
    }

    /// New pages in place of others that no effect tells from them.
    fn replaced(&mut self, deed: Deed, range: Range<u64>, model: &Model) {
        let (space, id) = (deed.space, deed.id);
        let Some(now) = model.space(space) else { return };
        let pages = self.spaces.entry(space).or_default();
        let origin = Origin { created: Some(Arc::new(deed)), changed: None };
        // Between the commit and the return of its call others may have come.
        let later = |known: &Option<Arc<Deed>>| {
            known.as_ref().is_some_and(|known| known.space == space && known.id >= id)
        };
        for region in now.map().overlapping(range.start, range.end) {
            let range = region.start.max(range.start)..region.end.min(range.end);
            let known = copied(pages, range.clone()).into_iter();
            pages.insert(range, origin.clone());
            known
                .filter(|(_, origin)| later(&origin.created) || later(&origin.changed))
                .for_each(|(range, origin)| pages.insert(range, origin));
        }
    }
}

/// Notes a change of pages, those that nothing is known of included.
fn change(pages: &mut Pages<Origin>, range: Range<u64>, deed: &Arc<Deed>) {
    let changed = Some(Arc::clone(deed));
    let known = copied(pages, range.clone());
    pages.insert(range, Origin { created: None, changed: changed.clone() });
    for (range, Origin { created, .. }) in known {
        pages.insert(range, Origin { created, changed: changed.clone() });
    }
}

//! What is known of pages when they come: their kind, their name, and what mapped them.

use std::{collections::HashSet, sync::Arc};

use mmaptrace_model::{
    HeapRule, Model, Region, RegionName, Space,
    event::SpaceId,
    history::{Origin, Origins},
};

use super::Piece;
use crate::{export::kind::Kind, sink::maps};

/// Where is looked up what is known of pages that are in the model now.
pub(super) struct Look<'a> {
    pub(super) space: Option<&'a Space>,
    pub(super) model: &'a Model,
    pub(super) heap: HeapRule,
    pub(super) origins: &'a Origins,
    pub(super) names: &'a mut Names,
}

impl Look<'_> {
    /// Makes the pieces of some pages: one for each origin.
    pub(super) fn pieces(
        &mut self,
        id: SpaceId,
        pages: &Region,
        since: u64,
        mut each: impl FnMut(Piece),
    ) {
        let (kind, name) = self.at(pages);
        let mut made = |lo, hi, origin: Origin| {
            let Origin { created: mapped, changed } = origin;
            let made = changed.or_else(|| mapped.clone());
            let region = pages.clip(lo, hi);
            each(Piece { region, kind, name: Arc::clone(&name), mapped, made, since });
        };
        let mut at = pages.start;
        for (range, origin) in self.origins.of(id, pages.start, pages.end) {
            if at < range.start {
                made(at, range.start, Origin::default());
            }
            made(range.start, range.end, origin.clone());
            at = range.end;
        }
        if at < pages.end {
            made(at, pages.end, Origin::default());
        }
    }

    /// Whether they are the heap's or a stack's hangs on the whole region they are part of.
    fn at(&mut self, pages: &Region) -> (Kind, Arc<[u8]>) {
        let known = self.model.names();
        let name = self.space.map_or_else(
            || RegionName::of(pages, known),
            |space| {
                let region = space.map().at(pages.start).unwrap_or(pages);
                space.name(region, known, self.heap)
            },
        );
        (Kind::of(pages, name), self.names.get(name))
    }
}

/// Each name once.
#[derive(Debug, Default)]
pub(super) struct Names {
    all: HashSet<Arc<[u8]>>,
    scratch: Vec<u8>,
}

impl Names {
    fn get(&mut self, name: RegionName<'_>) -> Arc<[u8]> {
        self.scratch.clear();
        maps::push_name(&mut self.scratch, name);
        if let Some(known) = self.all.get(self.scratch.as_slice()) {
            return Arc::clone(known);
        }
        let new: Arc<[u8]> = Arc::from(self.scratch.as_slice());
        self.all.insert(Arc::clone(&new));
        new
    }
}

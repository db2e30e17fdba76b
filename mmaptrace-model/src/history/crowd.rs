//! Which address spaces come near the most regions that the kernel allows, `vm.max_map_count`:
//! there `mmap`, `mprotect` and even `munmap` fail with `ENOMEM`.

use std::collections::HashSet;

use crate::{
    event::{Event, SpaceId},
    model::Model,
};

/// An address space has this many percent of the regions it may have: said once.
const CROWDED: u64 = 80;
/// Below this many percent it is no longer crowded, and would be said again.
const EASED: u64 = 75;

/// A space that has become crowded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded {
    /// When: ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// Which.
    pub space: SpaceId,
    /// How many regions it has.
    pub regions: u64,
    /// How many it may have.
    pub limit: u64,
}

/// Watches for it.
#[derive(Debug)]
pub struct Crowd {
    limit: u64,
    crowded: HashSet<SpaceId>,
}

impl Crowd {
    /// `limit` is `vm.max_map_count`, in regions; at least 1.
    pub fn new(limit: u64) -> Self {
        Self { limit: limit.max(1), crowded: HashSet::new() }
    }

    /// Takes an event, and the model after it; tells when a space has become crowded.
    pub fn event(&mut self, event: &Event, model: &Model) -> Option<Crowded> {
        match *event {
            Event::Commit { time, space, .. } => {
                let regions = model.space(space)?.map().len() as u64;
                if regions * 100 >= self.limit * CROWDED {
                    let limit = self.limit;
                    let new = self.crowded.insert(space);
                    return new.then_some(Crowded { time, space, regions, limit });
                }
                // An empty set is no look-up: most spaces are never crowded.
                if !self.crowded.is_empty() && regions * 100 < self.limit * EASED {
                    self.crowded.remove(&space);
                }
            }
            Event::End { space, .. } => {
                self.crowded.remove(&space);
            }
            Event::Call { .. }
            | Event::Exec { .. }
            | Event::Fork { .. }
            | Event::Exit { .. }
            | Event::Doubt { .. }
            | Event::Healed { .. }
            | Event::Lost { .. }
            | Event::Malformed { .. } => {}
        }
        None
    }
}

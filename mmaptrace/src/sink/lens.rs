//! The model, as sinks look at it.

use std::{num::NonZeroU64, sync::Arc};

use mmaptrace_model::{
    HeapRule, Model, Region, RegionName,
    event::{SpaceId, Task},
};

use super::View;
use crate::symbols::{Backtrace, Symbols};

/// A model, and how its regions and stacks are named.
#[derive(Clone, Copy, Debug)]
pub struct Lens<'a> {
    /// The model.
    pub model: &'a Model,
    /// Which of its regions are heaps.
    pub heap: HeapRule,
    /// What the functions in its stacks are called.
    pub symbols: &'a Symbols,
}

impl View for Lens<'_> {
    fn name(&self, space: SpaceId, region: &Region) -> RegionName<'_> {
        let names = self.model.names();
        match self.model.space(space) {
            Some(space) => space.name(region, names, self.heap),
            None => RegionName::of(region, names),
        }
    }

    fn owner(&self, space: SpaceId) -> Option<Task> {
        let process = self.model.process_of(space)?;
        Some(Task { pid: process.pid, tid: process.pid, comm: process.comm })
    }

    fn stack(&self, space: SpaceId, key: NonZeroU64) -> Option<Arc<Backtrace>> {
        self.symbols.backtrace(self.model, space, key)
    }
}

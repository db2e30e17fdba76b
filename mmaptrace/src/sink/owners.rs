//! Whose an address space is, as the events tell it.

use std::collections::BTreeMap;

use mmaptrace_model::{
    Event,
    event::{Cause, SpaceId, Task},
};

use super::View;

/// The first task seen in each address space that lives.
#[derive(Debug, Default)]
pub(super) struct Owners(BTreeMap<SpaceId, Task>);

impl Owners {
    /// Learns from an event.
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::Commit { space, task, cause, .. } => match cause {
                Cause::Call(_) | Cause::Fault | Cause::Growth(_) => {
                    self.0.entry(*space).or_insert(*task);
                }
                // Done to the space by someone else, or told by the event before.
                Cause::Kernel
                | Cause::Worker
                | Cause::Remote(_)
                | Cause::Seed
                | Cause::Fork
                | Cause::Exec => {}
            },
            Event::Call { space, task, .. } => {
                self.0.entry(*space).or_insert(*task);
            }
            Event::Exec { space, task, .. } => {
                self.0.insert(*space, *task);
            }
            Event::Fork { space, child, shared, .. } => {
                if !shared {
                    self.0.insert(*space, *child);
                }
            }
            Event::Exit { .. }
            | Event::End { .. }
            | Event::Doubt { .. }
            | Event::Healed { .. }
            | Event::Lost { .. }
            | Event::Malformed { .. } => {}
        }
    }

    /// Forgets a space that has ended; to be called once its end has been shown.
    pub(super) fn forget(&mut self, space: SpaceId) {
        self.0.remove(&space);
    }

    /// The owner of a space, as far as anyone knows.
    pub(super) fn of(&self, space: SpaceId, view: &dyn View) -> Option<Task> {
        self.0.get(&space).copied().or_else(|| view.owner(space))
    }
}

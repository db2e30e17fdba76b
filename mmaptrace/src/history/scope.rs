//! Which processes a question is about.

use mmaptrace_model::{Event, Model, event::SpaceId};

/// One process, or all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope {
    /// The process; `None`: all.
    pub pid: Option<u32>,
}

impl Scope {
    fn has(self, pid: u32) -> bool {
        self.pid.is_none_or(|only| only == pid)
    }

    /// Whether an address space is one that such a process runs in. One that nothing is known of
    /// may be.
    pub fn has_space(self, space: SpaceId, model: &Model) -> bool {
        model.process_of(space).is_none_or(|process| self.has(process.pid))
    }

    /// Whether an event is of such a process; a commit is of the process whose space it changes.
    pub fn has_event(self, event: &Event, model: &Model) -> bool {
        match event {
            Event::Commit { space, .. }
            | Event::End { space, .. }
            | Event::Doubt { space, .. }
            | Event::Healed { space, .. } => self.has_space(*space, model),
            Event::Call { task, .. } | Event::Exec { task, .. } | Event::Exit { task, .. } => {
                self.has(task.pid)
            }
            Event::Fork { task, child, .. } => self.has(task.pid) || self.has(child.pid),
            Event::Lost { .. } | Event::Malformed { .. } => true,
        }
    }
}

//! What is remembered of threads between records: names, and the commits of a call until it
//! returns.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{Commits, SpaceId, Syscall};

/// The most commits remembered of one call. Calls of the table make a few; one that is not, whose
/// return nobody reports, may make any number before the next that is.
const COMMITS: usize = 256;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Threads {
    by_tid: BTreeMap<u32, Thread>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Thread {
    space: SpaceId,
    comm: [u8; 16],
    commits: Vec<(Syscall, u64)>,
    /// The call whose return a commit told, and what it returned, until another record comes.
    told: Option<(Syscall, i64)>,
}

impl Threads {
    /// Notes where a thread runs and its name.
    pub(crate) fn see(&mut self, tid: u32, space: SpaceId, comm: [u8; 16]) {
        let thread = self.by_tid.entry(tid).or_insert(Thread {
            space,
            comm,
            commits: Vec::new(),
            told: None,
        });
        (thread.space, thread.comm) = (space, comm);
    }

    /// Notes that a commit of a thread is part of a call.
    pub(crate) fn commit(&mut self, tid: u32, call: Syscall, id: u64) {
        if let Some(thread) = self.by_tid.get_mut(&tid) {
            thread.told = None;
            if thread.commits.len() == COMMITS {
                thread.commits.remove(0);
            }
            // What is read again in the same commit is one commit.
            if thread.commits.last() != Some(&(call, id)) {
                thread.commits.push((call, id));
            }
        }
    }

    /// Notes that a commit has told what its call returns.
    pub(crate) fn tell(&mut self, tid: u32, call: Syscall, result: i64) {
        if let Some(thread) = self.by_tid.get_mut(&tid) {
            thread.told = Some((call, result));
        }
    }

    /// Whether the return of a call is one that a commit told, the last record of its thread.
    pub(crate) fn was_told(&mut self, tid: u32, call: Syscall, result: i64) -> bool {
        let told = self.by_tid.get_mut(&tid).and_then(|thread| thread.told.take());
        told == Some((call, result))
    }

    /// The commits of a call that returned. Those of others that did not, or that are of no
    /// interest, stand for themselves and are forgotten.
    pub(crate) fn returned(&mut self, tid: u32, call: Syscall) -> Commits {
        let Some(thread) = self.by_tid.get_mut(&tid) else { return Commits::new() };
        let drained = thread.commits.drain(..);
        drained.filter(|(of, _)| *of == call).map(|(_, id)| id).collect()
    }

    /// Whether there are commits of a call that has not returned.
    pub(crate) fn has_open_calls(&self) -> bool {
        self.by_tid.values().any(|thread| !thread.commits.is_empty())
    }

    /// The name of a thread that ended, and the commits of a call that will not return.
    pub(crate) fn end(&mut self, tid: u32) -> Option<([u8; 16], Commits)> {
        let thread = self.by_tid.remove(&tid)?;
        Some((thread.comm, thread.commits.into_iter().map(|(_, id)| id).collect()))
    }

    /// Forgets the threads of a space that ended: their own ends were lost.
    pub(crate) fn end_space(&mut self, space: SpaceId) {
        self.by_tid.retain(|_, thread| thread.space != space);
    }
}

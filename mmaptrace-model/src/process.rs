//! Processes: which space each runs in, and its totals.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{event::SpaceId, space::Space};

/// How many ended processes are remembered one by one. Older ones are only in the totals of all.
const ENDED: usize = 4096;

/// One process, or what it was at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its thread group id, in the initial PID namespace.
    pub pid: u32,
    /// Its name, NUL-padded, any bytes.
    pub comm: [u8; 16],
    /// Where it runs; `None` once that has ended.
    pub space: Option<SpaceId>,
    /// How it ended, as `wait` tells it; `None`: it runs, or that is not known.
    pub status: Option<u32>,
    /// Events of its tasks; see [`Totals::events`](crate::model::Totals::events).
    pub events: u64,
    /// Records of its address spaces that were lost. A space that several processes share counts
    /// with the first.
    pub lost: u64,
    /// Heals of its address spaces, likewise.
    pub healed: u64,
    /// Whether the model of its space is exact, or was when that ended.
    pub exact: bool,
    /// Regions of its space, or how many there were when it ended.
    pub regions: u64,
}

impl Process {
    /// Brings up to date what its space tells of it.
    fn look_at(&mut self, space: &Space) {
        self.exact = space.doubt().is_none();
        self.regions = space.map().len() as u64;
    }
}

/// Whether a space that has not ended is exact, also in what only a picture shows. Of one that has ended there
/// was none for that reason, maybe.
const fn is_exact_now(space: &Space) -> bool {
    space.doubt_of_picture().is_none()
}

/// Ended processes that are remembered together only: there were some thousands more since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// How many.
    pub processes: u64,
    /// How many regions they had when they ended.
    pub regions: u64,
    /// Whether one of them was not exact then.
    pub in_doubt: bool,
}

/// All processes that are followed, and the last ones that were.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Processes {
    live: BTreeMap<u32, Process>,
    ended: VecDeque<Process>,
    forgotten: Forgotten,
    /// The first process of each space, which its losses and heals count with.
    owners: BTreeMap<SpaceId, u32>,
}

impl Processes {
    pub(crate) fn get(&self, pid: u32) -> Option<&Process> {
        self.live.get(&pid)
    }

    /// The one that has this id, or the last one that had.
    pub(crate) fn get_or_ended(&self, pid: u32) -> Option<&Process> {
        self.get(pid).or_else(|| self.ended.iter().rev().find(|process| process.pid == pid))
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = &Process> {
        self.live.values()
    }

    /// A process that runs in a space.
    pub(crate) fn of_space(&self, space: SpaceId) -> Option<&Process> {
        let owner = self.owners.get(&space).and_then(|pid| self.live.get(pid));
        owner
            .filter(|process| process.space == Some(space))
            .or_else(|| self.live().find(|process| process.space == Some(space)))
    }

    /// Whether a process has ended whose last space was this one.
    pub(crate) fn ended_in(&self, pid: u32, space: SpaceId) -> bool {
        self.ended.iter().rev().any(|it| it.pid == pid && it.space == Some(space))
    }

    /// A process runs in this space from now on.
    pub(crate) fn enter(&mut self, pid: u32, comm: [u8; 16], space: SpaceId) {
        self.owners.entry(space).or_insert(pid);
        let process = self.live.entry(pid).or_insert_with(|| Process {
            pid,
            comm,
            space: None,
            status: None,
            events: 0,
            lost: 0,
            healed: 0,
            exact: false,
            regions: 0,
        });
        process.comm = comm;
        process.space = Some(space);
    }

    /// Counts an event of a process.
    pub(crate) fn count(&mut self, pid: u32) {
        if let Some(process) = self.live.get_mut(&pid) {
            process.events += 1;
        }
    }

    /// The last thread of a process has ended.
    pub(crate) fn exit(&mut self, pid: u32, status: Option<u32>, space: Option<&Space>) {
        let Some(mut process) = self.live.remove(&pid) else { return };
        process.status = status;
        if let Some(space) = space {
            process.look_at(space);
        }
        if self.ended.len() == ENDED
            && let Some(oldest) = self.ended.pop_front()
        {
            let Forgotten { processes, regions, in_doubt } = &mut self.forgotten;
            *processes += 1;
            *regions += oldest.regions;
            *in_doubt |= !oldest.exact;
        }
        self.ended.push_back(process);
    }

    /// A space has ended.
    pub(crate) fn end_space(&mut self, space: &Space) {
        let id = space.id();
        let owner = self.owners.remove(&id);
        // A process has left its space before it ended, or ends soon.
        let ended = self.ended.iter_mut().rev().filter(|process| process.space == Some(id));
        for process in
            self.live.values_mut().filter(|process| process.space == Some(id)).chain(ended)
        {
            process.look_at(space);
            process.space = None;
        }
        let live = owner.and_then(|pid| self.live.get_mut(&pid));
        let ended = self.ended.iter_mut().rev();
        let process = live.or_else(|| ended.into_iter().find(|it| Some(it.pid) == owner));
        if let Some(process) = process {
            process.lost = process.lost.saturating_add(space.lost());
            process.healed += space.healed();
        }
    }

    /// Whether all are exact, or were when they ended, those included that are not remembered any more.
    pub(crate) fn are_exact<'a>(&self, space: impl Fn(SpaceId) -> Option<&'a Space>) -> bool {
        let is_exact = |process: &Process| {
            let space = process.space.and_then(&space);
            space.map_or(process.exact, is_exact_now)
        };
        !self.forgotten.in_doubt && self.ended.iter().chain(self.live.values()).all(is_exact)
    }

    pub(crate) const fn forgotten(&self) -> Forgotten {
        self.forgotten
    }

    /// All of them as of now, the ended ones first.
    pub(crate) fn totals<'a>(
        &'a self,
        space: impl Fn(SpaceId) -> Option<&'a Space>,
    ) -> impl Iterator<Item = Process> {
        self.ended.iter().chain(self.live.values()).map(move |process| {
            let mut process = process.clone();
            if let Some(space) = process.space.and_then(&space) {
                process.look_at(space);
                process.exact = is_exact_now(space);
            }
            for (&id, _) in self.owners.iter().filter(|&(_, &pid)| pid == process.pid) {
                if let Some(space) = space(id) {
                    process.lost = process.lost.saturating_add(space.lost());
                    process.healed += space.healed();
                }
            }
            process
        })
    }
}

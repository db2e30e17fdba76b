//! The story of an address: what ever happened to some pages, in every space that had them.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use mmaptrace_common::syscalls::{self, lookup};

use super::deed::{self, Deed, Move};
use crate::{
    effect::Effect,
    event::{Cause, Effects, Event, SpaceId, Syscall, Task},
    model::Model,
    process::Process,
    space::Space,
};

/// What became of the pages in one space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tale {
    /// Whose space it is, by the name it last had.
    pub owner: Option<Task>,
    /// The space it is a copy of, by a fork, if that had the pages.
    pub parent: Option<SpaceId>,
    /// Whether any of the pages are mapped, or were when the space ended.
    pub mapped: bool,
    /// What last mapped, changed or unmapped any of them; `None`: nothing has since anyone looked.
    pub last: Option<Deed>,
    /// Where that has taken the first of the pages, if `mremap` has.
    pub moved_to: Option<u64>,
    /// How the space ended, and when, ns of `CLOCK_MONOTONIC`; `None`: it has not.
    pub end: Option<(Ending, u64)>,
}

impl Tale {
    /// Of a space that nothing has happened in yet.
    const fn new(owner: Option<Task>, mapped: bool) -> Self {
        Self { owner, parent: None, mapped, last: None, moved_to: None, end: None }
    }
}

/// How an address space ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its process ended: the status as `wait` tells it, if that is known.
    Exit(Option<u32>),
    /// Its process runs another image.
    Exec,
}

/// Picks, from all events, those that concern some pages.
#[derive(Debug)]
pub struct Story {
    pages: Range<u64>,
    pid: Option<u32>,
    tales: BTreeMap<SpaceId, Tale>,
    /// The last commit of each thread that was told and whose call has not returned.
    told: HashMap<u32, u64>,
}

impl Story {
    /// Of the pages that the `length` bytes at `address` lie in. The spaces of the process `pid` have
    /// a tale even if they never had any of them.
    pub fn new(address: u64, length: u64, pid: Option<u32>) -> Self {
        let pages = deed::pages(address, length);
        Self { pages, pid, tales: BTreeMap::new(), told: HashMap::new() }
    }

    /// Every space that has or had the pages, or might have had them, in the order in which they were
    /// first seen.
    pub const fn tales(&self) -> &BTreeMap<SpaceId, Tale> {
        &self.tales
    }

    /// Takes an event, and the model after it. Tells the space it is of and what of it concerns the
    /// pages, if anything does:
    ///
    /// - of a commit, the effects on them, and edges that came or went in a region that holds them;
    /// - a call that made such a commit, or that succeeded and was asked to do something to them;
    /// - forks and ends of the spaces that have or had them.
    pub fn event(&mut self, event: &Event, model: &Model) -> Option<(SpaceId, Event)> {
        match event {
            Event::Commit { space, .. } => self.commit(*space, event, model),
            Event::Call { space, task, call, result, commits, .. } => {
                let told = self.told.remove(&task.tid).is_some_and(|id| commits.contains(&id));
                let asked = *result >= 0
                    && self.tales.contains_key(space)
                    && self.touches(call, result.cast_unsigned());
                (told || asked).then(|| (*space, event.clone()))
            }
            Event::Fork { space, task, child, shared, .. } => {
                let parent = model.space_of(task.pid)?.id();
                let tale = self.tales.get(&parent)?;
                if *shared {
                    return None;
                }
                let owner = Some(*child);
                let born = Tale { owner, parent: Some(parent), end: None, ..tale.clone() };
                self.tales.insert(*space, born);
                Some((*space, event.clone()))
            }
            Event::Exec { time, space, task, .. } => {
                let old = self.end_of(task.pid, Some(*space), (Ending::Exec, *time))?;
                Some((old, event.clone()))
            }
            Event::Exit { time, task, status, last: true, .. } => {
                let space = self.end_of(task.pid, None, (Ending::Exit(*status), *time))?;
                Some((space, event.clone()))
            }
            Event::Exit { .. }
            | Event::End { .. }
            | Event::Doubt { .. }
            | Event::Healed { .. }
            | Event::Lost { .. }
            | Event::Malformed { .. } => None,
        }
    }

    /// Looks at what is there at the end: pages that nothing happened to have a tale as well.
    pub fn end(&mut self, model: &Model) {
        for space in model.spaces() {
            let owner = model.process_of(space.id()).map(owner);
            let mapped = self.is_mapped(space);
            if (mapped || self.wants(owner)) && !self.tales.contains_key(&space.id()) {
                self.tales.insert(space.id(), Tale::new(owner, mapped));
            }
        }
    }

    /// Ends the tale of the space that a process had, which is not the one it has.
    fn end_of(&mut self, pid: u32, has: Option<SpaceId>, end: (Ending, u64)) -> Option<SpaceId> {
        let (space, tale) = self.tales.iter_mut().rev().find(|(space, tale)| {
            tale.end.is_none() && tale.owner.is_some_and(|it| it.pid == pid) && Some(**space) != has
        })?;
        tale.end = Some(end);
        Some(*space)
    }

    fn wants(&self, owner: Option<Task>) -> bool {
        self.pid.is_some() && self.pid == owner.map(|owner| owner.pid)
    }

    fn is_mapped(&self, space: &Space) -> bool {
        space.map().overlapping(self.pages.start, self.pages.end).next().is_some()
    }

    fn commit(&mut self, space: SpaceId, event: &Event, model: &Model) -> Option<(SpaceId, Event)> {
        let Event::Commit { time, task, id, cause, effects, brk, exact, stacks, .. } = event else {
            return None;
        };
        let concerned: Effects =
            effects.iter().filter(|effect| self.concerns(effect)).copied().collect();
        let whole = matches!(cause, Cause::Seed | Cause::Fork | Cause::Exec);
        if concerned.is_empty() && !whole {
            return None;
        }
        let mapped = self.is_mapped(model.space(space)?);
        let owner = model.process_of(space).map(owner);
        let known = self.tales.contains_key(&space) || self.wants(owner);
        if concerned.is_empty() && !mapped && !known {
            return None;
        }
        let tale = self.tales.entry(space).or_insert_with(|| Tale::new(owner, mapped));
        tale.mapped = mapped;
        tale.owner = owner.or(tale.owner);
        if concerned.is_empty() {
            return None;
        }
        tale.last = Deed::of(event);
        tale.moved_to = tale.last.as_ref().and_then(|deed| {
            let moved = Move::of(deed, effects)?;
            moved.from.contains(&self.pages.start).then(|| moved.place(self.pages.start))
        });
        if let Cause::Call(_) = cause {
            self.told.insert(task.tid, *id);
        }
        let (cause, brk, effects) = (*cause, *brk, concerned);
        let (time, task, id, exact, stacks) = (*time, *task, *id, *exact, *stacks);
        let told = Event::Commit { time, space, task, id, cause, effects, brk, exact, stacks };
        Some((space, told))
    }

    fn concerns(&self, effect: &Effect) -> bool {
        let (start, end) = match *effect {
            Effect::Added { pages, .. } | Effect::Removed { pages, .. } => (pages.start, pages.end),
            Effect::Replaced { old, .. } | Effect::Changed { old, .. } => (old.start, old.end),
            Effect::Split { was, .. } => was,
            Effect::Merged { into, .. } => into,
        };
        overlap(&(start..end), &self.pages)
    }

    /// Whether a call that returned this says that it is about the pages.
    fn touches(&self, call: &Syscall, result: u64) -> bool {
        let Some(row) = lookup(call.nr, call.compat) else { return false };
        let range = match row.range {
            syscalls::Range::First | syscalls::Range::Unmap => {
                Some(deed::pages(call.args[0], call.args[1]))
            }
            syscalls::Range::Mmap => deed::replaced(call),
            syscalls::Range::Mremap => {
                let [old, old_length, new_length, ..] = call.args;
                let from = deed::pages(old, old_length);
                let to = deed::pages(result, new_length);
                return overlap(&from, &self.pages) || overlap(&to, &self.pages);
            }
            syscalls::Range::All
            | syscalls::Range::Nothing
            | syscalls::Range::Prctl
            | syscalls::Range::Brk
            | syscalls::Range::Shmat
            | syscalls::Range::Chosen
            | syscalls::Range::Found
            | syscalls::Range::At => None,
        };
        range.is_some_and(|range| overlap(&range, &self.pages))
    }
}

const fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

const fn owner(process: &Process) -> Task {
    Task { pid: process.pid, tid: process.pid, comm: process.comm }
}

//! A commit as a deed: who did it, when, and by what; and what its call asked for.

use std::{collections::HashMap, ops::Range};

use mmaptrace_common::syscalls::lookup;

use crate::{
    effect::Effect,
    event::{Cause, Event, SpaceId, Stacks, Syscall, Task},
    region::PAGE,
};

/// `MAP_FIXED`
const MAP_FIXED: u64 = 0x10;
/// `MREMAP_FIXED`
const MREMAP_FIXED: u64 = 2;
/// `MREMAP_DONTUNMAP`
const MREMAP_DONTUNMAP: u64 = 4;

/// What is remembered of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deed {
    /// When: ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// The commit id.
    pub id: u64,
    /// The address space it changed.
    pub space: SpaceId,
    /// Who did it.
    pub task: Task,
    /// By what.
    pub cause: Cause,
    /// Where in the program it came from.
    pub stacks: Stacks,
}

impl Deed {
    /// The deed that a commit is; `None` of any other event.
    pub const fn of(event: &Event) -> Option<Self> {
        match *event {
            Event::Commit { time, id, space, task, cause, stacks, .. } => {
                Some(Self { time, id, space, task, cause, stacks })
            }
            Event::Call { .. }
            | Event::Exec { .. }
            | Event::Fork { .. }
            | Event::Exit { .. }
            | Event::End { .. }
            | Event::Doubt { .. }
            | Event::Healed { .. }
            | Event::Lost { .. }
            | Event::Malformed { .. } => None,
        }
    }

    /// The pages that it put new ones in place of, whatever was there: where an effect says that such a page
    /// has changed, it is another. Of those that no effect tells of see [`Replacing`].
    pub fn replaces(&self) -> Option<Range<u64>> {
        self.call().and_then(replaced)
    }

    /// The call of a thread of the space that it was part of.
    pub(super) const fn call(&self) -> Option<&Syscall> {
        match &self.cause {
            Cause::Call(call) => Some(call),
            Cause::Fault
            | Cause::Growth(_)
            | Cause::Kernel
            | Cause::Worker
            | Cause::Remote(_)
            | Cause::Seed
            | Cause::Fork
            | Cause::Exec => None,
        }
    }
}

/// Calls that may put pages in place of others that no effect tells from them: anonymous memory over
/// anonymous memory, with `MAP_FIXED`. Whether one did is known once it has returned.
#[derive(Debug, Default)]
pub struct Replacing {
    /// The last such commit of each thread whose call has not returned.
    last: HashMap<u32, Deed>,
}

impl Replacing {
    /// Takes an event, and tells what has put new pages where, if it tells of that. Of those pages others may
    /// have changed or replaced some before the call returned.
    pub fn event(&mut self, event: &Event) -> Option<(Deed, Range<u64>)> {
        match event {
            Event::Commit { task, .. } => {
                if let Some(deed) = Deed::of(event).filter(|deed| deed.replaces().is_some()) {
                    self.last.insert(task.tid, deed);
                }
                None
            }
            Event::Call { task, call, result, commits, .. } => {
                let deed = self.last.remove(&task.tid)?;
                let did = *result >= 0 && commits.contains(&deed.id);
                Some(deed).filter(|_| did).zip(replaced(call))
            }
            Event::Exit { task, .. } => {
                self.last.remove(&task.tid);
                None
            }
            Event::Exec { .. }
            | Event::Fork { .. }
            | Event::End { .. }
            | Event::Doubt { .. }
            | Event::Healed { .. }
            | Event::Lost { .. }
            | Event::Malformed { .. } => None,
        }
    }
}

/// The name of a call in the table.
pub(super) fn name(call: &Syscall) -> Option<&'static str> {
    lookup(call.nr, call.compat).map(|row| row.name)
}

/// The pages that an `mmap` with `MAP_FIXED` puts new ones in place of. Anonymous memory over
/// anonymous memory looks like a change of protection, or like nothing at all.
pub(super) fn replaced(call: &Syscall) -> Option<Range<u64>> {
    let [at, length, _, flags, ..] = call.args;
    let fixed = flags & MAP_FIXED != 0 && matches!(name(call), Some("mmap" | "mmap2"));
    fixed.then(|| pages(at, length))
}

/// The pages that `length` bytes at `at` lie in.
pub(super) const fn pages(at: u64, length: u64) -> Range<u64> {
    let start = at & !(PAGE - 1);
    let end = at.saturating_add(length).saturating_add(PAGE - 1) & !(PAGE - 1);
    start..end
}

/// Pages that `mremap` took elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Move {
    /// Where they were.
    pub(super) from: Range<u64>,
    /// Where the first of them is.
    pub(super) to: u64,
    /// Whether the old place is mapped still, and empty.
    pub(super) leaves: bool,
}

impl Move {
    /// What the effects of a commit tell of it: that the old place is gone, and where the new one
    /// is if the call does not say. Pages that grow or shrink where they are do not move.
    pub(super) fn of(deed: &Deed, effects: &[Effect]) -> Option<Self> {
        let call = deed.call().filter(|call| name(call) == Some("mremap"))?;
        let [old, old_length, new_length, flags, asked, _] = call.args;
        let from = pages(old, old_length.min(new_length));
        let to = if flags & MREMAP_FIXED != 0 {
            asked
        } else {
            effects.iter().find_map(|effect| match effect {
                Effect::Added { pages, .. } => Some(pages.start),
                Effect::Removed { .. }
                | Effect::Replaced { .. }
                | Effect::Changed { .. }
                | Effect::Split { .. }
                | Effect::Merged { .. } => None,
            })?
        };
        let leaves = flags & MREMAP_DONTUNMAP != 0;
        let moved = effects.iter().any(|effect| match effect {
            Effect::Removed { pages, .. } => pages.contains(old),
            Effect::Added { pages, .. } | Effect::Replaced { new: pages, .. } => {
                leaves && pages.contains(to)
            }
            Effect::Changed { .. } | Effect::Split { .. } | Effect::Merged { .. } => false,
        });
        (moved && !from.is_empty()).then_some(Self { from, to, leaves })
    }

    /// The new place.
    pub(super) fn destination(&self) -> Range<u64> {
        self.to..self.place(self.from.end)
    }

    /// Where an address of the old place is in the new one.
    pub(super) const fn place(&self, address: u64) -> u64 {
        address.wrapping_sub(self.from.start).wrapping_add(self.to)
    }
}

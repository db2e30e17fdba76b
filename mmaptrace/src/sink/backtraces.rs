//! Stacks that outlive their events: named when they are seen, for their files and address spaces may
//! be gone when they are shown.

use std::{collections::HashMap, num::NonZeroU64, sync::Arc};

use mmaptrace_model::{Event, history::Deed};

use super::{Clock, View};
use crate::symbols::Backtrace;

/// The stacks in user space of what was done to address spaces.
#[derive(Debug, Default)]
pub struct Backtraces(HashMap<NonZeroU64, Vec<Version>>);

/// A key stands for addresses. What lies there may change.
#[derive(Debug)]
struct Version {
    /// From when on: ns of `CLOCK_MONOTONIC`.
    since: u64,
    stack: Arc<Backtrace>,
}

impl Backtraces {
    /// Takes the stack of a commit.
    pub fn see(&mut self, event: &Event, view: &dyn View) {
        if let Event::Commit { time: since, space, stacks, .. } = *event
            && let Some(key) = stacks.user
            && let Some(stack) = view.stack(space, key)
        {
            let versions = self.0.entry(key).or_default();
            if versions.last().is_none_or(|last| last.stack != stack) {
                versions.push(Version { since, stack });
            }
        }
    }

    /// The stack of a deed, if one was taken and is known.
    pub fn of(&self, deed: &Deed) -> Option<&Backtrace> {
        let versions = self.0.get(&deed.stacks.user?)?;
        let later = versions.partition_point(|version| version.since <= deed.time);
        versions.get(later.checked_sub(1)?).map(|version| &*version.stack)
    }

    /// The stack of a key as it was at first.
    pub fn first(&self, key: Option<NonZeroU64>) -> Option<&Backtrace> {
        self.0.get(&key?)?.first().map(|version| &*version.stack)
    }
}

/// What is needed to tell of deeds.
#[derive(Clone, Copy, Debug)]
pub struct Telling<'a> {
    /// How their times are told.
    pub clock: Clock,
    /// Where they came from.
    pub stacks: &'a Backtraces,
}

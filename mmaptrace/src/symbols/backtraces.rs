//! Stacks that outlive their events: named when they are seen, for their files and address spaces may
//! be gone when they are shown.

use std::{collections::HashMap, num::NonZeroU64, sync::Arc};

use mmaptrace_model::{Event, Model, history::Deed};

use super::{Backtrace, Symbols};

/// The stacks in user space of the commits of a past.
#[derive(Debug)]
pub struct Backtraces {
    symbols: Symbols,
    known: HashMap<NonZeroU64, Vec<Version>>,
}

/// A key stands for addresses. What lies there may change.
#[derive(Debug)]
struct Version {
    /// From when on: ns of `CLOCK_MONOTONIC`.
    since: u64,
    stack: Arc<Backtrace>,
}

impl Default for Backtraces {
    fn default() -> Self {
        Self { symbols: Symbols::new(false), known: HashMap::new() }
    }
}

impl Backtraces {
    /// Takes an event, and the model after it.
    pub fn event(&mut self, event: &Event, model: &Model) {
        if let Event::Commit { time: since, space, stacks, .. } = *event
            && let Some(key) = stacks.user
            && let Some(stack) = self.symbols.backtrace(model, space, key)
        {
            let versions = self.known.entry(key).or_default();
            if versions.last().is_none_or(|last| last.stack != stack) {
                versions.push(Version { since, stack });
            }
        }
    }

    /// The stack of a deed, if one was taken and is known.
    pub fn of(&self, deed: &Deed) -> Option<&Backtrace> {
        let versions = self.known.get(&deed.stacks.user?)?;
        let later = versions.partition_point(|version| version.since <= deed.time);
        versions.get(later.checked_sub(1)?).map(|version| &*version.stack)
    }

    /// The stack of a key as it was at first.
    pub fn first(&self, key: Option<NonZeroU64>) -> Option<&Backtrace> {
        self.known.get(&key?)?.first().map(|version| &*version.stack)
    }

    /// What names them.
    pub const fn symbols(&self) -> &Symbols {
        &self.symbols
    }
}

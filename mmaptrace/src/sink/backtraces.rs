//! Stacks that outlive their events: named when they are seen, for their files and address spaces may
//! be gone when they are shown.

use std::{collections::HashMap, num::NonZeroU64, sync::Arc};

use mmaptrace_model::Event;

use super::{Clock, View};
use crate::symbols::Backtrace;

/// The stacks in user space of what has changed an address space.
#[derive(Debug, Default)]
pub struct Backtraces(HashMap<NonZeroU64, Arc<Backtrace>>);

impl Backtraces {
    /// Takes the stack of a commit, if it is a new one.
    pub fn see(&mut self, event: &Event, view: &dyn View) {
        if let Event::Commit { space, stacks, .. } = event
            && let Some(key) = stacks.user
            && !self.0.contains_key(&key)
            && let Some(stack) = view.stack(*space, key)
        {
            self.0.insert(key, stack);
        }
    }

    /// The stack of a key, if there is one and it is known.
    pub fn get(&self, key: Option<NonZeroU64>) -> Option<&Backtrace> {
        self.0.get(&key?).map(|stack| &**stack)
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

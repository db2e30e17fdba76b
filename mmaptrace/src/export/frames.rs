//! The frames of stacks, named when an event has them: the model forgets a stack with its space.

use std::{collections::HashMap, num::NonZeroU64, sync::Arc};

use mmaptrace_model::{Event, Model, stack::Place};

use crate::{
    sink::escape::Escaped,
    symbols::{Backtrace, NamedFrame, Symbols},
};

/// The stacks of the commits so far.
#[derive(Debug)]
pub(super) struct Frames {
    symbols: Symbols,
    known: HashMap<NonZeroU64, Arc<Backtrace>>,
}

impl Default for Frames {
    fn default() -> Self {
        Self { symbols: Symbols::new(false), known: HashMap::new() }
    }
}

impl Frames {
    /// Takes an event, and the model after it.
    pub(super) fn event(&mut self, event: &Event, model: &Model) {
        if let Event::Commit { space, stacks, .. } = event
            && let Some(key) = stacks.user
            && let Some(stack) = self.symbols.backtrace(model, *space, key)
        {
            self.known.insert(key, stack);
        }
    }

    /// The frames of a stack, the innermost first; none without.
    pub(super) fn of(&self, key: Option<NonZeroU64>) -> &[NamedFrame] {
        key.and_then(|key| self.known.get(&key)).map_or(&[], |stack| &stack.frames)
    }

    /// The same in words.
    pub(super) fn names(&self, key: Option<NonZeroU64>) -> impl DoubleEndedIterator<Item = String> {
        self.of(key).iter().map(name)
    }
}

/// The function of a frame; else its place in its file, `libc.so.6+0x1128c0`; else its address.
pub(super) fn name(frame: &NamedFrame) -> String {
    if let Some(symbol) = &frame.symbol {
        return Escaped(symbol.name.as_bytes()).to_string();
    }
    match &frame.frame.place {
        Place::File { path, offset, .. } => {
            let file = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
            format!("{}+{offset:#x}", Escaped(file))
        }
        Place::Special { name, offset } => format!("{}+{offset:#x}", Escaped(name)),
        Place::Kernel | Place::Anonymous { .. } | Place::Unmapped => {
            format!("{:#x}", frame.frame.address)
        }
    }
}

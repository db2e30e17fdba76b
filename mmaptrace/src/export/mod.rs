//! Events for other tools: traces, flame graphs, profiles, tables, and a page to look at.
//!
//! Each exporter is a fold over the events as they come, and the model after each. Those that draw
//! memory over time share `lives`, those that count it by where it comes from share `sites`.

mod chrome;
mod csv;
mod folded;
mod html;
mod kind;
mod lives;
mod pprof;
mod run;
mod sites;
mod words;

use std::io::{self, Write};

use mmaptrace_model::{Event, HeapRule, Model};

pub use run::run;

use crate::{history::Scope, sink::Clock};

/// What an export is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A trace in Chrome's JSON, for Perfetto.
    Chrome,
    /// Folded stacks, for flame graphs.
    Folded(Metric),
    /// A gzip'd `profile.proto`.
    Pprof,
    /// A table, one line an effect.
    Csv,
    /// A page with a timeline.
    Html,
}

impl Format {
    /// Whether it is nothing for a terminal.
    pub const fn is_binary(self) -> bool {
        match self {
            Self::Pprof | Self::Html => true,
            Self::Chrome | Self::Folded(_) | Self::Csv => false,
        }
    }
}

/// What folded stacks count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Bytes that are mapped at the end of the events, or of their address space.
    Live,
    /// Bytes that were ever mapped.
    Mapped,
    /// How often the address space was changed.
    Calls,
}

/// What exporters know of the events beyond them.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The clocks of the machine they happened on.
    pub clock: Clock,
    /// How its kernel tells the heap.
    pub heap: HeapRule,
    /// Which processes.
    pub scope: Scope,
}

/// Takes events, and writes them as something else.
pub trait Export {
    /// Takes an event, and the model after its record.
    ///
    /// # Errors
    /// What the writer says.
    fn event(&mut self, event: &Event, model: &Model) -> io::Result<()>;

    /// Writes what is left, and why it is not all or not exact, in words. No event comes after.
    ///
    /// # Errors
    /// What the writer says.
    fn finish(self: Box<Self>, faults: &[String]) -> io::Result<()>;
}

/// An exporter that writes to `out`, which should buffer.
pub fn exporter<'a>(format: Format, out: impl Write + 'a, about: About) -> Box<dyn Export + 'a> {
    match format {
        Format::Chrome => Box::new(chrome::Chrome::new(out, about)),
        Format::Folded(metric) => Box::new(folded::Folded::new(out, about, metric)),
        Format::Pprof => Box::new(pprof::Pprof::new(out, about)),
        Format::Csv => Box::new(csv::Csv::new(out, about)),
        Format::Html => Box::new(html::Html::new(out, about)),
    }
}

#[cfg(test)]
mod testing;

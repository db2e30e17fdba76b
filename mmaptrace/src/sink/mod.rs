//! The end of the flow: events and dumps written for people and for programs.
//!
//! A sink takes what it is given and tells nothing back. What it must know beyond the event (the
//! names of regions, and whose an address space is) it asks of a [`View`] of the model, as it is
//! right after the event.

pub mod clock;
pub mod filter;
pub mod json;
pub mod lens;
pub mod maps;
mod owners;
pub mod pmap;
pub mod size;
pub mod summary;
pub mod text;
pub mod vmflags;

use std::{io, num::NonZeroU64, sync::Arc};

use mmaptrace_model::{
    Event, Region, RegionName,
    event::{Doubt, SpaceId, Task},
    history::Crowded,
};

use crate::symbols::{Backtrace, Backtraces};
pub use clock::{Clock, Slip};
pub use filter::{Filter, Hidden};
pub use json::Json;
pub use lens::Lens;
pub use summary::Summary;
pub use text::Text;

/// What sinks ask of the model.
pub trait View {
    /// What `/proc/PID/maps` prints as the name of a region, or of a part of one, of a space. A
    /// space that is gone still has the names that do not hang on it.
    fn name(&self, space: SpaceId, region: &Region) -> RegionName<'_>;

    /// A task whose address space it is, where one is known: the process's, not that of whoever
    /// changed it.
    fn owner(&self, space: SpaceId) -> Option<Task>;

    /// The stack of a key that an event of a space has; `None`: the record that told it is lost.
    fn stack(&self, space: SpaceId, key: NonZeroU64) -> Option<Arc<Backtrace>>;
}

/// What a trace starts with.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// When: ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// The tracer's version.
    pub version: &'a str,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: &'a str,
    /// How exact the trace can be: `exact`, `degraded`.
    pub tier: &'a str,
}

/// Where events go.
pub trait Sink {
    /// Takes the start of the trace, before anything else.
    ///
    /// # Errors
    /// What the writer says.
    fn start(&mut self, start: &Start<'_>) -> io::Result<()>;

    /// Takes an event.
    ///
    /// # Errors
    /// What the writer says.
    fn event(&mut self, event: &Event, view: &dyn View) -> io::Result<()>;

    /// Takes the news that a space comes near the most regions it may have, right after the event
    /// that made it so.
    ///
    /// # Errors
    /// What the writer says.
    fn crowded(&mut self, crowded: &Crowded, view: &dyn View) -> io::Result<()>;

    /// Takes the time, ns of `CLOCK_MONOTONIC`; called every few ms while there is something held
    /// back ([`Sink::holds`]).
    ///
    /// # Errors
    /// What the writer says.
    fn tick(&mut self, now: u64) -> io::Result<()>;

    /// Whether something is held back that a tick may bring out.
    fn holds(&self) -> bool;

    /// Writes an address space into the stream.
    ///
    /// # Errors
    /// What the writer says.
    fn dump(&mut self, dump: &Dump<'_>) -> io::Result<()>;

    /// Writes what is held back and the totals. Nothing comes after.
    ///
    /// # Errors
    /// What the writer says.
    fn end(&mut self, summary: &Summary) -> io::Result<()>;

    /// Hands on what the writer buffers.
    ///
    /// # Errors
    /// What the writer says.
    fn flush(&mut self) -> io::Result<()>;
}

/// What is needed to tell of deeds of the past.
#[derive(Clone, Copy, Debug)]
pub struct Telling<'a> {
    /// How their times are told.
    pub clock: Clock,
    /// Where they came from.
    pub stacks: &'a Backtraces,
}

/// An address space at one commit.
#[derive(Clone, Copy, Debug)]
pub struct Dump<'a> {
    /// The process it was asked for.
    pub pid: u32,
    /// When: ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// The commit.
    pub commit: u64,
    /// Why it may not be exact, if it may not.
    pub doubt: Option<Doubt>,
    /// The `[vsyscall]` page, if the space has that, which is no region.
    pub vsyscall: Option<Region>,
    /// The regions in address order, with their names.
    pub regions: &'a [(Region, RegionName<'a>)],
}

#[cfg(test)]
mod testing;

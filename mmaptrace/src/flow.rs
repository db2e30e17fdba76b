//! The flow: items to the model, events from it to the sink.
//!
//! All that is shown follows from the items and the options of viewing, and from nothing else: not
//! from a clock, not from when they come. So what is recorded is the items, and a recording shows
//! what was shown live, byte for byte.

use std::io;

use mmaptrace_common::record::Header;
use mmaptrace_model::{
    Backing, Event, Flags, HeapRule, Model, Region, RegionName, Space, history::Crowd,
};
use mmaptrace_recording::{End, Item, Start};
use zerocopy::FromBytes as _;

use crate::{
    sink::{self, Dump, Lens, Sink, Summary, text::PATIENCE},
    symbols::Symbols,
};

/// How often the sink is told the time, at most: ns.
const TICK: u64 = 1_000_000;

/// The model, and how its regions and stacks are named.
#[derive(Debug)]
pub struct Mirror {
    /// The model.
    pub model: Model,
    heap: HeapRule,
    vsyscall: Region,
    symbols: Symbols,
}

impl Mirror {
    /// A model that knows nothing yet, of the kernel that `start` tells of; `live`: of what runs
    /// now, and not of a recording.
    pub fn new(start: &Start, live: bool) -> Self {
        let heap = if start.heap_inclusive { HeapRule::Inclusive } else { HeapRule::Exclusive };
        let readable = if start.vsyscall_readable { Flags::READ.0 } else { 0 };
        let vsyscall = Region {
            start: 0xffff_ffff_ff60_0000,
            end: 0xffff_ffff_ff60_1000,
            flags: Flags(Flags::EXEC.0 | readable),
            pgoff: 0,
            backing: Backing::Anonymous,
        };
        Self { model: Model::default(), heap, vsyscall, symbols: Symbols::new(live) }
    }

    /// The model as sinks look at it.
    pub const fn lens(&self) -> Lens<'_> {
        let Self { model, heap, symbols, .. } = self;
        Lens { model, heap: *heap, symbols }
    }

    /// What names the frames of stacks.
    pub const fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// The regions of a space, with their names.
    pub fn regions(&self, space: &Space) -> Vec<(Region, RegionName<'_>)> {
        let names = self.model.names();
        space.map().iter().map(|region| (*region, space.name(region, names, self.heap))).collect()
    }

    /// The `[vsyscall]` page, if a space has that, which is no region.
    pub fn vsyscall(&self, space: &Space) -> Option<Region> {
        space.layout().vsyscall.then_some(self.vsyscall)
    }

    /// A dump of a space, of the process `pid`, at a time.
    pub fn dump<'a>(
        &self,
        pid: u32,
        time: u64,
        space: &Space,
        regions: &'a [(Region, RegionName<'a>)],
    ) -> Dump<'a> {
        Dump {
            pid,
            time,
            commit: space.commit(),
            doubt: space.doubt_of_dump(self.model.names()),
            vsyscall: self.vsyscall(space),
            regions,
        }
    }
}

/// See the module.
pub struct Flow {
    mirror: Mirror,
    crowd: Crowd,
    /// `None`: nothing is shown.
    sink: Option<Box<dyn Sink>>,
    events: Vec<Event>,
    /// When the sink was last told the time, ns of `CLOCK_MONOTONIC`.
    ticked: u64,
    /// The time of the latest commit, likewise.
    latest: u64,
}

impl Flow {
    /// Shows the start; `live`: see [`Mirror::new`].
    ///
    /// # Errors
    /// What the sink says.
    pub fn new(mut sink: Option<Box<dyn Sink>>, start: &Start, live: bool) -> io::Result<Self> {
        if let Some(sink) = &mut sink {
            let Start { time, version, kernel, tier, .. } = start;
            sink.start(&sink::Start { time: *time, version, kernel, tier })?;
        }
        let mirror = Mirror::new(start, live);
        let crowd = Crowd::new(start.max_map_count);
        Ok(Self { mirror, crowd, sink, events: Vec::new(), ticked: 0, latest: 0 })
    }

    /// The model.
    pub const fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// Takes an item, and tells the events that it brought, which the sink has had.
    ///
    /// # Errors
    /// What the sink says.
    pub fn take(&mut self, item: Item<'_>) -> io::Result<&[Event]> {
        self.events.clear();
        match item {
            Item::Record(bytes) => self.record(bytes)?,
            Item::Tick { time } => self.tick(time)?,
            Item::Dump { time, pid } => self.dump(time, pid)?,
            Item::ForgetNames => drop(self.forget_names()),
            Item::ForgetStacks => drop(self.forget_stacks()),
        }
        Ok(&self.events)
    }

    /// [`Item::ForgetNames`], which tells their keys.
    pub fn forget_names(&mut self) -> Vec<u64> {
        self.mirror.model.retain_names()
    }

    /// [`Item::ForgetStacks`], likewise.
    pub fn forget_stacks(&mut self) -> Vec<u64> {
        self.mirror.model.retain_stacks()
    }

    /// The records that tell the build ids of the files that the last item brought into stacks: items
    /// as well.
    pub fn identify(&mut self) -> Vec<Vec<u64>> {
        let files = self.mirror.model.take_unidentified();
        let Mirror { model, symbols, .. } = &self.mirror;
        files.iter().map(|file| symbols.identify(model, file)).collect()
    }

    /// Goes on from a model that a recording has.
    pub fn go_on_from(&mut self, model: Model) {
        self.mirror.model = model;
    }

    /// Whether time alone may bring something out: calls have done something and not returned.
    pub fn awaits_time(&self) -> bool {
        // What a sink holds back came with a commit.
        self.ticked < self.latest.saturating_add(PATIENCE)
            && (self.mirror.model.has_open_calls()
                || self.sink.as_ref().is_some_and(|sink| sink.holds()))
    }

    /// The totals, once nothing more comes.
    pub fn summary(&self, end: &End) -> Summary {
        Summary::new(&self.mirror.model, end)
    }

    /// Shows the end.
    ///
    /// # Errors
    /// What the sink says.
    pub fn end(&mut self, end: &End) -> io::Result<()> {
        let summary = self.summary(end);
        self.sink.as_mut().map_or(Ok(()), |sink| sink.end(&summary))
    }

    /// Hands on what was shown so far.
    ///
    /// # Errors
    /// What the sink says.
    pub fn flush(&mut self) -> io::Result<()> {
        self.sink.as_mut().map_or(Ok(()), |sink| sink.flush())
    }

    fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        let time = Header::read_from_prefix(bytes).map_or(0, |(header, _)| header.time);
        if time >= self.ticked.saturating_add(TICK) {
            self.tick(time)?;
        }
        let Self { mirror, crowd, sink, events, latest, .. } = self;
        // Of the record before: who wanted them has them.
        drop(mirror.model.take_unidentified());
        mirror.model.apply(bytes, events);
        for event in &*events {
            if let Event::Commit { time, .. } = event {
                *latest = (*latest).max(*time);
            }
            let crowded = crowd.event(event, &mirror.model);
            let Some(sink) = sink else { continue };
            sink.event(event, &mirror.lens())?;
            if let Some(crowded) = crowded {
                sink.crowded(&crowded, &mirror.lens())?;
            }
        }
        Ok(())
    }

    fn tick(&mut self, time: u64) -> io::Result<()> {
        self.ticked = time;
        self.sink.as_mut().map_or(Ok(()), |sink| sink.tick(time))
    }

    fn dump(&mut self, time: u64, pid: u32) -> io::Result<()> {
        let Self { mirror, sink: Some(sink), .. } = self else { return Ok(()) };
        let Some(space) = mirror.model.space_of(pid) else { return Ok(()) };
        let regions = mirror.regions(space);
        sink.dump(&mirror.dump(pid, time, space, &regions))
    }
}

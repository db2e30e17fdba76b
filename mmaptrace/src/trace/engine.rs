//! The engine: takes records from the ring to the model and events from it to the sink, asks for
//! pictures where the model is in doubt, and answers for what it knows.

use std::{
    collections::BTreeSet,
    fs, io,
    num::NonZeroU64,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use mmaptrace_model::{
    Event, HeapRule, Model, Region, RegionName, Space,
    event::{SpaceId, Task},
    history::Crowd,
};

use zerocopy::IntoBytes as _;

use super::{residence::Residence, verify};
use crate::{
    config::DumpFormat,
    control::{Reply, Request},
    kernel::{self, Probe, SeedError},
    output::Output,
    sink::{Clock, Dump, ProcessSummary, Sink, Start, Summary, View, json, maps, pmap, text::Why},
    symbols::{Backtrace, Symbols},
};

/// Records taken from the ring before anything else gets a turn.
const BATCH: usize = 1 << 16;
/// How often a picture is asked for before a dump is given as it is.
const ATTEMPTS: usize = 3;

/// Names that are kept before those without a region are looked for.
const NAMES: usize = 4096;
/// Stacks that are kept before those without an event are looked for.
const STACKS: usize = 4096;
/// How long the last lines wait for their reader.
const LAST_WRITE: Duration = Duration::from_secs(2);
/// How long a model in doubt waits for its next picture, in ns: at first, and at most.
const MIN_PATIENCE: u64 = 1_000_000;
/// See [`MIN_PATIENCE`].
const MAX_PATIENCE: u64 = 500_000_000;

/// See the module.
pub(super) struct Engine {
    probe: Probe,
    sink: Box<dyn Sink>,
    output: Output,
    heart: Heart,
    crowd: Crowd,
    /// Processes that are traced and have not ended.
    alive: BTreeSet<u32>,
    /// Those of them of which a first picture was asked for, and has not come.
    awaited: BTreeSet<u32>,
    /// Losses of all that are accounted for.
    lost: u64,
    /// When the last process ended: ns of `CLOCK_MONOTONIC`.
    last_exit: u64,
    differences: Option<u64>,
    /// Comparisons with /proc that could be made, and those that could not.
    compared: (u64, u64),
    /// How many names there may be before those that nothing uses are forgotten.
    names: usize,
    /// Likewise of stacks.
    stacks: usize,
    /// When doubts are looked at again, ns of `CLOCK_MONOTONIC`, and how long after that.
    heal_at: u64,
    patience: u64,
}

/// The model, and how its regions and stacks are named.
struct Heart {
    model: Model,
    heap: HeapRule,
    symbols: Symbols,
}

impl View for Heart {
    fn name(&self, space: SpaceId, region: &Region) -> RegionName<'_> {
        let names = self.model.names();
        match self.model.space(space) {
            Some(space) => space.name(region, names, self.heap),
            None => RegionName::of(region, names),
        }
    }

    fn owner(&self, space: SpaceId) -> Option<Task> {
        let process = self.model.process_of(space)?;
        Some(Task { pid: process.pid, tid: process.pid, comm: process.comm })
    }

    fn stack(&self, space: SpaceId, key: NonZeroU64) -> Option<Arc<Backtrace>> {
        self.symbols.backtrace(&self.model, space, key)
    }
}

impl Engine {
    pub(super) fn new(probe: Probe, sink: Box<dyn Sink>, output: Output, verify: bool) -> Self {
        let heap = procfs::sys::kernel::Version::current()
            .map_or(HeapRule::Exclusive, |v| HeapRule::of_kernel(v.major.into(), v.minor.into()));
        Self {
            probe,
            sink,
            output,
            heart: Heart { model: Model::default(), heap, symbols: Symbols::new(true) },
            crowd: Crowd::new(kernel::max_map_count()),
            alive: BTreeSet::new(),
            awaited: BTreeSet::new(),
            lost: 0,
            last_exit: 0,
            differences: verify.then_some(0),
            compared: (0, 0),
            names: NAMES,
            stacks: STACKS,
            heal_at: 0,
            patience: MIN_PATIENCE,
        }
    }

    /// The first line.
    pub(super) fn start(&mut self, tier: &str) -> Result<()> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let start =
            Start { time: now(), version: env!("CARGO_PKG_VERSION"), kernel: kernel.trim(), tier };
        self.sink.start(&start).context(WRITE)
    }

    /// The ring's descriptor, another one, to wait on.
    pub(super) fn ring_fd(&self) -> Result<OwnedFd> {
        self.probe.ring.as_fd().try_clone_to_owned().context("cannot wait for the ring buffer")
    }

    /// Follows a running process, from this moment on.
    ///
    /// # Errors
    /// It cannot be (within), or the events cannot be written.
    pub(super) fn follow(&mut self, pid: u32) -> Result<Result<(), SeedError>> {
        self.probe.follow_process(pid).context(MAPS)?;
        if let Err(error) = self.probe.seed(pid) {
            // Its PID may become another's.
            self.probe.unfollow_process(pid);
            return Ok(Err(error));
        }
        self.alive.insert(pid);
        self.awaited.insert(pid);
        // There is room for the next picture then.
        self.catch_up()?;
        Ok(Ok(()))
    }

    /// Follows a process from its next exec on.
    pub(super) fn expect(&mut self, pid: u32) -> Result<()> {
        self.probe.follow_process(pid).context("cannot follow the command")?;
        self.alive.insert(pid);
        Ok(())
    }

    /// A round: takes what is in the ring, and does what follows from it. Returns how many records
    /// it took.
    pub(super) fn work(&mut self) -> Result<usize> {
        // What waits for the reader is bounded; what comes meanwhile waits in the ring, and what
        // finds no room there is counted.
        let records = if self.output.is_congested() { 0 } else { self.drain(u64::MAX)? };
        if records == 0 {
            self.look_for_losses()?;
        }
        self.forget_names()?;
        self.forget_stacks()?;
        self.heal();
        self.sink.tick(now()).context(WRITE)?;
        if records < BATCH {
            self.sink.flush().context(WRITE)?;
        }
        Ok(records)
    }

    /// Tells of each process what is known of it so far.
    pub(super) fn describe(&mut self, mut tell: impl FnMut(String)) -> Result<()> {
        self.catch_up()?;
        for &pid in &self.alive {
            if let Some(space) = self.heart.model.space_of(pid) {
                let (regions, commit) = (space.map().len(), space.commit());
                tell(format!("PID {pid}: {regions} regions at commit {commit}"));
            }
        }
        Ok(())
    }

    /// Whether there is reason to come by soon even if no record comes.
    pub(super) fn is_busy(&self) -> bool {
        self.sink.holds()
            || self.output.is_congested()
            || !self.awaited.is_empty()
            || self.heart.model.in_doubt().next().is_some()
    }

    /// Asks to be woken by the next record. `false`: one has come meanwhile.
    pub(super) fn doze(&mut self) -> Result<bool> {
        self.probe.set_idle(true).context(MAPS)?;
        if self.drain(u64::MAX)? == 0 {
            return Ok(true);
        }
        self.wake()?;
        Ok(false)
    }

    /// Ends what [`Engine::doze`] began.
    pub(super) fn wake(&mut self) -> Result<()> {
        self.probe.set_idle(false).context(MAPS)
    }

    /// Takes records until there are none, or until one is younger than `until` (ns of
    /// `CLOCK_MONOTONIC`), or for a batch.
    fn drain(&mut self, until: u64) -> Result<usize> {
        let Self { probe, heart, crowd, sink, alive, last_exit, .. } = self;
        let mut events = Vec::new();
        let mut records = 0;
        while records < BATCH {
            let Some(record) = probe.ring.next() else { break };
            records += 1;
            heart.apply(&record, &mut events);
            // Where a header has its time.
            let time = record.get(8..16).and_then(|time| time.try_into().ok());
            drop(record);
            for event in events.drain(..) {
                match &event {
                    Event::Fork { task, child, .. } if child.pid != task.pid => {
                        alive.insert(child.pid);
                    }
                    Event::Exec { task, .. } => {
                        alive.insert(task.pid);
                    }
                    Event::Exit { task, last: true, time, .. } => {
                        alive.remove(&task.pid);
                        *last_exit = *time;
                    }
                    _ => {}
                }
                sink.event(&event, heart).context(WRITE)?;
                if let Some(crowded) = crowd.event(&event, &heart.model) {
                    sink.crowded(&crowded, heart).context(WRITE)?;
                }
            }
            if time.is_some_and(|time| u64::from_ne_bytes(time) > until) {
                break;
            }
        }
        Ok(records)
    }

    /// Losses after which nothing more was sent show only here: then asks for a picture, whose
    /// record tells the model of them.
    fn look_for_losses(&mut self) -> Result<()> {
        let lost = self.probe.faults().context(MAPS)?.lost;
        if lost == self.lost {
            return Ok(());
        }
        self.lost = lost;
        let behind: Vec<_> = self
            .heart
            .model
            .processes()
            .filter_map(|process| Some((process.pid, self.heart.model.space(process.space?)?)))
            .filter(|(_, space)| self.probe.lost(space.mm()) > space.lost())
            .map(|(pid, _)| pid)
            .collect();
        for pid in behind {
            self.picture(pid);
        }
        // What ended while nothing could be sent.
        self.alive.retain(|pid| fs::exists(format!("/proc/{pid}")).unwrap_or(true));
        Ok(())
    }

    /// Asks for pictures of the spaces in doubt, and for those that were asked for and lost; not
    /// in every round, for where the ring is full they only fill it.
    fn heal(&mut self) {
        let model = &self.heart.model;
        let sure = |pid: &u32| model.space_of(*pid).is_some_and(|space| space.doubt().is_none());
        self.awaited.retain(|pid| self.alive.contains(pid) && !sure(pid));
        let mut doubtful: BTreeSet<u32> = model.in_doubt().map(|(_, pid)| pid).collect();
        doubtful.extend(&self.awaited);
        if doubtful.is_empty() {
            self.patience = MIN_PATIENCE;
        } else if now() >= self.heal_at {
            self.heal_at = now() + self.patience;
            self.patience = (2 * self.patience).min(MAX_PATIENCE);
            for pid in doubtful {
                self.picture(pid);
            }
        }
    }

    /// Forgets, here and in the kernel, the names that no region has any more.
    fn forget_names(&mut self) -> Result<()> {
        if self.heart.model.names().len() > self.names {
            let forgotten = self.heart.model.retain_names();
            self.probe.forget_names(&forgotten).context(MAPS)?;
            self.names = NAMES.max(2 * self.heart.model.names().len());
        }
        Ok(())
    }

    /// Forgets, here and in the kernel, the stacks that no event has any more.
    fn forget_stacks(&mut self) -> Result<()> {
        if self.heart.model.stacks().len() > self.stacks {
            let forgotten = self.heart.model.retain_stacks();
            self.probe.forget_stacks(&forgotten).context(MAPS)?;
            self.stacks = STACKS.max(2 * self.heart.model.stacks().len());
        }
        Ok(())
    }

    /// Asks for a picture. Where there is none to be had the process has ended, and the records of
    /// it are on their way.
    fn picture(&mut self, pid: u32) {
        let _ = self.probe.seed(pid);
    }

    /// Whether all is over: no process left, and nothing that tells of them on its way.
    pub(super) fn is_over(&self, closed: bool, command_runs: bool) -> bool {
        /// How long the end of an address space may take after the exit of its process, in ns.
        const GRACE: u64 = 200_000_000;
        let left = self.heart.model.spaces().next().is_some();
        closed
            && !command_runs
            && self.alive.is_empty()
            && (!left || now().saturating_sub(self.last_exit) > GRACE)
    }

    /// Writes the maps of all processes into the stream.
    pub(super) fn dump_all(&mut self) -> Result<()> {
        for pid in self.alive.clone() {
            self.refresh(pid)?;
            let Self { heart, sink, .. } = self;
            if let Some(space) = heart.model.space_of(pid) {
                let regions = heart.regions(space);
                sink.dump(&dump(pid, space, &regions)).context(WRITE)?;
            }
        }
        self.sink.flush().context(WRITE)
    }

    /// Answers a client.
    pub(super) fn answer(&mut self, request: Request) -> Result<(Reply, Vec<u8>)> {
        match request {
            Request::Dump { pid, format } => {
                self.refresh(pid)?;
                let residence = match format {
                    DumpFormat::PmapX => self.residence(pid)?,
                    DumpFormat::Maps | DumpFormat::Pmap | DumpFormat::Json => None,
                };
                let Some(space) = self.heart.model.space_of(pid) else {
                    return Ok((Reply::NoSuchProcess, Vec::new()));
                };
                let moved = residence.as_ref().is_some_and(|it| !it.covers(space.map()));
                let residence = residence.unwrap_or_default();
                let body = match self.heart.print(pid, space, format, &residence) {
                    Ok(body) => body,
                    Err(error) => {
                        return Ok((Reply::Error { why: error.to_string() }, Vec::new()));
                    }
                };
                let doubt = space.doubt();
                let reply = Reply::Dump {
                    length: body.len() as u64,
                    commit: space.commit(),
                    exact: doubt.is_none() && !moved,
                    why: doubt
                        .map(|doubt| Why(doubt).to_string())
                        .or_else(|| moved.then(|| MOVED.to_owned())),
                };
                Ok((reply, body))
            }
        }
    }

    /// How much of a process's regions is in memory, of such as the model has, unless they change
    /// faster than they can be read; `None`: it cannot be read, or has no regions left.
    fn residence(&mut self, pid: u32) -> Result<Option<Residence>> {
        let mut residence = None;
        for _ in 0..ATTEMPTS {
            residence = Residence::of(pid).ok();
            self.refresh(pid)?;
            let map = self.heart.model.space_of(pid).map(Space::map);
            if residence.as_ref().zip(map).is_none_or(|(residence, map)| residence.covers(map)) {
                break;
            }
        }
        Ok(residence)
    }

    /// Brings the model of a process up to this moment: what is in the ring, and a picture if it is
    /// in doubt, or if files were renamed since the last.
    pub(super) fn refresh(&mut self, pid: u32) -> Result<()> {
        self.catch_up()?;
        for _ in 0..ATTEMPTS {
            let Some(space) = self.heart.model.space_of(pid) else { break };
            let renames = self.probe.renames().context(MAPS)?;
            if space.doubt().is_none() && space.renames() >= renames {
                break;
            }
            self.picture(pid);
            self.catch_up()?;
        }
        Ok(())
    }

    /// Takes what was written until now.
    fn catch_up(&mut self) -> Result<()> {
        let until = now();
        while self.drain(until)? == BATCH {}
        Ok(())
    }

    /// Compares the models with /proc.
    pub(super) fn verify(&mut self) -> Result<()> {
        for pid in self.alive.clone() {
            match verify::process(self, pid)? {
                Some(different) => {
                    self.compared.0 += 1;
                    if let (true, Some(differences)) = (different, &mut self.differences) {
                        *differences += 1;
                    }
                }
                None => self.compared.1 += 1,
            }
        }
        Ok(())
    }

    /// Comparisons with /proc that were made, and those that could not be, if any were asked for.
    pub(super) fn compared(&self) -> Option<(u64, u64)> {
        self.differences.map(|_| self.compared)
    }

    /// The model's map of a process as /proc prints it, and its commit; `None`: it has ended, or is
    /// in doubt and says so itself. It is of a moment at which nobody was about to change it: a
    /// picture is taken, for which the kernel waits until writers are done.
    pub(super) fn map_of(&mut self, pid: u32) -> Result<Option<(u64, Vec<u8>)>> {
        self.picture(pid);
        self.catch_up()?;
        let Some(space) = self.heart.model.space_of(pid).filter(|it| it.doubt().is_none()) else {
            return Ok(None);
        };
        let body = self.heart.print(pid, space, DumpFormat::Maps, &Residence::default())?;
        Ok(Some((space.commit(), body)))
    }

    /// The last records and the last line.
    pub(super) fn end(&mut self, status: Option<i32>) -> Result<()> {
        self.catch_up()?;
        self.look_for_losses()?;
        self.heal_at = 0;
        self.heal();
        self.catch_up()?;
        self.heal();
        if self.differences.is_some() {
            self.verify()?;
        }
        let summary = self.summary(status);
        self.sink.end(&summary).context(WRITE)?;
        self.sink.flush().context(WRITE)?;
        self.output.finish(LAST_WRITE).context(WRITE)
    }

    /// The totals.
    pub(super) fn summary(&self, status: Option<i32>) -> Summary {
        let model = &self.heart.model;
        let totals = model.totals();
        let processes: Vec<_> = model
            .process_totals()
            .map(|process| ProcessSummary {
                pid: process.pid,
                comm: process.comm,
                events: process.events,
                lost: process.lost,
                healed: process.healed,
                exact: process.exact,
                regions: process.regions,
                status: process.status,
            })
            .collect();
        let faults = self.probe.faults().unwrap_or_default();
        Summary {
            time: now(),
            events: totals.events,
            // The kernel counts what no record of an mm told of as well.
            lost: totals.lost.max(faults.lost) + totals.malformed + faults.unfollowed,
            healed: totals.healed,
            exact: processes.iter().all(|process| process.exact)
                && self.awaited.is_empty()
                && faults.unfollowed == 0,
            differences: self.differences,
            command: status.map(|status| status as u32),
            processes,
        }
    }
}

impl Heart {
    /// Takes a record, and tells the model of files that it brought into stacks: for that, too, is a
    /// record.
    fn apply(&mut self, record: &[u8], events: &mut Vec<Event>) {
        self.model.apply(record, events);
        for file in self.model.take_unidentified() {
            let id = self.symbols.identify(&self.model, &file);
            self.model.apply(id.as_bytes(), events);
        }
    }

    fn regions(&self, space: &Space) -> Vec<(Region, RegionName<'_>)> {
        let names = self.model.names();
        space.map().iter().map(|region| (*region, space.name(region, names, self.heap))).collect()
    }

    /// The map of a space, in the format asked for; the figures are for the one that has them.
    fn print(
        &self,
        pid: u32,
        space: &Space,
        format: DumpFormat,
        residence: &Residence,
    ) -> io::Result<Vec<u8>> {
        let regions = self.regions(space);
        let vsyscall = space.layout().vsyscall;
        let mut out = Vec::with_capacity(regions.len() * 100);
        match format {
            DumpFormat::Maps => maps::write(&mut out, regions, vsyscall)?,
            DumpFormat::Pmap => {
                pmap::write(&mut out, pid, &command_line(pid), regions, vsyscall)?;
            }
            DumpFormat::PmapX => {
                let rows = regions.iter().map(|&(region, name)| {
                    let resident = residence.get(&region);
                    (region, name, resident)
                });
                pmap::write_extended(&mut out, pid, &command_line(pid), rows, vsyscall)?;
            }
            DumpFormat::Json => json::write_dump(&mut out, &dump(pid, space, &regions), clock())?,
        }
        Ok(out)
    }
}

fn dump<'a>(pid: u32, space: &Space, regions: &'a [(Region, RegionName<'a>)]) -> Dump<'a> {
    Dump {
        pid,
        time: now(),
        commit: space.commit(),
        doubt: space.doubt(),
        vsyscall: space.layout().vsyscall,
        regions,
    }
}

const MOVED: &str = "regions changed while /proc/PID/smaps was read; figures of some are missing";
const WRITE: &str = "cannot write the events";
const MAPS: &str = "cannot access the eBPF maps";

/// A process's arguments with spaces between them; its name in brackets if it has none.
fn command_line(pid: u32) -> Vec<u8> {
    let mut line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    while line.last() == Some(&0) {
        line.pop();
    }
    if line.is_empty() {
        let mut comm = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
        comm.pop();
        return [b"[", &comm[..], b"]"].concat();
    }
    line.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
    line
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub(super) fn now() -> u64 {
    time(libc::CLOCK_MONOTONIC)
}

fn time(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the result is a local; both clocks are there on every kernel.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// How the kernel's time relates to the clock on the wall, now and here.
pub(super) fn clock() -> Clock {
    let offset = time(libc::CLOCK_REALTIME).cast_signed() - now().cast_signed();
    let seconds = (time(libc::CLOCK_REALTIME) / 1_000_000_000).cast_signed();
    // SAFETY: `tm` is plain data, and both are locals.
    let utc_offset = unsafe {
        let mut local: libc::tm = std::mem::zeroed();
        libc::localtime_r(&raw const seconds, &raw mut local);
        local.tm_gmtoff as i32
    };
    Clock { offset, utc_offset }
}

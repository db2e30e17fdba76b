//! The engine: takes records from the ring to the model and events from it to the sink, asks for
//! pictures where the model is in doubt, and answers for what it knows.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use mmaptrace_model::Space;
use mmaptrace_recording::{End, Item};

use super::{
    guard::Guard, intake::Intake, kin::Kin, losses::Losses, pressure::Pressure, recorder::Recorder,
    sweep::Sweep, verify,
};
use crate::{
    control::DumpFormat,
    dump::Residence,
    kernel::{Readers, SeedError, Source, Tier},
    machine::now,
    note,
    output::{Output, WRITE},
    sink::{Clock, Summary},
};

/// Records taken from the ring before anything else gets a turn: signals and clients wait no longer
/// than these take, on a machine however busy.
const BATCH: usize = 1 << 13;
/// How long names of functions are waited for before anything else gets a turn.
const WAITED: Duration = Duration::from_millis(50);
/// How often a picture is asked for before a dump is given as it is.
pub(super) const ATTEMPTS: usize = 3;

/// How long the last lines wait for their reader, and those that wait for what is recorded for a write of it.
pub(super) const LAST_WRITE: Duration = Duration::from_secs(2);
/// How long pictures of all are taken at the end, if something was lost, and for who asks for the past, in
/// ns; and how long is waited where one was refused, or more was lost.
const LAST_LOOK: u64 = 1_000_000_000;
const LOOK: u64 = 100_000_000;
/// See [`LAST_LOOK`].
const NEXT_LOOK: Duration = Duration::from_millis(1);
/// How long the mmap lock of a process is waited for: by who wants to trace it, and for pictures and what else
/// is read of it later, while nothing else is done.
const ATTACHING: Duration = Duration::from_secs(10);
/// See [`ATTACHING`]. Where pictures of several are asked for in one go it is of them all together.
const LOCKED: Duration = Duration::from_secs(1);
/// With less than this left of that the others wait for the next time: a lock that anybody holds for a moment
/// would be taken for one that is held for long.
const LEAST: Duration = Duration::from_millis(8);
/// How long a model in doubt waits for its next picture, in ns: at first, and at most.
const MIN_PATIENCE: u64 = 1_000_000;
/// See [`MIN_PATIENCE`].
pub(super) const MAX_PATIENCE: u64 = 500_000_000;
/// How long the end of an address space or of a thread may take after the exit of its process, in ns.
const GRACE: u64 = 200_000_000;
/// How long a file's new name may go unseen while records come, in ns.
const RENAMED: u64 = 10_000_000;
/// Pictures for new names, and for runs that were left out, take no more than one part in so many of
/// the time.
pub(super) const SHARE: u64 = 100;

/// See the module.
pub(super) struct Engine {
    /// Processes wait for this, if they are to. Before all else, for they go on before anything else ends.
    pressure: Option<Pressure>,
    pub(super) source: Box<dyn Source>,
    pub(super) intake: Intake,
    /// Where the events are shown, if they are.
    output: Option<Output>,
    pub(super) clock: Clock,
    /// Processes of which a first picture was asked for, and has not come.
    awaited: BTreeSet<u32>,
    pub(super) losses: Losses,
    differences: Option<u64>,
    /// Comparisons with /proc that could be made, and those that could not.
    compared: (u64, u64),
    /// When the names that nothing uses are forgotten.
    names: Sweep,
    /// Likewise of stacks.
    stacks: Sweep,
    /// All records up to this time, ns of `CLOCK_MONOTONIC`, were taken.
    taken: u64,
    healing: Healing,
    /// When names of files are looked at again, ns of `CLOCK_MONOTONIC`.
    rename_at: u64,
    /// The PID at which pictures of several broke off, and go on.
    next_picture: u32,
    /// The last round has begun.
    ends: bool,
    /// Whether the last round has taken all that was in the ring, and its lines find a reader.
    up_to_date: bool,
    /// It was not known at the end that all processes are where they are known to be.
    unplaced: bool,
    readers: Readers,
}

/// What [`Engine::drain`] took.
struct Taken {
    records: usize,
    /// Whether it was too much for one turn: there may be more.
    is_full: bool,
}

/// How doubts are looked after.
struct Healing {
    /// When next, ns of `CLOCK_MONOTONIC`, and how long after that.
    at: u64,
    patience: u64,
    /// The PID of which a picture was last asked for while more came than was taken.
    asked: u32,
    /// It was told that pictures find no room in the ring.
    has_told: bool,
}

/// What a model has of a process, at a moment.
pub(super) struct Known {
    /// The id of its last commit.
    pub(super) commit: u64,
    /// How often a reading has found that what was taken to be exact was not.
    pub(super) corrected: u64,
    /// Runs of programs that the kernel has left out.
    pub(super) left_out: u64,
    /// The map as `/proc/PID/maps` prints it.
    pub(super) map: Vec<u8>,
}

impl Engine {
    pub(super) fn new(
        source: Box<dyn Source>,
        intake: Intake,
        output: Option<Output>,
        clock: Clock,
    ) -> Self {
        Self {
            pressure: None,
            source,
            intake,
            output,
            clock,
            awaited: BTreeSet::new(),
            losses: Losses::default(),
            differences: None,
            compared: (0, 0),
            names: Sweep::default(),
            stacks: Sweep::default(),
            taken: 0,
            healing: Healing { at: 0, patience: MIN_PATIENCE, asked: 0, has_told: false },
            rename_at: 0,
            next_picture: 0,
            readers: Readers::default(),
            ends: false,
            up_to_date: true,
            unplaced: false,
        }
    }

    /// The ring's descriptor, another one, to wait on.
    pub(super) fn ring_fd(&self) -> Result<OwnedFd> {
        self.source
            .shared()
            .ring
            .as_fd()
            .try_clone_to_owned()
            .context("cannot wait for the ring buffer")
    }

    /// Follows a running process, from this moment on.
    ///
    /// # Errors
    /// It cannot be (within), or the events cannot be written.
    pub(super) fn follow(&mut self, pid: u32) -> Result<Result<(), SeedError>> {
        self.source.shared_mut().follow(pid).context(MAPS)?;
        if let Err(error) = self.source.seed(pid, ATTACHING) {
            // Its PID may become another's.
            self.source.shared_mut().unfollow(pid);
            return Ok(Err(error));
        }
        self.intake.alive.insert(pid);
        self.awaited.insert(pid);
        // There is room for the next picture then.
        self.catch_up()?;
        Ok(Ok(()))
    }

    /// Follows a process from its next exec on.
    pub(super) fn expect(&mut self, pid: u32) -> Result<()> {
        self.source.shared_mut().follow(pid).context("cannot follow the command")?;
        self.intake.alive.insert(pid);
        Ok(())
    }

    /// A round: takes what is in the ring, and does what follows from it. Returns how many records
    /// it took.
    pub(super) fn work(&mut self) -> Result<usize> {
        // What waits to be written is bounded; what comes meanwhile waits in the ring, and what
        // finds no room there is counted.
        let congested = self.is_congested();
        let nothing = Taken { records: 0, is_full: false };
        let Taken { records, is_full } = if congested { nothing } else { self.drain(u64::MAX)? };
        if let Some(pressure) = &self.pressure {
            if congested || is_full {
                pressure.stop();
            } else {
                pressure.go_on();
            }
        }
        self.forget_names()?;
        self.forget_stacks()?;
        self.forget_ended()?;
        // What else there is to do takes all that is in the ring at once, to which there is no bound
        // but the ring's size.
        self.up_to_date = !is_full && !self.is_congested();
        self.if_up_to_date(Self::look_for_losses)?;
        self.if_up_to_date(Self::look_for_gaps_at_times)?;
        self.if_up_to_date(Self::place_at_times)?;
        self.heal()?;
        self.if_up_to_date(Self::rename)?;
        let quiet = records == 0 && !congested && self.source.shared().ring.is_empty();
        self.intake.tick(quiet)?;
        if !is_full {
            self.intake.flow.flush().context(WRITE)?;
        }
        Ok(records)
    }

    /// Does what takes all that is in the ring, unless what did so before has left too much to be written.
    fn if_up_to_date(&mut self, work: fn(&mut Self) -> Result<()>) -> Result<()> {
        if self.up_to_date && !self.is_congested() { work(self) } else { Ok(()) }
    }

    /// Whether so much waits to be written that nothing is to come to it; but at the end all is taken.
    fn is_congested(&self) -> bool {
        !self.ends
            && (self.output.as_ref().is_some_and(Output::is_congested)
                || self.intake.recorder.as_ref().is_some_and(Recorder::is_congested))
    }

    /// Tells of each process what is known of it so far.
    pub(super) fn describe(&mut self, mut tell: impl FnMut(String)) -> Result<()> {
        self.catch_up()?;
        for &pid in &self.intake.alive {
            if let Some(space) = self.intake.model().space_of(pid) {
                let (regions, commit) = (space.map().len(), space.commit());
                tell(format!("PID {pid}: {regions} regions at commit {commit}"));
            }
        }
        Ok(())
    }

    /// Whether there is reason to come by soon even if no record comes.
    pub(super) fn is_busy(&self) -> bool {
        self.intake.flow.awaits_time()
            || self.is_congested()
            || self.pressure.as_ref().is_some_and(Pressure::holds)
            || !self.awaited.is_empty()
            || self.losses.are_being_placed()
            || self.intake.model().in_doubt().next().is_some()
    }

    /// Asks to be woken by the next record. `false`: one has come meanwhile.
    pub(super) fn doze(&mut self) -> Result<bool> {
        self.source.shared_mut().set_idle(true).context(MAPS)?;
        if self.drain(u64::MAX)?.records == 0 && self.source.shared().ring.is_empty() {
            self.intake.rest()?;
            if let Some(pressure) = &self.pressure {
                pressure.set_idle(true);
            }
            return Ok(true);
        }
        self.wake()?;
        Ok(false)
    }

    /// Ends what [`Engine::doze`] began.
    pub(super) fn wake(&mut self) -> Result<()> {
        if let Some(pressure) = &self.pressure {
            pressure.set_idle(false);
        }
        self.source.shared_mut().set_idle(false).context(MAPS)
    }

    /// Takes records until there are none, or until one is younger than `until` (ns of
    /// `CLOCK_MONOTONIC`), or for a batch, or until names were waited for too long.
    fn drain(&mut self, until: u64) -> Result<Taken> {
        let Self { source, intake, taken, pressure, .. } = self;
        let waited = |intake: &Intake| intake.mirror().symbols().waited();
        let (began, patience) = (now(), waited(intake) + WAITED);
        let mut records = 0;
        let is_full = |records, intake: &Intake| records == BATCH || waited(intake) > patience;
        while !is_full(records, intake) {
            let Some(record) = source.next() else { break };
            records += 1;
            intake.record(&record)?;
            // Where a header has its time.
            let time = record.get(8..16).and_then(|time| time.try_into().ok());
            drop(record);
            let Some(time) = time.map(u64::from_ne_bytes) else { continue };
            *taken = time.max(*taken);
            if time > until {
                break;
            }
        }
        source.shared_mut().ring.give_back();
        let is_full = is_full(records, intake);
        if !is_full && source.shared().ring.is_empty() {
            *taken = began.max(*taken);
        }
        if let Some(pressure) = pressure {
            pressure.are(&intake.alive);
        }
        Ok(Taken { records, is_full })
    }

    /// Asks for pictures of the spaces in doubt, and for those that were asked for and lost; not
    /// in every round, for where the ring is full they only fill it.
    fn heal(&mut self) -> Result<()> {
        let model = self.intake.model();
        let sure = |pid: &u32| model.space_of(*pid).is_some_and(|space| !space.wants_reading());
        self.awaited.retain(|pid| self.intake.alive.contains(pid) && !sure(pid));
        let mut doubtful: BTreeSet<u32> = model.in_doubt().map(|(_, pid)| pid).collect();
        doubtful.extend(&self.awaited);
        if doubtful.is_empty() {
            self.healing.patience = MIN_PATIENCE;
        } else if now() >= self.healing.at && !self.is_congested() {
            self.healing.at = now() + self.healing.patience;
            self.healing.patience = (2 * self.healing.patience).min(MAX_PATIENCE);
            if self.up_to_date {
                self.heal_all(doubtful)?;
            } else {
                // One at a time, in turn, lest doubt lasts as long as a flood does.
                let next = doubtful.range(self.healing.asked + 1..).next().or(doubtful.first());
                self.healing.asked = next.copied().unwrap_or_default();
                // If there is none it is asked for again.
                let _ = self.source.seed(self.healing.asked, LOCKED);
            }
        }
        Ok(())
    }

    /// Asks for pictures of all these, and says so if they find no room time and again.
    fn heal_all(&mut self, doubtful: BTreeSet<u32>) -> Result<()> {
        let first = doubtful.first().copied().unwrap_or_default();
        let lost = self.source.shared().faults().context(MAPS)?.lost;
        self.pictures_while_there_is_room(doubtful)?;
        let more = self.source.shared().faults().context(MAPS)?.lost;
        if more > lost && self.healing.patience == MAX_PATIENCE && !self.healing.has_told {
            self.healing.has_told = true;
            note(format_args!(
                "the buffer has no room for a picture of process {first}, which stays in doubt; a \
                 larger one has: --buffer"
            ));
        }
        Ok(())
    }

    /// Asks for pictures of the spaces whose files may have got other names: no change of a space
    /// tells of them, and nobody who looks back could ask for one.
    fn rename(&mut self) -> Result<()> {
        let began = now();
        if began < self.rename_at {
            return Ok(());
        }
        self.doubt_passing_names()?;
        let renames = self.source.renames().context(MAPS)?;
        self.pictures_while_there_is_room(self.with_stale_names(renames))?;
        let took = now() - began;
        self.rename_at = began + RENAMED.max(SHARE * took);
        Ok(())
    }

    /// The same without regard to when, for the last time. Returns those of which there is no picture: their
    /// names may be older than the last rename that is known.
    fn rename_at_last(&mut self) -> Result<BTreeSet<u32>> {
        self.doubt_passing_names()?;
        let renames = self.source.renames().context(MAPS)?;
        let mut unpictured = BTreeSet::new();
        // Those that were not reached come first the next time, and who is locked is not waited for again.
        for _ in 0..ATTEMPTS {
            unpictured = self.pictures_while_there_is_room(self.with_stale_names(renames))?;
        }
        Ok(unpictured)
    }

    /// A process of each space whose files may have got other names since it was last read, if there were so
    /// many renames, or of which a picture was needed and not to be had. Those in doubt are asked for anyway.
    fn with_stale_names(&self, renames: u64) -> BTreeSet<u32> {
        let model = self.intake.model();
        let is_stale = |it: &&Space| it.renames() < renames || it.doubt_of_picture().is_some();
        let stale = model.spaces().filter(|it| it.doubt().is_none()).filter(is_stale);
        stale.filter_map(|space| Some(model.process_of(space.id())?.pid)).collect()
    }

    /// Forgets, here and in the kernel, the names that no region has any more.
    fn forget_names(&mut self) -> Result<()> {
        if self.names.is_due(self.intake.model().names().len(), self.taken) {
            let forgotten = self.intake.forget_names()?;
            self.source.forget_names(&forgotten).context(MAPS)?;
            self.names.done(self.intake.model().names().len(), now());
        }
        Ok(())
    }

    /// Forgets, here and in the kernel, the processes that have ended, once their last threads had the time
    /// to.
    fn forget_ended(&mut self) -> Result<()> {
        while let Some(&(time, pid)) = self.intake.ended.front()
            && now().saturating_sub(time) > GRACE
        {
            self.intake.ended.pop_front();
            if !self.tell_of_end(pid)? {
                self.intake.ended.push_back((now(), pid));
                continue;
            }
            self.intake.forget_threads(pid);
            // Another has its PID, maybe.
            if !self.source.shared().follows(pid).context(MAPS)? {
                self.source.shared_mut().unfollow(pid);
            }
        }
        Ok(())
    }

    /// Forgets, here and in the kernel, the stacks that no event has any more.
    fn forget_stacks(&mut self) -> Result<()> {
        if self.stacks.is_due(self.intake.model().stacks().len(), self.taken) {
            let forgotten = self.intake.forget_stacks()?;
            self.source.forget_stacks(&forgotten).context(MAPS)?;
            self.stacks.done(self.intake.model().stacks().len(), now());
        }
        Ok(())
    }

    /// Asks for a picture of a process and takes it. Whether it was to be had, or the process has ended.
    pub(super) fn picture(&mut self, pid: u32) -> Result<bool> {
        self.picture_within(pid, LOCKED)
    }

    fn picture_within(&mut self, pid: u32, patience: Duration) -> Result<bool> {
        let taken = self.source.seed(pid, patience);
        self.catch_up()?;
        Ok(matches!(taken, Ok(()) | Err(SeedError::NoProcess | SeedError::NoSpace)))
    }

    /// The same of several, one at a time, for the ring may have room for no more; but of no more than do
    /// not make too much wait to be written, nor for longer than [`LOCKED`] in all. Each is waited for half of
    /// what is left of that, so that one whose memory is locked does not keep the others from their turn.
    /// Returns those of which there is none: they are to be asked for again, and those that had no turn come
    /// first then.
    pub(super) fn pictures_while_there_is_room(
        &mut self,
        mut pids: BTreeSet<u32>,
    ) -> Result<BTreeSet<u32>> {
        let until = Instant::now() + LOCKED;
        let after = pids.range(self.next_picture..).copied();
        let order: Vec<_> = after.chain(pids.range(..self.next_picture).copied()).collect();
        for pid in order {
            let left = until.saturating_duration_since(Instant::now());
            if self.is_congested() || left < LEAST {
                self.next_picture = pid;
                break;
            }
            if self.picture_within(pid, left / 2)? {
                pids.remove(&pid);
            }
        }
        Ok(pids)
    }

    /// Whether all is over: no process left, and nothing that tells of them on its way.
    pub(super) fn is_over(&self, closed: bool, command_runs: bool) -> Result<bool> {
        let Intake { alive, threads, ended, .. } = &self.intake;
        // In the degraded tier a child is told of once it runs.
        let left = self.intake.model().spaces().next().is_some()
            || !threads.is_empty()
            || self.source.tier() == Tier::Degraded;
        let is_over = closed && !command_runs && alive.is_empty() && (!left || ended.is_empty());
        // The record that there is another may be one that was lost.
        Ok(is_over && self.followed()?.0.is_empty())
    }

    /// Writes the maps of all processes into the stream.
    pub(super) fn dump_all(&mut self) -> Result<()> {
        for pid in self.intake.alive.clone() {
            self.refresh(pid)?;
            if self.intake.model().space_of(pid).is_some() {
                self.intake.take(Item::Dump { time: now(), pid })?;
            }
        }
        self.intake.flow.flush().context(WRITE)
    }

    /// Brings the model of a process up to this moment: what is in the ring, and a picture. Where that is not
    /// to be had it is in doubt.
    ///
    /// The regions need no picture as long as nothing is in doubt; but a file may have another name before the call
    /// that gives it returns, and some names change with no call (mounts that go with their namespace).
    pub(super) fn refresh(&mut self, pid: u32) -> Result<()> {
        self.catch_up()?;
        self.look_for_gaps()?;
        self.look_for_losses()?;
        self.doubt_passing_names()?;
        // What changes names from here on is after what was asked for.
        let renames = self.source.renames().context(MAPS)?;
        let follows = self.source.shared().follows(pid).context(MAPS)?;
        // Where there are only readings without the lock, the source itself tries more than once.
        let attempts = match self.source.tier() {
            Tier::Exact => ATTEMPTS,
            Tier::Degraded => 1,
        };
        let mut sure = false;
        self.source.look_anew().context(MAPS)?;
        // Its first records are lost, maybe.
        if follows && self.intake.model().space_of(pid).is_none() {
            sure = self.take_picture(pid)?;
        }
        for _ in 0..attempts {
            let Some(space) = self.intake.model().space_of(pid) else { break };
            let names = self.intake.model().names();
            let untold: Vec<_> = space.untold_names(names).into_iter().collect();
            let told = space.doubt_of_picture().is_none() && !self.is_behind(space);
            if sure && told && untold.is_empty() && space.renames() >= renames {
                break;
            }
            // The kernel's side may hold that it has sent them.
            self.source.forget_names(&untold).context(MAPS)?;
            sure = self.take_picture(pid)?;
        }
        self.tell_of_losses(pid)?;
        match self.intake.model().space_of(pid) {
            Some(space) if !sure || space.renames() < renames => self.tell_of_no_picture(pid),
            Some(_) | None => Ok(()),
        }
    }

    /// From the first file on that is of a file server, or the like, files may have got other names with nobody
    /// telling.
    fn doubt_passing_names(&mut self) -> Result<()> {
        if self.intake.model().names().have_passing()
            && self.source.names_are_certain().context(MAPS)?
        {
            self.source.doubt_names().context(MAPS)?;
        }
        Ok(())
    }

    /// Takes what was written until now, and waits for what is being written, which keeps back all
    /// after it.
    pub(super) fn catch_up(&mut self) -> Result<()> {
        let end = self.source.shared().ring.end();
        let until = now();
        loop {
            let Taken { records, is_full } = self.drain(until)?;
            if !is_full && self.source.shared().ring.has_reached(end) {
                return Ok(());
            }
            if records == 0 {
                thread::yield_now();
            }
        }
    }

    /// Compares the models with /proc, but not while more comes than is taken, or waits to be written
    /// than should: to compare is to catch up.
    pub(super) fn verify_at_times(&mut self) -> Result<()> {
        if self.up_to_date {
            return self.verify();
        }
        self.compared.1 += self.intake.alive.len() as u64;
        Ok(())
    }

    /// Compares the models with /proc.
    fn verify(&mut self) -> Result<()> {
        for pid in self.intake.alive.clone() {
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

    /// Processes are to wait while this is behind, but for the kin.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn press_back(&mut self, guard: Guard, kin: Kin) -> Result<()> {
        let pressure = Pressure::new(guard, kin, self.source.shared().ring.gauge());
        self.pressure = Some(pressure.context("cannot start a thread")?);
        Ok(())
    }

    /// Comparisons with /proc are wanted, and their differences are to be counted.
    pub(super) const fn count_differences(&mut self) {
        self.differences = Some(0);
    }

    /// Comparisons with /proc that were made, and those that could not be, if any were asked for.
    pub(super) fn compared(&self) -> Option<(u64, u64)> {
        self.differences.map(|_| self.compared)
    }

    /// What the model has of a process; `None`: it has ended, or is in doubt and says so itself.
    pub(super) fn known(&mut self, pid: u32) -> Result<Option<Known>> {
        self.catch_up()?;
        self.tell_of_losses(pid)?;
        let model = self.intake.model();
        let is_sure = |space: &&Space| {
            space.doubt().is_none() && space.doubt_of_names(model.names()).is_none()
        };
        let Some(space) = model.space_of(pid).filter(is_sure) else { return Ok(None) };
        let map = self.print(pid, space, DumpFormat::Maps, &[], &Residence::default())?;
        let (commit, corrected) = (space.commit(), space.corrected());
        Ok(Some(Known { commit, corrected, left_out: self.source.left_out(), map }))
    }

    /// The same after a picture, for which the kernel waits until writers are done: it is of a moment
    /// at which nobody was about to change it. `None` as well: somebody was, for longer than was waited.
    pub(super) fn looked_at(&mut self, pid: u32) -> Result<Option<Known>> {
        match self.source.seed(pid, LOCKED) {
            // Somebody may be about to.
            Err(SeedError::Locked) => Ok(None),
            // Where there is no picture the model stays in doubt, or differs.
            _ => self.known(pid),
        }
    }

    /// What this has read of a process in `/proc`, where that may have to wait for its mmap lock.
    ///
    /// # Errors
    /// See [`Readers::read`].
    pub(super) fn read<T: Send + 'static>(
        &mut self,
        pid: u32,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, SeedError> {
        self.readers.read(pid, LOCKED, read)
    }

    /// The last records and the last line.
    pub(super) fn end(&mut self, status: Option<i32>) -> Result<()> {
        (self.ends, self.up_to_date) = (true, true);
        self.catch_up()?;
        // Of children that nobody told of, nobody would see what they do.
        self.losses = Losses::default();
        self.unplaced = !self.settle(LAST_LOOK)?;
        self.healing.at = 0;
        self.heal()?;
        // Who looks back takes it that there were none otherwise.
        let unpictured = self.rename_at_last()?;
        self.catch_up()?;
        self.heal()?;
        if self.source.tier() == Tier::Degraded {
            for pid in self.intake.alive.clone() {
                self.refresh(pid)?;
            }
        }
        if self.differences.is_some() {
            self.verify()?;
        }
        // Where the ring was full to the last, no record tells of what was lost.
        self.tell_of_all_losses()?;
        // Nor does any that files of these may have other names, unless they were read since.
        let stale = self.with_stale_names(self.source.renames().context(MAPS)?);
        stale.intersection(&unpictured).try_for_each(|&pid| self.tell_of_no_picture(pid))?;
        let end = self.totals(status);
        // Whoever reads may wait for them.
        self.pressure = None;
        let recorded = self.intake.end(&end, LAST_WRITE);
        let shown = self.output.as_ref().map_or(Ok(()), |output| output.finish(LAST_WRITE));
        recorded.and(shown.context(WRITE))
    }

    /// What is known beside the model, which is told of all losses that are known.
    pub(super) fn totals_now(&mut self) -> Result<End> {
        let unplaced = !self.settle(LOOK)?;
        self.tell_of_all_losses()?;
        // What was written by then is taken.
        let time = now();
        self.catch_up()?;
        let totals = self.totals(None);
        Ok(End { time, unseen: totals.unseen || unplaced, ..totals })
    }

    /// Looks for what losses have left untold until all processes are where they are known to be, or for so
    /// many ns. Whether they are.
    fn settle(&mut self, patience: u64) -> Result<bool> {
        let until = now() + patience;
        loop {
            self.look_for_gaps()?;
            self.look_for_losses()?;
            self.place(until.saturating_sub(now()))?;
            let settled = self.all_are_placed()?;
            if settled || now() >= until {
                return Ok(settled);
            }
            thread::sleep(NEXT_LOOK);
        }
    }

    fn tell_of_all_losses(&mut self) -> Result<()> {
        self.intake.alive.clone().into_iter().try_for_each(|pid| self.tell_of_losses(pid))
    }

    /// What is known beside the model.
    fn totals(&self, status: Option<i32>) -> End {
        let faults = self.source.shared().faults().unwrap_or_default();
        End {
            time: now(),
            lost: faults.lost,
            unfollowed: faults.unfollowed,
            unseen: !self.awaited.is_empty() || self.unplaced,
            differences: self.differences.filter(|_| self.compared.0 > 0),
            command: status.map(|status| status as u32),
            slip: self.clock.slip().0,
        }
    }

    /// The totals.
    pub(super) fn summary(&self, status: Option<i32>) -> Summary {
        self.intake.flow.summary(&self.totals(status))
    }
}

pub(super) const MAPS: &str = "cannot access the eBPF maps";

//! The past of what is traced: a recording, or what a running tracer remembers. One code for both:
//! what a tracer remembers is a recording too.

mod at;
mod later;
mod moment;
mod scope;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{Cursor, Read, Seek},
    ops::ControlFlow,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};
use mmaptrace_model::{Event, HeapRule, Model};
use mmaptrace_recording::{Block, End, Error, Item, Reader, Start};

pub use at::Then;
pub use moment::{BadMoment, Moment, Point};
pub use scope::Scope;

use crate::{
    control::client::{self, Remembered},
    exit::Exit,
    kernel::Tier,
    note,
    sink::{Clock, Slip, summary},
};
use moment::time_of;

/// Whose past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A recording.
    File(PathBuf),
    /// A running tracer.
    Tracer {
        /// The one that traces this process, or did; else there must be only one.
        pid: Option<u32>,
        /// The one that listens here, else any.
        socket: Option<PathBuf>,
    },
}

/// The past, up to its end or to now.
pub struct Past {
    reader: Reader<Box<dyn Input>>,
    /// What errors call it.
    name: String,
    /// The device and inode of its file, if it is in one.
    file: Option<(u64, u64)>,
    /// What is now where it goes on, and what its tracer knows beside it.
    now: Option<Now>,
}

/// What a running tracer says of the past that it has.
#[derive(Debug)]
struct Now {
    /// The process that it was asked for, if any was: all is known of that.
    pid: Option<u32>,
    /// What it knows beside the past, which tells of all until then.
    known: End,
}

trait Input: Read + Seek {}
impl<T: Read + Seek> Input for T {}

/// What the past has come to, once it was told.
#[derive(Debug)]
pub struct Told {
    /// The model.
    pub model: Model,
    /// When: ns of `CLOCK_MONOTONIC`.
    pub until: u64,
    /// Since when, likewise, if what was before is forgotten.
    pub since: Option<u64>,
    /// How times are told.
    pub clock: Clock,
    /// Whether regions were read after the calls, and not at each change.
    pub degraded: bool,
    /// What was known beside the model at the end, if it was told up to that.
    pub end: Option<End>,
    /// Why it is not known to be exact, in words, if it was told up to a moment before.
    pub suspicion: Option<String>,
    /// The processes of which anything was told, by PID: the model forgets those that ended long ago.
    pub processes: BTreeSet<u32>,
    /// Why the past is shorter than it was, if it is: a recorder was killed, or its file is damaged.
    /// What precedes that was told.
    pub short: Option<Error>,
}

impl Told {
    /// Sees that it tells of a process, if one is given.
    ///
    /// # Errors
    /// It does not.
    pub fn expect(&self, pid: Option<u32>) -> Result<()> {
        match pid {
            Some(pid) if !self.processes.contains(&pid) => {
                Err(anyhow!("process {pid} was not traced"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Why what it told is not all, or not exact, in words.
    pub fn faults(&self) -> impl Iterator<Item = String> {
        let degraded = "not exact: the tracer was in its degraded tier";
        let degraded = self.degraded.then(|| degraded.to_owned());
        let totals = self.model.totals();
        let end = self.end.clone().unwrap_or_default();
        let lost = summary::lost(&totals, &end);
        let lost = (lost > 0).then(|| format!("not exact: {lost} records were lost"));
        let doubts = (totals.doubts + totals.found).saturating_sub(totals.explained);
        let doubted = doubts > 0 && lost.is_none() && !self.degraded;
        let doubted = doubted.then(|| "not exact: the model was in doubt for a while".to_owned());
        let unseen =
            end.unseen.then(|| "not exact: it is not known where all processes are".to_owned());
        let since = self.since.map(|since| self.clock.of_day(since));
        let since = since.map(|since| format!("what was before {since} is forgotten (--history)"));
        let short = self.short.as_ref().map(|error| format!("the events end early: {error}"));
        let suspicion = self.suspicion.clone();
        [degraded, lost, doubted, unseen, suspicion, since, short].into_iter().flatten()
    }

    /// How a question ends that was answered by what there is; says what is wrong with that.
    pub fn end(&self) -> Exit {
        self.faults().for_each(|fault| note(format_args!("{fault}")));
        if self.short.is_none() { Exit::Success } else { Exit::Failure }
    }
}

/// What a recording gives, in order.
#[derive(Debug)]
pub enum Step<'a> {
    /// The model as it is here, where reading does not begin with the start.
    Model(Box<Model>),
    /// An item.
    Item(Item<'a>),
}

impl Past {
    /// Opens it, and says so where its times of day are not those of the clock.
    ///
    /// # Errors
    /// There is no such recording or tracer, it cannot be read, or the tracer remembers nothing.
    pub fn open(source: &Source) -> Result<Self> {
        let mut past = Self::find(source)?;
        let end = match &past.now {
            Some(now) => Some(now.known.clone()),
            // What is damaged is told of when it is read.
            None => past.reader.last_end().unwrap_or_default(),
        };
        Slip(end.map_or(0, |end| end.slip)).note();
        Ok(past)
    }

    fn find(source: &Source) -> Result<Self> {
        match source {
            Source::File(path) => Self::of_file(path),
            Source::Tracer { pid, socket } => {
                let (remembered, known) = client::remembered(*pid, socket.as_deref())?;
                let now = Some(Now { pid: *pid, known });
                match remembered {
                    // It writes on, and what it writes is cut wherever it is just now.
                    Remembered::File(path) => Ok(Self { now, ..Self::of_file(&path)? }),
                    Remembered::Bytes(bytes) => {
                        let name = "what the tracer remembers".to_owned();
                        Ok(Self { now, ..Self::new(Box::new(Cursor::new(bytes)), name)? })
                    }
                }
            }
        }
    }

    /// A recording that is asked for nothing but itself.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub fn of_file(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
        let inode = file.metadata().ok().map(|file| (file.dev(), file.ino()));
        Ok(Self { file: inode, ..Self::new(Box::new(file), name)? })
    }

    fn new(input: Box<dyn Input>, name: String) -> Result<Self> {
        let reader = Reader::open(input).map_err(|error| anyhow!("{name}: {error}"))?;
        Ok(Self { reader, name, file: None, now: None })
    }

    /// Sees that what is to be written at `path` does not take its place: that is no other name of its file.
    ///
    /// # Errors
    /// It is.
    pub fn spare(&self, path: &Path) -> Result<()> {
        let there = fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
        if there.is_some() && there == self.file {
            bail!("{} is the recording itself", path.display());
        }
        Ok(())
    }

    /// What was known when it began.
    pub const fn start(&self) -> &Start {
        self.reader.start()
    }

    /// What was known beside it when it ended, once it was replayed to its end; or is known now.
    pub const fn end(&self) -> Option<&End> {
        match &self.now {
            Some(now) => Some(&now.known),
            None => self.reader.end(),
        }
    }

    /// How its times are told.
    pub const fn clock(&self) -> Clock {
        Clock::of(self.start())
    }

    /// Which regions are the heap.
    pub const fn heap_rule(&self) -> HeapRule {
        if self.start().heap_inclusive { HeapRule::Inclusive } else { HeapRule::Exclusive }
    }

    /// Tells each event from `from` on to `to`, or from the beginning and to the end, and the model
    /// after the record that it came with, until it is told to break.
    ///
    /// # Errors
    /// It cannot be read, or `tell` fails.
    pub fn replay(
        &mut self,
        from: Option<Point>,
        to: Option<Point>,
        mut tell: impl FnMut(&Event, &Model) -> Result<ControlFlow<()>>,
    ) -> Result<Told> {
        let is_whole = to.is_none();
        // What a recorder has written since then, nobody knows what is missing in.
        let to = to.or_else(|| self.now.as_ref().map(|now| Point::Time(now.known.time)));
        let mut until = match to {
            Some(Point::Time(time)) => time,
            Some(Point::Events(_) | Point::End { .. }) => self.start().time,
            None => self.until()?,
        };
        match &from {
            Some(from) => self.go_to(from)?,
            None => self.reader.rewind(),
        }
        let mut model = Model::default();
        let mut events = Vec::new();
        let mut processes = BTreeSet::new();
        let mut forgotten = false;
        let mut since = None;
        let short = self.steps(|step| {
            let item = match step {
                Step::Model(known) => {
                    model = *known;
                    forgotten = from.is_none();
                    return Ok(ControlFlow::Continue(()));
                }
                Step::Item(item) => item,
            };
            if to.is_some_and(|to| to.is_before(&model, &item)) {
                return Ok(ControlFlow::Break(()));
            }
            let told = from.is_none_or(|from| from.is_before(&model, &item));
            until = time_of(&item).map_or(until, |time| until.max(time));
            if forgotten {
                since = since.or_else(|| time_of(&item));
            }
            take(&mut model, item, &mut events);
            for event in events.drain(..).filter(|_| told) {
                if let Event::Exit { task, last: true, .. } = &event {
                    processes.insert(task.pid);
                }
                if tell(&event, &model)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let (end, suspicion) = if is_whole {
            (self.end().cloned(), None)
        } else {
            (None, self.last()?.fault_at(&model.totals()))
        };
        let degraded = self.start().tier != Tier::Exact.name();
        processes.extend(model.process_totals().map(|process| process.pid));
        let clock = self.clock();
        Ok(Told { model, until, since, clock, degraded, end, suspicion, processes, short })
    }

    /// All from the beginning on, for a flow of its own.
    ///
    /// # Errors
    /// See [`Past::replay`].
    pub fn steps_from_start(
        &mut self,
        step: impl FnMut(Step<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<Option<Error>> {
        self.reader.rewind();
        self.steps(step)
    }

    /// All from where the reader is.
    fn steps(
        &mut self,
        mut step: impl FnMut(Step<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<Option<Error>> {
        let mut first = true;
        loop {
            let outcome = match self.reader.next_block() {
                Ok(None) => return Ok(None),
                Ok(Some(Block::Keyframe(model))) if first => {
                    let model = Model::from_keyframe(model);
                    let model = model.with_context(|| format!("cannot read {}", self.name))?;
                    step(Step::Model(Box::new(model))).map(Ok)
                }
                Ok(Some(Block::Keyframe(_))) => Ok(Ok(ControlFlow::Continue(()))),
                Ok(Some(Block::Items(mut items))) => loop {
                    match items.next_item() {
                        Ok(None) => break Ok(Ok(ControlFlow::Continue(()))),
                        Ok(Some(item)) => match step(Step::Item(item)) {
                            Ok(ControlFlow::Continue(())) => {}
                            broken => break broken.map(Ok),
                        },
                        Err(error) => break Ok(Err(error)),
                    }
                },
                Err(error) => Ok(Err(error)),
            };
            match outcome? {
                Ok(ControlFlow::Continue(())) => first = false,
                Ok(ControlFlow::Break(())) => return Ok(None),
                Err(Error::Cut { .. }) if self.now.is_some() => return Ok(None),
                Err(error) if error.is_end() => return Ok(Some(error)),
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot read {}", self.name));
                }
            }
        }
    }
}

/// What an item does to a model, and the events that come of it.
fn take(model: &mut Model, item: Item<'_>, events: &mut Vec<Event>) {
    match item {
        Item::Record(bytes) => {
            model.apply(bytes, events);
            // They were told when it was recorded.
            drop(model.take_unidentified());
        }
        Item::ForgetNames => drop(model.retain_names()),
        Item::ForgetStacks => drop(model.retain_stacks()),
        Item::Tick { .. } | Item::Dump { .. } => {}
    }
}

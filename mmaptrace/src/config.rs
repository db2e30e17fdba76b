//! What the user asked for, validated: the command line's values, ready to use.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use crate::{
    control::DumpFormat,
    export,
    history::{Moment, Source},
    kernel::Stacks,
    sink::{Filter, clock::Times},
};

/// All of it.
#[derive(Debug)]
pub struct Config {
    /// What to do.
    pub command: Command,
}

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Trace.
    Trace(Trace),
    /// Show a recording.
    Replay(Replay),
    /// Print a map.
    Dump(Dump),
    /// Tell what ever happened to an address.
    Who(Who),
    /// Tell what grew, or was writable and executable.
    Report(Report),
    /// Compare two maps.
    Diff(Diff),
    /// Write the past for other tools.
    Export(Export),
    /// Say what is possible here.
    Check,
}

impl Command {
    /// Whether what it has to tell goes to standard output.
    pub fn tells_stdout(&self) -> bool {
        let views = |viewing: &Viewing| viewing.output.is_none();
        match self {
            Self::Trace(trace) => {
                trace.target.launch.is_empty() && trace.viewing.as_ref().is_some_and(views)
            }
            Self::Replay(replay) => views(&replay.viewing),
            Self::Export(export) => export.output.is_none(),
            Self::Dump(_) | Self::Who(_) | Self::Report(_) | Self::Diff(_) | Self::Check => true,
        }
    }
}

/// How to trace, and what.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Trace {
    /// Which processes.
    pub target: Target,
    /// How events are shown; `None`: they are only recorded.
    pub viewing: Option<Viewing>,
    /// Where they are recorded.
    pub recording: Option<PathBuf>,
    /// How much of them is remembered where there is no recording, in bytes; 0: nothing.
    pub history: usize,
    /// Which stacks are taken and shown.
    pub stacks: Stacks,
    /// Whether it is shown how long calls took.
    pub durations: bool,
    /// When to end.
    pub duration: Option<Duration>,
    /// Errors only.
    pub quiet: bool,
    /// More notes.
    pub verbose: bool,
    /// Whether returns of calls are reported.
    pub calls: bool,
    /// Size of the ring buffer, in bytes.
    pub buffer: u32,
    /// Whether the traced processes wait while the tracer is behind.
    pub wait: bool,
    /// How often to compare with /proc.
    pub verify: Option<Duration>,
}

/// How events are shown.
#[derive(Clone, Debug)]
pub struct Viewing {
    /// Where they go, if not to standard output or error.
    pub output: Option<PathBuf>,
    /// How they are written.
    pub format: Format,
    /// Which.
    pub filter: Filter,
    /// How lines tell the time.
    pub times: Times,
    /// Whether colours are wanted where there is a terminal.
    pub colour: bool,
}

/// Which processes; at least one way is given.
#[derive(Debug)]
pub struct Target {
    /// By PID.
    pub pids: Vec<u32>,
    /// By name.
    pub name: Option<Vec<u8>>,
    /// By cgroup.
    pub cgroup: Option<PathBuf>,
    /// All of the machine.
    pub all: bool,
    /// A command to run, and its arguments.
    pub launch: Vec<OsString>,
    /// Whether children are followed.
    pub follow: bool,
}

impl Target {
    /// Whether processes yet to come may be traced, so that having none is no reason to end.
    pub fn is_open(&self) -> bool {
        self.name.is_some() || self.cgroup.is_some() || self.all
    }
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Which recording to show.
#[derive(Debug)]
pub struct Replay {
    /// The file.
    pub recording: PathBuf,
    /// How it is shown.
    pub viewing: Viewing,
    /// Errors only.
    pub quiet: bool,
}

/// Which map to print.
#[derive(Debug)]
pub struct Dump {
    /// Of which process.
    pub pid: u32,
    /// How it is written.
    pub format: DumpFormat,
    /// Whom to ask, if not a recording.
    pub socket: Option<PathBuf>,
    /// The recording to look into, if no tracer is to be asked.
    pub input: Option<PathBuf>,
    /// Of when, if not of now or of the recording's end.
    pub at: Option<Moment>,
    /// Whether to tell who made what of it.
    pub blame: bool,
    /// Whether to tell commit and exactness.
    pub verbose: bool,
}

impl Dump {
    /// Whose past it is of, if it is of the past.
    pub fn source(&self) -> Source {
        match &self.input {
            Some(path) => Source::File(path.clone()),
            None => Source::Tracer { pid: Some(self.pid), socket: self.socket.clone() },
        }
    }
}

/// What to ask of an address.
#[derive(Debug)]
pub struct Who {
    /// Of whose past.
    pub source: Source,
    /// Which address.
    pub subject: Subject,
    /// In which process, if not in all.
    pub pid: Option<u32>,
    /// As of when, if not of the end.
    pub at: Option<Moment>,
    /// How the answer is written.
    pub format: Format,
    /// Whether colours are wanted where there is a terminal.
    pub colour: bool,
}

/// Which address.
#[derive(Debug)]
pub enum Subject {
    /// This one, and those after it.
    Address {
        /// The first.
        start: u64,
        /// How many, at least 1.
        length: u64,
    },
    /// That of a crash, by its core file.
    Core(PathBuf),
}

/// What to report.
#[derive(Debug)]
pub struct Report {
    /// Of whose past.
    pub source: Source,
    /// Of which process, if not of all.
    pub pid: Option<u32>,
    /// As of when, if not of the end.
    pub at: Option<Moment>,
    /// What.
    pub topic: Topic,
    /// How many sites, or regions of one kind, are told in text.
    pub top: usize,
    /// How it is written.
    pub format: Format,
}

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// What was mapped and not unmapped, by where it was asked for.
    Growth,
    /// The same as folded stacks.
    Folded,
    /// What was writable and executable.
    Exposure,
}

/// What to compare.
#[derive(Debug)]
pub struct Diff {
    /// The earlier map.
    pub from: When,
    /// The later map.
    pub to: Later,
    /// How the difference is written.
    pub format: Format,
    /// Whether colours are wanted where there is a terminal.
    pub colour: bool,
}

/// The later map.
#[derive(Debug)]
pub enum Later {
    /// Of the past.
    Then(When),
    /// What `/proc` says now, of this process, or else of the one of the earlier map.
    Now(Option<u32>),
}

/// A map: whose, and when.
#[derive(Debug)]
pub struct When {
    /// Of whose past.
    pub source: Source,
    /// The moment; without one, the last map that there is.
    pub at: Option<Moment>,
    /// The process, if there are several.
    pub pid: Option<u32>,
}

/// What to write for other tools.
#[derive(Debug)]
pub struct Export {
    /// Whose past.
    pub source: Source,
    /// Of which process, if not of all.
    pub pid: Option<u32>,
    /// From when on, if not from its beginning.
    pub from: Option<Moment>,
    /// Up to when, if not to its end.
    pub to: Option<Moment>,
    /// As what.
    pub format: export::Format,
    /// Where it goes, if not to standard output.
    pub output: Option<PathBuf>,
}

//! The totals of a trace.

use std::fmt::{self, Display, Formatter};

use mmaptrace_model::{
    Model,
    model::Totals,
    process::{Forgotten, Process},
};
use mmaptrace_recording::End;

use crate::escape::{self, Escaped};

/// What a trace has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// When it ended: ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// Events, shown or not.
    pub events: u64,
    /// Records that found no room, or could not be read.
    pub lost: u64,
    /// How often a model in doubt was read again.
    pub healed: u64,
    /// Whether the model of every process was exact at the end (its own, or that of the trace).
    pub exact: bool,
    /// Differences that `--verify` found; `None`: it did not look, or could compare nothing.
    pub differences: Option<u64>,
    /// How the launched command ended, as `wait` tells it; `None`: it runs, or none was launched.
    pub command: Option<u32>,
    /// Each process that was followed, but for those that ended some thousands of others ago.
    pub processes: Vec<Process>,
    /// Those.
    pub forgotten: Forgotten,
}

impl Summary {
    /// The totals of a model, and of what is known beside it at the end.
    pub fn new(model: &Model, end: &End) -> Self {
        let totals = model.totals();
        let processes: Vec<_> = model.process_totals().collect();
        Self {
            time: end.time,
            events: totals.events,
            lost: lost(&totals, end),
            healed: totals.healed,
            exact: model.is_exact() && knows_all_losses(&totals, end),
            differences: end.differences,
            command: end.command,
            processes,
            forgotten: model.forgotten(),
        }
    }

    /// How many regions all processes have, or had when they ended.
    pub fn regions(&self) -> u64 {
        let remembered: u64 = self.processes.iter().map(|process| process.regions).sum();
        remembered + self.forgotten.regions
    }
}

/// Records that found no room, or could not be read, or were of what could not be followed. The kernel
/// counts what no record of an mm told of as well.
pub fn lost(totals: &Totals, end: &End) -> u64 {
    totals.lost.max(end.lost) + totals.malformed + end.unfollowed
}

/// Whether the model has been told of all losses, so that it is known whose they were, and where all
/// processes are.
pub const fn knows_all_losses(totals: &Totals, end: &End) -> bool {
    end.lost <= totals.lost && end.unfollowed == 0 && !end.unseen
}

/// The most processes that the line for people names.
const NAMED: usize = 4;

/// The line for people, without a newline:
/// `1234 events, 0 lost, 0 healed, exact; 4711 sleep: 29 regions`.
impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let &Self { events, lost, healed, exact, differences, .. } = self;
        let plural = if events == 1 { "" } else { "s" };
        let exact = if exact { "exact" } else { "NOT EXACT" };
        write!(f, "{events} event{plural}, {lost} lost, {healed} healed, {exact}")?;
        if let Some(differences) = differences {
            write!(f, ", {differences} differences to /proc")?;
        }
        let named = if self.processes.len() > NAMED { &[] } else { &self.processes[..] };
        if named.is_empty() && !self.processes.is_empty() {
            let all = self.processes.len() as u64 + self.forgotten.processes;
            write!(f, "; {all} processes: {} regions", self.regions())?;
        }
        named.iter().try_for_each(|process| write!(f, "; {}", Line(process)))
    }
}

/// A process in that line: `4711 sleep: 29 regions`
struct Line<'a>(&'a Process);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let &Process { pid, ref comm, status, regions, .. } = self.0;
        write!(f, "{pid} {}: ", Escaped(escape::comm(comm)))?;
        match status {
            Some(_) => Ended(status).fmt(f),
            None if regions == 1 => f.write_str("1 region"),
            None => write!(f, "{regions} regions"),
        }
    }
}

/// How a task ended, from its status as `wait` tells it, if that is known: `exited with 0`, `killed
/// by SIGKILL`, `ended`.
#[derive(Clone, Copy, Debug)]
pub struct Ended(pub Option<u32>);

impl Ended {
    /// The number of the signal that killed it; 0: none did.
    fn killed_by(self) -> Option<u32> {
        self.0.map(|status| status & 0x7f)
    }

    /// The exit status, if it exited.
    pub fn code(self) -> Option<u32> {
        self.0.filter(|_| self.killed_by() == Some(0)).map(|status| status >> 8 & 0xff)
    }

    /// The signal that killed it, if one did, and whether it dumped core.
    pub fn signal(self) -> Option<(String, bool)> {
        let (signal, status) = self.killed_by().filter(|&signal| signal != 0).zip(self.0)?;
        Some((crate::syscall::signal::Name(signal).to_string(), status & 0x80 != 0))
    }
}

impl Display for Ended {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.code(), self.signal()) {
            (_, Some((signal, true))) => write!(f, "killed by {signal} (core dumped)"),
            (_, Some((signal, false))) => write!(f, "killed by {signal}"),
            (Some(code), None) => write!(f, "exited with {code}"),
            (None, None) => f.write_str("ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, regions: u64, status: Option<u32>) -> Process {
        let comm = *b"sl\x1bep\0\0\0\0\0\0\0\0\0\0\0";
        let (space, exact) = (None, true);
        Process { pid, comm, space, status, events: 7, lost: 0, healed: 0, exact, regions }
    }

    #[test]
    fn one_line_for_people() {
        let mut summary = Summary {
            events: 1234,
            exact: true,
            processes: vec![process(1, 29, None)],
            ..Summary::default()
        };
        assert_eq!(
            summary.to_string(),
            r"1234 events, 0 lost, 0 healed, exact; 1 sl\033ep: 29 regions"
        );
        summary.processes.push(process(2, 0, Some(0x8b)));
        summary.differences = Some(2);
        summary.exact = false;
        assert_eq!(
            summary.to_string(),
            "1234 events, 0 lost, 0 healed, NOT EXACT, 2 differences to /proc; \
             1 sl\\033ep: 29 regions; 2 sl\\033ep: killed by SIGSEGV (core dumped)"
        );
        summary.processes = (0..9).map(|pid| process(pid, 10, None)).collect();
        summary.differences = None;
        assert!(summary.to_string().ends_with("NOT EXACT; 9 processes: 90 regions"));
        summary.forgotten = Forgotten { processes: 3, regions: 60, in_doubt: false };
        assert!(summary.to_string().ends_with("NOT EXACT; 12 processes: 150 regions"));
    }

    #[test]
    fn ends() {
        assert_eq!(Ended(Some(0x0300)).to_string(), "exited with 3");
        assert_eq!(Ended(Some(9)).to_string(), "killed by SIGKILL");
        assert_eq!(Ended(Some(35)).to_string(), "killed by SIGRT_3");
        assert_eq!((Ended(Some(9)).code(), Ended(Some(0x0300)).code()), (None, Some(3)));
    }
}

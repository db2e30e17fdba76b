//! Questions about the past: each listens to all events of it, and answers at the end.
//!
//! ```text
//! history (a recording, or what a running tracer remembers) -> Event, Model
//!     -> mmaptrace_model::history (folds) -> an answer, as text or as JSON
//! ```

mod blame;
mod core;
mod diff;
mod report;
mod style;
mod who;
mod words;

use anyhow::{Result, bail};
use mmaptrace_model::{Model, event::Doubt};

use crate::{
    history::{Moment, Past, Point, Then},
    note,
    sink::text::Why,
};

pub use self::{blame::run as blame, diff::run as diff, report::run as report, who::run as who};

/// Up to where to tell.
///
/// # Errors
/// There are several processes and none is given, or it has no such moment in this past.
fn until(past: &mut Past, at: Option<&Moment>, pid: Option<u32>) -> Result<Option<Point>> {
    match at {
        Some(at @ (Moment::Exec | Moment::Exit)) => Ok(Some(turn(past, at, pid)?.0.point)),
        at => at.map(|at| past.point(at)).transpose(),
    }
}

/// The model at an exec or exit, and of which process: the only one, if none is given.
///
/// # Errors
/// See [`until`].
fn turn(past: &mut Past, at: &Moment, pid: Option<u32>) -> Result<(Then, u32)> {
    let pid = pid.map_or_else(|| only(&past.at(&Moment::END, 0)?.model), Ok)?;
    Ok((past.at(at, pid)?, pid))
}

/// Says why the map of a process is not known to be exact at a time, ns of `CLOCK_MONOTONIC`, if it is not.
fn note_doubt(past: &Past, time: u64, pid: u32, doubt: Option<Doubt>) {
    if let Some(doubt) = doubt {
        let (time, why) = (past.clock().of_day(time), Why(doubt));
        note(format_args!("{pid}: NOT known to be exact at {time}: {why}"));
    }
}

/// The only process that there is, or if none is left, that there was.
///
/// # Errors
/// There are several, or none.
fn only(model: &Model) -> Result<u32> {
    let living: Vec<_> = model.processes().map(|it| it.pid).collect();
    let ended = || model.process_totals().map(|it| it.pid).collect();
    let all = if living.is_empty() { ended() } else { living };
    match all[..] {
        [] => bail!("there was no process then"),
        [pid] => Ok(pid),
        _ => bail!("say which process, with -p: there were {}", list(&all)),
    }
}

fn list(pids: &[u32]) -> String {
    pids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

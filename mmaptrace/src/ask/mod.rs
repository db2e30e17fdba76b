//! Questions about the past: each listens to all events of it, and answers at the end.
//!
//! ```text
//! history (a recording, or what a running tracer remembers) -> Event, Model
//!     -> mmaptrace_model::history (folds) -> an answer, as text or as JSON
//! ```

mod blame;
mod core;
mod diff;
mod print;
mod report;
mod who;
mod words;

use anyhow::{Context as _, Result};

use crate::history::{Moment, Past};

pub use self::{blame::run as blame, diff::run as diff, report::run as report, who::run as who};

/// Up to when to tell: a moment of a process as one that any past has.
///
/// # Errors
/// No process is given, or it has no such moment in this past.
fn until(past: &mut Past, at: Option<&Moment>, pid: Option<u32>) -> Result<Option<Moment>> {
    match at {
        Some(at @ (Moment::Exec | Moment::Exit)) => {
            let pid =
                pid.context("exec and exit are moments of one process: say which, with -p")?;
            let then = past.at(at, pid)?;
            Ok(Some(Moment::Epoch(then.time.saturating_add_signed(past.clock().offset))))
        }
        at => Ok(at.copied()),
    }
}

//! Long tortures of the tool: see `tests/src/torture`.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::{
    run,
    workspace::{built, cargo, succeed},
};

/// Builds the tool and the torturers, and lets them run until the time is up or a difference is
/// found; `threads` 0: by turns as many as there may be.
///
/// # Errors
/// When something cannot be built or started.
pub(crate) fn torture(seed: u64, minutes: u64, threads: u64) -> Result<ExitCode> {
    let tool = run::build(true)?;
    succeed(&mut cargo(&["build", "--release", "--package", "mmaptrace-tests", "--bins"]))?;
    let mut hunt = Command::new(built("hunt", true)?);
    hunt.args([seed, minutes, threads].map(|number| number.to_string()));
    let status = hunt.env("MMAPTRACE_BIN", tool).status().context("cannot run it")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

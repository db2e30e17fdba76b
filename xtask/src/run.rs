//! Builds the tool, and runs it.

use std::{ffi::OsString, os::unix::process::CommandExt as _, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::workspace::{built, cargo, is_root, succeed};

/// Builds the tool, and returns where it is.
///
/// # Errors
/// When cargo fails, which has then said why.
pub(crate) fn build(release: bool) -> Result<PathBuf> {
    let mut command = cargo(&["build", "--package", "mmaptrace"]);
    if release {
        command.arg("--release");
    }
    succeed(&mut command)?;
    built("mmaptrace", release)
}

/// Builds the tool, and becomes it, with `sudo` where this process is not root's.
///
/// # Errors
/// When it cannot be built or started; else this does not return.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    let tool = build(true)?;
    let mut command = if is_root() {
        Command::new(&tool)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("--").arg(&tool);
        sudo
    };
    let error = command.args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", command.get_program().display()))
}

//! The tool and its tests as programs that need no file beside them.

use std::{collections::BTreeMap, path::PathBuf, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::workspace::cargo;

/// What the machines run is of this target, whatever this one is.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Where they are.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) tool: PathBuf,
    pub(crate) victim: PathBuf,
    pub(crate) torture: PathBuf,
    pub(crate) hunt: PathBuf,
    pub(crate) load: PathBuf,
    /// By name.
    pub(crate) tests: BTreeMap<String, PathBuf>,
}

/// Builds them, optimized, for emulation is slow.
///
/// # Errors
/// When cargo fails, which has then said why.
pub(crate) fn build() -> Result<Programs> {
    let tests =
        executables("test", "test", &["--no-run", "--package", "mmaptrace-tests", "--test", "*"])?;
    Ok(Programs { tests, ..without_tests()? })
}

/// Likewise, but not the tests.
///
/// # Errors
/// See [`build`].
pub(crate) fn without_tests() -> Result<Programs> {
    let packages = ["--package", "mmaptrace", "--package", "mmaptrace-tests"];
    let mut programs = executables("build", "bin", &[&packages[..], &["--bins"]].concat())?;
    let mut take = |name| programs.remove(name).with_context(|| format!("cargo built no {name}"));
    Ok(Programs {
        tool: take("mmaptrace")?,
        victim: take("victim")?,
        torture: take("torture")?,
        hunt: take("hunt")?,
        load: take("load")?,
        tests: BTreeMap::new(),
    })
}

/// Runs cargo, and returns the programs of a kind that it built, by name.
fn executables(command: &str, kind: &str, arguments: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let mut cargo = cargo(&[command, "--release", "--target", TARGET]);
    cargo
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .env_remove("RUSTFLAGS")
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-C target-feature=+crt-static")
        // Made fast; and small, for a machine holds all of them in memory. Their symbols are what
        // the frames of stacks are named by.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
        .stderr(Stdio::inherit());
    let output = cargo.output().context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo failed ({})", output.status);
    let mut built = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value = serde_json::from_str(line).context("cargo's messages are no JSON")?;
        let (path, name) = (&message["executable"], &message["target"]["name"]);
        let is_wanted = message["target"]["kind"] == json!([kind]);
        if let (Some(path), Some(name), true) = (path.as_str(), name.as_str(), is_wanted) {
            built.insert(name.to_owned(), path.into());
        }
    }
    Ok(built)
}

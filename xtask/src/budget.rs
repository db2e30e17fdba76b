//! Holds the tool's own path to the instructions that it may take for an event: they are the same on
//! every run and under any load, as times are not.

use std::{
    collections::BTreeMap, env::consts::ARCH, fmt::Write as _, fs, path::PathBuf, process::Stdio,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    package,
    workspace::{cargo, root, target_dir},
};

/// What the bench `flow` does.
const PATHS: [&str; 3] = ["model", "text", "json"];
/// Rounds of a short and of a long run: that the rest of the program takes is in both.
const ROUNDS: [u64; 2] = [200, 2200];
/// Events of a round.
const EVENTS: u64 = 6;
/// By how much a count may differ from its budget, in percent: another build of the same compiler
/// differs by less.
const TOLERANCE: u64 = 5;

/// The budgets: a line for each path, its name and instructions an event.
fn file() -> PathBuf {
    root().join("mmaptrace/benches/budgets.txt")
}

/// Counts, and holds the counts against the budgets; or writes them down as such.
///
/// # Errors
/// When a count differs from its budget, up or down, or cannot be had.
pub(crate) fn budget(write: bool) -> Result<()> {
    ensure!(package::have("valgrind", "valgrind"), "no valgrind; install it");
    let mut counts = BTreeMap::new();
    for path in PATHS {
        let [short, long] = [instructions(path, ROUNDS[0])?, instructions(path, ROUNDS[1])?];
        let events = (ROUNDS[1] - ROUNDS[0]) * EVENTS;
        counts.insert(path, (long - short) / events);
    }
    if write {
        let lines = counts.iter().fold(String::new(), |mut lines, (path, count)| {
            let _ = writeln!(lines, "{path} {count}");
            lines
        });
        return fs::write(file(), lines).context("cannot write the budgets");
    }
    let budgets = fs::read_to_string(file()).context("no budgets")?;
    let mut apart = Vec::new();
    for line in budgets.lines() {
        let (path, budget) = line.split_once(' ').context("a budget is a name and a number")?;
        let budget: u64 = budget.parse().with_context(|| format!("no budget: {line}"))?;
        let &count = counts.get(path).with_context(|| format!("no such path: {path}"))?;
        println!("{path}: {count} instructions an event, of {budget}");
        if count.abs_diff(budget) * 100 > budget * TOLERANCE {
            apart.push(path);
        }
    }
    ensure!(
        apart.is_empty(),
        "not within {TOLERANCE} % of the budget: {}; if it is meant, cargo xtask budget --write",
        apart.join(", ")
    );
    Ok(())
}

/// The instructions of a run.
fn instructions(path: &str, rounds: u64) -> Result<u64> {
    let triple = format!("{ARCH}-unknown-linux-gnu").to_uppercase().replace('-', "_");
    let out = target_dir()?.join("callgrind.out");
    let valgrind = format!("valgrind --tool=callgrind --callgrind-out-file={}", out.display());
    let mut bench = cargo(&["bench", "-q", "-p", "mmaptrace", "--bench", "flow", "--", path]);
    bench.arg(rounds.to_string()).env(format!("CARGO_TARGET_{triple}_RUNNER"), valgrind);
    let output = bench.stdin(Stdio::null()).output().context("cannot run cargo")?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    let collected = complaints.lines().find_map(|line| line.split_once("Collected : "));
    match collected.map(|(_, number)| number.trim().parse()) {
        Some(Ok(number)) if output.status.success() => Ok(number),
        _ => bail!("callgrind counted nothing:\n{complaints}"),
    }
}

//! How fast the tool's own path is: from a recording to what is shown, on one CPU.

use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Bench, command::run, figures::Figures, report::Section};

/// One section: events a second of CPU time.
pub(super) fn sections(bench: &Bench) -> Result<Vec<Section>> {
    const SHOWN: [(&str, &[&str]); 2] = [("text", &[]), ("JSON", &["--format", "json"])];
    let mut section = Section::new(
        "from a recording to what is shown",
        format!(
            "`mmaptrace replay`, written to /dev/null, {} times each, in turn; of the CPU time of all its threads.",
            bench.rounds
        ),
        ["", "million events a second"],
    );
    for (kind, operations) in [("pair", 500_000), ("mixed", 1_000_000)] {
        let file = bench.scratch.join("recording");
        let (load, _) = bench.load(kind, operations, 1);
        let mut record = Command::new(&bench.tool);
        record.arg("record").arg("-o").arg(&file).arg("--");
        let recorded = run(record.arg(load.get_program()).args(load.get_args()))?;
        let events = events(&recorded.err)?;
        let mut rates = [const { Vec::new() }; SHOWN.len()];
        for round in 1..=bench.rounds {
            for ((name, options), rates) in SHOWN.iter().zip(&mut rates) {
                eprintln!("{kind} to {name}, round {round}");
                let mut replay = Command::new(&bench.tool);
                replay.arg("replay").arg(&file).args(*options).args(["-o", "/dev/null"]);
                rates.push(events / run(&mut replay)?.cpu.as_secs_f64() / 1e6);
            }
        }
        for ((name, _), rates) in SHOWN.iter().zip(rates) {
            let rates: Figures = rates.into_iter().collect();
            section.row([format!("`load {kind}` to {name}, {events} events"), rates.to_string()]);
        }
        let _ = std::fs::remove_file(&file);
    }
    Ok(vec![section])
}

/// How many events the tool says it saw, in its last words.
fn events(err: &str) -> Result<f64> {
    let number =
        |line: &str| line.strip_prefix("mmaptrace: ")?.split_once(" events,")?.0.parse().ok();
    err.lines().rev().find_map(number).context("the tool did not say how many events it saw")
}

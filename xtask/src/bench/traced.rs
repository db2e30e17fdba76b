//! What tracing costs the traced program, and the tracer.

use std::fs;

use anyhow::Result;

use super::{
    Bench, command::run, contestants::Contestant, figures::Figures, report::Section, times,
};

/// A load, in a benchmark of all contestants.
struct Load {
    name: &'static str,
    kind: &'static str,
    threads: usize,
    /// In a full round; a quick one does a tenth.
    operations: usize,
    /// Calls of an operation that each contestant should tell of; 0 where none are counted.
    calls: u64,
}

const LOADS: &[Load] = &[
    Load { name: "pair", kind: "pair", threads: 1, operations: 300_000, calls: 2 },
    Load { name: "mixed", kind: "mixed", threads: 1, operations: 500_000, calls: 1 },
    Load { name: "pair, 4 threads", kind: "pair", threads: 4, operations: 300_000, calls: 2 },
    Load { name: "spawn", kind: "spawn", threads: 1, operations: 10_000, calls: 0 },
];

/// What came of a contestant with a load, a figure for each round.
#[derive(Debug, Default)]
struct Results {
    /// ns an operation, on the wall.
    wall: Figures,
    /// ns of CPU time of the load an operation.
    cpu: Figures,
    /// us of CPU time of the tracer a call.
    tracer: Figures,
    /// The share of the calls that it told of.
    complete: Figures,
    /// Why there is none.
    failed: Option<String>,
}

/// One section for each load: the contestants in turn, round by round.
#[expect(clippy::unnecessary_wraps, reason = "the other parts can fail")]
pub(super) fn sections(bench: &Bench) -> Result<Vec<Section>> {
    let contestants: Vec<_> = std::iter::once(Contestant::bare())
        .chain(Contestant::own(&bench.tool))
        .chain(Contestant::peers())
        .collect();
    Ok(LOADS.iter().map(|load| section(bench, load, &contestants)).collect())
}

fn section(bench: &Bench, load: &Load, contestants: &[Contestant]) -> Section {
    let mut results: Vec<Results> = contestants.iter().map(|_| Results::default()).collect();
    for round in 1..=bench.rounds {
        for (contestant, results) in contestants.iter().zip(&mut results) {
            if results.failed.is_some() {
                continue;
            }
            eprintln!("{}, round {round}: {}", load.name, contestant.name);
            if let Err(error) = one(bench, load, contestant, results) {
                eprintln!("  {error:#}");
                results.failed = Some(format!("{error:#}"));
            }
        }
    }
    let mut section = Section::new(
        load.name,
        format!(
            "`load {}` in {} thread{}, {} times each, in turn. Slowdown: time an operation, against bare in the same round.",
            load.kind,
            load.threads,
            if load.threads == 1 { "" } else { "s" },
            bench.rounds,
        ),
        [
            "",
            "ns, on the wall",
            "slowdown",
            "slowdown of CPU time",
            "complete",
            "us of tracer a call",
            "gives",
        ],
    );
    let bare = &results[0];
    for (contestant, results) in contestants.iter().zip(&results) {
        let name = format!("`{}`", contestant.name);
        if let Some(why) = &results.failed {
            section.row([name, format!("not run: {why}")]);
            continue;
        }
        section.row([
            name,
            format!("{:.0}", results.wall),
            format!("**{:.2}**", results.wall.ratios(&bare.wall)),
            format!("{:.2}", results.cpu.ratios(&bare.cpu)),
            format!("{:.3}", results.complete),
            format!("{:.2}", results.tracer),
            contestant.gives.to_owned(),
        ]);
    }
    section
}

fn one(bench: &Bench, load: &Load, contestant: &Contestant, results: &mut Results) -> Result<()> {
    let out = bench.scratch.join("out");
    let go = |operations| {
        let (command, operations) = bench.load(load.kind, operations, load.threads);
        let run = run(&mut contestant.launch(&out, &command))?;
        let (wall, cpu) = times(&run.out)?;
        let load_in_it = if contestant.reaps() { cpu * operations as f64 } else { 0.0 };
        let tracer = run.cpu.as_nanos() as f64 - load_in_it;
        anyhow::Ok((run, wall, cpu, tracer, load.calls * operations as u64))
    };
    let all = load.operations / contestant.divisor;
    let (run, wall, cpu, tracer, calls) = go(all)?;
    results.wall.push(wall);
    results.cpu.push(cpu);
    if load.calls > 0 && !contestant.gives.is_empty() {
        results.complete.push((contestant.calls(&out)? as f64 / calls as f64).min(1.0));
        // What more operations take of the tracer: it starts and ends either way.
        let (_, _, _, less, fewer) = go(all / 10)?;
        results.tracer.push((tracer - less) / (calls - fewer) as f64 / 1000.0);
    } else if contestant.is_own() {
        results.complete.push(lossless(&run.err));
    }
    let _ = fs::remove_file(&out);
    Ok(())
}

/// 1 if the tool's last words say that nothing was lost, else 0.
fn lossless(err: &str) -> f64 {
    f64::from(u8::from(err.lines().any(|line| line.contains(" 0 lost,"))))
}

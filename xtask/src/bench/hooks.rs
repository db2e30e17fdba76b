//! Where the time of a call goes: step by step, and program by program as the kernel counts it.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    ATTACHED, Bench,
    command::{Background, Waiting, run},
    figures::Figures,
    report::Section,
    times,
};
use crate::package;

/// Who is traced while a load runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Traced {
    Nobody,
    /// A process that does nothing.
    Another,
    Itself,
}

/// What is added from one step to the next.
const STEPS: [(&str, Traced, &[&str]); 6] = [
    ("nobody is traced", Traced::Nobody, &[]),
    (
        "another is, with `--low-overhead`: whether to follow, at each lock",
        Traced::Another,
        &["--low-overhead"],
    ),
    ("another is: the same at each call", Traced::Another, &[]),
    ("it is, with `--low-overhead`: regions read and sent", Traced::Itself, &["--low-overhead"]),
    ("it is: returns of calls", Traced::Itself, &[]),
    ("it is, with `-U`: its stack", Traced::Itself, &["-U"]),
];

/// The loads, and operations of each.
const LOADS: [(&str, usize); 2] = [("pair", 300_000), ("mixed", 600_000)];

pub(super) fn sections(bench: &Bench) -> Result<Vec<Section>> {
    Ok(vec![steps(bench)?, programs(bench)?])
}

/// A load under each step.
fn steps(bench: &Bench) -> Result<Section> {
    let mut taken = STEPS.map(|_| LOADS.map(|_| Figures::default()));
    for round in 1..=bench.rounds {
        for ((name, traced, options), taken) in STEPS.into_iter().zip(&mut taken) {
            eprintln!("steps, round {round}: {name}");
            for ((kind, operations), taken) in LOADS.into_iter().zip(taken) {
                taken.push(step(bench, traced, options, kind, operations)?);
            }
        }
    }
    let mut section = Section::new(
        "step by step",
        format!(
            "ns of CPU time of the load an operation, {} times each, in turn, shown nowhere and with `--history 0`; \
             and how much that is beside nobody traced in the same round.",
            bench.rounds
        ),
        ["", "a pair", "more", "a call of `mixed`", "more"],
    );
    for ((name, ..), figures) in STEPS.iter().zip(&taken) {
        let mut row = vec![(*name).to_owned()];
        for (figures, bare) in figures.iter().zip(&taken[0]) {
            let more = figures.differences(bare);
            row.extend([format!("{figures:.0}"), format!("{more:.0}")]);
        }
        section.row(row);
    }
    Ok(section)
}

fn step(
    bench: &Bench,
    traced: Traced,
    options: &[&str],
    kind: &str,
    operations: usize,
) -> Result<f64> {
    let load = Waiting::start(&mut bench.load(kind, operations, 1).0)?;
    let another = Background::until(Command::new(&bench.load).args(["regions", "1000"]), "mapped")?;
    let tracer = match traced {
        Traced::Nobody => None,
        Traced::Another => Some(attach(bench, another.pid(), options)?),
        Traced::Itself => Some(attach(bench, load.pid(), options)?),
    };
    let (_, cpu) = times(&load.go()?)?;
    drop((tracer, another));
    Ok(cpu)
}

/// Starts the tool, and waits until it follows a process.
fn attach(bench: &Bench, pid: u32, options: &[&str]) -> Result<Background> {
    let mut tool = Command::new(&bench.tool);
    tool.args(["-v", "--history", "0", "-o", "/dev/null", "-p", &pid.to_string()]).args(options);
    Background::until(&mut tool, ATTACHED)
}

/// What the kernel counts of each program, while it is asked to.
fn programs(bench: &Bench) -> Result<Section> {
    ensure!(package::have("bpftool", "bpftool"), "no bpftool; install it");
    let mut section = Section::new(
        "program by program",
        "As the kernel counts it (`kernel.bpf_stats_enabled`), which takes some 20 ns of each run for itself; what other processes do meanwhile counts, too.",
        ["", "load", "runs an operation", "ns a run", "ns an operation"],
    );
    let _counting = Counting::start()?;
    let another = Background::until(Command::new(&bench.load).args(["regions", "1000"]), "mapped")?;
    for (kind, operations) in LOADS {
        eprintln!("programs: {kind}");
        let (mut load, operations) = bench.load(kind, operations, 1);
        let load = Waiting::start(&mut load)?;
        // With the load alone it would end with it, and its programs with it.
        let tracer = attach(bench, load.pid(), &["-p", &another.pid().to_string()])?;
        let before = counts(tracer.pid())?;
        load.go()?;
        for (name, (runs, nanos)) in counts(tracer.pid())? {
            let (runs_before, nanos_before) = before.get(&name).copied().unwrap_or_default();
            let (runs, nanos) = ((runs - runs_before) as f64, (nanos - nanos_before) as f64);
            let operations = operations as f64;
            // Those of the lifecycle have others to thank for.
            if runs / operations < 0.01 {
                continue;
            }
            section.row([
                format!("`{name}`"),
                format!("`{kind}`"),
                format!("{:.2}", runs / operations),
                format!("{:.0}", nanos / runs.max(1.0)),
                format!("{:.0}", nanos / operations),
            ]);
        }
    }
    Ok(section)
}

/// The kernel counts what programs take for as long as this lives.
struct Counting(String);

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Counting {
    fn start() -> Result<Self> {
        let before = fs::read_to_string(SWITCH).context("this kernel does not count")?;
        fs::write(SWITCH, "1").context("cannot make the kernel count")?;
        Ok(Self(before))
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        let _ = fs::write(SWITCH, &self.0);
    }
}

/// How often each program of a tracer ran, and for how many ns, by name.
fn counts(tracer: u32) -> Result<BTreeMap<String, (u64, u64)>> {
    let out = run(Command::new("bpftool").args(["--json", "prog", "show"]))?.out;
    let all: Vec<Value> = serde_json::from_str(&out).context("bpftool says nothing")?;
    let own = programs_of(tracer)?;
    let figure = |program: &Value, name: &str| program[name].as_u64().unwrap_or_default();
    let own = all.iter().filter(|program| own.contains(&figure(program, "id")));
    Ok(own
        .map(|program| {
            let name = program["name"].as_str().unwrap_or_default().to_owned();
            (name, (figure(program, "run_cnt"), figure(program, "run_time_ns")))
        })
        .collect())
}

/// The ids of the programs that a process has open.
fn programs_of(pid: u32) -> Result<Vec<u64>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fdinfo"))? {
        let info = fs::read_to_string(entry?.path()).unwrap_or_default();
        let id = |line: &str| line.strip_prefix("prog_id:")?.trim().parse::<u64>().ok();
        ids.extend(info.lines().find_map(id));
    }
    Ok(ids)
}

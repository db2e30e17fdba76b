//! Measures what tracing costs, against the peers, in turn in the same run: only ratios of figures
//! taken side by side mean something on a machine that does other things too.
//!
//! These are no tests: nothing here fails because it is slow.

mod command;
mod contestants;
mod figures;
mod hooks;
mod kernels;
mod machine;
mod model;
mod others;
mod process;
mod report;
mod stream;
mod traced;

use std::{fmt::Write as _, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};

use self::{command::run, report::Section};
use crate::{
    document,
    workspace::{built, cargo, is_root, root, succeed, target_dir},
};

/// What the tool says once it follows what it is to follow.
const ATTACHED: &str = "^C ends it";

/// What is the same for all benchmarks.
struct Bench {
    tool: PathBuf,
    load: PathBuf,
    /// A directory for what the contestants write.
    scratch: PathBuf,
    rounds: usize,
    quick: bool,
}

impl Bench {
    /// A load, so many times in a full round; and how many that is in this one.
    fn load(&self, kind: &str, operations: usize, threads: usize) -> (Command, usize) {
        let operations = if self.quick { operations / 10 } else { operations };
        let mut load = Command::new(&self.load);
        load.args([kind, &operations.to_string(), &threads.to_string()]);
        (load, operations)
    }
}

/// Makes the sections of a part of the report.
type Part = fn(&Bench) -> Result<Vec<Section>>;

/// The parts of the report, by the names that `--only` takes.
const PARTS: [(&str, Part); 8] = [
    ("traced", traced::sections),
    ("others", others::sections),
    ("hooks", hooks::sections),
    ("machine", machine::sections),
    ("kernels", kernels::sections),
    ("process", process::sections),
    ("stream", stream::sections),
    ("model", model::sections),
];

/// Runs the benchmarks and writes `docs/performance.md`, or prints what it would write if it is not
/// all of it.
///
/// # Errors
/// When this is not root, or what is to be measured cannot be built or run.
pub(crate) fn bench(quick: bool, only: Option<&str>) -> Result<()> {
    ensure!(is_root(), "tracing needs root: sudo --preserve-env=PATH,HOME cargo xtask bench");
    let known = |only| PARTS.iter().any(|(name, _)| *name == only);
    let names = PARTS.map(|(name, _)| name).join(", ");
    ensure!(only.is_none_or(known), "no such part; there are {names}");
    contestants::install();
    succeed(&mut cargo(&["build", "--release", "-p", "mmaptrace", "-p", "mmaptrace-tests"]))?;
    let scratch = target_dir()?.join("bench");
    fs::create_dir_all(&scratch).context("no directory for what is measured")?;
    let bench = Bench {
        tool: built("mmaptrace", true)?,
        load: built("load", true)?,
        scratch,
        rounds: 3,
        quick,
    };
    let mut report = about(quick)?;
    for (name, sections) in PARTS {
        if only.is_none_or(|only| only == name) {
            for section in sections(&bench)? {
                write!(report, "\n{section}")?;
            }
        }
    }
    let _ = fs::remove_dir_all(&bench.scratch);
    if quick || only.is_some() {
        println!("{report}");
    } else {
        document::write(&root().join("docs/performance.md"), "bench", &format!("\n{report}\n"))?;
    }
    Ok(())
}

/// The machine, the day, and how to read the figures.
fn about(quick: bool) -> Result<String> {
    let says = |program: &str, arguments: &[&str]| {
        let out = run(Command::new(program).args(arguments)).map(|run| run.out);
        out.unwrap_or_default().lines().next().unwrap_or_default().trim().to_owned()
    };
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let versions =
        ["strace", "perf", "bpftrace", "trace-cmd"].map(|peer| says(peer, &["--version"]));
    Ok(format!(
        "{}, Linux {}, {} CPUs ({}). Load of the machine when it began: {}.\n\
         Peers: {}.\n\n\
         Figures are medians of the rounds, with the least and the most.\n",
        says("date", &["+%F"]),
        says("uname", &["-r"]),
        std::thread::available_parallelism()?,
        model.map_or("unknown", |(_, model)| model),
        fs::read_to_string("/proc/loadavg")?.split(' ').next().unwrap_or_default(),
        versions.join("; "),
    ) + if quick { "\nA quick run.\n" } else { "" })
}

/// ns an operation that a load says it took, on the wall and of CPU time, among what else is there.
///
/// # Errors
/// When it says nothing.
fn times(out: &str) -> Result<(f64, f64)> {
    let two = |line: &str| {
        let (wall, cpu) = line.trim().split_once(' ')?;
        Some((wall.parse().ok()?, cpu.parse().ok()?))
    };
    out.lines().rev().find_map(two).context("the load did not say how long it took")
}

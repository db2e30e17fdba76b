//! A run of the torture program under the tracer.

use std::{fmt, path::Path, process::Command};

use super::Setting;
use crate::{PATIENCE, Scratch, Tracer, Victim, difference, dump_as};

/// Options of a tracer that tells of its doubts and of little else.
const QUIET: &[&str] = &["-f", "-e", "map_shadow_stack", "--min-size", "1T"];

/// What a run without a difference counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Calls of the sequences; those of children are among them.
    pub calls: u64,
    /// Dumps held against `/proc/PID/maps`.
    pub comparisons: u64,
    /// Records that the tracer's buffer had no room for.
    pub lost: u64,
    /// How often a model was read again.
    pub healed: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.comparisons += other.comparisons;
        self.lost += other.lost;
        self.healed += other.healed;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, comparisons, lost, healed } = self;
        write!(f, "{calls} calls, {comparisons} comparisons, {lost} lost, {healed} healed")
    }
}

/// Where the model was not what the kernel says.
#[derive(Clone, Debug)]
pub struct Difference {
    /// In which image.
    pub image: u64,
    /// After which of its phases.
    pub phase: u64,
    /// What the difference is.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "image {}, phase {}: {}", self.image, self.phase, self.what)
    }
}

/// Runs `program`, the torture program, under a tracer with these options beside its own, and
/// compares the model of each living process with /proc after each phase.
///
/// # Errors
/// A difference that no doubt told of; or a model that was in doubt, although nothing was lost.
///
/// # Panics
/// If the program dies, or the tracer.
pub fn run(program: &Path, setting: &Setting, options: &[&str]) -> Result<Counts, Difference> {
    let scratch = Scratch::new();
    let mut command = Command::new(program);
    command.args(setting.to_string().split(' ')).current_dir(scratch.path());
    let mut victim = Victim::launch(&mut command);
    victim.expect_ready();
    let tracer = Tracer::attach(victim.pid(), &[QUIET, options].concat());
    let mut counts = Counts::default();
    for (image, phase) in (0..setting.images).flat_map(|i| (0..setting.phases).map(move |p| (i, p)))
    {
        victim.go();
        let mut still = vec![victim.pid()];
        loop {
            let line = victim.line();
            let line = line.unwrap_or_else(|| panic!("the torture program died: {setting}"));
            match line.split_once(' ') {
                Some(("CHILD", pid)) => still.push(pid.parse().expect("a PID")),
                None if line == "STILL" => break,
                _ => panic!("the torture program says {line}"),
            }
        }
        counts.calls += setting.threads * setting.calls;
        for pid in still {
            counts.comparisons += 1;
            if let Some(what) = differs(pid) {
                return Err(Difference { image, phase, what });
            }
        }
        if let Some(what) = doubts(&tracer.stream()) {
            return Err(Difference { image, phase, what });
        }
    }
    victim.go();
    assert_eq!(victim.line().as_deref(), Some("DONE"));
    let trace = tracer.finish();
    (counts.lost, counts.healed) = (trace.total("lost"), trace.total("healed"));
    if counts.lost == 0 && counts.healed > 0 {
        let (image, phase) = (setting.images - 1, setting.phases - 1);
        let what = format!("in doubt at the end, though nothing was lost: {}", trace.doubts());
        return Err(Difference { image, phase, what });
    }
    Ok(counts)
}

/// What a tracer has said of its doubts so far, unless records were lost: then it is right.
fn doubts(stream: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stream);
    let lines = || text.lines().filter(|line| line.contains(r#""type":"doubt""#));
    let lost = lines().any(|line| line.contains(r#""kind":"lost""#));
    let first = lines().next().filter(|_| !lost)?;
    Some(format!("in doubt, though nothing was lost: {first}"))
}

/// How the model of a process that stands still differs from /proc.
fn differs(pid: u32) -> Option<String> {
    let start = std::time::Instant::now();
    loop {
        let dump = dump_as(pid, &["-v"]);
        let Ok(maps) = std::fs::read(format!("/proc/{pid}/maps")) else {
            return Some(format!("{pid} is gone"));
        };
        if dump.code() != Some(0) {
            return Some(format!("no dump of {pid}: {}", dump.stderr));
        }
        // It says so itself, and has time to mend it.
        if dump.stderr.contains("NOT known to be exact") && start.elapsed() < PATIENCE {
            continue;
        }
        let difference = difference(&maps, &dump.stdout)?;
        return Some(format!("the dump of {pid} is not /proc/{pid}/maps:\n{difference}"));
    }
}

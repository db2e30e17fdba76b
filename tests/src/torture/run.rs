//! A run of the torture program under the tracer.

use std::{fmt, path::Path, process::Command};

use super::{Script, Setting};
use crate::{
    PATIENCE, Scratch, Tracer, Victim, compare::shares_memory, difference, dump_as, is_degraded,
    tracer::TIER,
};

/// How the program is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// With all hooks.
    Whole,
    /// Without those on calls: another way through the kernel's side.
    LowOverhead,
    /// In the degraded tier, whose dumps may say that they are not known to be exact, but nothing
    /// else that is not so.
    Degraded,
}

impl Manner {
    /// What a seed asks for: `Whole` and `LowOverhead` in turn; `Degraded` where `MMAPTRACE_TIER` asks for
    /// it.
    pub fn of(seed: u64) -> Self {
        match seed {
            _ if is_degraded() => Self::Degraded,
            seed if seed.is_multiple_of(2) => Self::Whole,
            _ => Self::LowOverhead,
        }
    }

    /// What goes before a command that is to run a seed in this manner.
    pub fn environment(self) -> String {
        match self {
            Self::Whole | Self::LowOverhead => String::new(),
            Self::Degraded => format!("{TIER}=degraded "),
        }
    }

    fn record(self, pid: u32) -> Tracer {
        match self {
            Self::Whole => Tracer::record(&[pid], QUIET),
            Self::LowOverhead => Tracer::record(&[pid], &[QUIET, &["--low-overhead"]].concat()),
            Self::Degraded => Tracer::record_degraded(&[pid], QUIET),
        }
    }
}

/// Options of a tracer that tells of its doubts and of little else.
const QUIET: &[&str] =
    &["-f", "--print", "--format", "json", "-e", "map_shadow_stack", "--min-size", "1T"];

/// Names a call that every phase in which it is made ends in a difference for: for the test of what
/// becomes of one.
pub const PRETENDED: &str = "MMAPTRACE_TORTURE_PRETENDED";

/// What a run without a difference counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Calls that were made and that the kernel has; those of children are among them.
    pub calls: u64,
    /// Dumps held against `/proc/PID/maps`.
    pub comparisons: u64,
    /// Records that the tracer's buffer had no room for.
    pub lost: u64,
    /// How often a model was read again.
    pub healed: u64,
    /// Programs that their own calls have killed, before they were through.
    pub died: u64,
    /// Runs in which the kernel has left out programs of the tracer's: their doubts are no difference.
    pub left_out: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.comparisons += other.comparisons;
        self.lost += other.lost;
        self.healed += other.healed;
        self.died += other.died;
        self.left_out += other.left_out;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, comparisons, lost, healed, died, left_out } = self;
        write!(
            f,
            "{calls} calls, {comparisons} comparisons, {lost} lost, {healed} healed, {died} died"
        )?;
        write!(f, ", {left_out} with runs left out")
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
    /// What `mmaptrace record` has written of it.
    pub recording: Vec<u8>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "image {}, phase {}: {}", self.image, self.phase, self.what)
    }
}

/// Runs `program`, the torture program, under a tracer, and compares the model of each living process
/// with /proc after each phase.
///
/// # Errors
/// A difference that no doubt told of; or, but for the degraded tier, a model that was in doubt,
/// although nothing was lost.
///
/// # Panics
/// If the tracer dies.
pub fn run(program: &Path, setting: &Setting, manner: Manner) -> Result<Counts, Difference> {
    let pretended = std::env::var(PRETENDED).ok();
    run_pretending(program, setting, manner, pretended.as_deref())
}

/// The same, with a call that is taken to end in a difference.
///
/// # Errors
/// See [`run`].
///
/// # Panics
/// See [`run`].
pub fn run_pretending(
    program: &Path,
    setting: &Setting,
    manner: Manner,
    pretended: Option<&str>,
) -> Result<Counts, Difference> {
    let scratch = Scratch::new();
    let mut command = Command::new(program);
    command.args(setting.to_string().split(' ')).current_dir(scratch.path());
    let mut victim = Victim::launch(&mut command);
    victim.expect_ready();
    let tracer = manner.record(victim.pid());
    let doubts = |stream: Vec<u8>| if manner == Manner::Degraded { None } else { doubts(&stream) };
    let mut counts = Counts::default();
    let (mut found, mut doubted) = (None, None);
    let (mut image, mut phase) = (0, 0);
    while found.is_none() && doubted.is_none() && image < setting.images {
        let Some(still) = phase_of(&mut victim) else { break };
        counts.calls = still.made;
        counts.comparisons += still.processes.len() as u64;
        found = still.processes.iter().find_map(|&pid| differs(pid, &still.processes, manner));
        found = found.or_else(|| pretend(pretended?, setting, image, phase));
        doubted = doubts(tracer.stream());
        if found.is_none() && doubted.is_none() {
            phase += 1;
            (image, phase) = (image + phase / setting.phases, phase % setting.phases);
        }
    }
    if found.is_none() && doubted.is_none() {
        counts.died += u64::from(image < setting.images || !is_done(&mut victim));
    }
    let (trace, recording) = tracer.finish_recording();
    (counts.lost, counts.healed) = (trace.total("lost"), trace.total("healed"));
    counts.left_out = u64::from(trace.left_out() > 0);
    if counts.lost == 0 && manner != Manner::Degraded && counts.healed > 0 {
        let at_the_end =
            || format!("in doubt at the end, though nothing was lost: {}", trace.doubts());
        doubted = Some(doubted.unwrap_or_else(at_the_end));
    }
    // What the kernel has left out is counted, and a reason for doubt.
    found = found.or(doubted.filter(|_| trace.left_out() == 0));
    found.map_or(Ok(counts), |what| Err(Difference { image, phase, what, recording }))
}

/// A difference, if this call is made up to the end of a phase.
fn pretend(name: &str, setting: &Setting, image: u64, phase: u64) -> Option<String> {
    let script = Script::up_to(setting, image, phase);
    let (_, op) = script.calls().iter().find(|(_, op)| op.name == name)?;
    Some(format!("a difference is pretended, of {op}"))
}

fn is_done(victim: &mut Victim) -> bool {
    victim.go();
    victim.line().as_deref() == Some("DONE")
}

/// A program that stands still.
struct Still {
    /// It, and its children.
    processes: Vec<u32>,
    /// Calls that they and those before them have made.
    made: u64,
}

/// Lets the program go through a phase; `None`: it has died.
fn phase_of(victim: &mut Victim) -> Option<Still> {
    victim.go();
    let mut processes = vec![victim.pid()];
    loop {
        let line = victim.line()?;
        match line.split_once(' ') {
            Some(("CHILD", pid)) => processes.push(pid.parse().expect("a PID")),
            Some(("STILL", made)) => {
                return Some(Still { processes, made: made.parse().expect("a count") });
            }
            _ => panic!("the torture program says {line}"),
        }
    }
}

/// What a tracer has said of its doubts so far, unless records were lost: then it is right.
fn doubts(stream: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stream);
    let lines = || text.lines().filter(|line| line.contains(r#""type":"doubt""#));
    let lost = lines().any(|line| line.contains(r#""kind":"lost""#));
    let first = lines().next().filter(|_| !lost)?;
    Some(format!("in doubt, though nothing was lost: {first}"))
}

/// How the model of a process that stands still, as all of these do, differs from /proc.
fn differs(pid: u32, all: &[u32], manner: Manner) -> Option<String> {
    let start = std::time::Instant::now();
    // Of what another may be at the degraded tier is never sure.
    let is_sure = manner != Manner::Degraded || !shares_memory(pid, all);
    loop {
        let dump = dump_as(pid, &["-v"]);
        let Ok(maps) = std::fs::read(format!("/proc/{pid}/maps")) else {
            return Some(format!("{pid} is gone"));
        };
        if dump.code() != Some(0) {
            return Some(format!("no dump of {pid}: {}", dump.stderr));
        }
        // It says so itself, and has time to mend it.
        if is_sure && dump.stderr.contains("NOT known to be exact") {
            if start.elapsed() < PATIENCE {
                continue;
            }
            return Some(format!("{pid} stands still, and it is not sure: {}", dump.stderr));
        }
        let difference = difference(&maps, &dump.stdout)?;
        return Some(format!("the dump of {pid} is not /proc/{pid}/maps:\n{difference}"));
    }
}

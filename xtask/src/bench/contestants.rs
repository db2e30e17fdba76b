//! What is compared: the tool in several ways, and its peers, each asked for the same calls.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::package;

/// The calls that the loads make.
const CALLS: [&str; 6] = ["mmap", "munmap", "mprotect", "mremap", "brk", "madvise"];

/// One way to see a program's calls.
#[derive(Debug, Clone)]
pub(crate) struct Contestant {
    pub(crate) name: String,
    /// What its user gets.
    pub(crate) gives: &'static str,
    /// By how much less it has to do, so that a round of it takes no longer than one of others.
    pub(crate) divisor: usize,
    way: Way,
}

#[derive(Debug, Clone)]
enum Way {
    Bare,
    /// The tool at this path, with these options.
    Tool(PathBuf, &'static [&'static str]),
    /// The tool at this path, recording.
    Recording(PathBuf),
    Strace,
    PerfTrace,
    PerfRecord,
    TraceCmd,
    Bpftrace,
}

impl Contestant {
    /// No tracer at all: what the others are measured by.
    pub(crate) fn bare() -> Self {
        Self { name: "bare".into(), gives: "", divisor: 1, way: Way::Bare }
    }

    /// The ways to use the tool.
    pub(crate) fn own(tool: &Path) -> Vec<Self> {
        const EFFECTS: &str = "decoded text, effects, exact map";
        let own = |options: &'static [&'static str], gives, divisor| Self {
            name: ["mmaptrace"].iter().chain(options).copied().collect::<Vec<_>>().join(" "),
            gives,
            divisor,
            way: Way::Tool(tool.into(), options),
        };
        vec![
            own(&[], EFFECTS, 1),
            own(&["--low-overhead"], "the same, calls without effect left out", 1),
            own(&["--format", "json"], "the same as JSON", 1),
            Self {
                name: "mmaptrace record".into(),
                gives: "all of it, to be shown later",
                divisor: 1,
                way: Way::Recording(tool.into()),
            },
            own(&["-U"], "the same as text, with user stacks", 4),
        ]
    }

    /// The peers.
    pub(crate) fn peers() -> Vec<Self> {
        let peer =
            |name: &str, gives, divisor, way| Self { name: name.into(), gives, divisor, way };
        vec![
            peer("strace -f", "decoded text", 20, Way::Strace),
            peer("perf trace", "decoded text", 20, Way::PerfTrace),
            peer("bpftrace", "text", 10, Way::Bpftrace),
            peer("perf record", "raw file, decoded later", 1, Way::PerfRecord),
            peer("trace-cmd record", "raw file, decoded later", 1, Way::TraceCmd),
        ]
    }

    /// Whether it is the tool itself, in one of its ways.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self.way, Way::Tool(..) | Way::Recording(_))
    }

    /// Whether it waits for the load, whose CPU time is then told with its own (`wait4(2)`). perf trace
    /// ends without that.
    pub(crate) fn reaps(&self) -> bool {
        !matches!(self.way, Way::PerfTrace)
    }

    /// The command that runs `load` and writes what it sees to `out`.
    pub(crate) fn launch(&self, out: &Path, load: &Command) -> Command {
        let mut command = self.command(out, None);
        let load = std::iter::once(load.get_program()).chain(load.get_args());
        match &self.way {
            Way::Bare => {
                let mut load = load;
                command = Command::new(load.next().unwrap_or_default());
                command.args(load);
            }
            Way::Bpftrace => {
                // It wants a line of words, not words.
                let line: Vec<_> = load.map(|word| word.display().to_string()).collect();
                command.arg("-c").arg(line.join(" "));
            }
            Way::TraceCmd => _ = command.arg("-F").args(load),
            Way::Tool(..) | Way::Recording(_) | Way::Strace | Way::PerfTrace | Way::PerfRecord => {
                command.arg("--").args(load);
            }
        }
        command
    }

    /// The command that attaches to a process and writes what it sees to `out`, until interrupted.
    pub(crate) fn attach(&self, out: &Path, pid: u32) -> Command {
        let mut command = self.command(out, Some(pid));
        match &self.way {
            Way::TraceCmd => _ = command.arg("-P").arg(pid.to_string()),
            // The filter names it.
            Way::Bpftrace => {}
            _ => _ = command.arg("-p").arg(pid.to_string()),
        }
        command
    }

    fn command(&self, out: &Path, pid: Option<u32>) -> Command {
        let points =
            |call| [format!("syscalls:sys_enter_{call}"), format!("syscalls:sys_exit_{call}")];
        let points: Vec<String> = CALLS.into_iter().flat_map(points).collect();
        let mut command;
        match &self.way {
            Way::Bare => command = Command::new("true"),
            Way::Tool(tool, options) => {
                command = Command::new(tool);
                command.args(*options).arg("-o").arg(out);
            }
            Way::Recording(tool) => {
                command = Command::new(tool);
                command.arg("record").arg("-o").arg(out);
            }
            Way::Strace => {
                command = Command::new("strace");
                command.args(["-f", "-e", "trace=%memory", "-o"]).arg(out);
            }
            Way::PerfTrace => {
                command = Command::new("perf");
                command.args(["trace", "-e", &CALLS.join(","), "-o"]).arg(out);
            }
            Way::PerfRecord => {
                command = Command::new("perf");
                command.args(["record", "-q", "-e", &points.join(","), "-o"]).arg(out);
            }
            Way::TraceCmd => {
                command = Command::new("trace-cmd");
                command.args(["record", "-q", "-o"]).arg(out);
                command.args(points.iter().flat_map(|point| ["-e", point]));
            }
            Way::Bpftrace => {
                let which = pid.map_or_else(|| "cpid".into(), |pid| pid.to_string());
                let probes: Vec<_> =
                    points.iter().map(|point| format!("tracepoint:{point}")).collect();
                command = Command::new("bpftrace");
                command.arg("-o").arg(out).arg("-e").arg(format!(
                    "{} /pid == {which}/ {{ printf(\"%d %d %s\\n\", tid, nsecs, probe); }}",
                    probes.join(",")
                ));
            }
        }
        command
    }

    /// How many calls `out` tells of.
    ///
    /// # Errors
    /// When that cannot be read.
    pub(crate) fn calls(&self, out: &Path) -> Result<u64> {
        let file = || File::open(out).with_context(|| format!("cannot read {}", out.display()));
        let exits = |line: &[u8]| contains(line, b"sys_exit_");
        match &self.way {
            Way::Bare => Ok(0),
            Way::Tool(_, options) if options.contains(&"json") => {
                count(file()?, |line| contains(line, b"\"type\":\"call\""))
            }
            // The effects of calls that are not shown are counted by who made them.
            Way::Tool(_, options) if options.contains(&"--low-overhead") => {
                count(file()?, |line| contains(line, b"(0x") || contains(line, b"(NULL"))
            }
            Way::Tool(..) | Way::Strace | Way::PerfTrace => {
                count(file()?, |line| contains(line, b" = "))
            }
            Way::Recording(tool) => {
                piped(Command::new(tool).arg("replay").arg(out), |line| contains(line, b" = "))
            }
            Way::PerfRecord => {
                piped(Command::new("perf").args(["script", "-F", "event", "-i"]).arg(out), exits)
            }
            Way::TraceCmd => {
                piped(Command::new("trace-cmd").args(["report", "-i"]).arg(out), exits)
            }
            Way::Bpftrace => count(file()?, exits),
        }
    }
}

/// Installs the programs that the peers, and the loads of other kinds, need and this machine lacks.
/// One that cannot be had is missed where it is used.
pub(crate) fn install() {
    let programs = [
        ("strace", "strace"),
        ("perf", "linux-perf"),
        ("bpftrace", "bpftrace"),
        ("trace-cmd", "trace-cmd"),
        ("stress-ng", "stress-ng"),
    ];
    for (program, package) in programs {
        let _ = package::have(program, package);
    }
}

fn contains(line: &[u8], what: &[u8]) -> bool {
    line.windows(what.len()).any(|window| window == what)
}

/// The number of lines that are so.
fn count(from: impl Read, so: impl Fn(&[u8]) -> bool) -> Result<u64> {
    let mut lines = BufReader::new(from);
    let (mut line, mut number) = (Vec::new(), 0);
    while lines.read_until(b'\n', &mut line)? > 0 {
        number += u64::from(so(&line));
        line.clear();
    }
    Ok(number)
}

/// The number of lines of a command's output that are so.
fn piped(command: &mut Command, so: impl Fn(&[u8]) -> bool) -> Result<u64> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let number = child.stdout.take().map_or(Ok(0), |out| count(out, so));
    child.wait()?;
    number
}

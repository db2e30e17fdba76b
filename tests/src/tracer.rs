//! The tracer under test, and its dumps.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::compare::{difference, maps};
use crate::process::{Finished, Process, run, until};
use crate::{Scratch, Trace, is_emulated};

/// How a tracer says, on standard error, that it has every address space it was asked to trace.
const READY: &str = "mmaptrace: tracing";
/// What asks the tool for a tier.
pub(crate) const TIER: &str = "MMAPTRACE_TIER";

/// Whether the tool can do no more than the degraded tier does: that was asked for, or is all that there
/// is on this kernel, as `MMAPTRACE_DEGRADED` says.
pub fn is_degraded() -> bool {
    std::env::var_os("MMAPTRACE_DEGRADED").is_some()
        || std::env::var_os(TIER).is_some_and(|tier| tier == "degraded")
}

/// A command for the binary under test: `MMAPTRACE_BIN`, else the release build's.
///
/// # Panics
/// If it is not there.
pub fn mmaptrace(args: &[&str]) -> Command {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/mmaptrace");
    let path = std::env::var_os("MMAPTRACE_BIN").map_or_else(|| built.into(), PathBuf::from);
    assert!(path.exists(), "{} is not there; build it first", path.display());
    let mut command = Command::new(path);
    command.args(args);
    command
}

/// The same in the degraded tier.
fn degraded(args: &[&str]) -> Command {
    let mut command = mmaptrace(args);
    command.env(TIER, "degraded");
    command
}

/// The size of the buffer, if `options` tell none: less than by default where each of its pages takes
/// long to be made.
fn buffer(options: &[&str]) -> &'static [&'static str] {
    if is_emulated() && !options.contains(&"--buffer") { &["--buffer", "16M"] } else { &[] }
}

/// A running tracer that writes to a file: JSON, unless its options say `--format text`. One
/// that [`attach_plainly`](Tracer::attach_plainly) started writes where its options say.
#[derive(Debug)]
pub struct Tracer {
    process: Process,
    scratch: Scratch,
}

impl Tracer {
    /// Attaches to a process, and waits until it has its address space.
    ///
    /// # Panics
    /// If the tracer ends instead.
    pub fn attach(pid: u32, extra: &[&str]) -> Self {
        Self::attach_all(&[pid], extra)
    }

    /// Attaches to processes, and waits until it has their address spaces.
    ///
    /// # Panics
    /// If the tracer ends instead.
    pub fn attach_all(pids: &[u32], extra: &[&str]) -> Self {
        Self::attach_by(mmaptrace(extra), pids, extra)
    }

    /// Attaches to processes in the degraded tier, and waits until it has their address spaces.
    ///
    /// # Panics
    /// If the tracer ends instead.
    pub fn attach_degraded(pids: &[u32], extra: &[&str]) -> Self {
        Self::attach_by(degraded(extra), pids, extra)
    }

    fn attach_by(mut command: Command, pids: &[u32], extra: &[&str]) -> Self {
        let scratch = Scratch::new();
        command.stdout(Stdio::null()).args(buffer(extra));
        if !extra.contains(&"--format") {
            command.args(["--format", "json"]);
        }
        command.arg("-o").arg(scratch.join("trace"));
        for pid in pids {
            command.arg("-p").arg(pid.to_string());
        }
        Self::spawn(&mut command, scratch).ready()
    }

    /// Attaches to a process with these options and no others; standard output is a pipe.
    ///
    /// # Panics
    /// If the tracer ends instead.
    pub fn attach_plainly(pid: u32, args: &[&str]) -> Self {
        let mut command = mmaptrace(args);
        command.arg("-p").arg(pid.to_string()).stdout(Stdio::piped());
        Self::spawn(&mut command, Scratch::new()).ready()
    }

    /// Records processes with these options, and waits until it has their address spaces. The
    /// recording is [`recording`](Tracer::recording); what `--print` shows is the stream.
    ///
    /// # Panics
    /// If the tracer ends instead.
    pub fn record(pids: &[u32], args: &[&str]) -> Self {
        Self::record_by(mmaptrace(&["record"]), pids, args)
    }

    /// The same in the degraded tier.
    ///
    /// # Panics
    /// If the tracer ends instead.
    pub fn record_degraded(pids: &[u32], args: &[&str]) -> Self {
        Self::record_by(degraded(&["record"]), pids, args)
    }

    fn record_by(mut command: Command, pids: &[u32], args: &[&str]) -> Self {
        let scratch = Scratch::new();
        command.args(args).args(buffer(args)).arg("-o").arg(scratch.join("recording"));
        for pid in pids {
            command.arg("-p").arg(pid.to_string());
        }
        let stream = std::fs::File::create(scratch.join("trace")).expect("a file");
        Self::spawn(command.stdout(stream), scratch).ready()
    }

    /// Where it records to.
    pub fn recording(&self) -> PathBuf {
        self.scratch.join("recording")
    }

    /// Launches a command under the tracer. Its standard output is dropped.
    ///
    /// # Panics
    /// If the tracer cannot be started.
    pub fn launch(extra: &[&str], command: &[&str]) -> Self {
        let scratch = Scratch::new();
        let mut tracer = mmaptrace(&["--format", "json", "-o"]);
        tracer.arg(scratch.join("trace")).args(extra).args(buffer(extra)).arg("--").args(command);
        tracer.stdout(Stdio::null());
        Self::spawn(&mut tracer, scratch)
    }

    fn spawn(command: &mut Command, scratch: Scratch) -> Self {
        let stderr = std::fs::File::create(scratch.join("stderr")).expect("a file");
        let process = Process::spawn(command.stdin(Stdio::null()).stderr(stderr));
        Self { process, scratch }
    }

    /// Waits until it traces.
    fn ready(mut self) -> Self {
        until("a tracer that traces", || {
            let stderr = self.stderr();
            if let Some(status) = self.process.ended() {
                panic!("the tracer has ended, {status}: {stderr}");
            }
            stderr.lines().any(|line| line.starts_with(READY)).then_some(())
        });
        self
    }

    /// What it has written to standard error so far.
    ///
    /// # Panics
    /// If that cannot be read.
    pub fn stderr(&self) -> String {
        let bytes = std::fs::read(self.scratch.join("stderr")).expect("its standard error");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What it has written to its stream so far.
    ///
    /// # Panics
    /// If that cannot be read.
    pub fn stream(&self) -> Vec<u8> {
        match std::fs::read(self.scratch.join("trace")) {
            Ok(stream) => stream,
            // It has not made the file yet, or ended without.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => panic!("the stream: {error}"),
        }
    }

    /// The tracer's process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Interrupts it, and reads what it has left. It has to end well.
    ///
    /// # Panics
    /// If it does not end, or not with success.
    pub fn finish(mut self) -> Trace {
        let status = self.interrupt();
        Trace::parse(status, &self.stream(), self.stderr())
    }

    /// Interrupts one that records, and reads what it has left, and its recording. It has to end
    /// well.
    ///
    /// # Panics
    /// If it does not end, or not with success, or has left no recording.
    pub fn finish_recording(mut self) -> (Trace, Vec<u8>) {
        let status = self.interrupt();
        let recording = std::fs::read(self.recording()).expect("a recording");
        (Trace::parse(status, &self.stream(), self.stderr()), recording)
    }

    /// Interrupts it, and reads the lines it has left. It has to end well.
    ///
    /// # Panics
    /// If it does not end, or not with success.
    pub fn finish_text(mut self) -> String {
        self.interrupt();
        String::from_utf8(self.stream()).expect("text")
    }

    /// Reads what one that was attached plainly has left, of which nothing was read so far, and interrupts
    /// it after `meanwhile`.
    ///
    /// # Panics
    /// If it does not end, or not with success.
    pub fn finish_unread(mut self, meanwhile: impl FnOnce()) -> Trace {
        let (status, stream) = self.read_late(meanwhile);
        Trace::parse(status, &stream, self.stderr())
    }

    /// The same, and what it has left, which may be any lines.
    ///
    /// # Panics
    /// See [`Tracer::finish_unread`].
    pub fn read_late(&mut self, meanwhile: impl FnOnce()) -> (ExitStatus, Vec<u8>) {
        let mut stdout = self.process.child().stdout.take().expect("a pipe");
        let reader = std::thread::spawn(move || {
            let mut stream = Vec::new();
            stdout.read_to_end(&mut stream).map(|_| stream)
        });
        meanwhile();
        let status = self.interrupt();
        (status, reader.join().expect("a thread that reads").expect("a pipe"))
    }

    fn interrupt(&mut self) -> ExitStatus {
        if self.process.ended().is_none() {
            self.process.signal(libc::SIGINT);
        }
        let status = self.process.wait();
        assert_eq!(status.code(), Some(0), "{}", self.stderr());
        status
    }

    /// Waits until it ends by itself, and reads what it has left.
    ///
    /// # Panics
    /// If it does not end.
    pub fn wait(mut self) -> Trace {
        let status = self.process.wait();
        Trace::parse(status, &self.stream(), self.stderr())
    }
}

/// What `mmaptrace dump PID` does, with more arguments.
///
/// # Panics
/// If it does not end.
pub fn dump_as(pid: u32, args: &[&str]) -> Finished {
    run(mmaptrace(&["dump"]).args(args).arg(pid.to_string()))
}

/// What `mmaptrace dump PID` prints.
///
/// # Panics
/// If it fails.
pub fn dump(pid: u32) -> Vec<u8> {
    let dump = dump_as(pid, &[]);
    assert_eq!(dump.code(), Some(0), "dump {pid}: {}", dump.stderr);
    dump.stdout
}

/// Holds that the tracer's picture of a process that stands still is `/proc/PID/maps`, byte for
/// byte.
///
/// # Panics
/// If not, with the difference.
pub fn assert_exact(pid: u32) {
    assert_exact_thread(pid, pid);
}

/// As [`assert_exact`], where the address space is to be read through a thread, because the main
/// one has exited.
///
/// # Panics
/// If they differ, with the difference.
pub fn assert_exact_thread(pid: u32, tid: u32) {
    let (dump, maps) = (dump(pid), maps(tid));
    assert!(!maps.is_empty(), "{tid} has no address space");
    if let Some(difference) = difference(&maps, &dump) {
        panic!("the dump of {pid} is not /proc/{tid}/maps:\n{difference}");
    }
}

/// This moment, as options of the tool take it.
///
/// # Panics
/// If the clock stands before 1970.
pub fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after the epoch");
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}

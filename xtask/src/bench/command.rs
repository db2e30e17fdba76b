//! Runs commands to be measured.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, PipeReader, Read as _, Write as _},
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

/// How a command went.
#[derive(Debug)]
pub(crate) struct Run {
    /// From its start to its end.
    pub(crate) wall: Duration,
    /// CPU time of it and of those that it started and waited for.
    pub(crate) cpu: Duration,
    /// The most memory that it had at a time, in bytes.
    pub(crate) memory: u64,
    /// What it wrote to standard output.
    pub(crate) out: String,
    /// What it wrote to standard error.
    pub(crate) err: String,
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started, or fails: with the last line that it complained with.
pub(crate) fn run(command: &mut Command) -> Result<Run> {
    let program = command.get_program().display().to_string();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let began = Instant::now();
    let (mut out, mut err) = (String::new(), String::new());
    let complaints = child.stderr.take().map(|mut stderr| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).map(|_| bytes)
        })
    });
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut out)?;
    }
    if let Some(complaints) = complaints.and_then(|thread| thread.join().ok()) {
        err = String::from_utf8_lossy(&complaints?).into_owned();
    }
    let (status, cpu, memory) = wait(&child)?;
    let wall = began.elapsed();
    let why = err.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    ensure!(status.success(), "{program} failed ({status}): {why}");
    Ok(Run { wall, cpu, memory, out, err })
}

/// Waits for a child, and tells the CPU time that it used, and the most memory, in bytes.
fn wait(child: &Child) -> Result<(ExitStatus, Duration, u64)> {
    let mut status = 0;
    // SAFETY: all zeroes are a `rusage`.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: locals. The child is not waited for by anyone else.
    let waited =
        unsafe { libc::wait4(child.id().cast_signed(), &raw mut status, 0, &raw mut usage) };
    if waited == -1 {
        bail!(std::io::Error::last_os_error());
    }
    let time = [usage.ru_utime, usage.ru_stime]
        .map(|time| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000))
        .iter()
        .sum();
    Ok((ExitStatus::from_raw(status), time, 1024 * usage.ru_maxrss as u64))
}

/// A process in the background, which is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Background(Child);

impl Background {
    /// Starts a command, of whose output nothing is read.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let program = command.get_program().display().to_string();
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self).with_context(|| format!("cannot run {program}"))
    }

    /// Starts a command, and waits until it prints a line that contains `sign` on standard error,
    /// or on standard output.
    ///
    /// # Errors
    /// When it cannot be started, or ends before it has said so.
    pub(crate) fn until(command: &mut Command, sign: &str) -> Result<Self> {
        let program = command.get_program().display().to_string();
        let (reader, writer) = std::io::pipe()?;
        command.stdin(Stdio::piped()).stdout(writer.try_clone()?).stderr(writer);
        let child = command.spawn().map(Self).with_context(|| format!("cannot run {program}"))?;
        // What it says later goes nowhere, and so does the copy of the pipe that `command` holds.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut lines = BufReader::new(reader);
        let mut line = Vec::new();
        while !String::from_utf8_lossy(&line).contains(sign) {
            line.clear();
            ensure!(lines.read_until(b'\n', &mut line)? > 0, "{program} ended early");
        }
        let mut nowhere = File::options().write(true).open("/dev/null")?;
        std::thread::spawn(move || std::io::copy(&mut lines, &mut nowhere));
        Ok(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Whether it runs still.
    pub(crate) fn lives(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// The CPU time that it has used so far, in the ticks of 10 ms that the kernel tells.
    ///
    /// # Errors
    /// When it has ended and been waited for.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        // The name may hold anything, but ends at the last parenthesis. See proc_pid_stat(5).
        let (_, fields) = stat.rsplit_once(')').context("a stat of no process")?;
        let ticks = fields.split_ascii_whitespace().skip(11).take(2).flat_map(str::parse::<u64>);
        Ok(Duration::from_millis(10 * ticks.sum::<u64>()))
    }

    /// The memory that it holds, in bytes, but for the ring that the kernel shares with it.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn memory_without_ring(&self) -> Result<u64> {
        let smaps = std::fs::read_to_string(format!("/proc/{}/smaps", self.pid()))?;
        let (mut total, mut is_ring) = (0, false);
        for line in smaps.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("Rss:") if !is_ring => {
                    total += words.next().and_then(|size| size.parse().ok()).unwrap_or(0) * 1024;
                }
                Some(field) if field.ends_with(':') => {}
                // The first line of a mapping.
                _ => is_ring = line.ends_with("anon_inode:bpf-map"),
            }
        }
        Ok(total)
    }

    /// Interrupts it, as ^C does, and waits for its end: how long that took.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub(crate) fn interrupt(mut self) -> Result<Duration> {
        let began = Instant::now();
        // SAFETY: a plain system call, on a child that has not been waited for.
        unsafe { libc::kill(self.0.id().cast_signed(), libc::SIGINT) };
        self.0.wait()?;
        Ok(began.elapsed())
    }
}

/// A load that waits to be told to go.
#[derive(Debug)]
pub(crate) struct Waiting {
    process: Background,
    says: BufReader<PipeReader>,
}

impl Waiting {
    /// Starts a load, and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started, or ends before it is ready.
    pub(crate) fn start(load: &mut Command) -> Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        load.env("LOAD_WAIT", "1").stdin(Stdio::piped()).stdout(writer).stderr(Stdio::null());
        let process = load.spawn().map(Background).context("cannot run a load")?;
        // The copy of the pipe that `load` holds would keep it open.
        load.stdout(Stdio::null());
        let mut says = BufReader::new(reader);
        let mut line = String::new();
        says.read_line(&mut line)?;
        ensure!(line == "ready\n", "a load is not ready, but says {line:?}");
        Ok(Self { process, says })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Lets it go, and waits for its end: what it says.
    ///
    /// # Errors
    /// When it ended already.
    pub(crate) fn go(mut self) -> Result<String> {
        let mut stdin = self.process.0.stdin.take().context("a load without input")?;
        stdin.write_all(b"\n")?;
        let mut said = String::new();
        self.says.read_to_string(&mut said)?;
        Ok(said)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

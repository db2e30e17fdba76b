//! Child processes that cannot outlive their test, and waits that end.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before the test fails. Emulated kernels are slow.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Asks `ready` again and again until it answers.
///
/// # Panics
/// If it has not after [`PATIENCE`]; `what` says what was waited for.
pub fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ready() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until `fd` is readable (for a pidfd: until the process has ended); `false` after
/// [`PATIENCE`].
pub(crate) fn readable(fd: i32) -> bool {
    let start = Instant::now();
    while let Some(left) = PATIENCE.checked_sub(start.elapsed()) {
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let timeout = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one initialised pollfd, and its count.
        if unsafe { libc::poll(&raw mut poll, 1, timeout) } > 0 {
            return true;
        }
    }
    false
}

/// Where the threads of `pid` and its children are: for each its state, the call it is in (`proc(5)`
/// on `/proc/PID/syscall`) and the kernel's stack, innermost function first.
pub(crate) fn whereabouts(pid: u32) -> String {
    let mut told = String::new();
    let mut processes = vec![pid];
    while let Some(pid) = processes.pop() {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let read = |name| std::fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            let children = read("children");
            processes.extend(children.split(' ').filter_map(|child| child.parse::<u32>().ok()));
            let status = read("status");
            let state = status.lines().find_map(|line| line.strip_prefix("State:\t"));
            let frames = read("stack");
            let frames: Vec<_> = frames.lines().filter_map(|line| line.split(' ').nth(1)).collect();
            let _ = write!(
                told,
                "\n{pid}/{}: {}, call {}, {}",
                thread.file_name().display(),
                state.unwrap_or("gone"),
                read("syscall").trim_end(),
                frames.join(" < ")
            );
        }
    }
    told
}

/// A child process, killed and waited for when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pidfd: OwnedFd,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn(command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        // SAFETY: takes two integers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
        assert!(fd >= 0, "pidfd_open: {}", std::io::Error::last_os_error());
        // SAFETY: the kernel just made this descriptor, and nobody else has it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        Self { child, pidfd, ended: None }
    }

    /// Starts a program with nothing on its standard input and its standard output dropped.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn quiet(program: &str, args: &[&str]) -> Self {
        Self::spawn(Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()))
    }

    /// Its PID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its status, if it has ended.
    ///
    /// # Panics
    /// If the kernel says that it is not our child.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("our own child");
        }
        self.ended
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// If it does not within [`PATIENCE`].
    pub fn wait(&mut self) -> ExitStatus {
        assert!(readable(self.pidfd.as_raw_fd()), "process {} does not end", self.pid());
        until("a status", || self.ended())
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has ended and been waited for: the PID may be somebody else's by now.
    pub fn signal(&mut self, signal: i32) {
        assert!(self.ended.is_none(), "signal to a process that is gone");
        // SAFETY: takes two integers; the PID is our child's, which nobody has waited for.
        unsafe { libc::kill(self.pid() as i32, signal) };
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // It may have ended meanwhile; then there is nothing to kill.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What a command left behind.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error; what is no UTF-8 replaced.
    pub stderr: String,
}

impl Finished {
    /// Its exit code; `None` if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Standard output as text; what is no UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Runs `command` to its end, with nothing on its standard input.
///
/// # Panics
/// If it cannot be started, or does not end within [`PATIENCE`].
pub fn run(command: &mut Command) -> Finished {
    // Files, not pipes: nobody has to read while it runs. In memory: a tracer of whoever may see that
    // a file was unlinked.
    let (mut out, mut err) = (memory_file(), memory_file());
    let copy = |file: &File| file.try_clone().expect("a descriptor");
    command.stdin(Stdio::null()).stdout(copy(&out)).stderr(copy(&err));
    let status = Process::spawn(command).wait();
    let read = |file: &mut File| {
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("the output");
        bytes
    };
    let (stdout, stderr) = (read(&mut out), read(&mut err));
    Finished { status, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
}

/// A file that nobody else can open.
fn memory_file() -> File {
    // SAFETY: a name, and plain flags.
    let fd = unsafe { libc::memfd_create(c"output".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0, "memfd_create: {}", std::io::Error::last_os_error());
    // SAFETY: the kernel just made this descriptor, and nobody else has it.
    unsafe { File::from_raw_fd(fd) }
}

//! The other end of the program `victim`: one case in a process of its own.

use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use crate::Process;
use crate::process::{readable, whereabouts};

/// How a case's work came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All was done.
    Done,
    /// This kernel lacks the call.
    Unsupported {
        /// The call.
        call: String,
        /// The errno it failed with.
        errno: i32,
    },
}

/// A running case: it stands still until told to [`go`](Self::go), and again when it is done.
#[derive(Debug)]
pub struct Victim {
    process: Process,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    line: Vec<u8>,
    /// Children it told of, in the order it made them.
    pub children: Vec<u32>,
}

impl Victim {
    /// Starts a case of `program` with its arguments, and waits until it is ready.
    ///
    /// # Panics
    /// If it does not say `READY`.
    pub fn start(program: &Path, case: &str, args: &[&Path]) -> Self {
        let started = Self::start_if_supported(program, case, args);
        started.unwrap_or_else(|line| panic!("{case}: {line}"))
    }

    /// Starts a case of `program` as [`start`](Self::start) does, if this kernel has what it takes;
    /// else with what it says.
    ///
    /// # Errors
    /// It says that it is `UNSUPPORTED`, and what is.
    ///
    /// # Panics
    /// If it says anything else.
    pub fn start_if_supported(program: &Path, case: &str, args: &[&Path]) -> Result<Self, String> {
        let mut victim = Self::launch(Command::new(program).arg(case).args(args));
        match victim.line() {
            Some(line) if line == "READY" => Ok(victim),
            Some(line) if line.starts_with("UNSUPPORTED ") => Err(line),
            other => panic!("{case}: {other:?}"),
        }
    }

    /// Starts a command that will behave like a victim, the tracer with one under it say.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn launch(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::spawn(command);
        let stdin = process.child().stdin.take();
        let stdout = process.child().stdout.take().expect("a pipe");
        Self { process, stdin, stdout, line: Vec::new(), children: Vec::new() }
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// If it says anything else.
    pub fn expect_ready(&mut self) {
        let line = self.line();
        assert_eq!(line.as_deref(), Some("READY"), "a case that is not ready");
    }

    /// Its PID.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The process itself.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The next line it says; `None` at the end.
    ///
    /// # Panics
    /// If it says nothing for [`PATIENCE`](crate::PATIENCE).
    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.line.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.line.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let pid = self.pid();
            assert!(
                readable(self.stdout.as_raw_fd()),
                "victim {pid} is silent:{}",
                whereabouts(pid)
            );
            let mut bytes = [0; 256];
            let count = self.stdout.read(&mut bytes).expect("its pipe");
            if count == 0 {
                return None;
            }
            self.line.extend_from_slice(&bytes[..count]);
        }
    }

    /// Lets it go on to where it stands still next.
    ///
    /// # Panics
    /// If it has ended.
    pub fn go(&mut self) {
        self.stdin.as_mut().expect("not ended").write_all(b"\n").expect("a victim that waits");
    }

    /// Waits until it has done its work and stands still.
    ///
    /// # Panics
    /// If it ends, or says what no case says.
    pub fn outcome(&mut self) -> Outcome {
        loop {
            let line = self.line().expect("a victim that has not ended");
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["DONE"] => return Outcome::Done,
                ["UNSUPPORTED", call, errno] => {
                    let errno = errno.parse().expect("an errno");
                    return Outcome::Unsupported { call: call.to_owned(), errno };
                }
                ["CHILD", pid] => self.children.push(pid.parse().expect("a PID")),
                _ => panic!("victim {}: {line}", self.pid()),
            }
        }
    }

    /// Lets it do its work.
    ///
    /// # Panics
    /// If it does not get done.
    pub fn work(&mut self) -> Outcome {
        self.go();
        self.outcome()
    }

    /// Closes its standard input, at which it ends, and waits for that.
    ///
    /// # Panics
    /// If it does not end.
    pub fn end(&mut self) -> ExitStatus {
        self.stdin = None;
        self.process.wait()
    }
}

/// Starts a case of this package's `victim`: `victim!("case")`, `victim!("case", path)`.
#[macro_export]
macro_rules! victim {
    ($case:expr $(, $arg:expr)*) => {
        $crate::Victim::start($crate::victim_path!(), $case, &[$($arg.as_ref()),*])
    };
}

/// Where this package's `victim` is: `MMAPTRACE_VICTIM`, else where it was built.
#[macro_export]
macro_rules! victim_path {
    () => {
        std::path::Path::new(
            &std::env::var_os("MMAPTRACE_VICTIM")
                .unwrap_or_else(|| env!("CARGO_BIN_EXE_victim").into()),
        )
    };
}

//! The exit codes, a contract that others script against.

use std::process::ExitCode;

/// How the tool ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done: the traced processes ended, the time was up, or the user said so.
    Success,
    /// It could not trace, found no tracer to ask, or a recording is cut or damaged.
    Failure,
    /// The command line is wrong.
    Usage,
    /// `--verify` found a difference between the model and /proc.
    Difference,
    /// Of those who ask a tracer: some run, and none has that PID.
    NoSuchProcess,
    /// `-- CMD`: the tracer itself failed.
    LaunchFailure,
    /// `-- CMD`: CMD cannot be executed.
    CannotExecute,
    /// `-- CMD`: CMD was not found.
    NotFound,
    /// `-- CMD`: CMD's own status.
    Status(u8),
    /// `-- CMD`: CMD was killed by this signal, and so will the tracer be.
    Signal(i32),
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Difference => 3,
            Self::NoSuchProcess => 42,
            Self::LaunchFailure => 125,
            Self::CannotExecute => 126,
            Self::NotFound => 127,
            Self::Status(status) => status,
            // What a shell makes of it.
            Self::Signal(signal) => 128 + (signal & 0x7f) as u8,
        }
    }

    /// Ends like this: by the signal where CMD was killed by one, so that a shell sees the same.
    pub fn end(self) -> ExitCode {
        if let Self::Signal(signal) = self {
            let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: plain calls. CMD has dumped its core if it could; this process must not.
            unsafe {
                libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core);
                libc::signal(signal, libc::SIG_DFL);
                libc::raise(signal);
            }
        }
        ExitCode::from(self.code())
    }
}

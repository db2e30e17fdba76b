//! Runs a command that waits, before its first instruction, until it is traced.

use std::{
    ffi::{CString, OsString},
    fs::File,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
};

/// A child that waits to become the command.
#[derive(Debug)]
pub struct Launch {
    /// Its PID.
    pub pid: u32,
    /// Closed, or written to, when it may go on.
    go: File,
    /// Tells the error of its exec; closed by the exec.
    failure: File,
}

/// Why there is no child.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// An argument with a NUL in it.
    #[error("an argument holds a NUL byte")]
    Nul,
    /// The system has no process or no pipe left.
    #[error("cannot start a process")]
    Start(#[source] io::Error),
}

impl Launch {
    /// Forks the child. To be called while this process has one thread.
    ///
    /// # Errors
    /// See [`LaunchError`].
    pub fn new(command: &[OsString]) -> Result<Self, LaunchError> {
        let argv: Vec<CString> = command
            .iter()
            .map(|argument| CString::new(argument.as_bytes()))
            .collect::<Result<_, _>>()
            .map_err(|_| LaunchError::Nul)?;
        let mut pointers: Vec<_> = argv.iter().map(|argument| argument.as_ptr()).collect();
        pointers.push(std::ptr::null());
        let (wait, go) = pipe().map_err(LaunchError::Start)?;
        let (failure, tell) = pipe().map_err(LaunchError::Start)?;
        // SAFETY: there is one thread, so the child may do whatever this process may.
        match unsafe { libc::fork() } {
            -1 => Err(LaunchError::Start(io::Error::last_os_error())),
            0 => {
                drop(go);
                become_command(&pointers, File::from(wait), &File::from(tell))
            }
            pid => Ok(Self { pid: pid as u32, go: File::from(go), failure: File::from(failure) }),
        }
    }

    /// Lets the child go on, and waits until it is the command.
    ///
    /// # Errors
    /// What its exec said. The child has then ended and waits to be reaped.
    pub fn go(mut self) -> io::Result<()> {
        self.go.write_all(b"g")?;
        drop(self.go);
        let mut errno = [0; 4];
        match self.failure.read_exact(&mut errno) {
            Ok(()) => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno))),
            Err(_) => Ok(()),
        }
    }
}

/// Both ends are closed by an exec.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: they are new and nobody else's.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// The child's life: waits, and becomes the command. If the tracer goes away first, ends.
fn become_command(argv: &[*const libc::c_char], mut wait: File, tell: &File) -> ! {
    let told = wait.read_exact(&mut [0]);
    if told.is_ok() {
        // SAFETY: `argv` ends with a null and its strings outlive this. The Rust runtime ignores
        // SIGPIPE, which the command must not inherit.
        unsafe {
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            libc::execvp(argv[0], argv.as_ptr());
        }
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::ENOEXEC);
        let errno = errno.to_ne_bytes();
        // SAFETY: four bytes of a local.
        unsafe { libc::write(tell.as_raw_fd(), errno.as_ptr().cast(), errno.len()) };
    }
    // SAFETY: ends the child without running what belongs to the parent.
    unsafe { libc::_exit(127) }
}

//! What lets waiting processes go on where the tracer cannot: it was killed.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
};

use super::pressure;
use crate::launch::pipe;

/// Told in place of a PID: all go on.
const ALL: u32 = 0;

/// A process of its own, which ends with the tracer, however that ends. Before, it lets those go on
/// that the tracer had told it of.
#[derive(Debug)]
pub(super) struct Guard {
    // Closed first: then it ends.
    tell: File,
    _end: End,
}

impl Guard {
    /// Forks it. To be called while this process has one thread, and no pipe to any child that it
    /// would keep open.
    ///
    /// # Errors
    /// The system has no process or no pipe left.
    pub(super) fn start() -> io::Result<Self> {
        let (hear, tell) = pipe()?;
        // SAFETY: there is one thread, so the child may do whatever this process may.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop(tell);
                watch(File::from(hear))
            }
            pid => Ok(Self { tell: File::from(tell), _end: End(pid) }),
        }
    }

    /// A process is about to be stopped.
    ///
    /// # Errors
    /// It was killed.
    pub(super) fn stopping(&mut self, pid: u32) -> io::Result<()> {
        self.tell.write_all(&pid.to_ne_bytes())
    }

    /// None waits any more.
    pub(super) fn gone_on(&mut self) {
        // There is nothing to do for one that was killed.
        let _ = self.stopping(ALL);
    }
}

/// Waits for the end of a child.
#[derive(Debug)]
struct End(libc::pid_t);

impl Drop for End {
    fn drop(&mut self) {
        // SAFETY: a child of this process; its status is not asked for.
        unsafe { libc::waitpid(self.0, std::ptr::null_mut(), 0) };
    }
}

/// The guard's life.
fn watch(mut hear: File) -> ! {
    // SAFETY: it takes no pointers but the name, a constant. Who kills all of the tracer's name, or
    // signals all of its terminal, does not mean this.
    unsafe {
        libc::setsid();
        libc::prctl(libc::PR_SET_NAME, c"let-go-on".as_ptr());
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
    let mut waiting = Vec::new();
    let mut pid = [0; 4];
    while hear.read_exact(&mut pid).is_ok() {
        match u32::from_ne_bytes(pid) {
            ALL => waiting.clear(),
            // It may have ended since.
            pid => waiting.extend(pressure::open(pid)),
        }
    }
    for process in &waiting {
        let _ = pressure::signal(process, libc::SIGCONT);
    }
    // SAFETY: ends the child without running what belongs to the parent.
    unsafe { libc::_exit(0) }
}

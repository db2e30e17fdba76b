//! What lets waiting processes go on where the tracer cannot: it was killed.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Write as _},
};

use super::pressure;
use crate::launch::pipe;

/// Told in place of a PID: none waits any more.
const NONE: u32 = 0;
/// Likewise: the tracer ends.
const END: u32 = u32::MAX;

/// A process of its own, which ends with the tracer, however that ends. Before, it lets those go on
/// that the tracer had told it of.
#[derive(Debug)]
pub(super) struct Guard {
    tell: File,
    pid: libc::pid_t,
}

impl Guard {
    /// Forks it. To be called while this process has one thread, and no pipe to any child, which it
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
            pid => Ok(Self { tell: File::from(tell), pid }),
        }
    }

    /// Its PID.
    pub(super) const fn pid(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    /// A process is about to be stopped.
    ///
    /// # Errors
    /// The guard was killed.
    pub(super) fn stopping(&mut self, pid: u32) -> io::Result<()> {
        self.tell.write_all(&pid.to_ne_bytes())
    }

    /// None waits any more.
    pub(super) fn gone_on(&mut self) {
        // A guard that was killed needs not know.
        let _ = self.stopping(NONE);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // That the pipe is closed tells nothing yet: a command that waits to be executed has it too.
        let _ = self.stopping(END);
        // SAFETY: a child of this process; its status is not asked for.
        unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
    }
}

/// The guard's life.
fn watch(mut hear: File) -> ! {
    // SAFETY: the name is a constant, the set a local. Who signals all of the tracer's name, or of its
    // terminal, does not mean this.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
        libc::setsid();
        libc::prctl(libc::PR_SET_NAME, c"let-go-on".as_ptr());
    }
    let mut waiting = BTreeMap::new();
    let mut pid = [0; 4];
    while hear.read_exact(&mut pid).is_ok() {
        match u32::from_ne_bytes(pid) {
            NONE => waiting.clear(),
            END => break,
            // It may have ended since.
            pid => waiting.extend(pressure::open(pid).map(|process| (pid, process))),
        }
    }
    for process in waiting.values() {
        let _ = pressure::signal(process, libc::SIGCONT);
    }
    // SAFETY: ends the child without running what belongs to the parent.
    unsafe { libc::_exit(0) }
}

//! Threads that take the mmap locks of other processes, as pictures need it.
//!
//! Who waits for such a lock cannot be woken by anything, SIGKILL included, and how long it is held is
//! up to whoever holds it: a call that maps a file of FUSE's, say, waits for a program in user space.
//! That must not hold up all else. What waits for too long is left behind, one thread for each such process,
//! until it has got the lock.

use std::{
    collections::HashMap,
    io, ptr,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

use crate::machine::close_descriptors;

/// What such a thread needs, in bytes.
const STACK: usize = 1 << 16;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Lookers {
    idle: Option<Looker>,
    /// Those that wait, by the process whose lock they wait for.
    waiting: HashMap<u32, Looker>,
}

/// One of them; it ends when it is dropped, and has the lock.
#[derive(Debug)]
pub(super) struct Looker {
    /// Its thread.
    pub(super) tid: u32,
    tasks: Sender<i32>,
    seen: Receiver<io::Error>,
}

impl Lookers {
    /// One that is to take the lock of this process. `None`: another still waits for that.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn take(&mut self, pid: u32) -> io::Result<Option<Looker>> {
        if let Some(waiting) = self.waiting.get(&pid) {
            if waiting.seen.try_recv().is_err() {
                return Ok(None);
            }
            self.idle = self.waiting.remove(&pid);
        }
        self.idle.take().map_or_else(Looker::start, Ok).map(Some)
    }

    /// Takes it back.
    pub(super) fn give_back(&mut self, looker: Looker) {
        self.idle = Some(looker);
    }

    /// Leaves it behind: it waits for the lock of this process.
    pub(super) fn leave(&mut self, pid: u32, looker: Looker) {
        // Those of processes that are gone by now.
        self.waiting.retain(|_, looker| looker.seen.try_recv().is_err());
        self.waiting.insert(pid, looker);
    }
}

impl Looker {
    fn start() -> io::Result<Self> {
        let (tasks, queue) = mpsc::channel();
        let (tell, seen) = mpsc::channel();
        let (own, tid) = mpsc::channel();
        let work = move || {
            close_descriptors();
            // SAFETY: it has no requirements.
            let _ = own.send(unsafe { libc::gettid() } as u32);
            // Until nobody asks or listens any more.
            while let Ok(task) = queue.recv()
                && tell.send(touch(task)).is_ok()
            {}
        };
        thread::Builder::new().name("looker".to_owned()).stack_size(STACK).spawn(work)?;
        let tid = tid.recv().map_err(io::Error::other)?;
        Ok(Self { tid, tasks, seen })
    }

    /// Reads a byte at address 0 of a task's memory: the error it must be. `None`: it still waits.
    pub(super) fn touch(&self, task: i32, patience: Duration) -> Option<io::Error> {
        self.tasks.send(task).ok()?;
        self.seen.recv_timeout(patience).ok()
    }
}

/// Reads a byte at address 0 of a task's memory; the error it must be.
pub(super) fn touch(tid: i32) -> io::Error {
    let mut byte = 0u8;
    let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let remote = libc::iovec { iov_base: ptr::null_mut(), iov_len: 1 };
    // SAFETY: `local` is one byte that lives on; `remote` is an address of another process.
    let read = unsafe { libc::process_vm_readv(tid, &raw const local, 1, &raw const remote, 1, 0) };
    if read < 0 { io::Error::last_os_error() } else { io::Error::from_raw_os_error(0) }
}

//! Pictures of whole address spaces, to seed and to heal the model.
//!
//! `process_vm_readv` makes the kernel take the mmap lock of that process for reading, on the
//! caller's thread, one of `readers`, and release it. The hook on that release, which sees that this
//! thread asked, sends all regions into the ring: under the lock, so that no change can come between,
//! and in the order of all other commits, so that nothing has to be matched.
//!
//! The address read is 0, where nothing is mapped: the call fails, and touches nothing. (Reading
//! `/proc/PID/mem` there would do as well, but first tries to grow a stack, with the lock held for
//! writing.)

use std::{fs, io, path::Path, ptr, thread, time::Duration};

use aya::maps::MapError;

use super::{probe::Probe, readers::Reader};

/// How often the lock is taken before there is no picture, and the pauses between.
const ATTEMPTS: usize = 20;
/// See [`ATTEMPTS`].
const PAUSE: Duration = Duration::from_millis(1);

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// It has ended, or never was.
    #[error("no such process")]
    NoProcess,
    /// A kernel thread, or a process that is a zombie.
    #[error("it has no address space: a kernel thread or a zombie")]
    NoSpace,
    /// Its memory may not be looked at.
    #[error("cannot look at its memory")]
    Denied(#[source] io::Error),
    /// It held its mmap lock for longer than was to be waited.
    #[error("its memory is locked by a call that takes long, or waits for something; try again")]
    Locked,
    /// There is no thread to be had.
    #[error("cannot start a thread")]
    NoThread(#[source] io::Error),
    /// The lock was released and the hook did not see it.
    #[error("the kernel took no picture of it")]
    NoPicture,
    /// Its maps cannot be read.
    #[error("cannot read its maps")]
    NoMaps(#[source] io::Error),
    /// The map that asks cannot be accessed.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// What came of a look.
enum Looked {
    /// There was a picture.
    Taken,
    /// The lock is waited for still.
    Waiting,
    /// There was none: what the call said last.
    Refused(io::Error),
}

impl Probe {
    /// See [`Source::seed`](super::Source::seed).
    pub(super) fn picture(&mut self, pid: u32, patience: Duration) -> Result<(), SeedError> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"));
        let tasks = tasks.map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => SeedError::NoProcess,
            _ => SeedError::Denied(error),
        })?;
        let mut outcome = SeedError::NoProcess;
        // The main thread may have ended while others run: any of them will do.
        for task in tasks.flatten() {
            let Some(tid) = task.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            match self.seed_through(pid, tid, &task.path(), patience) {
                Err(e @ (SeedError::NoSpace | SeedError::NoProcess)) => outcome = e,
                other => return other,
            }
        }
        Err(outcome)
    }

    fn seed_through(
        &mut self,
        pid: u32,
        tid: i32,
        task: &Path,
        patience: Duration,
    ) -> Result<(), SeedError> {
        let reader = self.readers.take(pid)?;
        let comm = comm(&task.join("comm"));
        self.shared.update(|control| {
            control.seed_tid = reader.tid;
            control.seed_pid = pid;
            control.seed_comm = comm;
        })?;
        let looked = self.look(&reader, tid, patience)?;
        if !matches!(looked, Looked::Taken) {
            self.shared.update(|control| control.seed_tid = 0)?;
        }
        if matches!(looked, Looked::Waiting) {
            self.readers.leave(pid, reader);
            return Err(SeedError::Locked);
        }
        self.readers.give_back(reader);
        let Looked::Refused(read) = looked else { return Ok(()) };
        match read.raw_os_error() {
            Some(libc::ESRCH) if task.exists() => Err(SeedError::NoSpace),
            Some(libc::ESRCH) => Err(SeedError::NoProcess),
            Some(libc::EPERM | libc::ENOSYS) => Err(SeedError::Denied(read)),
            _ => Err(SeedError::NoPicture),
        }
    }

    /// Takes the lock until there was a picture.
    fn look(&self, reader: &Reader, tid: i32, patience: Duration) -> Result<Looked, MapError> {
        let mut attempts = 0;
        loop {
            let Some(read) = reader.read(patience, move || touch(tid)) else {
                return Ok(Looked::Waiting);
            };
            if self.shared.control.get(&0, 0)?.0.seed_tid == 0 {
                return Ok(Looked::Taken);
            }
            attempts += 1;
            if read.raw_os_error() != Some(libc::EFAULT) || attempts > ATTEMPTS {
                return Ok(Looked::Refused(read));
            }
            // The kernel left out the program, in the middle of which another task was; or it refused, for
            // the space begins or its process ends.
            thread::sleep(PAUSE);
        }
    }
}

/// Whether the kernel has the call that pictures are asked for with.
pub(super) fn is_possible() -> bool {
    // SAFETY: it has no requirements.
    touch(unsafe { libc::gettid() }).raw_os_error() != Some(libc::ENOSYS)
}

/// Reads a byte at address 0 of a task's memory; the error it must be.
fn touch(tid: i32) -> io::Error {
    let mut byte = 0u8;
    let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let remote = libc::iovec { iov_base: ptr::null_mut(), iov_len: 1 };
    // SAFETY: `local` is one byte that lives on; `remote` is an address of another process.
    let read = unsafe { libc::process_vm_readv(tid, &raw const local, 1, &raw const remote, 1, 0) };
    if read < 0 { io::Error::last_os_error() } else { io::Error::from_raw_os_error(0) }
}

/// A task's name, NUL-padded; empty if it cannot be read.
pub(super) fn comm(path: &Path) -> [u8; 16] {
    let mut comm = [0; 16];
    if let Ok(text) = fs::read(path) {
        let text = text.strip_suffix(b"\n").unwrap_or(&text);
        let length = text.len().min(15);
        comm[..length].copy_from_slice(&text[..length]);
    }
    comm
}

//! Threads that read the memory of other processes, or what `/proc` tells of it.
//!
//! Such reads take the mmap lock of the process, or read what is in its memory: both may wait for whoever
//! holds the lock, or for a program in user space whose file is mapped; a call that maps a file of FUSE's,
//! say, holds the one and waits for the other. Who waits so cannot be woken by anything, SIGKILL included.
//! That must not hold up all else: what takes too long is left behind, one thread for each such process, and
//! nothing more is read of that process until it is done.

use std::{
    collections::HashMap,
    io,
    sync::mpsc::{self, Receiver, Sender, TryRecvError},
    thread,
    time::Duration,
};

use super::SeedError;
use crate::machine::close_descriptors;

/// All of them.
#[derive(Debug, Default)]
pub struct Readers {
    idle: Option<Reader>,
    /// Those that were left behind, by the process they read of.
    waiting: HashMap<u32, Reader>,
}

/// One of them; its thread ends when this is dropped and the thread is done.
#[derive(Debug)]
pub(super) struct Reader {
    /// Its thread.
    pub(super) tid: u32,
    tasks: Sender<Task>,
    /// Told after each task.
    done: Receiver<()>,
}

type Task = Box<dyn FnOnce() + Send>;

impl Readers {
    /// What this has read of a process.
    ///
    /// # Errors
    /// [`SeedError::Locked`]: it takes longer than is to be waited, or what was read before still does.
    /// [`SeedError::NoThread`].
    pub fn read<T: Send + 'static>(
        &mut self,
        pid: u32,
        patience: Duration,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, SeedError> {
        let reader = self.take(pid)?;
        if let Some(value) = reader.read(patience, read) {
            self.give_back(reader);
            return Ok(value);
        }
        self.leave(pid, reader);
        Err(SeedError::Locked)
    }

    /// One that is to read of this process.
    ///
    /// # Errors
    /// [`SeedError::Locked`]: another still does. [`SeedError::NoThread`].
    pub(super) fn take(&mut self, pid: u32) -> Result<Reader, SeedError> {
        self.waiting.retain(|_, reader| reader.is_waiting());
        if self.waiting.contains_key(&pid) {
            return Err(SeedError::Locked);
        }
        self.idle.take().map_or_else(Reader::start, Ok)
    }

    /// Takes it back, done.
    pub(super) fn give_back(&mut self, reader: Reader) {
        self.idle = Some(reader);
    }

    /// Leaves it behind: it still reads of this process.
    pub(super) fn leave(&mut self, pid: u32, reader: Reader) {
        self.waiting.insert(pid, reader);
    }
}

impl Reader {
    fn start() -> Result<Self, SeedError> {
        let (tasks, queue) = mpsc::channel::<Task>();
        let (tell, done) = mpsc::channel();
        let (own, tid) = mpsc::channel();
        let work = move || {
            close_descriptors();
            // SAFETY: it has no requirements.
            let _ = own.send(unsafe { libc::gettid() } as u32);
            // Until nobody asks or listens any more.
            while let Ok(task) = queue.recv() {
                task();
                if tell.send(()).is_err() {
                    break;
                }
            }
        };
        let started = thread::Builder::new().name("reader".to_owned()).spawn(work);
        started.map_err(SeedError::NoThread)?;
        // It tells that first.
        let tid = tid.recv().map_err(|error| SeedError::NoThread(io::Error::other(error)))?;
        Ok(Self { tid, tasks, done })
    }

    /// What this has read. `None`: it takes longer than is to be waited.
    pub(super) fn read<T: Send + 'static>(
        &self,
        patience: Duration,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = mpsc::channel();
        // Whoever asked may have gone when it is told.
        self.tasks.send(Box::new(move || drop(tell.send(read())))).ok()?;
        self.done.recv_timeout(patience).ok()?;
        told.try_recv().ok()
    }

    fn is_waiting(&self) -> bool {
        self.done.try_recv() == Err(TryRecvError::Empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long enough for a thread that has nothing to wait for, however busy the machine.
    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn of_a_process_that_is_waited_for_no_more_is_read() {
        let mut readers = Readers::default();
        let (end, ends) = mpsc::channel::<()>();
        assert!(matches!(
            readers.read(1, Duration::ZERO, move || ends.recv()),
            Err(SeedError::Locked)
        ));
        assert!(matches!(readers.read(1, LONG, || ()), Err(SeedError::Locked)));
        assert!(matches!(readers.read(2, LONG, || 7), Ok(7)), "another one waits for nobody");
        drop(end);
        while matches!(readers.read(1, LONG, || ()), Err(SeedError::Locked)) {
            thread::yield_now();
        }
        assert!(readers.waiting.is_empty());
    }

    #[test]
    fn what_is_read_in_time_needs_one_thread() {
        let mut readers = Readers::default();
        let mut thread = || readers.read(1, LONG, || thread::current().id()).expect("a thread");
        assert_eq!(thread(), thread());
    }
}

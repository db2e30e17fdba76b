//! Threads that read what `/proc` tells of the memory of processes.
//!
//! Such reads take the mmap lock of the process, or what is in its memory: both may wait for whoever holds the
//! lock, or for a program in user space whose file is mapped. As with `lookers` that must not hold up all
//! else: what takes too long is left behind, and nothing more is read of that process until it is done.

use std::{
    collections::HashMap,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use super::SeedError;
use crate::machine::close_descriptors;

/// Those that were left behind, by the process they read of.
#[derive(Debug, Default)]
pub struct Readers(HashMap<u32, JoinHandle<()>>);

impl Readers {
    /// What this has read of a process. It gets a thread of its own: for what is read seldom.
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
        self.0.retain(|_, reader| !reader.is_finished());
        if self.0.contains_key(&pid) {
            return Err(SeedError::Locked);
        }
        let (tell, told) = mpsc::channel();
        // Whoever asked may have gone when it is told.
        let work = move || {
            close_descriptors();
            drop(tell.send(read()));
        };
        let reader = thread::Builder::new().name("reader".to_owned()).spawn(work);
        let reader = reader.map_err(SeedError::NoThread)?;
        told.recv_timeout(patience).map_err(|_| {
            self.0.insert(pid, reader);
            SeedError::Locked
        })
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
        assert!(readers.0.is_empty());
    }
}

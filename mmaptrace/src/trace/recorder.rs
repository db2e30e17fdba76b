//! Keeps what the flow takes: in a file, or the last of it in memory.
//!
//! The engine's thread does no more than copy items to a batch. Another thread makes blocks of
//! batches and writes them.

use std::{
    fs::File,
    io::{self, Write},
    mem,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use mmaptrace_model::Model;
use mmaptrace_recording::{Batch, End, Item, Memory, Start, Writer};

use crate::{machine, output};

/// Bytes of records that become a block: so much, or this old in ns, is what a tracer that is
/// killed takes with it.
const BATCH: usize = 1 << 18;
/// See [`BATCH`].
const AGE: u64 = 1_000_000_000;
/// Bytes of records from one keyframe to the next: to go to a moment is to read half of it.
const INTERVAL: usize = 1 << 24;
/// As many times the bytes of a keyframe come between two, so that a recording of a large model is
/// not all keyframes.
const SHARE: usize = 16;
/// Bytes of records that may wait for the thread before [`Recorder::is_congested`].
const QUEUE: usize = 1 << 23;

/// See the module.
pub(super) struct Recorder {
    batch: Batch,
    /// When an item was first found in it, ns of `CLOCK_MONOTONIC`.
    since: Option<u64>,
    /// Bytes of records until the next keyframe.
    left: usize,
    /// That many, unless keyframes are large.
    interval: usize,
    kept: Kept,
    jobs: Sender<Job>,
    shared: Arc<Shared>,
}

/// What the thread is to do.
enum Job {
    Items(Batch),
    Keyframe {
        model: Vec<u8>,
        events: u64,
    },
    End {
        end: End,
        events: u64,
    },
    /// To tell when all before is done.
    Tell(Sender<()>),
}

#[derive(Default)]
struct Shared {
    /// Bytes of records that wait.
    waiting: AtomicUsize,
    /// One that is written: its room is used again.
    spare: Mutex<Option<Batch>>,
    /// Why the thread has ended before its time.
    error: Mutex<Option<io::Error>>,
}

/// Where it is kept.
#[derive(Clone)]
enum Kept {
    File(PathBuf),
    Memory(Arc<Mutex<Memory>>),
}

/// What a client gets.
pub(super) enum Past {
    /// The recording is in this file.
    File(PathBuf),
    /// The recording.
    Bytes(Vec<u8>),
}

impl Recorder {
    /// Records to a new file, or to an old one emptied; see [`output::create`].
    ///
    /// # Errors
    /// It cannot be created or written.
    pub(super) fn to_file(path: &Path, start: &Start) -> io::Result<Self> {
        let file = output::create(path)?;
        let path = path.canonicalize()?;
        Self::start(Store::File { file, whole: 0 }, Kept::File(path), INTERVAL, start)
    }

    /// Keeps this many bytes in memory.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn to_memory(limit: usize, start: &Start) -> io::Result<Self> {
        let memory = Arc::new(Mutex::new(Memory::new(limit)));
        let store = Store::Memory(Arc::clone(&memory));
        // What is dropped is dropped from keyframe to keyframe.
        Self::start(store, Kept::Memory(memory), INTERVAL.min(limit), start)
    }

    fn start(store: Store, kept: Kept, interval: usize, start: &Start) -> io::Result<Self> {
        let mut writer = Writer::new(store, machine::random(), start)?;
        writer.out().begin_segment();
        let shared = Arc::<Shared>::default();
        let (jobs, queue) = mpsc::channel();
        let thread = Arc::clone(&shared);
        let work = move || thread.work(writer, &queue);
        thread::Builder::new().name("recorder".to_owned()).spawn(work)?;
        Ok(Self {
            batch: Batch::default(),
            since: None,
            left: interval,
            interval,
            kept,
            jobs,
            shared,
        })
    }

    /// Takes an item, before `model` does.
    ///
    /// # Errors
    /// What was taken before could not be written.
    pub(super) fn take(&mut self, item: Item<'_>, model: &Model) -> io::Result<()> {
        if self.batch.size() >= BATCH {
            self.hand_on(model)?;
        }
        self.batch.push(item);
        Ok(())
    }

    /// Whether so much waits to be written that no more should come.
    pub(super) fn is_congested(&self) -> bool {
        self.shared.waiting.load(Ordering::Relaxed) > QUEUE
    }

    /// Hands on what has waited long enough.
    ///
    /// # Errors
    /// See [`Recorder::take`].
    pub(super) fn tick(&mut self, now: u64, model: &Model) -> io::Result<()> {
        match self.since {
            Some(since) if now.saturating_sub(since) >= AGE => self.hand_on(model),
            None if !self.batch.is_empty() => {
                self.since = Some(now);
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Hands on what there is, if nothing may come for long and it would be lost with the tracer.
    ///
    /// # Errors
    /// See [`Recorder::take`].
    pub(super) fn rest(&mut self, model: &Model) -> io::Result<()> {
        match self.kept {
            Kept::File(_) => self.hand_on(model),
            Kept::Memory(_) => Ok(()),
        }
    }

    /// What was recorded until now.
    ///
    /// # Errors
    /// See [`Recorder::take`].
    pub(super) fn past(&mut self, model: &Model) -> io::Result<Past> {
        self.hand_on(model)?;
        self.wait()?;
        Ok(match &self.kept {
            Kept::File(path) => Past::File(path.clone()),
            Kept::Memory(memory) => Past::Bytes(lock(memory).to_bytes()),
        })
    }

    /// Writes the end, and waits until all is written.
    ///
    /// # Errors
    /// See [`Recorder::take`].
    pub(super) fn end(&mut self, end: &End, model: &Model) -> io::Result<()> {
        self.hand_on(model)?;
        self.send(Job::End { end: end.clone(), events: model.totals().events })?;
        self.wait()
    }

    /// Waits until all that was handed on is written.
    fn wait(&self) -> io::Result<()> {
        let (tell, told) = mpsc::channel();
        self.send(Job::Tell(tell))?;
        told.recv().map_err(|_| self.shared.error())
    }

    fn hand_on(&mut self, model: &Model) -> io::Result<()> {
        self.since = None;
        if self.batch.is_empty() {
            return Ok(());
        }
        let events = model.totals().events;
        let mut next = lock(&self.shared.spare).take().unwrap_or_default();
        next.restart(events);
        let batch = mem::replace(&mut self.batch, next);
        let size = batch.size();
        self.shared.waiting.fetch_add(size, Ordering::Relaxed);
        self.send(Job::Items(batch))?;
        self.left = self.left.saturating_sub(size);
        if self.left == 0 {
            let model = model.to_keyframe();
            self.left = self.interval.max(SHARE * model.len());
            self.send(Job::Keyframe { model, events })?;
        }
        Ok(())
    }

    fn send(&self, job: Job) -> io::Result<()> {
        self.jobs.send(job).map_err(|_| self.shared.error())
    }
}

impl Shared {
    /// The thread: until the recorder is gone, or writing fails.
    fn work(&self, mut writer: Writer<Store>, jobs: &Receiver<Job>) {
        for job in jobs {
            let written = match job {
                Job::Items(batch) => {
                    let written = writer.items(&batch);
                    self.waiting.fetch_sub(batch.size(), Ordering::Relaxed);
                    *lock(&self.spare) = Some(batch);
                    written
                }
                Job::Keyframe { model, events } => {
                    writer.out().begin_segment();
                    writer.keyframe(&model, events)
                }
                Job::End { end, events } => writer.end(&end, events),
                Job::Tell(tell) => {
                    // Whoever asked may have given up.
                    let _ = tell.send(());
                    Ok(())
                }
            };
            if let Err(error) = written {
                writer.out().cut();
                *lock(&self.error) = Some(error);
                return;
            }
        }
    }

    /// Why the thread has ended, though there is more to do.
    fn error(&self) -> io::Error {
        match &*lock(&self.error) {
            Some(error) => io::Error::new(error.kind(), error.to_string()),
            None => io::Error::other("the thread that writes it has panicked"),
        }
    }
}

/// What the thread writes to.
enum Store {
    File {
        file: File,
        /// Bytes that were written by whole writes.
        whole: u64,
    },
    Memory(Arc<Mutex<Memory>>),
}

impl Store {
    fn begin_segment(&mut self) {
        match self {
            Self::File { .. } => {}
            Self::Memory(memory) => lock(memory).begin_segment(),
        }
    }

    /// Takes back what a write has left that failed.
    fn cut(&mut self) {
        match self {
            // A reader knows a cut block when it sees one.
            Self::File { file, whole } => drop(file.set_len(*whole)),
            Self::Memory(_) => {}
        }
    }
}

impl Write for Store {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File { file, whole } => {
                file.write_all(bytes)?;
                *whole += bytes.len() as u64;
                Ok(())
            }
            Self::Memory(memory) => lock(memory).write_all(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics in between that could leave it half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One whose thread does this instead.
    fn recorder(work: impl FnOnce(Receiver<Job>) + Send + 'static) -> Recorder {
        let (jobs, queue) = mpsc::channel();
        thread::spawn(move || work(queue));
        Recorder {
            batch: Batch::default(),
            since: None,
            left: INTERVAL,
            interval: INTERVAL,
            kept: Kept::File(PathBuf::new()),
            jobs,
            shared: Arc::default(),
        }
    }

    /// Whatever was handed on before: what is missing in the recording is never taken for written.
    #[test]
    fn a_thread_that_ends_before_its_time_is_an_error() {
        let model = Model::default();
        for taken in 0..3 {
            let mut recorder = recorder(move |jobs| _ = jobs.iter().take(taken).count());
            recorder.take(Item::Tick { time: 1 }, &model).expect("it is only kept");
            let ended = recorder.end(&End::default(), &model);
            assert!(ended.is_err_and(|it| it.to_string().contains("panicked")), "{taken}");
            assert!(recorder.past(&model).is_err(), "{taken}");
        }
    }
}

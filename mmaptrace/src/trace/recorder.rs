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
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
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
    writes: Writes,
}

/// Writes to a file that were begun, and those that are done: odd while one is under way.
type Writes = Arc<AtomicUsize>;

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
    File {
        path: PathBuf,
        /// What is written there can be read again, unlike that to a pipe or a device.
        regular: bool,
    },
    Memory(Arc<Mutex<Memory>>),
}

/// What a client gets.
pub(super) enum Past {
    /// The recording is in this file.
    File(PathBuf),
    /// The recording.
    Bytes(Vec<u8>),
    /// It cannot be had, for this reason.
    Withheld(String),
}

impl Recorder {
    /// Records to a new file, or to an old one emptied; see [`output::create`].
    ///
    /// # Errors
    /// It cannot be created or written.
    pub(super) fn to_file(path: &Path, start: &Start) -> io::Result<Self> {
        let file = output::create(path)?;
        let regular = file.metadata()?.is_file();
        // A pipe that has no name but in /proc has no other.
        let path = if regular { path.canonicalize()? } else { path.to_owned() };
        let kept = Kept::File { path, regular };
        let writes = Writes::default();
        let store = Store::File { file, whole: 0, writes: Arc::clone(&writes) };
        Self::start(store, kept, writes, INTERVAL, start)
    }

    /// Keeps this many bytes in memory.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn to_memory(limit: usize, start: &Start) -> io::Result<Self> {
        let memory = Arc::new(Mutex::new(Memory::new(limit)));
        let store = Store::Memory(Arc::clone(&memory));
        // What is dropped is dropped from keyframe to keyframe.
        Self::start(store, Kept::Memory(memory), Writes::default(), INTERVAL.min(limit), start)
    }

    fn start(
        store: Store,
        kept: Kept,
        writes: Writes,
        interval: usize,
        start: &Start,
    ) -> io::Result<Self> {
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
            writes,
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
            Kept::File { .. } => self.hand_on(model),
            Kept::Memory(_) => Ok(()),
        }
    }

    /// What was recorded until now, unless a single write of it takes longer than this.
    ///
    /// # Errors
    /// See [`Recorder::take`].
    pub(super) fn past(&mut self, model: &Model, patience: Duration) -> io::Result<Past> {
        if let Kept::File { path, regular: false } = &self.kept {
            let why = format!("it records to {}, which cannot be read again", path.display());
            return Ok(Past::Withheld(why));
        }
        self.hand_on(model)?;
        match self.wait(patience) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Ok(Past::Withheld(error.to_string()));
            }
            written => written?,
        }
        Ok(match &self.kept {
            Kept::File { path, .. } => Past::File(path.clone()),
            Kept::Memory(memory) => Past::Bytes(lock(memory).to_bytes()),
        })
    }

    /// Writes the end, and waits until all is written.
    ///
    /// # Errors
    /// See [`Recorder::take`]; or a single write takes longer than this.
    pub(super) fn end(&mut self, end: &End, model: &Model, patience: Duration) -> io::Result<()> {
        self.hand_on(model)?;
        self.send(Job::End { end: end.clone(), events: model.totals().events })?;
        self.wait(patience)
    }

    /// Waits until all that was handed on is written. That may be as much as the ring has, and takes as long
    /// as it takes while it gets on; but who does not read may never do.
    fn wait(&self, patience: Duration) -> io::Result<()> {
        let (tell, told) = mpsc::channel();
        self.send(Job::Tell(tell))?;
        loop {
            let before = self.writes.load(Ordering::Relaxed);
            match told.recv_timeout(patience) {
                Ok(()) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => return Err(self.shared.error()),
                Err(RecvTimeoutError::Timeout) => {
                    let is_under_way = before % 2 == 1;
                    if is_under_way && self.writes.load(Ordering::Relaxed) == before {
                        return Err(self.unread());
                    }
                }
            }
        }
    }

    fn unread(&self) -> io::Error {
        let name = match &self.kept {
            Kept::File { path, .. } => path.display().to_string(),
            Kept::Memory(_) => "memory".to_owned(),
        };
        io::Error::new(io::ErrorKind::TimedOut, format!("{name}: its reader does not read"))
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
        writes: Writes,
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
            Self::File { file, whole, .. } => drop(file.set_len(*whole)),
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
            Self::File { file, whole, writes } => {
                writes.fetch_add(1, Ordering::Relaxed);
                let written = file.write_all(bytes);
                writes.fetch_add(1, Ordering::Relaxed);
                written?;
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
    use std::os::fd::OwnedFd;

    use super::*;

    /// Nothing that is waited for here takes longer, but what lasts for ever.
    const PATIENCE: Duration = Duration::from_mins(1);

    /// One whose thread does this instead.
    fn recorder(work: impl FnOnce(Receiver<Job>) + Send + 'static) -> Recorder {
        let (jobs, queue) = mpsc::channel();
        thread::spawn(move || work(queue));
        Recorder {
            batch: Batch::default(),
            since: None,
            left: INTERVAL,
            interval: INTERVAL,
            kept: Kept::File { path: PathBuf::new(), regular: true },
            jobs,
            shared: Arc::default(),
            writes: Writes::default(),
        }
    }

    /// One that has more to write than this pipe has room for.
    fn full(pipe: io::PipeWriter, model: &Model) -> Recorder {
        let writes = Writes::default();
        let file = File::from(OwnedFd::from(pipe));
        let store = Store::File { file, whole: 0, writes: Arc::clone(&writes) };
        let kept = Kept::File { path: PathBuf::from("pipe"), regular: true };
        let start = Start::default();
        let mut recorder = Recorder::start(store, kept, writes, INTERVAL, &start).expect("room");
        let mut noise = 1_u64;
        for _ in 0..1 << 12 {
            // As good as random, so that it cannot be compressed.
            let record = [(); 64].map(|()| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                noise.to_be_bytes()
            });
            recorder.take(Item::Record(record.as_flattened()), model).expect("a thread");
        }
        recorder
    }

    #[test]
    fn a_reader_that_does_not_read_is_not_waited_for() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let model = Model::default();
        let mut recorder = full(writer, &model);
        let patience = Duration::from_millis(1);
        let past = recorder.past(&model, patience).expect("it may go on later");
        assert!(matches!(past, Past::Withheld(why) if why.contains("does not read")));
        let error = recorder.end(&End::default(), &model, patience).expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(reader);
        let error = recorder.end(&End::default(), &model, PATIENCE).expect_err("nobody will");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    /// All is written, however long that takes, while there is any that is read.
    #[test]
    fn a_reader_that_reads_is_waited_for() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let model = Model::default();
        let mut recorder = full(writer, &model);
        let reader = thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
        recorder.end(&End::default(), &model, PATIENCE).expect("it reads");
        drop(recorder);
        let read = reader.join().expect("a thread that reads").expect("a pipe");
        assert!(read > 1 << 20, "{read}");
    }

    /// Whatever was handed on before: what is missing in the recording is never taken for written.
    #[test]
    fn a_thread_that_ends_before_its_time_is_an_error() {
        let model = Model::default();
        for taken in 0..3 {
            let mut recorder = recorder(move |jobs| _ = jobs.iter().take(taken).count());
            recorder.take(Item::Tick { time: 1 }, &model).expect("it is only kept");
            let ended = recorder.end(&End::default(), &model, PATIENCE);
            assert!(ended.is_err_and(|it| it.to_string().contains("panicked")), "{taken}");
            assert!(recorder.past(&model, PATIENCE).is_err(), "{taken}");
        }
    }
}

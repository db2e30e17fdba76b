//! Where events are written: whole lines, or nothing, and by a thread of its own, so that a reader
//! that does not read holds up nothing but the events.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    mem,
    os::{
        fd::{AsFd, AsRawFd as _},
        unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    },
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

/// How much is gathered before it is handed on without being asked, in bytes.
const BATCH: usize = 1 << 16;
/// How much may wait for the reader before [`Output::is_congested`], in bytes; half of it while the thread
/// writes the other.
const QUEUE: usize = 1 << 23;

/// Whether standard output was closed when this process began. Before `main` Rust's runtime opens
/// `/dev/null` in the place of what is closed, so that nothing that is written later fails.
pub fn is_stdout_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// See [`is_stdout_closed`].
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Called by the C library, before Rust's runtime.
// SAFETY: the section is one of pointers to such functions.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    // SAFETY: a plain call, of any number.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    CLOSED.store(flags == -1, Ordering::Relaxed);
}

/// What fails where events are written.
pub const WRITE: &str = "cannot write the events";

/// Whether an error is that whoever read what was written has seen enough.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Lets `write` write to standard output, in one piece. A reader that has seen enough is no error.
///
/// # Errors
/// What `write` says, or the writing.
pub fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

/// A new file, or an old one emptied; or a FIFO that somebody reads, without waiting for who may: a
/// tracer that waits here would answer no signal. Only its user may read a new one, for it will hold what
/// `/proc/PID/maps` tells not everybody; an old one has the mode that it has.
///
/// # Errors
/// It cannot be created, or nobody reads it.
pub fn create(path: &Path) -> io::Result<File> {
    if !fs::metadata(path).is_ok_and(|it| it.file_type().is_fifo()) {
        return OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    }
    let opened = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ENXIO) => io::Error::other("nobody reads it; start its reader first"),
        _ => error,
    })?;
    // From here on a reader that is slow is waited for.
    // SAFETY: plain calls; the descriptor is open.
    let set = unsafe {
        let flags = libc::fcntl(file.as_raw_fd(), libc::F_GETFL);
        libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK)
    };
    if set == 0 { Ok(file) } else { Err(io::Error::last_os_error()) }
}

/// A file, a pipe or a terminal that gets whole lines: where writing fails in the middle of one, a
/// file is cut back to the last that is complete.
#[derive(Debug)]
pub struct Output {
    shared: Arc<Shared>,
    /// Not handed on yet; may end in the middle of a line.
    gathered: Vec<u8>,
}

impl Clone for Output {
    /// Another way to the same, with nothing gathered.
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), gathered: Vec::new() }
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something waits to be written; for the thread, where it is not in the middle of writing.
    more: Condvar,
    /// What waited was written, or nothing more will be; for all others.
    done: Condvar,
    /// What errors call it.
    name: String,
}

#[derive(Debug, Default)]
struct State {
    /// Handed on: whole lines.
    waiting: Vec<u8>,
    /// How much the thread is in the middle of writing, in bytes.
    writing: usize,
    /// What went wrong. Nothing is written after it.
    error: Option<(io::ErrorKind, String)>,
}

impl Output {
    /// See [`create`].
    ///
    /// # Errors
    /// It cannot be created, or nobody reads it.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = create(path)?;
        let regular = file.metadata()?.is_file();
        Self::start(Sink { file, length: regular.then_some(0) }, &path.display().to_string())
    }

    /// One of the standard streams, which errors call `name`. Not cut back: others write to it as
    /// well.
    ///
    /// # Errors
    /// It is closed.
    pub fn stream(stream: &impl AsFd, name: &str) -> io::Result<Self> {
        let file = File::from(stream.as_fd().try_clone_to_owned()?);
        Self::start(Sink { file, length: None }, name)
    }

    fn start(sink: Sink, name: &str) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            more: Condvar::new(),
            done: Condvar::new(),
            name: name.to_owned(),
        });
        let writer = Arc::clone(&shared);
        thread::Builder::new().name("output".to_owned()).spawn(move || writer.write_all(sink))?;
        Ok(Self { shared, gathered: Vec::new() })
    }

    /// Whether so much waits for the reader that no more should come.
    pub fn is_congested(&self) -> bool {
        self.shared.lock().is_congested()
    }

    /// Waits for the reader while [`Output::is_congested`].
    pub fn make_room(&self) {
        let full = |state: &mut State| state.error.is_none() && state.is_congested();
        drop(self.shared.done.wait_while(self.shared.lock(), full));
    }

    /// Hands on the first so many bytes of what was gathered.
    fn hand_on(&mut self, length: usize) -> io::Result<()> {
        let mut state = self.shared.lock();
        if length == 0 || state.error.is_some() {
            self.gathered.drain(..length);
            return state.result();
        }
        if length == self.gathered.len() && state.waiting.is_empty() {
            mem::swap(&mut self.gathered, &mut state.waiting);
        } else {
            state.waiting.extend(self.gathered.drain(..length));
        }
        let writing = state.writing > 0;
        // The thread is to find it free.
        drop(state);
        if !writing {
            self.shared.more.notify_one();
        }
        Ok(())
    }

    /// Waits until all that was flushed is written.
    ///
    /// # Errors
    /// It could not be written, or nobody has read it in this time.
    pub fn finish(&self, patience: Duration) -> io::Result<()> {
        let state = self.shared.lock();
        let busy = |state: &mut State| {
            state.error.is_none() && (state.writing > 0 || !state.waiting.is_empty())
        };
        let waited = self.shared.done.wait_timeout_while(state, patience, busy);
        let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            let why = format!("{}: its reader does not read", self.shared.name);
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        state.result()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() > BATCH
            && let Some(at) = self.gathered.iter().rposition(|&byte| byte == b'\n')
        {
            self.hand_on(at + 1)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hand_on(self.gathered.len())
    }
}

impl State {
    const fn is_congested(&self) -> bool {
        self.waiting.len() + self.writing > QUEUE
    }

    fn result(&mut self) -> io::Result<()> {
        match &self.error {
            None => Ok(()),
            Some((kind, why)) => Err(io::Error::new(*kind, why.clone())),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics in between that could leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: writes what waits, until the process ends or writing fails.
    fn write_all(&self, mut sink: Sink) {
        let mut lines = Vec::new();
        loop {
            let mut state = self.lock();
            state.writing = 0;
            self.done.notify_all();
            let idle = |state: &mut State| state.waiting.is_empty();
            let waited = self.more.wait_while(state, idle);
            state = waited.unwrap_or_else(PoisonError::into_inner);
            lines.clear();
            mem::swap(&mut lines, &mut state.waiting);
            state.writing = lines.len();
            drop(state);
            if let Err(error) = sink.write(&lines) {
                let mut state = self.lock();
                state.error = Some((error.kind(), format!("{}: {error}", self.name)));
                state.waiting.clear();
                self.done.notify_all();
                return;
            }
        }
    }
}

/// What the thread writes to.
#[derive(Debug)]
struct Sink {
    file: File,
    /// Length of what was written to a regular file, in bytes.
    length: Option<u64>,
}

impl Sink {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let outcome = self.file.write_all(lines);
        if let Some(length) = &mut self.length {
            if outcome.is_ok() {
                *length += lines.len() as u64;
            } else {
                let written = self.file.metadata()?.len().saturating_sub(*length) as usize;
                let written = &lines[..written.min(lines.len())];
                let whole = written.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
                self.file.set_len(*length + whole as u64)?;
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    #[test]
    fn a_full_device_is_an_error() {
        let mut full = Output::create(Path::new("/dev/full")).expect("it can be opened");
        full.write_all(b"line\n").expect("gathered");
        let _ = full.flush();
        let error = full.finish(PATIENCE).expect_err("it is full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().starts_with("/dev/full: "), "{error}");
        full.write_all(b"line\n").expect("gathered");
        assert!(full.flush().is_err(), "it stays so");
    }

    #[test]
    fn lines_are_handed_on_whole_and_in_order() {
        let path = std::env::temp_dir().join(format!("mmaptrace-output-{}", std::process::id()));
        let mut output = Output::create(&path).expect("a file");
        let mut expected = String::new();
        for number in 0..20_000 {
            let line = format!("line {number}\n");
            output.write_all(line.as_bytes()).expect("room");
            expected.push_str(&line);
        }
        output.finish(PATIENCE).expect("room");
        let written = std::fs::read_to_string(&path).expect("it is there");
        assert!(written.ends_with('\n') && expected.starts_with(&written));
        output.flush().expect("room");
        output.finish(PATIENCE).expect("room");
        assert!(std::fs::read_to_string(&path).expect("it is there") == expected);
        std::fs::remove_file(&path).expect("it was there");
    }

    #[test]
    fn a_reader_that_does_not_read_holds_up_nobody() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let mut output = Output::stream(&OwnedFd::from(writer), "pipe").expect("open");
        let line = [b'x'; 1 << 12];
        while !output.is_congested() {
            output.write_all(&line).expect("gathered");
            output.write_all(b"\n").expect("gathered");
        }
        let error = output.finish(Duration::from_millis(1)).expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(reader);
        let error = output.finish(PATIENCE).expect_err("nobody will");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}

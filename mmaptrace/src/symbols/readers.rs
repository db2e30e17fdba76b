//! The processes that read the files: asked, and replaced where one is lost.

use std::{
    cell::OnceCell,
    collections::HashSet,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::ask::{Answer, Question};
use crate::{escape::Escaped, note};

/// The first argument of such a process.
pub const ARGUMENT: &str = "--read-symbols";
/// How many there are. Each but one is there to take the place of one that was lost.
const READERS: usize = 4;
/// How long one may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer, in bytes.
const LONGEST: u64 = 1 << 16;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// The last is asked. They are started together, before anything is traced: none is to be traced itself.
    left: OnceCell<Vec<Reader>>,
    /// Files that nobody is asked for any more: one was lost over each.
    given_up: HashSet<u64>,
}

impl Readers {
    /// Starts them, if that was not done; their PIDs.
    pub(super) fn start(&self) -> impl Iterator<Item = u32> {
        let start = || (0..READERS).map_while(|_| Reader::start().ok()).collect();
        self.left.get_or_init(start).iter().map(|reader| reader.process.id())
    }

    /// The answer; `None`: there is nobody left, or this cannot be asked.
    pub(super) fn ask(&mut self, question: &Question) -> Option<Answer> {
        let key = question.file().map_or(0, |file| file.key);
        if self.given_up.contains(&key) {
            return None;
        }
        let _ = self.start();
        let left = self.left.get_mut()?;
        let answer = left.last_mut()?.ask(question);
        answer
            .inspect_err(|error| {
                left.pop();
                self.given_up.insert(key);
                let what = question.file().map_or(&b"the kernel"[..], |file| &file.path);
                note(format_args!("no names of functions in {}: {error}", Escaped(what)));
                if left.is_empty() {
                    note(format_args!("no more names of functions are looked for"));
                }
            })
            .ok()
    }
}

/// One of them; it is killed when it is dropped.
#[derive(Debug)]
struct Reader {
    process: Child,
    stream: BufReader<UnixStream>,
}

impl Reader {
    fn start() -> io::Result<Self> {
        let (stream, other) = UnixStream::pair()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let process = Command::new("/proc/self/exe")
            .arg(ARGUMENT)
            .stdin(Stdio::from(OwnedFd::from(other.try_clone()?)))
            .stdout(Stdio::from(OwnedFd::from(other)))
            .stderr(Stdio::null())
            // Who signals the tracer's terminal does not mean this.
            .process_group(0)
            .spawn()?;
        Ok(Self { process, stream: BufReader::new(stream) })
    }

    fn ask(&mut self, question: &Question) -> io::Result<Answer> {
        let mut line = serde_json::to_vec(question)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        let mut line = Vec::new();
        self.stream.by_ref().take(LONGEST).read_until(b'\n', &mut line).map_err(named)?;
        if line.is_empty() {
            return Err(io::Error::other("the process that read it has ended"));
        }
        Ok(serde_json::from_slice(&line)?)
    }
}

/// What the kernel calls a time-out says nothing to anyone.
fn named(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            io::Error::other(format!("it was not read within {PATIENCE:?}"))
        }
        _ => error,
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It may wait for something that nothing wakes it from: who waited for it would, too.
        let _ = self.process.kill();
        let _ = self.process.try_wait();
    }
}

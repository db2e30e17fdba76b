//! The other end of the socket.

use std::{
    ffi::OsString,
    io::{self, BufReader, Write as _},
    os::unix::{ffi::OsStringExt as _, net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use mmaptrace_recording::End;

use super::{DumpFormat, Reply, Request, directory};
use crate::machine::{is_root, process_of};

/// How long a tracer may take to answer: it may be taking a picture of a large process.
const PATIENCE: Duration = Duration::from_secs(30);

/// A map as it is to be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    /// The text.
    pub body: Vec<u8>,
    /// The commit id it is of.
    pub commit: u64,
    /// Whether it is known to be exact.
    pub exact: bool,
    /// Why it is not.
    pub why: Option<String>,
}

/// Asks for the map of a process: the newest tracer that has it.
///
/// # Errors
/// No tracer answers, or one fails to.
pub fn dump(pid: u32, format: DumpFormat, socket: Option<&Path>) -> Result<Printed> {
    match first_answer(Request::Dump { pid, format }, Some(pid), socket)? {
        (Reply::Dump { commit, exact, why, .. }, body) => Ok(Printed { body, commit, exact, why }),
        (reply, _) => bail!("the tracer says what it was not asked: {reply:?}"),
    }
}

/// What a tracer remembers.
#[derive(Debug)]
pub enum Remembered {
    /// It records to this file.
    File(PathBuf),
    /// A recording.
    Bytes(Vec<u8>),
}

/// Asks for what a tracer remembers, and what it knows beside it: the one that traces `pid`, or did; else
/// there must be only one.
///
/// # Errors
/// No tracer answers, or one fails to; or it remembers nothing.
pub fn remembered(pid: Option<u32>, socket: Option<&Path>) -> Result<(Remembered, End)> {
    let asked = first_answer(Request::History { pid }, pid, socket);
    // It may have forgotten a process that its past tells of.
    let asked = asked.or_else(|error| {
        let is_gone = pid.is_some_and(|pid| process_of(pid).is_none());
        let is_unknown = is_gone && error.is::<NotTraced>();
        let any = is_unknown.then(|| first_answer(Request::History { pid: None }, None, socket));
        any.and_then(Result::ok).ok_or(error)
    });
    match asked? {
        (Reply::History { known, .. }, bytes) => Ok((Remembered::Bytes(bytes), known)),
        (Reply::Recording { path, known }, _) => {
            Ok((Remembered::File(OsString::from_vec(path).into()), known))
        }
        (Reply::NoHistory, _) => {
            bail!("the tracer remembers nothing: it was started with --history 0")
        }
        (reply, _) => bail!("the tracer says what it was not asked: {reply:?}"),
    }
}

/// No running tracer has a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTraced {
    /// There is no process, or none of this PID.
    #[error("no running tracer has PID {0}; trace it with: mmaptrace -p {0}")]
    Process(u32),
    /// It is a thread of another.
    #[error("no running tracer has PID {tid}: it is a thread of process {pid}; ask for that")]
    Thread {
        /// What was asked for.
        tid: u32,
        /// What it is part of.
        pid: u32,
    },
}

impl NotTraced {
    fn of(pid: u32) -> Self {
        match process_of(pid) {
            Some(process) if process != pid => Self::Thread { tid: pid, pid: process },
            Some(_) | None => Self::Process(pid),
        }
    }
}

/// The answer of the first tracer that has the process, the newest first; without a process, that
/// of the only one there is.
fn first_answer(
    request: Request,
    pid: Option<u32>,
    socket: Option<&Path>,
) -> Result<(Reply, Vec<u8>)> {
    let directory = directory::path();
    let sockets = match socket {
        Some(socket) => vec![socket.to_owned()],
        None => directory::sockets(&directory),
    };
    let mut strangers = false;
    let mut denied = None;
    let mut answer = None;
    for socket in &sockets {
        match ask(socket, request) {
            Ok((Reply::NoSuchProcess, _)) => strangers = true,
            Ok((Reply::Error { why }, _)) => {
                bail!("the tracer at {} says: {why}", socket.display())
            }
            Ok(_) if answer.is_some() => {
                let all: Vec<_> = sockets.iter().map(|it| it.display().to_string()).collect();
                bail!("several tracers run; say which by -p PID or --socket: {}", all.join(", "))
            }
            Ok(said) if pid.is_some() => return Ok(said),
            Ok(said) => answer = Some(said),
            Err(e) if is_gone(&e) => {}
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => denied = Some(socket),
            // What a wait that is over is to a socket.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => bail!(
                "the tracer at {} has not answered for {PATIENCE:?}; ask it again later",
                socket.display()
            ),
            Err(e) => return Err(e).with_context(|| format!("cannot ask {}", socket.display())),
        }
    }
    match (answer, pid) {
        (Some(answer), _) => Ok(answer),
        (None, Some(pid)) if strangers => Err(NotTraced::of(pid).into()),
        (None, _) => Err(nobody(pid, socket, &directory, denied)),
    }
}

fn nobody(
    pid: Option<u32>,
    socket: Option<&Path>,
    directory: &Path,
    denied: Option<&PathBuf>,
) -> anyhow::Error {
    if let Some(socket) = denied {
        return anyhow!("{} is another user's; ask as that user, or as root", socket.display());
    }
    if let Some(socket) = socket {
        return anyhow!("no tracer listens on {}", socket.display());
    }
    let pid = pid.map_or_else(|| "PID".to_owned(), |pid| pid.to_string());
    if is_root() {
        anyhow!("no tracer is running; start one with: mmaptrace -p {pid}")
    } else {
        anyhow!(
            "no tracer is running in {}; root's are asked by root: the same with sudo",
            directory.display()
        )
    }
}

/// Whether nobody listens there: the tracer was killed, or ended before it was asked, or while.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionRefused, ConnectionReset, NotConnected, NotFound, UnexpectedEof,
    };
    matches!(
        error.kind(),
        NotFound | ConnectionRefused | ConnectionReset | NotConnected | BrokenPipe | UnexpectedEof
    )
}

fn ask(socket: &Path, request: Request) -> io::Result<(Reply, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&request.to_line()?)?;
    Reply::read(&mut BufReader::new(stream))
}

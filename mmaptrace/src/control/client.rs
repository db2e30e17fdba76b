//! `mmaptrace dump`: the other end of the socket.

use std::{
    io::{self, BufRead as _, BufReader, IsTerminal as _, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};

use super::{Reply, Request, directory};
use crate::{
    config::{Dump, DumpFormat},
    exit::Exit,
    sink::escape,
};

/// How long a tracer may take to answer: it may be taking a picture of a large process.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the tracers, newest first, until one has the process, and prints what it says.
///
/// # Errors
/// No tracer answers, or one fails to.
pub fn dump(config: &Dump) -> Result<Exit> {
    let directory = directory::path();
    let sockets = match &config.socket {
        Some(socket) => vec![socket.clone()],
        None => directory::sockets(&directory),
    };
    let request = Request::Dump { pid: config.pid, format: config.format };
    let mut tracers = 0;
    let mut denied = None;
    for socket in &sockets {
        match ask(socket, request) {
            Ok((Reply::Dump { commit, exact, why, .. }, body)) => {
                // What was joined from /proc may not fit, which the map itself cannot say.
                if config.verbose || (!exact && config.format == DumpFormat::PmapX) {
                    report(config.pid, commit, exact, why.as_deref());
                }
                return print(&body);
            }
            Ok((Reply::NoSuchProcess, _)) => tracers += 1,
            Ok((Reply::Error { why }, _)) => {
                bail!("the tracer at {} says: {why}", socket.display())
            }
            Err(e) if is_gone(&e) => {}
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => denied = Some(socket),
            Err(e) => return Err(e).with_context(|| format!("cannot ask {}", socket.display())),
        }
    }
    if tracers > 0 {
        crate::note(format_args!(
            "no running tracer has PID {}; trace it with: mmaptrace -p {0}",
            config.pid
        ));
        return Ok(Exit::NoSuchProcess);
    }
    Err(nobody(config, &directory, denied))
}

fn nobody(config: &Dump, directory: &Path, denied: Option<&PathBuf>) -> anyhow::Error {
    let pid = config.pid;
    if let Some(socket) = denied {
        return anyhow!("{} is another user's; ask as that user, or as root", socket.display());
    }
    if let Some(socket) = &config.socket {
        return anyhow!("no tracer listens on {}", socket.display());
    }
    if directory::is_root() {
        anyhow!("no tracer is running; start one with: mmaptrace -p {pid}")
    } else {
        anyhow!(
            "no tracer is running in {}; root's are asked by root: sudo mmaptrace dump {pid}",
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
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    if stream.read_line(&mut head)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let reply = serde_json::from_str(&head)?;
    let mut body = Vec::new();
    stream.read_to_end(&mut body)?;
    if let Reply::Dump { length, .. } = &reply
        && body.len() as u64 != *length
    {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((reply, body))
}

fn report(pid: u32, commit: u64, exact: bool, why: Option<&str>) {
    if exact {
        crate::note(format_args!("{pid}: exact as of commit {commit}"));
    } else {
        let why = why.unwrap_or("in doubt");
        crate::note(format_args!("{pid}: NOT known to be exact as of commit {commit}: {why}"));
    }
}

fn print(body: &[u8]) -> Result<Exit> {
    let mut stdout = io::stdout().lock();
    let escaped;
    let body = if stdout.is_terminal() {
        // The names in it are the traced program's choice.
        escaped = escape::lines(body);
        escaped.as_bytes()
    } else {
        body
    };
    match stdout.write_all(body).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Exit::Success),
        // The reader has seen enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Success),
        Err(e) => Err(e).context("cannot write to standard output"),
    }
}

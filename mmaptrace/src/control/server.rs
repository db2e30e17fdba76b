//! The tracer's end of the socket.

use std::{
    fs, io,
    os::unix::net::UnixStream as StdStream,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{REQUEST_MAX, Reply, Request, directory};
use crate::machine;

/// How long a client may take to ask, and to take its answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request, and where its answer goes: the reply and the bytes that follow it.
pub type Ask = (Request, oneshot::Sender<(Reply, Vec<u8>)>);

/// The socket; gone with this.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    asks: mpsc::Receiver<Ask>,
}

impl Server {
    /// Listens in the directory. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The directory is not private, or the socket cannot be made.
    pub fn listen(directory: &Path) -> io::Result<Self> {
        directory::prepare(directory)?;
        remove_abandoned(directory);
        let path = directory.join(format!("{}.sock", std::process::id()));
        // A socket that nobody listens on yet looks like one that was abandoned: it gets its name
        // when somebody does.
        let nascent = path.with_extension("new");
        let _ = fs::remove_file(&nascent);
        let listener = UnixListener::bind(&nascent)?;
        fs::rename(&nascent, &path)?;
        let (sender, asks) = mpsc::channel(16);
        tokio::spawn(accept(listener, sender));
        Ok(Self { path, asks })
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next request.
    pub async fn next(&mut self) -> Option<Ask> {
        self.asks.recv().await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // If it is gone already, that is what was wanted.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes the sockets of tracers that were killed.
fn remove_abandoned(directory: &Path) {
    for socket in directory::sockets(directory) {
        if let Err(e) = StdStream::connect(&socket)
            && e.kind() == io::ErrorKind::ConnectionRefused
        {
            let _ = fs::remove_file(&socket);
        }
    }
}

async fn accept(listener: UnixListener, asks: mpsc::Sender<Ask>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: some may come free.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        tokio::spawn(timeout(PATIENCE, serve(stream, asks.clone())));
    }
}

/// One client. What fails here is the client's loss alone.
async fn serve(stream: UnixStream, asks: mpsc::Sender<Ask>) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    if peer != 0 && peer != machine::user() {
        return Ok(());
    }
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    BufReader::new(read.take(REQUEST_MAX)).read_until(b'\n', &mut line).await?;
    let (reply, body) = match Request::parse(&line) {
        Ok(request) => {
            let (sender, answer) = oneshot::channel();
            if asks.send((request, sender)).await.is_err() {
                return Ok(());
            }
            let Ok(answer) = answer.await else { return Ok(()) };
            answer
        }
        Err(e) => (Reply::Error { why: format!("not a request: {e}") }, Vec::new()),
    };
    write.write_all(&reply.to_line()?).await?;
    write.write_all(&body).await?;
    write.shutdown().await
}

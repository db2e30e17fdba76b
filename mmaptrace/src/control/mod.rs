//! The control socket: how a running tracer is asked, for a map or for what it remembers.
//!
//! A tracer listens on `DIRECTORY/PID.sock`, in a directory that only its user can enter. A client
//! sends one line of JSON ([`Request`]) and gets one ([`Reply`]), and after a [`Reply::Dump`] or a
//! [`Reply::History`] as many bytes as it says.

pub mod client;
pub mod directory;
pub mod server;

use std::{
    cmp::Ordering,
    io::{self, BufRead, Read as _},
};

use mmaptrace_recording::End;
use serde::{Deserialize, Serialize};

/// The longest request, in bytes, its newline included.
pub const REQUEST_MAX: u64 = 4096;
/// The longest line of a reply, likewise: a path's bytes are written as numbers.
const REPLY_MAX: u64 = 1 << 16;

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The map of a process.
    Dump {
        /// Its PID.
        pid: u32,
        /// How it is written.
        format: DumpFormat,
    },
    /// What it remembers.
    History {
        /// If it traces this process, or did.
        pid: Option<u32>,
    },
}

impl Request {
    /// Takes a line apart.
    ///
    /// # Errors
    /// It is no request.
    pub fn parse(line: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(line)
    }

    /// As a line.
    ///
    /// # Errors
    /// None that is known.
    pub fn to_line(self) -> serde_json::Result<Vec<u8>> {
        line(&self)
    }
}

/// How a map is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DumpFormat {
    /// As `/proc/PID/maps`.
    Maps,
    /// As `pmap`.
    Pmap,
    /// As `pmap -x`.
    PmapX,
    /// As JSON.
    Json,
}

/// What the tracer says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// The map follows.
    Dump {
        /// Its length, in bytes.
        length: u64,
        /// The commit id it is of.
        commit: u64,
        /// Whether it is known to be exact.
        exact: bool,
        /// Why it is not.
        why: Option<String>,
    },
    /// A recording follows: what the tracer remembers.
    History {
        /// Its length, in bytes.
        length: u64,
        /// What is known beside it.
        known: End,
    },
    /// What the tracer remembers is in this file.
    Recording {
        /// Where: a path of any bytes, which no text of JSON's holds.
        path: Vec<u8>,
        /// What is known beside it.
        known: End,
    },
    /// It remembers nothing.
    NoHistory,
    /// The process is not traced.
    NoSuchProcess,
    /// The request was not understood, or could not be met.
    Error {
        /// Why.
        why: String,
    },
}

impl Reply {
    /// Reads a reply and the bytes that follow it. Memory grows with what is there, not with what is
    /// claimed.
    ///
    /// # Errors
    /// It ends early, is none, or what follows is longer than it says; or what `from` says.
    pub fn read(from: &mut impl BufRead) -> io::Result<(Self, Vec<u8>)> {
        let mut head = Vec::new();
        if from.by_ref().take(REPLY_MAX).read_until(b'\n', &mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let reply: Self = serde_json::from_slice(&head)?;
        let length = match reply {
            Self::Dump { length, .. } | Self::History { length, .. } => length,
            Self::Recording { .. } | Self::NoHistory | Self::NoSuchProcess | Self::Error { .. } => {
                0
            }
        };
        let mut body = Vec::new();
        from.take(length.saturating_add(1)).read_to_end(&mut body)?;
        match (body.len() as u64).cmp(&length) {
            Ordering::Equal => Ok((reply, body)),
            Ordering::Less => Err(io::ErrorKind::UnexpectedEof.into()),
            Ordering::Greater => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// As a line, for the bytes to follow.
    ///
    /// # Errors
    /// None that is known.
    pub fn to_line(&self) -> serde_json::Result<Vec<u8>> {
        line(self)
    }
}

fn line(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_has_the_bytes_it_says() {
        let reply = Reply::History { length: 3, known: End::default() };
        let sent = |body: &[u8]| [&reply.to_line().expect("a line"), body].concat();
        let read = |body: &[u8]| Reply::read(&mut &sent(body)[..]).map_err(|error| error.kind());
        assert_eq!(read(b"abc"), Ok((reply.clone(), b"abc".to_vec())));
        assert_eq!(read(b"ab"), Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(read(b"abcd"), Err(io::ErrorKind::InvalidData));
        assert!(Reply::read(&mut &b"{\"reply\":\"no\"}\n"[..]).is_err());
        assert!(Reply::read(&mut &b""[..]).is_err());
    }
}

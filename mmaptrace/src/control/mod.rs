//! The control socket: how a running tracer is asked, for a map or for what it remembers.
//!
//! A tracer listens on `DIRECTORY/PID.sock`, in a directory that only its user can enter. A client
//! sends one line of JSON ([`Request`]) and gets one ([`Reply`]), and after a [`Reply::Dump`] or a
//! [`Reply::History`] as many bytes as it says.

pub mod client;
pub mod directory;
pub mod server;

use serde::{Deserialize, Serialize};

use crate::config::DumpFormat;

/// The longest request, in bytes, its newline included.
pub const REQUEST_MAX: u64 = 4096;

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
    },
    /// What the tracer remembers is in this file.
    Recording {
        /// Where: a path of any bytes, which no text of JSON's holds.
        path: Vec<u8>,
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

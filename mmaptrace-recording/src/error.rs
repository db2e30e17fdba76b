//! What can be wrong with a recording.

use std::io;

use crate::block::VERSION;

/// Why a recording cannot be read, or not from here on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not begin as a recording does.
    #[error("it is no recording of mmaptrace")]
    Foreign,
    /// It was written by a later mmaptrace.
    #[error("it is a recording of version {version}, and this mmaptrace reads version {VERSION}")]
    Version {
        /// The version it is of.
        version: u32,
    },
    /// It ends without saying so.
    #[error("it is cut at byte {at}: its recorder was killed, has no room, or is still at it")]
    Cut {
        /// Where what is whole ends, in bytes from the start.
        at: u64,
    },
    /// It does not hold what was written.
    #[error("it is damaged at byte {at}: {what}")]
    Damaged {
        /// The start of the block that is, in bytes from the start.
        at: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// Whether all that precedes it was read, and is right.
    pub const fn is_end(&self) -> bool {
        matches!(self, Self::Cut { .. } | Self::Damaged { .. })
    }
}

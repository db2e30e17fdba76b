//! What the tracer asks the process that reads the files, and what that answers: a line of JSON each, but two
//! where a file was found.

use serde::{Deserialize, Serialize};

use super::Symbol;

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Question {
    /// The function `back` bytes before an address of the kernel.
    Kernel { address: u64, back: u64 },
    /// The function `back` bytes before a place in a file.
    Function { file: Wanted, offset: u64, back: u64 },
    /// The build id of a file.
    BuildId { file: Wanted },
}

impl Question {
    /// The file that has to be read.
    pub(super) const fn file(&self) -> Option<&Wanted> {
        match self {
            Self::Kernel { .. } => None,
            Self::Function { file, .. } | Self::BuildId { file } => Some(file),
        }
    }

    /// The same, to be changed.
    pub(super) const fn file_mut(&mut self) -> Option<&mut Wanted> {
        match self {
            Self::Kernel { .. } => None,
            Self::Function { file, .. } | Self::BuildId { file } => Some(file),
        }
    }
}

/// What is known of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Wanted {
    /// What the model has it as.
    pub(super) key: u64,
    /// A process that has it mapped, and where, if it still has.
    pub(super) process: Option<(u32, Option<(u64, u64)>)>,
    /// Its path in that process's mount namespace.
    pub(super) path: Vec<u8>,
    /// `s_dev`: `major << 20 | minor`.
    pub(super) dev: u32,
    /// Inode number.
    pub(super) ino: u64,
    /// Its build id, where that was told.
    pub(super) build_id: Option<Vec<u8>>,
    /// It is not to be read if others than root can change it.
    pub(super) only_trusted: bool,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The file is open. Another answer follows, unless it is not to be read.
    Opened {
        /// Whether nobody but root can change it.
        trusted: bool,
    },
    /// The function, if that could be found.
    Function(Option<Symbol>),
    /// The build id, if the file is there, an ELF file, and has one.
    BuildId(Option<Vec<u8>>),
}

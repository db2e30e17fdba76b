//! The file format of mmaptrace: what came from the kernel, as it came, in few bytes, and found
//! again by time. `docs/recording.md` describes the bytes.
//!
//! ```text
//! Item -> Batch -> Writer: codec (items -> columns) -> zstd -> block -> Write
//!                  Reader: Read + Seek -> block -> zstd -> codec (columns -> items) -> Item
//! ```
//!
//! Nothing here knows what records mean. A recording is append-only: each block stands for itself,
//! so that whatever happens to the writer or to the file, what lies before is read.
#![forbid(unsafe_code)]

mod batch;
mod block;
mod codec;
mod error;
mod frame;
mod memory;
mod read;
mod write;

pub use batch::Batch;
pub use codec::{Item, RECORD_MAX};
pub use error::Error;
pub use frame::{End, Start};
pub use memory::Memory;
#[cfg(fuzzing)]
pub use read::items;
pub use read::{Block, Items, Place, Reader, Segment};
pub use write::Writer;

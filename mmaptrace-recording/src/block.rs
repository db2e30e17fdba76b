//! The bytes of a file's head and of a block's. `docs/recording.md` has them as tables.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout,
    little_endian::{U16, U32, U64},
};

/// What a recording begins with. The first byte is no text, the last one is lost where line ends
/// are converted.
const MAGIC: [u8; 8] = *b"\x89mmaptr\n";
/// The version that is written, and the only one that is read.
pub(crate) const VERSION: u32 = 1;

/// The most bytes of a payload, compressed or not.
pub(crate) const PAYLOAD_MAX: u32 = 1 << 26;

/// The head of a file.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct FileHead {
    magic: [u8; 8],
    version: U32,
    zero: U32,
    /// What every block begins with: a number nobody could know before, so that nothing a traced
    /// program does can look like one.
    pub(crate) sync: U64,
    /// CRC-32 of what is before it.
    check: U32,
    zero_: U32,
}

/// Why bytes are no head of a file.
pub(crate) enum NoHead {
    Foreign,
    Version(u32),
    Damaged,
}

impl FileHead {
    pub(crate) fn new(sync: u64) -> Self {
        let (version, zero) = (VERSION.into(), 0.into());
        let mut head =
            Self { magic: MAGIC, version, zero, sync: sync.into(), check: zero, zero_: zero };
        head.check = head.checksum().into();
        head
    }

    pub(crate) fn check(&self) -> Result<(), NoHead> {
        if self.magic != MAGIC {
            Err(NoHead::Foreign)
        } else if self.version != VERSION {
            Err(NoHead::Version(self.version.get()))
        } else if self.check != self.checksum() {
            Err(NoHead::Damaged)
        } else {
            Ok(())
        }
    }

    fn checksum(&self) -> u32 {
        crc32fast::hash(&self.as_bytes()[..24])
    }
}

/// Kinds of blocks. Others are passed over.
pub(crate) mod kind {
    /// The first block: [`Start`](crate::Start), as JSON.
    pub(crate) const START: u16 = 1;
    /// Items.
    pub(crate) const ITEMS: u16 = 2;
    /// A model, from which on reading may begin.
    pub(crate) const KEYFRAME: u16 = 3;
    /// The last block: [`End`](crate::End), as JSON.
    pub(crate) const END: u16 = 4;
}

/// What is in a block of items, or in those from one keyframe to the next: the bits of
/// [`BlockHead::flags`].
pub(crate) mod flag {
    /// A process runs a new image.
    pub(crate) const EXEC: u16 = 1 << 0;
    /// A task has ended.
    pub(crate) const EXIT: u16 = 1 << 1;
}

/// The head of a block; the payload follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct BlockHead {
    /// [`FileHead::sync`].
    pub(crate) sync: U64,
    /// One of [`kind`].
    pub(crate) kind: U16,
    /// A union of [`flag`]; of a keyframe, that of the items since the one before it.
    pub(crate) flags: U16,
    /// Bytes of the payload.
    pub(crate) length: U32,
    /// Bytes of the payload once it is decompressed.
    pub(crate) size: U32,
    /// CRC-32 of the payload.
    pub(crate) payload_check: U32,
    /// The latest time of the items before this block and of its first: ns of `CLOCK_MONOTONIC`.
    pub(crate) time: U64,
    /// The latest time of the items up to its end.
    pub(crate) until: U64,
    /// How many events the items before this block had.
    pub(crate) events: U64,
    /// How many bytes before this block the last keyframe lies, or the start: where reading may begin
    /// to get here. It begins at a keyframe itself, whose number leads to the one before.
    pub(crate) back: U64,
    /// Bytes of all records in it.
    pub(crate) records: U32,
    /// CRC-32 of what is before it.
    pub(crate) check: U32,
}

/// Its length, in bytes.
pub(crate) const HEAD: usize = size_of::<BlockHead>();

impl BlockHead {
    pub(crate) fn seal(&mut self) {
        self.check = self.checksum().into();
    }

    pub(crate) fn is_of(&self, file: &FileHead) -> bool {
        self.sync == file.sync && self.check == self.checksum()
    }

    /// Bytes to the next block.
    pub(crate) fn whole(&self) -> u64 {
        HEAD as u64 + u64::from(self.length.get())
    }

    fn checksum(&self) -> u32 {
        crc32fast::hash(&self.as_bytes()[..HEAD - 4])
    }
}

const _: () = assert!(size_of::<FileHead>() == 32 && HEAD == 64);

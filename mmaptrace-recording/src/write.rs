//! Writes a recording, block by block, each in one write: whenever writing ends, what was written
//! is a recording.

use std::{
    io::{self, Write},
    mem,
};

use zerocopy::IntoBytes as _;
use zstd::bulk::Compressor;

use crate::{
    Batch, End, Start,
    block::{BlockHead, FileHead, HEAD, PAYLOAD_MAX, kind},
    codec::Encoder,
};

/// How hard zstd tries.
const LEVEL: i32 = 1;

/// Writes to `W`, which need not buffer.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    sync: u64,
    /// Bytes since the last keyframe, or the start.
    back: u64,
    /// What was in the items since then, a union of [`flag`](crate::block::flag).
    flags: u16,
    /// The latest time so far.
    time: u64,
    encoder: Encoder,
    compressor: Zstd,
    payload: Vec<u8>,
    block: Vec<u8>,
}

struct Zstd(Compressor<'static>);

impl std::fmt::Debug for Zstd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Zstd")
    }
}

impl<W: Write> Writer<W> {
    /// Begins a recording. `sync` is a random number that the traced programs cannot know.
    ///
    /// # Errors
    /// What `out` says.
    pub fn new(mut out: W, sync: u64, start: &Start) -> io::Result<Self> {
        out.write_all(FileHead::new(sync).as_bytes())?;
        let mut writer = Self {
            out,
            sync,
            back: 0,
            flags: 0,
            time: start.time,
            encoder: Encoder::default(),
            compressor: Zstd(Compressor::new(LEVEL)?),
            payload: serde_json::to_vec(start)?,
            block: Vec::new(),
        };
        writer.block(writer.head(kind::START, 0))?;
        Ok(writer)
    }

    /// Writes a block of items.
    ///
    /// # Errors
    /// What the writer says; what it wrote of the block is to be cut off.
    pub fn items(&mut self, batch: &Batch) -> io::Result<()> {
        batch.items().for_each(|item| self.encoder.push(item));
        self.encoder.finish(&mut self.payload);
        let mut head = self.head(kind::ITEMS, batch.events());
        let (first, last) = batch.times().unwrap_or((self.time, self.time));
        head.time = self.time.max(first).into();
        self.time = self.time.max(last);
        head.until = self.time.into();
        head.flags = batch.flags().into();
        self.flags |= batch.flags();
        head.records = u32::try_from(batch.size()).map_err(|_| too_long())?.into();
        self.block(head)
    }

    /// Writes a keyframe: a model as it is here, after so many events.
    ///
    /// # Errors
    /// See [`Writer::items`].
    pub fn keyframe(&mut self, model: &[u8], events: u64) -> io::Result<()> {
        self.payload.extend_from_slice(model);
        let mut head = self.head(kind::KEYFRAME, events);
        head.flags = mem::take(&mut self.flags).into();
        self.back = 0;
        self.block(head)
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// See [`Writer::items`].
    pub fn end(&mut self, end: &End, events: u64) -> io::Result<()> {
        self.time = self.time.max(end.time);
        self.payload = serde_json::to_vec(end)?;
        self.block(self.head(kind::END, events))
    }

    /// What it writes to.
    pub const fn out(&mut self) -> &mut W {
        &mut self.out
    }

    fn head(&self, kind: u16, events: u64) -> BlockHead {
        BlockHead {
            sync: self.sync.into(),
            kind: kind.into(),
            flags: 0.into(),
            length: 0.into(),
            size: 0.into(),
            payload_check: 0.into(),
            time: self.time.into(),
            until: self.time.into(),
            events: events.into(),
            back: self.back.into(),
            records: 0.into(),
            check: 0.into(),
        }
    }

    /// Writes a block of what is in `payload`.
    fn block(&mut self, mut head: BlockHead) -> io::Result<()> {
        let size = self.payload.len();
        if size > PAYLOAD_MAX as usize {
            self.payload.clear();
            return Err(too_long());
        }
        let room = zstd::zstd_safe::compress_bound(size);
        self.block.clear();
        self.block.resize(HEAD + room, 0);
        let length =
            self.compressor.0.compress_to_buffer(&self.payload, &mut self.block[HEAD..])?;
        self.block.truncate(HEAD + length);
        self.payload.clear();
        head.length = (length as u32).into();
        head.size = (size as u32).into();
        head.payload_check = crc32fast::hash(&self.block[HEAD..]).into();
        head.seal();
        self.block[..HEAD].copy_from_slice(head.as_bytes());
        self.back += head.whole();
        self.out.write_all(&self.block)
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "more than one block can hold")
}

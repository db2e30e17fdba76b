//! Reads a recording, block by block, and finds blocks by what their heads tell.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use zerocopy::{FromBytes as _, IntoBytes as _};
use zstd::bulk::Decompressor;

use crate::{
    End, Error, Item, Start,
    block::{BlockHead, FileHead, HEAD, NoHead, PAYLOAD_MAX, flag, kind},
    codec::Decoder,
};

/// Reads from `R`. Memory is bounded by what one block may hold, whatever the bytes are.
pub struct Reader<R> {
    input: R,
    file: FileHead,
    start: Start,
    end: Option<End>,
    /// Where the next block is, in bytes from the start.
    at: u64,
    /// Where the first block after the start is.
    first: u64,
    compressed: Vec<u8>,
    payload: Vec<u8>,
    zstd: Decompressor<'static>,
}

/// A block, as it was read.
#[derive(Debug)]
pub enum Block<'a> {
    /// Items.
    Items(Items<'a>),
    /// A model as it is here, from which on reading may begin. If it is the first block, what was
    /// before it is gone.
    Keyframe(&'a [u8]),
}

/// The items of a block.
#[derive(Debug)]
pub struct Items<'a> {
    decoder: Box<Decoder<'a>>,
    at: u64,
}

impl Items<'_> {
    /// The next one; a record's bytes are aligned to 8.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, Error> {
        let at = self.at;
        self.decoder
            .next_item()
            .map_err(|_| Error::Damaged { at, what: "its items contradict each other" })
    }
}

/// The items of a block that holds `payload`, past all checksums: for the fuzzer alone.
///
/// # Errors
/// [`Error::Damaged`].
#[cfg(fuzzing)]
pub fn items(payload: &[u8]) -> Result<Items<'_>, Error> {
    let decoder = Decoder::new(payload, PAYLOAD_MAX as usize);
    let decoder = decoder.map_err(|_| Error::Damaged { at: 0, what: COLUMNS })?;
    Ok(Items { decoder: Box::new(decoder), at: 0 })
}

/// What the head of a block tells of the place where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The latest time of the items before it and of its first: ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// The latest time of the items up to its end.
    pub until: u64,
    /// How many events the items before it had.
    pub events: u64,
    /// Where reading may begin to get here, in bytes from the start.
    from: u64,
    at: u64,
    next: u64,
}

impl Place {
    fn of(at: u64, head: &BlockHead) -> Self {
        let back = if head.kind == kind::KEYFRAME { 0 } else { head.back.get() };
        Self {
            time: head.time.get(),
            until: head.until.get(),
            events: head.events.get(),
            from: at.saturating_sub(back),
            at,
            next: at + head.whole(),
        }
    }
}

/// What lies between two keyframes, or the start, a keyframe and the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The latest time of the items up to its end: ns of `CLOCK_MONOTONIC`.
    pub until: u64,
    /// Whether a process runs a new image in it.
    pub has_exec: bool,
    /// Whether a task ends in it.
    pub has_exit: bool,
    /// Where it begins, in bytes from the start.
    from: u64,
}

impl Segment {
    const fn of(from: u64, until: u64, flags: u16) -> Self {
        let (has_exec, has_exit) = (flags & flag::EXEC != 0, flags & flag::EXIT != 0);
        Self { until, has_exec, has_exit, from }
    }
}

impl<R: Read + Seek> Reader<R> {
    /// Opens a recording.
    ///
    /// # Errors
    /// [`Error`]; of what is cut within its first block, nothing can be read.
    pub fn open(mut input: R) -> Result<Self, Error> {
        let mut head = [0; size_of::<FileHead>()];
        input.seek(SeekFrom::Start(0))?;
        let read = fill(&mut input, &mut head)?;
        let file: FileHead = zerocopy::transmute!(head);
        match file.check() {
            Err(NoHead::Foreign) => return Err(Error::Foreign),
            _ if read < head.len() => return Err(Error::Cut { at: 0 }),
            Err(NoHead::Version(version)) => return Err(Error::Version { version }),
            Err(NoHead::Damaged) => return Err(Error::Damaged { at: 0, what: CHECK }),
            Ok(()) => {}
        }
        let at = head.len() as u64;
        let mut reader = Self {
            input,
            file,
            start: Start::default(),
            end: None,
            at,
            first: at,
            compressed: Vec::new(),
            payload: Vec::new(),
            zstd: Decompressor::new()?,
        };
        let head = reader.head()?.ok_or(Error::Cut { at })?;
        if head.kind != kind::START {
            return Err(Error::Damaged { at, what: "it does not begin with a start" });
        }
        reader.payload(&head)?;
        reader.start = reader.json(at)?;
        reader.first = reader.at;
        Ok(reader)
    }

    /// What was known when recording began.
    pub const fn start(&self) -> &Start {
        &self.start
    }

    /// What was known when it ended, once all of it was read.
    pub const fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The next block; `None` after the last, where the recording ended well.
    ///
    /// # Errors
    /// [`Error`]. What was read before is right.
    pub fn next_block(&mut self) -> Result<Option<Block<'_>>, Error> {
        loop {
            let at = self.at;
            let Some(head) = self.head()? else {
                return if self.end.is_some() { Ok(None) } else { Err(Error::Cut { at }) };
            };
            self.payload(&head)?;
            match head.kind.get() {
                kind::ITEMS => {
                    let limit = head.records.get().min(PAYLOAD_MAX) as usize;
                    let decoder = Decoder::new(&self.payload, limit);
                    let decoder = decoder.map_err(|_| Error::Damaged { at, what: COLUMNS })?;
                    let decoder = Box::new(decoder);
                    return Ok(Some(Block::Items(Items { decoder, at })));
                }
                kind::KEYFRAME => return Ok(Some(Block::Keyframe(&self.payload))),
                kind::END => self.end = Some(self.json(at)?),
                _ => {}
            }
        }
    }

    /// Goes to where reading must begin to get to a place: [`Reader::next_block`] gives a keyframe, or
    /// all from the start.
    pub const fn go_to(&mut self, place: &Place) {
        self.begin_at(place.from);
    }

    /// Goes to the beginning of a segment, likewise.
    pub const fn go_to_segment(&mut self, segment: &Segment) {
        self.begin_at(segment.from);
    }

    /// Goes to the first block.
    pub const fn rewind(&mut self) {
        self.begin_at(self.first);
    }

    const fn begin_at(&mut self, at: u64) {
        self.at = if at < self.first { self.first } else { at };
        self.end = None;
    }

    /// Where it begins, if what was before that was forgotten.
    pub fn forgotten(&mut self) -> Option<Place> {
        let head = self.head_at(self.first).ok()??;
        (head.kind == kind::KEYFRAME).then(|| Place::of(self.first, &head))
    }

    /// The last block of which `holds` is true, if it is true of all blocks up to one and of none
    /// after it; one that is cut is none. Reads a few blocks' worth, however long the recording is,
    /// damage or none.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn last_where(&mut self, holds: impl Fn(&Place) -> bool) -> Result<Option<Place>, Error> {
        let end = self.input.seek(SeekFrom::End(0))?;
        let holds = |place: &Place| place.next <= end && holds(place);
        let mut high = end;
        let Some(mut found) = self.scan(self.first, high)?.filter(|place| holds(place)) else {
            return Ok(None);
        };
        while found.next < high {
            let middle = found.next + (high - found.next) / 2;
            match self.scan(middle, high)?.filter(|place| holds(place)) {
                Some(place) => found = place,
                // None that begins there or later.
                None if middle > found.next => high = middle,
                None => break,
            }
        }
        Ok(Some(found))
    }

    /// What was known when it ended, of which only the last block is read; `None`: it was cut.
    ///
    /// # Errors
    /// [`Error`], where that block is damaged.
    pub fn last_end(&mut self) -> Result<Option<End>, Error> {
        let Some(Place { at, .. }) = self.last_where(|_| true)? else { return Ok(None) };
        let head = self.head_at(at)?.filter(|head| head.kind == kind::END);
        let Some(head) = head else { return Ok(None) };
        self.begin_at(at);
        let end = self.payload(&head).and_then(|()| self.json(at));
        self.rewind();
        end.map(Some)
    }

    /// The last segment, as far as it is whole.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn last_segment(&mut self) -> Result<Option<Segment>, Error> {
        let Some(last) = self.last_where(|_| true)? else { return Ok(None) };
        let from = last.from.max(self.first);
        let (mut at, mut flags) = (from, 0);
        while let Ok(Some(head)) = self.head_at(at) {
            // Those of the keyframe itself are of what is before it.
            flags |= if head.kind == kind::KEYFRAME { 0 } else { head.flags.get() };
            at += head.whole();
        }
        Ok(Some(Segment::of(from, last.until, flags)))
    }

    /// The segment before another; `None` before the first.
    ///
    /// # Errors
    /// [`Error`], where the keyframe between them is damaged.
    pub fn segment_before(&mut self, segment: &Segment) -> Result<Option<Segment>, Error> {
        let at = segment.from;
        if at == self.first {
            return Ok(None);
        }
        let head = self.head_at(at)?.ok_or(Error::Cut { at })?;
        let from = at.saturating_sub(head.back.get()).max(self.first);
        Ok((from < at).then(|| Segment::of(from, head.time.get(), head.flags.get())))
    }

    /// The first block that begins in `[from, to)`: wherever its number lies, and its head is
    /// right.
    fn scan(&mut self, from: u64, to: u64) -> Result<Option<Place>, Error> {
        let sync = self.file.sync;
        let finder = memchr::memmem::Finder::new(sync.as_bytes());
        let mut piece = vec![0; PIECE];
        let mut at = from;
        while at < to {
            self.input.seek(SeekFrom::Start(at))?;
            let read = fill(&mut self.input, &mut piece)?;
            for found in finder.find_iter(&piece[..read]) {
                let found = at + found as u64;
                if found >= to {
                    return Ok(None);
                }
                if let Ok(Some(head)) = self.head_at(found) {
                    return Ok(Some(Place::of(found, &head)));
                }
            }
            if read < PIECE {
                break;
            }
            // It may begin in one piece and end in the next.
            at += (PIECE - size_of_val(&sync)) as u64 + 1;
        }
        Ok(None)
    }

    /// The head of the next block; `None` at the end of the input.
    fn head(&mut self) -> Result<Option<BlockHead>, Error> {
        self.head_at(self.at)
    }

    fn head_at(&mut self, at: u64) -> Result<Option<BlockHead>, Error> {
        let mut head = [0; HEAD];
        self.input.seek(SeekFrom::Start(at))?;
        match fill(&mut self.input, &mut head)? {
            0 => return Ok(None),
            HEAD => {}
            _ => return Err(Error::Cut { at }),
        }
        let head = BlockHead::read_from_bytes(&head).map_err(|_| Error::Cut { at })?;
        if !head.is_of(&self.file) {
            return Err(Error::Damaged { at, what: CHECK });
        }
        Ok(Some(head))
    }

    /// Reads what a block holds, and goes on to the next.
    fn payload(&mut self, head: &BlockHead) -> Result<(), Error> {
        let at = self.at;
        let (length, size) = (head.length.get() as usize, head.size.get());
        if size > PAYLOAD_MAX || length > zstd::zstd_safe::compress_bound(PAYLOAD_MAX as usize) {
            return Err(Error::Damaged { at, what: "it is too long" });
        }
        self.compressed.clear();
        // Grows with what is there, not with what is claimed.
        (&mut self.input).take(length as u64).read_to_end(&mut self.compressed)?;
        if self.compressed.len() < length {
            return Err(Error::Cut { at });
        }
        if head.payload_check != crc32fast::hash(&self.compressed) {
            return Err(Error::Damaged { at, what: CHECK });
        }
        self.payload.clear();
        self.payload.reserve(size as usize);
        let size = self.zstd.decompress_to_buffer(&self.compressed, &mut self.payload);
        if size.ok() != Some(head.size.get() as usize) {
            return Err(Error::Damaged { at, what: "it cannot be decompressed" });
        }
        self.at += head.whole();
        Ok(())
    }

    fn json<T: serde::de::DeserializeOwned>(&self, at: u64) -> Result<T, Error> {
        serde_json::from_slice(&self.payload)
            .map_err(|_| Error::Damaged { at, what: "its JSON is not what it should be" })
    }
}

/// Bytes that are searched at once.
const PIECE: usize = 1 << 16;

const CHECK: &str = "its checksum is wrong";
const COLUMNS: &str = "its columns are not what they should be";

/// Reads until the buffer is full or there is no more.
fn fill(input: &mut impl Read, mut buffer: &mut [u8]) -> io::Result<usize> {
    let room = buffer.len();
    while !buffer.is_empty() {
        match input.read(buffer) {
            Ok(0) => break,
            Ok(read) => buffer = &mut buffer[read..],
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(room - buffer.len())
}

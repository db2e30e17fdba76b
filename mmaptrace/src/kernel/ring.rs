//! The ring that records come through: the reader's end of it.

use std::{
    io,
    ops::Deref,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    ptr::{self, NonNull},
    slice,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use aya::{
    Ebpf,
    maps::{Map, MapData, RingBuf, ring_buf::RingBufItem},
};
use mmaptrace_common::ring::{Positions, SEGMENT, Segment, room, segments};

use super::load::{LoadError, map};

/// What part of the ring is given back at a time, if there is more to read.
const SHARE: u64 = 64;

/// The records, and how far both sides have come.
///
/// A record has its place from when it is begun, and those after it wait until it is complete: that
/// there is no next one does not say that there is nothing left.
pub struct Ring {
    /// The kernel's own ring buffer: what wakes the reader, and has the records of the degraded tier.
    library: RingBuf<MapData>,
    /// Those of the exact tier.
    records: Option<Mapping<Segment>>,
    positions: Arc<Mapping<Positions>>,
    reader: Reader,
    /// Bytes.
    size: u64,
}

/// How far records were read.
struct Reader {
    /// Up to here.
    read: u64,
    /// As far as others were told, which takes the word from the CPU of whoever writes.
    told: u64,
}

/// How full a ring is, for others than its reader.
#[derive(Debug)]
pub struct Gauge {
    positions: Arc<Mapping<Positions>>,
    /// Bytes.
    size: u64,
}

/// The bytes of a record, aligned to 8, which give their room back when they go.
pub enum Item<'a> {
    /// In the kernel's own ring buffer.
    Library(RingBufItem<'a>),
    /// In a segment.
    Record(Record<'a>),
}

/// See [`Item::Record`].
pub struct Record<'a> {
    bytes: &'a mut [u8],
    /// Where the next one begins.
    end: u64,
    reader: &'a mut Reader,
}

impl Ring {
    /// The ring of the programs, of so many bytes.
    pub(super) fn of(ebpf: &mut Ebpf, size: u32) -> Result<Self, LoadError> {
        let failed = |error| LoadError::Object(format!("cannot map the ring: {error}"));
        let library: RingBuf<MapData> = map(ebpf, "RING")?;
        // Borrowed: the maps must be there when the programs that use them are loaded.
        let (records, positions) = match (array(ebpf, "SEGMENTS"), array(ebpf, "POSITIONS")) {
            (Some(records), Some(positions)) => {
                let records = Mapping::of(records, segments(size) as usize, true);
                (Some(records.map_err(failed)?), Mapping::of(positions, 1, true))
            }
            // Laid out alike, and the library's to write.
            _ => (None, Mapping::of(library.as_fd(), 1, false)),
        };
        let positions = Arc::new(positions.map_err(failed)?);
        let reader = Reader { read: 0, told: 0 };
        Ok(Self { library, records, positions, reader, size: size.into() })
    }

    /// What tells how full it is.
    pub fn gauge(&self) -> Gauge {
        Gauge { positions: Arc::clone(&self.positions), size: self.size }
    }

    /// The next record, if it is complete.
    #[inline]
    pub fn take(&mut self) -> Option<Item<'_>> {
        let Some(start) = self.records.as_ref().map(|records| records.start) else {
            return self.library.next().map(Item::Library);
        };
        let at = self.reader.read;
        let offset = (at & (self.size - 1)) as usize;
        // SAFETY: the place is within an element, and has room for any record behind it. What others write
        // there they write before its first word, and not again until this side has given it back.
        unsafe {
            let first = start.add(offset / SEGMENT).byte_add(offset % SEGMENT).cast::<u64>();
            let word = AtomicU64::from_ptr(first.as_ptr()).load(Ordering::Acquire);
            // The second half of a header's first word.
            let size = (word >> 32) as u32;
            if word == 0 || at - self.reader.told >= self.size / SHARE {
                self.give_back();
            }
            if word == 0 {
                return None;
            }
            let bytes = slice::from_raw_parts_mut(first.cast().as_ptr(), size as usize);
            Some(Item::Record(Record { bytes, end: at + room(size), reader: &mut self.reader }))
        }
    }

    /// Gives back what was taken; [`Ring::take`] does it for those who go on.
    pub fn give_back(&mut self) {
        if self.records.is_some() {
            self.reader.told = self.reader.read;
            self.positions.read().store(self.reader.read, Ordering::Release);
        }
    }

    /// Where the next record will be begun: bytes since there is a ring.
    pub fn end(&self) -> u64 {
        self.positions.begun().load(Ordering::Acquire)
    }

    /// Whether all records were taken that had been begun when the ring ended at `end`.
    pub fn has_reached(&self, end: u64) -> bool {
        let read = match self.records {
            Some(_) => self.reader.read,
            None => self.positions.read().load(Ordering::Relaxed),
        };
        read.wrapping_sub(end).cast_signed() >= 0
    }

    /// Whether no record is left, not even one that was only begun.
    pub fn is_empty(&self) -> bool {
        self.has_reached(self.end())
    }

    /// Takes what has woken the reader: there is room for the next that does.
    pub fn settle(&mut self) {
        while self.records.is_some() && self.library.next().is_some() {}
    }
}

impl Gauge {
    /// Whether half of the ring or more waits for the reader.
    pub fn is_half_full(&self) -> bool {
        // The reader's first: the other is never behind it then.
        let read = self.positions.read().load(Ordering::Acquire);
        let begun = self.positions.begun().load(Ordering::Acquire);
        begun.wrapping_sub(read) >= self.size / 2
    }
}

impl AsFd for Ring {
    /// What tells when to wake.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.library.as_fd()
    }
}

impl Deref for Item<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Library(item) => item,
            Self::Record(record) => record.bytes,
        }
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        // Whatever of it will be the first word of another.
        self.bytes.fill(0);
        self.reader.read = self.end;
    }
}

/// An array of the programs, if they have one of this name.
fn array<'a>(ebpf: &'a Ebpf, name: &str) -> Option<BorrowedFd<'a>> {
    match ebpf.map(name)? {
        Map::Array(array) => Some(array.fd().as_fd()),
        _ => None,
    }
}

/// Memory of a map, as the programs see it.
#[derive(Debug)]
struct Mapping<T> {
    start: NonNull<T>,
    /// Bytes.
    length: usize,
}

// SAFETY: its users see to who writes what.
unsafe impl<T> Send for Mapping<T> {}
// SAFETY: likewise.
unsafe impl<T> Sync for Mapping<T> {}

impl<T> Mapping<T> {
    /// So many elements of a map.
    fn of(map: BorrowedFd<'_>, elements: usize, writable: bool) -> io::Result<Self> {
        let length = elements * size_of::<T>();
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        let (shared, map) = (libc::MAP_SHARED, map.as_raw_fd());
        // SAFETY: a new mapping.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, protection, shared, map, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::Other)?;
        Ok(Self { start, length })
    }
}

impl Mapping<Positions> {
    fn read(&self) -> &AtomicU64 {
        // SAFETY: a word of what stays mapped.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.start.as_ptr()).read) }
    }

    fn begun(&self) -> &AtomicU64 {
        // SAFETY: likewise.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.start.as_ptr()).begun) }
    }
}

impl<T> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: nothing refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

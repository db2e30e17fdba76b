//! The ring buffer that records come through: the reader's end of it.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    ptr::{self, NonNull},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf, ring_buf::RingBufItem},
};

use super::load::{LoadError, map};

/// Bytes of a page: each position has one of its own.
const PAGE: usize = 4096;

/// The records, and how far both sides have come.
///
/// A record has its place from when it is begun, and those after it wait until it is complete: that
/// there is no next one does not say that there is nothing left.
pub struct Ring {
    records: RingBuf<MapData>,
    positions: Arc<Positions>,
    /// Bytes.
    size: u64,
}

/// How full a ring is, for others than its reader.
#[derive(Debug)]
pub struct Gauge {
    positions: Arc<Positions>,
    /// Bytes.
    size: u64,
}

impl Ring {
    /// The ring of the programs, of so many bytes.
    pub(super) fn of(ebpf: &mut Ebpf, size: u32) -> Result<Self, LoadError> {
        let records: RingBuf<MapData> = map(ebpf, "RING")?;
        let positions = Positions::of(records.as_fd())
            .map_err(|error| LoadError::Object(format!("cannot map the ring: {error}")))?;
        Ok(Self { records, positions: Arc::new(positions), size: size.into() })
    }

    /// What tells how full it is.
    pub fn gauge(&self) -> Gauge {
        Gauge { positions: Arc::clone(&self.positions), size: self.size }
    }

    /// The next record, if it is complete.
    pub fn take(&mut self) -> Option<RingBufItem<'_>> {
        self.records.next()
    }

    /// Where the next record will be begun: bytes since there is a ring.
    pub fn end(&self) -> u64 {
        self.positions.written().load(Ordering::Acquire)
    }

    /// Whether all records were taken that had been begun when the ring ended at `end`.
    pub fn has_reached(&self, end: u64) -> bool {
        let read = self.positions.read().load(Ordering::Relaxed);
        read.wrapping_sub(end).cast_signed() >= 0
    }

    /// Whether no record is left, not even one that was only begun.
    pub fn is_empty(&self) -> bool {
        self.has_reached(self.end())
    }
}

impl Gauge {
    /// Whether half of the ring or more waits for the reader.
    pub fn is_half_full(&self) -> bool {
        // The reader's first: the other is never behind it then.
        let read = self.positions.read().load(Ordering::Acquire);
        let written = self.positions.written().load(Ordering::Acquire);
        written.wrapping_sub(read) >= self.size / 2
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.records.as_fd()
    }
}

/// The two pages before the records: the reader's position, which the library moves on, and the
/// writers' (`struct bpf_ringbuf`, `kernel/bpf/ringbuf.c`).
#[derive(Debug)]
struct Positions(NonNull<u8>);

// SAFETY: what is there is only read, atomically.
unsafe impl Send for Positions {}
// SAFETY: likewise.
unsafe impl Sync for Positions {}

impl Positions {
    fn of(ring: BorrowedFd<'_>) -> io::Result<Self> {
        let (size, shared) = (2 * PAGE, libc::MAP_SHARED);
        // SAFETY: a new mapping, which nobody writes to from here.
        let pages = unsafe {
            libc::mmap(ptr::null_mut(), size, libc::PROT_READ, shared, ring.as_raw_fd(), 0)
        };
        if pages == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(pages.cast()).map(Self).ok_or_else(|| io::ErrorKind::Other.into())
    }

    fn read(&self) -> &AtomicU64 {
        // SAFETY: the first word of a page that stays mapped.
        unsafe { self.0.cast().as_ref() }
    }

    fn written(&self) -> &AtomicU64 {
        // SAFETY: likewise of the second page.
        unsafe { self.0.add(PAGE).cast().as_ref() }
    }
}

impl Drop for Positions {
    fn drop(&mut self) {
        // SAFETY: nothing refers to it any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), 2 * PAGE) };
    }
}

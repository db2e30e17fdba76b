//! The ring that records come through in the exact tier: memory that both sides have mapped.
//!
//! A record takes the bytes from where those before it end, rounded up to whole words. Its first word, which tells
//! its size (`Header`) and is never 0, is written last: until then it is 0, and whoever reads waits. Who has read
//! a record clears it before it gives its room back.
//!
//! Positions count bytes since there is a ring. A record begins within a [`SEGMENT`] and may reach beyond its
//! end, where each has room for the largest one: none is in two pieces.

/// Bytes of a ring that are one element of the `SEGMENTS` map, if it has that many: a power of two.
pub const SEGMENT: usize = 1 << 20;

/// Room for the largest record, in bytes: that of a path. A power of two, for verifiers before Linux 6.12 take
/// no other bound of what is copied.
pub const SLACK: usize = 32 << 10;

/// An element of the `SEGMENTS` map.
pub type Segment = [u64; (SEGMENT + SLACK) / 8];

/// The one element of the `POSITIONS` map, laid out as are those of the kernel's own ring buffer (`struct
/// bpf_ringbuf`, `kernel/bpf/ringbuf.c`).
#[repr(C)]
#[derive(Debug)]
pub struct Positions {
    /// Up to where records have been read.
    pub read: u64,
    /// On a page of its own: that one is the reader's.
    pub pad: [u64; 511],
    /// Where the next record will begin.
    pub begun: u64,
    /// What `read` was when a writer last looked, for that is on another CPU most of the time.
    pub seen: u64,
    /// To the end of the page.
    pub rest: [u64; 510],
}

/// How many bytes of the ring a record of so many bytes takes.
#[must_use]
#[inline]
pub const fn room(size: u32) -> u64 {
    (size as u64 + 7) & !7
}

/// How many elements the `SEGMENTS` map has for a ring of so many bytes, a power of two.
#[must_use]
pub const fn segments(ring: u32) -> u32 {
    let whole = ring / SEGMENT as u32;
    if whole == 0 { 1 } else { whole }
}

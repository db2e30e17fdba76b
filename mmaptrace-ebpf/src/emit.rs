//! Records into the ring, and the count of those that found no room.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use mmaptrace_common::{control::Space, record::Header};

use crate::{maps::Part, records, ring, space};

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: it has no requirements.
    unsafe { bpf_ktime_get_ns() }
}

/// A header; `size` is the record's.
#[inline(always)]
pub(crate) fn header(
    kind: u16,
    flags: u16,
    size: u32,
    mm: u64,
    (pid, tid): (u32, u32),
    Tally { lost, generation }: Tally,
) -> Header {
    Header { kind, flags, size, time: now(), mm, pid, tid, lost, generation }
}

/// What headers tell of a space that is followed.
#[derive(Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) lost: u32,
    pub(crate) generation: u32,
}

impl Tally {
    #[inline(always)]
    pub(crate) fn of(space: *const Space) -> Self {
        // SAFETY: elements stay valid for the length of a program's run.
        let lost = unsafe { core::ptr::read_volatile(&raw const (*space).lost) };
        // SAFETY: as above.
        Self { lost, generation: unsafe { (*space).generation } }
    }

    /// Nothing, if none is followed at this address.
    #[inline(always)]
    pub(crate) fn at(mm: u64) -> Self {
        space::find(mm).map_or(Self { lost: 0, generation: 0 }, |space| Self::of(space))
    }
}

/// Sends `size` bytes, or counts a loss of `mm`.
///
/// # Safety
/// `size` bytes are there, in a map or on the stack.
#[inline(always)]
pub(crate) unsafe fn send(record: *const c_void, size: u32, mm: u64) -> bool {
    // SAFETY: as above.
    is_sent(unsafe { records::send(record, size) }, mm)
}

/// Sends a record of `mm` that has nothing after it, or counts a loss.
#[inline(always)]
pub(crate) fn send_whole<T>(record: &T, mm: u64) -> bool {
    is_sent(records::send_whole(record), mm)
}

/// Sends a commit of `mm` with so many regions, or counts a loss.
#[inline(always)]
pub(crate) fn send_part(part: &Part, count: u32, mm: u64) -> bool {
    is_sent(records::send_part(part, count), mm)
}

#[inline(always)]
fn is_sent(sent: bool, mm: u64) -> bool {
    if !sent {
        count_loss_of(mm);
    }
    sent
}

/// Counts a record of `mm` that was never made.
#[inline(always)]
pub(crate) fn count_loss(mm: u64) {
    ring::count_loss();
    count_loss_of(mm);
}

#[inline(always)]
fn count_loss_of(mm: u64) {
    if let Some(space) = space::find(mm) {
        // SAFETY: the element stays valid; readers of the lock may come here at once. As `ring::add`, of
        // 32 bits.
        unsafe {
            asm!("lock *(u32 *)({0} + 0) += {1}", in(reg) &raw mut (*space).lost, in(reg) 1_u64);
        }
    }
}

//! Records into the ring, and the count of those that found no room.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use mmaptrace_common::{control::Space, record::Header};

use crate::{ring, space};

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: it has no requirements.
    unsafe { bpf_ktime_get_ns() }
}

/// A header without losses; `size` is the record's.
#[inline(always)]
pub(crate) fn header(kind: u16, flags: u16, size: u32, mm: u64, (pid, tid): (u32, u32)) -> Header {
    Header { kind, flags, size, time: now(), mm, pid, tid, lost: 0 }
}

/// The losses of a space, 0 if it is not followed.
#[inline(always)]
pub(crate) fn lost(mm: u64) -> u64 {
    space::find(mm).map_or(0, |space| lost_of(space))
}

/// The losses of a followed space.
#[inline(always)]
pub(crate) fn lost_of(space: *const Space) -> u64 {
    // SAFETY: elements stay valid for the length of a program's run.
    unsafe { core::ptr::read_volatile(&raw const (*space).lost) }
}

/// Sends `size` bytes, or counts a loss of `mm`.
///
/// # Safety
/// `size` bytes are there, in a map or on the stack.
#[inline(always)]
pub(crate) unsafe fn send(record: *const c_void, size: u32, mm: u64) -> bool {
    // SAFETY: as above.
    let sent = unsafe { ring::output(record, size) };
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
        // SAFETY: the element stays valid; readers of the lock may come here at once.
        unsafe { ring::add(&raw mut (*space).lost, 1) };
    }
}

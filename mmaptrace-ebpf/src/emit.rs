//! Records into the ring, and the count of those that found no room.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_ringbuf_output};
use mmaptrace_common::{
    control::{NOT_KNOWN, Space},
    record::Header,
};

use crate::maps::{CONTROL, FAULTS, RING, SPACES};

/// `BPF_RB_NO_WAKEUP`: the reader comes by on its own.
const NO_WAKEUP: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`: it sleeps until told.
const FORCE_WAKEUP: u64 = 2;

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
    SPACES.get_ptr(mm).map_or(0, lost_of)
}

/// The losses of an element of [`SPACES`].
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
    let sent = unsafe {
        bpf_ringbuf_output(
            (&raw const RING).cast_mut().cast(),
            record.cast_mut(),
            size.into(),
            wake(),
        )
    } == 0;
    if !sent {
        count_loss(mm);
    }
    sent
}

/// Counts a record of `mm` that was not sent.
#[inline(always)]
pub(crate) fn count_loss(mm: u64) {
    if let Some(space) = SPACES.get_ptr_mut(mm) {
        // SAFETY: the element stays valid; readers of the lock may come here at once.
        unsafe { add(&raw mut (*space).lost) };
    }
    if let Some(faults) = FAULTS.get_ptr_mut(0) {
        // SAFETY: as above.
        unsafe { add(&raw mut (*faults).lost) };
    }
}

/// Counts a space or process that found no room in its map.
#[inline(always)]
pub(crate) fn count_unfollowed() {
    if let Some(faults) = FAULTS.get_ptr_mut(0) {
        // SAFETY: the element stays valid.
        unsafe { add(&raw mut (*faults).unfollowed) };
    }
}

/// Starts to follow an address space. `false`: there is no room.
#[inline(always)]
pub(crate) fn follow(mm: u64) -> bool {
    let space = Space { nr: -1, result: NOT_KNOWN, since: now(), ..Space::default() };
    let followed = SPACES.insert(mm, space, 0).is_ok();
    if !followed {
        count_unfollowed();
    }
    followed
}

/// Adds 1, at once for all CPUs.
///
/// # Safety
/// `counter` is an aligned counter in a map.
#[inline(always)]
pub(crate) unsafe fn add(counter: *mut u64) {
    // SAFETY: the caller's pointer is to an aligned counter in a map. The target has no atomic
    // read-modify-write in `core`, but an instruction for it.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) 1u64) };
}

/// The flag for this record: a reader that sleeps for long is woken, once.
#[inline(always)]
fn wake() -> u64 {
    let Some(control) = CONTROL.get_ptr_mut(0) else {
        return NO_WAKEUP;
    };
    // SAFETY: the element is there. Two CPUs may both find it set: that wakes twice, no harm.
    unsafe {
        if core::ptr::read_volatile(&raw const (*control).idle) == 0 {
            return NO_WAKEUP;
        }
        core::ptr::write_volatile(&raw mut (*control).idle, 0);
    }
    FORCE_WAKEUP
}

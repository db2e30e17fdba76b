//! What both objects have to do with their rings: to wake who reads, and to count what was not sent.

use core::arch::asm;

use crate::object::{CONTROL, FAULTS};

/// `BPF_RB_NO_WAKEUP`: the reader comes by on its own.
const NO_WAKEUP: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`: it sleeps until told.
const FORCE_WAKEUP: u64 = 2;

/// Counts a record that was not sent.
#[inline(always)]
pub(crate) fn count_loss() {
    if let Some(faults) = FAULTS.get_ptr_mut(0) {
        // SAFETY: the element stays valid; several may come here at once.
        unsafe { add(&raw mut (*faults).lost, 1) };
    }
}

/// Counts a space or process that found no room in its map, or a beginning that was not told.
#[inline(always)]
pub(crate) fn count_unfollowed() {
    if let Some(faults) = FAULTS.get_ptr_mut(0) {
        // SAFETY: the element stays valid.
        unsafe { add(&raw mut (*faults).unfollowed, 1) };
    }
}

/// Adds, at once for all CPUs; of `u64::MAX`, takes 1 away.
///
/// # Safety
/// `counter` is an aligned counter in a map.
#[inline(always)]
pub(crate) unsafe fn add(counter: *mut u64, count: u64) {
    // SAFETY: the caller's pointer is to an aligned counter in a map. The target has no atomic
    // read-modify-write in `core`, but an instruction for it.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) count) };
}

/// Whether the reader sleeps until it is woken.
#[inline(always)]
pub(crate) fn is_awaited() -> bool {
    // SAFETY: the element is there.
    CONTROL
        .get_ptr(0)
        .is_some_and(|control| unsafe { core::ptr::read_volatile(&raw const (*control).idle) } != 0)
}

/// The flag for what goes into the kernel's ring: a reader that sleeps for long is woken, once.
#[inline(always)]
pub(crate) fn wake() -> u64 {
    if !is_awaited() {
        return NO_WAKEUP;
    }
    if let Some(control) = CONTROL.get_ptr_mut(0) {
        // SAFETY: the element is there. Two CPUs may both find it set: that wakes twice, no harm.
        unsafe { core::ptr::write_volatile(&raw mut (*control).idle, 0) };
    }
    FORCE_WAKEUP
}

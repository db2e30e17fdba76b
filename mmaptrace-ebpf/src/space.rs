//! What is kept for each followed address space: finding, following, forgetting.

use core::{
    arch::asm,
    sync::atomic::{Ordering, compiler_fence},
};

use mmaptrace_common::control::{NOT_KNOWN, Place, Space, place};

use crate::{
    emit::now,
    kernel::number,
    maps::{PLACES, SPACES},
    ring,
};

/// In [`Place::mm`]: it is being put there.
const TAKEN: u64 = 1;

/// Of those followed, the one at this address.
///
/// This is asked at every hook, mostly for spaces that are not followed, at the cost of whom they
/// belong to. A task that has none, at 0, finds none.
#[inline(always)]
pub(crate) fn find(mm: u64) -> Option<*mut Space> {
    let place = at(mm)?;
    // SAFETY: the element is there.
    unsafe {
        let there = core::ptr::read_volatile(&raw const (*place).mm);
        if there != 0 && there == number(mm) {
            return Some(&raw mut (*place).space);
        }
        if core::ptr::read_volatile(&raw const (*place).others) == 0 {
            return None;
        }
    }
    SPACES.get_ptr_mut(mm)
}

/// Starts to follow an address space, if it is not. `None`: there is no room, which is counted.
#[inline(always)]
pub(crate) fn follow(mm: u64) -> Option<*mut Space> {
    let found = find(mm);
    if found.is_some() {
        return found;
    }
    let place = at(mm)?;
    let key = number(mm);
    let new = Space { nr: -1, result: NOT_KNOWN, since: now(), ..Space::default() };
    // SAFETY: the element is there, and its space is of whoever has put itself into it.
    unsafe {
        let was = take(&raw mut (*place).mm, key | TAKEN);
        if was == 0 {
            (*place).space = new;
            // It is complete before it is found; the machine keeps the order of stores.
            compiler_fence(Ordering::Release);
            core::ptr::write_volatile(&raw mut (*place).mm, key);
        }
        // Or another CPU is about to do just that.
        if was & !TAKEN == key || was == 0 {
            return Some(&raw mut (*place).space);
        }
        // First, for it must not be there and not be found.
        ring::add(&raw mut (*place).others, 1);
        if SPACES.insert(mm, new, 0).is_err() {
            ring::add(&raw mut (*place).others, u64::MAX);
            ring::count_unfollowed();
        }
    }
    SPACES.get_ptr_mut(mm)
}

/// Stops to follow an address space.
#[inline(always)]
pub(crate) fn forget(mm: u64) {
    let Some(place) = at(mm) else {
        return;
    };
    // SAFETY: the element is there.
    unsafe {
        if core::ptr::read_volatile(&raw const (*place).mm) == number(mm) {
            core::ptr::write_volatile(&raw mut (*place).mm, 0);
        } else if SPACES.remove(mm).is_ok() {
            ring::add(&raw mut (*place).others, u64::MAX);
        }
    }
}

#[inline(always)]
fn at(mm: u64) -> Option<*mut Place> {
    PLACES.get_ptr_mut(place(number(mm)))
}

/// Writes `new` where there is 0, at once for all CPUs. What was there.
///
/// # Safety
/// `word` is an aligned word in a map.
#[inline(always)]
unsafe fn take(word: *mut u64, new: u64) -> u64 {
    let mut was = 0;
    // SAFETY: the caller's pointer is to an aligned word in a map. The target has no atomic
    // read-modify-write in `core`, but an instruction for it.
    unsafe {
        asm!("r0 = cmpxchg_64({0} + 0, r0, {1})", in(reg) word, in(reg) new, inout("r0") was)
    };
    was
}

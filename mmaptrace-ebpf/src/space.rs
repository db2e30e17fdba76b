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
/// How often it is looked whether that is done: a few instructions of another CPU.
const PATIENCE: u32 = 128;
/// `bpf_map_update_elem`: what is there stays.
const BPF_NOEXIST: u64 = 1;

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

/// An address space that is followed.
pub(crate) struct Followed {
    pub(crate) space: *mut Space,
    /// Whether it was not before.
    pub(crate) is_new: bool,
}

/// Follows an address space, if it is not; with [`Space::begins`], if so. `None`: there is no room, or
/// another CPU does not come to an end with it, which is counted.
#[inline(always)]
pub(crate) fn follow(mm: u64, begins: bool) -> Option<Followed> {
    let place = at(mm)?;
    let was_there = |space| Followed { space, is_new: false };
    if let Some(space) = find(mm) {
        return Some(was_there(space));
    }
    let key = number(mm);
    let begins = begins.into();
    let new = Space { nr: -1, result: NOT_KNOWN, since: now(), begins, ..Space::default() };
    // SAFETY: the element is there, and its space is of whoever has put itself into it.
    unsafe {
        let (word, space) = (&raw mut (*place).mm, &raw mut (*place).space);
        let was = exchange(word, 0, key | TAKEN);
        if was == 0 {
            *space = new;
            // It is complete before it is found; the machine keeps the order of stores.
            compiler_fence(Ordering::Release);
            core::ptr::write_volatile(word, key);
            return Some(Followed { space, is_new: true });
        }
        if was & !TAKEN == key {
            // Another CPU is about to do just that.
            let mut turns = 0;
            while turns < PATIENCE {
                if core::ptr::read_volatile(word) == key {
                    return Some(was_there(space));
                }
                turns += 1;
            }
            ring::count_unfollowed();
            return None;
        }
        // First, for it must not be there and not be found.
        ring::add(&raw mut (*place).others, 1);
    }
    let is_new = SPACES.insert(mm, new, BPF_NOEXIST).is_ok();
    if !is_new {
        // SAFETY: as above.
        unsafe { ring::add(&raw mut (*place).others, u64::MAX) };
    }
    let found = SPACES.get_ptr_mut(mm);
    if found.is_none() {
        ring::count_unfollowed();
    }
    Some(Followed { space: found?, is_new })
}

/// Stops to follow an address space. More than one CPU may: its last user, and who reaps its pages.
#[inline(always)]
pub(crate) fn forget(mm: u64) {
    let Some(place) = at(mm) else {
        return;
    };
    // SAFETY: the element is there.
    unsafe {
        let key = number(mm);
        if exchange(&raw mut (*place).mm, key, 0) != key && SPACES.remove(mm).is_ok() {
            ring::add(&raw mut (*place).others, u64::MAX);
        }
    }
}

#[inline(always)]
fn at(mm: u64) -> Option<*mut Place> {
    PLACES.get_ptr_mut(place(number(mm)))
}

/// Writes `new` where there is `old`, at once for all CPUs. What was there.
///
/// # Safety
/// `word` is an aligned word in a map.
#[inline(always)]
unsafe fn exchange(word: *mut u64, old: u64, new: u64) -> u64 {
    let mut was = old;
    // SAFETY: the caller's pointer is to an aligned word in a map. The target has no atomic
    // read-modify-write in `core`, but an instruction for it.
    unsafe {
        asm!("r0 = cmpxchg_64({0} + 0, r0, {1})", in(reg) word, in(reg) new, inout("r0") was);
    };
    was
}

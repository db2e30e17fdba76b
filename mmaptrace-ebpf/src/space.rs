//! What is kept for each followed address space: finding, following, forgetting.

use core::{
    arch::asm,
    sync::atomic::{Ordering, compiler_fence},
};

use mmaptrace_common::control::{NOT_KNOWN, Place, Space, place};

use crate::{
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

/// How many spaces were followed so far, which tells each from those that were at its address before.
#[unsafe(no_mangle)]
static mut FOLLOWED: u64 = 0;

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

/// Follows an address space, if it is not; with [`Space::begins`], if so: then [`has_begun`] is to follow.
/// `None`: there is no room, or another CPU does not come to an end with it, which is counted.
#[inline(always)]
pub(crate) fn follow(mm: u64, begins: bool) -> Option<*mut Space> {
    let place = at(mm)?;
    if let Some(space) = find(mm) {
        return Some(space);
    }
    let key = number(mm);
    let (generation, begins) = (generation(), begins.into());
    let new = Space { nr: -1, result: NOT_KNOWN, generation, begins, ..Space::default() };
    // SAFETY: the element is there, and its space is of whoever has put itself into it.
    unsafe {
        let (word, space) = (&raw mut (*place).mm, &raw mut (*place).space);
        let was = compare_exchange(word, 0, key | TAKEN);
        if was == 0 {
            *space = new;
            // It is complete before it is found; the machine keeps the order of stores.
            compiler_fence(Ordering::Release);
            core::ptr::write_volatile(word, key);
            return Some(space);
        }
        if was & !TAKEN == key {
            // Another CPU is about to do just that.
            let mut turns = 0;
            while turns < PATIENCE {
                if core::ptr::read_volatile(word) == key {
                    return Some(space);
                }
                turns += 1;
            }
            ring::count_unfollowed();
            return None;
        }
        // First, for it must not be there and not be found.
        ring::add(&raw mut (*place).others, 1);
    }
    if SPACES.insert(mm, new, BPF_NOEXIST).is_err() {
        // SAFETY: as above.
        unsafe { ring::add(&raw mut (*place).others, u64::MAX) };
    }
    let found = SPACES.get_ptr_mut(mm);
    if found.is_none() {
        ring::count_unfollowed();
    }
    found
}

/// All was sent that an address space begins with: pictures may come. What is looked at after this is as
/// whoever finds it begun has left it.
#[inline(always)]
pub(crate) fn has_begun(mm: u64) {
    if let Some(space) = find(mm) {
        // SAFETY: elements stay valid for the length of a run. In one instruction, which on x86 no other
        // passes.
        unsafe { compare_exchange(&raw mut (*space).begins, 1, 0) };
    }
}

/// A number for a space that is new; not 0.
#[inline(always)]
fn generation() -> u32 {
    let mut number = 1;
    // SAFETY: an aligned word in a map, which only this counts on.
    unsafe {
        asm!(
            "{0} = atomic_fetch_add((u64 *)({1} + 0), {0})",
            inout(reg) number,
            in(reg) &raw mut FOLLOWED,
        );
    }
    match (number as u32).wrapping_add(1) {
        0 => 1,
        number => number,
    }
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
        compare_exchange(&raw mut (*place).mm, key, 0);
        // Also where it was in its place: two CPUs that began to follow it while the place became free may
        // have put it in either.
        if core::ptr::read_volatile(&raw const (*place).others) != 0 && SPACES.remove(mm).is_ok() {
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
pub(crate) unsafe fn compare_exchange(word: *mut u64, old: u64, new: u64) -> u64 {
    let mut was = old;
    // SAFETY: the caller's pointer is to an aligned word in a map. The target has no atomic
    // read-modify-write in `core`, but an instruction for it.
    unsafe {
        asm!("r0 = cmpxchg_64({0} + 0, r0, {1})", in(reg) word, in(reg) new, inout("r0") was);
    };
    was
}

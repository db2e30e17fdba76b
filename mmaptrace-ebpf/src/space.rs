//! What is kept for each followed address space: finding, following, forgetting.

use mmaptrace_common::control::{NOT_KNOWN, Space};

use crate::{
    emit::now,
    kernel::number,
    maps::{PLACES, SPACES, SPACES_AT},
    ring,
};

/// Of those followed, the one at this address.
///
/// This is asked at every hook, mostly for spaces that are not followed, at the cost of whom they
/// belong to: an array is looked into in a few instructions, a hash table in some hundred.
#[inline(always)]
pub(crate) fn find(mm: u64) -> Option<*mut Space> {
    let count = SPACES_AT.get_ptr(place(mm))?;
    // SAFETY: the element is there.
    if unsafe { core::ptr::read_volatile(count) } == 0 {
        return None;
    }
    SPACES.get_ptr_mut(mm)
}

/// Starts to follow an address space, if it is not. `false`: there is no room, which is counted.
#[inline(always)]
pub(crate) fn follow(mm: u64) -> bool {
    if SPACES.get_ptr(mm).is_some() {
        return true;
    }
    let space = Space { nr: -1, result: NOT_KNOWN, since: now(), ..Space::default() };
    // First, for it must not be there and not be found.
    add(mm, 1);
    let followed = SPACES.insert(mm, space, 0).is_ok();
    if !followed {
        add(mm, u64::MAX);
        ring::count_unfollowed();
    }
    followed
}

/// Stops to follow an address space.
#[inline(always)]
pub(crate) fn forget(mm: u64) {
    if SPACES.remove(mm).is_ok() {
        add(mm, u64::MAX);
    }
}

#[inline(always)]
fn add(mm: u64, count: u64) {
    if let Some(counter) = SPACES_AT.get_ptr_mut(place(mm)) {
        // SAFETY: the element is there.
        unsafe { ring::add(counter, count) };
    }
}

/// Of a multiple of 64: what slabs hold.
#[inline(always)]
fn place(mm: u64) -> u32 {
    let mm = number(mm);
    (((mm >> 6) ^ (mm >> 18)) & u64::from(PLACES - 1)) as u32
}

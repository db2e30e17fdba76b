//! The ring that records go into, see [`mmaptrace_common::ring`].
//!
//! The kernel has one of its own, of which no more than the wake-up is used here: to put a record into it takes
//! seven calls, and with the mitigations of a machine each return costs as much as all that is done here.

use core::{
    ffi::c_void,
    sync::atomic::{Ordering, compiler_fence},
};

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_kernel, bpf_ringbuf_output};
use mmaptrace_common::{
    record::{Commit, Header, REGIONS_PER_PART, Region},
    ring::{Positions, SEGMENT, SLACK, room},
};

use crate::{
    kernel::{layout, mask},
    maps::{POSITIONS, Part, SEGMENTS},
    object::RING,
    ring,
    space::compare_exchange,
};

/// How often room is asked for that another CPU takes meanwhile: one of them gets on each time.
const PATIENCE: u32 = 1 << 16;
/// Regions that are copied here, for most commits have no more; a call copies others.
const FEW: usize = 4;
/// No position, which is of whole words: there is no room.
const FULL: u64 = u64::MAX;
/// No position: another CPU has taken it meanwhile.
const TAKEN: u64 = u64::MAX - 1;
/// Bytes in a word.
const WORD: usize = 8;

/// Sends `size` bytes. `false`: there was no room, which is counted.
///
/// # Safety
/// `size` bytes are there, of which the first are a header with that size.
#[inline(always)]
pub(crate) unsafe fn send(record: *const c_void, size: u32) -> bool {
    let Some(to) = begin(size) else {
        return false;
    };
    // SAFETY: there is room for any record after each place where one may begin; its first word comes last.
    unsafe {
        let rest = mask::<{ SLACK - 1 }>((size - WORD as u32) as usize) as u32;
        bpf_probe_read_kernel(to.add(1).cast(), rest, record.byte_add(WORD).cast());
        publish(to, record.cast());
    }
    true
}

/// The same of a record that has nothing after it: as [`send`], but without a call.
#[inline(always)]
pub(crate) fn send_whole<T>(record: &T) -> bool {
    let Some(to) = begin(size_of::<T>() as u32) else {
        return false;
    };
    let from = (&raw const *record).cast::<u64>();
    // SAFETY: as in `send`.
    unsafe {
        copy(to, from, 1, size_of::<T>() / WORD);
        publish(to, from);
    }
    true
}

/// The same of a commit with so many regions.
#[inline(always)]
pub(crate) fn send_part(part: &Part, count: u32) -> bool {
    const REGION: usize = size_of::<Region>() / WORD;
    const COMMIT: usize = size_of::<Commit>() / WORD;
    const { assert!(REGIONS_PER_PART * size_of::<Region>() < SLACK / 2) };
    let size = size_of::<Commit>() as u32 + count * size_of::<Region>() as u32;
    let Some(to) = begin(size) else {
        return false;
    };
    let from = (&raw const *part).cast::<u64>();
    // SAFETY: as in `send`; `count` regions are there.
    unsafe {
        copy(to, from, 1, COMMIT);
        if count as usize <= FEW {
            let mut at = 0;
            while at < FEW {
                if at >= count as usize {
                    break;
                }
                let first = COMMIT + at * REGION;
                copy(to, from, first, first + REGION);
                at += 1;
            }
        } else {
            let bytes = mask::<{ SLACK / 2 - 1 }>(count as usize * size_of::<Region>()) as u32;
            bpf_probe_read_kernel(to.add(COMMIT).cast(), bytes, from.add(COMMIT).cast());
        }
        publish(to, from);
    }
    true
}

/// Takes room for a record; where it begins. Who reads waits for it from now on.
#[inline(always)]
fn begin(size: u32) -> Option<*mut u64> {
    let to = taken(size);
    if to.is_none() {
        ring::count_loss();
    }
    to
}

#[inline(always)]
fn taken(size: u32) -> Option<*mut u64> {
    let positions = POSITIONS.get_ptr_mut(0)?;
    // SAFETY: the element is there.
    let mut at = unsafe { exchanged(positions, size) };
    if at == TAKEN {
        at = take_slowly(size) as u64;
    }
    if at == FULL {
        return None;
    }
    let at = at & (u64::from(layout!(ring)) - 1);
    let segment = SEGMENTS.get_ptr_mut((at / SEGMENT as u64) as u32)?;
    let at = mask::<{ SEGMENT - WORD }>(at as usize);
    // SAFETY: it is within the element.
    Some(unsafe { segment.cast::<u64>().byte_add(at) })
}

/// For whom another CPU was faster. A global function, see `walk::descend`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn take_slowly(size: u32) -> i64 {
    let mut request = Request { size, at: TAKEN };
    // SAFETY: the callback is of the type the helper wants, and takes what it is given here.
    unsafe { bpf_loop(PATIENCE, take_once as *mut c_void, (&raw mut request).cast(), 0) };
    if request.at == TAKEN { FULL as i64 } else { request.at as i64 }
}

/// What [`take_slowly`] asks for, and gets.
struct Request {
    size: u32,
    at: u64,
}

/// Once. Not 0: that is it.
unsafe extern "C" fn take_once(_: u32, request: *mut c_void) -> i64 {
    let Some(positions) = POSITIONS.get_ptr_mut(0) else {
        return 1;
    };
    // SAFETY: it is what `take_slowly` gave, and the element is there.
    unsafe {
        let request = request.cast::<Request>();
        let at = exchanged(positions, (*request).size);
        (*request).at = at;
        (at != TAKEN).into()
    }
}

/// Asks for room once: the position that it begins at, [`FULL`], or [`TAKEN`].
///
/// # Safety
/// It is the element of the map.
#[inline(always)]
unsafe fn exchanged(positions: *mut Positions, size: u32) -> u64 {
    let (need, ring) = (room(size), u64::from(layout!(ring)));
    // SAFETY: as above. What was read first: where the next record begins is never behind it then.
    unsafe {
        let seen = core::ptr::read_volatile(&raw const (*positions).seen);
        let mut begun = core::ptr::read_volatile(&raw const (*positions).begun);
        if begun - seen + need > ring {
            let read = core::ptr::read_volatile(&raw const (*positions).read);
            core::ptr::write_volatile(&raw mut (*positions).seen, read);
            begun = core::ptr::read_volatile(&raw const (*positions).begun);
            if begun - read + need > ring {
                return FULL;
            }
        }
        if compare_exchange(&raw mut (*positions).begun, begun, begun + need) == begun {
            begun
        } else {
            TAKEN
        }
    }
}

/// Has a record read whose other words are there: writes the first, and wakes who sleeps. The exchange by which
/// its room was taken came before the look at whether it sleeps: it sees that there is one before it does.
///
/// # Safety
/// `record` is in a map or on the stack.
#[inline(always)]
unsafe fn publish(to: *mut u64, record: *const u64) {
    // The machine keeps the order of stores.
    compiler_fence(Ordering::Release);
    // SAFETY: as above.
    unsafe { core::ptr::write_volatile(to, core::ptr::read_volatile(record)) };
    if ring::is_awaited() {
        let mut nothing = 0_u64;
        // SAFETY: it is on the stack. There is room: user space takes out all before it sleeps.
        unsafe {
            bpf_ringbuf_output(
                (&raw const RING).cast_mut().cast(),
                (&raw mut nothing).cast(),
                size_of_val(&nothing) as u64,
                ring::wake(),
            );
        }
    }
}

/// Copies words.
///
/// # Safety
/// They are there, on both sides.
#[inline(always)]
unsafe fn copy(to: *mut u64, from: *const u64, first: usize, end: usize) {
    let mut at = first;
    while at < end {
        // SAFETY: as above. Volatile: the compiler would make a call of it.
        unsafe { core::ptr::write_volatile(to.add(at), core::ptr::read_volatile(from.add(at))) };
        at += 1;
    }
}

const _: () = assert!(size_of::<Header>() > WORD);

//! The stacks of the acting thread: taken where it acts, and sent once each, before the first
//! record that has their key.
//!
//! That of user space is walked here and not by `bpf_get_stack`. That helper does not tell why a
//! walk ended, and it misses the caller of a function that sets up no frame, as all of the C
//! library's that make a call: the frame pointer is still that of the caller, whose own return
//! address is the first it finds.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{
    bpf_get_task_stack, bpf_loop, bpf_probe_read_user, bpf_task_pt_regs,
};
use mmaptrace_common::record::{STACK_MAX, Stack, kind, stack};

use crate::{
    claim::Busy,
    emit::{self, Tally},
    kernel::{Registers, current, ids, layout, mask},
    maps::{STACK_TEXT, STACKS, StackText},
    name::mix,
    space,
};

/// The most frames of a kernel stack: it has room for no more, and its hash is made in one go.
const KERNEL_MAX: usize = 64;

const _: () = assert!((STACK_MAX + 1).is_power_of_two() && KERNEL_MAX <= STACK_MAX);

/// The elements of [`STACK_TEXT`]: the programs that run under the mmap lock may run in the middle
/// of one that does not.
#[derive(Clone, Copy)]
pub(crate) enum Buffer {
    /// For programs under the mmap lock.
    Commit = 0,
    /// For the others.
    Call = 1,
}

/// The stack in user space of the current task as it entered the kernel, which is one of `mm`'s
/// own; its key, or 0.
#[inline(always)]
pub(crate) fn user(buffer: Buffer, mm: u64) -> u64 {
    if layout!(user_stacks) == 0 {
        return 0;
    }
    taken(buffer, mm, take_user)
}

/// The stack in the kernel of the current task, by whomever it is sent to `mm`; its key, or 0.
#[inline(always)]
pub(crate) fn kernel(buffer: Buffer, mm: u64) -> u64 {
    if layout!(kernel_stacks) == 0 {
        return 0;
    }
    taken(buffer, mm, take_kernel)
}

/// Notes that a commit of the call that a thread is in has told its stack in user space.
#[inline(always)]
pub(crate) fn note_told(mm: u64, tid: u32, nr: i32) {
    if let Some(space) = space::find(mm) {
        // SAFETY: elements stay valid for the length of a run.
        unsafe { (*space).stacked = moment(tid, nr) };
    }
}

/// The stack in user space of a call of `mm` that returns, unless a commit of it told it; its key,
/// or 0. Of the kernel's there is nothing to tell: it is that of any return.
#[inline(always)]
pub(crate) fn of_call(mm: u64, tid: u32, nr: i32) -> u64 {
    if layout!(user_stacks) == 0 {
        return 0;
    }
    let Some(space) = space::find(mm) else {
        return 0;
    };
    // SAFETY: elements stay valid for the length of a run. Where another thread's commit comes in
    // between, the stack is told twice.
    unsafe {
        if (*space).stacked == moment(tid, nr) {
            (*space).stacked = 0;
            return 0;
        }
    }
    user(Buffer::Call, mm)
}

/// What [`Space::stacked`](mmaptrace_common::control::Space::stacked) holds for a thread in a call.
#[inline(always)]
fn moment(tid: u32, nr: i32) -> u64 {
    u64::from(tid) << 32 | u64::from(nr as u32)
}

/// Has a stack taken, and returns the key that this left: the verifier knows nothing of what a
/// global function returns, and lets none take the pointer that `mm` is to it.
#[inline(always)]
fn taken(buffer: Buffer, mm: u64, take: extern "C" fn(u32) -> i32) -> u64 {
    /// The key of a stack that nobody sends.
    const LOST: u64 = 1;
    let Some(text) = STACK_TEXT.get_ptr_mut(buffer as u32) else {
        return 0;
    };
    // SAFETY: the element of a per-CPU array that is this program's.
    unsafe {
        if !Busy::claim(&raw mut (*text).busy) {
            return LOST;
        }
        (*text).stack.header.mm = mm;
        take(buffer as u32);
        let key = (*text).stack.key;
        Busy::give_back(&raw mut (*text).busy);
        key
    }
}

/// Takes the user's stack into a buffer, and sends it if it was not. A global function, see
/// `walk::descend`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn take_user(buffer: u32) -> i32 {
    let Some(text) = STACK_TEXT.get_ptr_mut(buffer) else {
        return 0;
    };
    // SAFETY: as in `taken`.
    let text = unsafe { &mut *text };
    let mm = text.stack.header.mm;
    // SAFETY: it is the current task, and one of user space: it has registers.
    let registers = unsafe { Registers::of(bpf_task_pt_regs(current()) as *const c_void) };
    // SAFETY: elements stay valid for the length of a run.
    let generation = space::find(mm).map_or(0, |space| unsafe { (*space).generation });
    text.frames[0] = registers.ip;
    text.count = 1;
    text.flags = stack::USER;
    text.key = mix(mix(mm, generation.into()), registers.ip);
    text.wide = u32::from(registers.wide);
    text.below = registers.sp;
    text.frame = registers.bp;
    if let Some([top, _]) = words(registers.sp, registers.wide) {
        text.frames[1] = top;
        text.count = 2;
        text.flags |= stack::LEAF;
        text.key = mix(text.key, top);
    }
    // A pointer on the stack, which is all that the helper hands on.
    let mut walk: *mut StackText = text;
    // SAFETY: the callback is of the type the helper wants, and takes what it is given here.
    unsafe { bpf_loop(STACK_MAX as u32, caller as *mut c_void, (&raw mut walk).cast(), 0) };
    if text.count as usize >= STACK_MAX && text.frame != 0 {
        text.flags |= stack::CUT;
    }
    finish(text, text.key, text.flags, text.count, mm);
    0
}

/// One frame up. Not 0: there is none.
unsafe extern "C" fn caller(_: u32, walk: *mut c_void) -> i64 {
    // SAFETY: it is what `take_user` gave.
    let text = unsafe { &mut **walk.cast::<*mut StackText>() };
    let count = text.count as usize;
    // Where threads start there is no frame to return to.
    if text.frame == 0 || count >= STACK_MAX {
        return 1;
    }
    // Callers lie above, each with the frame pointer of the next and the address to return to.
    let wide = text.wide != 0;
    let word = if wide { 8 } else { 4 };
    let found = text.frame >= text.below && text.frame & (word - 1) == 0;
    let Some([next, address]) = found.then(|| words(text.frame, wide)).flatten() else {
        text.flags |= stack::BROKEN;
        return 1;
    };
    if address == 0 {
        text.frame = 0;
        return 1;
    }
    // SAFETY: the index is masked to the array's length.
    unsafe { *text.frames.as_mut_ptr().add(mask::<STACK_MAX>(count)) = address };
    text.key = mix(text.key, address);
    text.count = count as u32 + 1;
    text.below = text.frame + word;
    text.frame = next;
    0
}

/// Two words of the user's memory.
#[inline(always)]
fn words(address: u64, wide: bool) -> Option<[u64; 2]> {
    let mut words = [0_u64; 2];
    let size = if wide { 16 } else { 8 };
    // SAFETY: the helper checks the source; the destination is of at least that size.
    let status =
        unsafe { bpf_probe_read_user((&raw mut words).cast(), size, address as *const c_void) };
    if status != 0 {
        return None;
    }
    Some(if wide { words } else { [words[0] & 0xffff_ffff, words[0] >> 32] })
}

/// Takes the kernel's stack into a buffer, and sends it if it was not.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn take_kernel(buffer: u32) -> i32 {
    let Some(text) = STACK_TEXT.get_ptr_mut(buffer) else {
        return 0;
    };
    // SAFETY: as in `taken`; the destination is of that size.
    let (text, bytes) = unsafe {
        let text = &mut *text;
        text.stack.key = 0;
        let size = 8 * KERNEL_MAX as u32;
        let bytes = bpf_get_task_stack(current().cast(), text.frames.as_mut_ptr().cast(), size, 0);
        (text, bytes)
    };
    let mm = text.stack.header.mm;
    if bytes <= 0 {
        return 0;
    }
    let count = (bytes as usize / 8).min(KERNEL_MAX);
    let mut key = u64::from(kind::STACK);
    let mut at = 0;
    while at < KERNEL_MAX {
        if at >= count {
            break;
        }
        key = mix(key, text.frames[at]);
        at += 1;
    }
    let flags = if count == KERNEL_MAX { stack::CUT } else { 0 };
    finish(text, key, flags, count as u32, mm);
    0
}

/// Sends what is in the buffer unless it was sent, and leaves its key there.
#[inline(always)]
fn finish(text: &mut StackText, key: u64, flags: u32, count: u32, mm: u64) {
    let key = mix(key, u64::from(flags)) | 1;
    let count = mask::<STACK_MAX>(count as usize) as u32;
    let size = size_of::<Stack>() as u32 + 8 * count;
    text.stack.key = key;
    if STACKS.get_ptr(key).is_some() {
        return;
    }
    let header = emit::header(kind::STACK, 0, size, mm, ids(), Tally::at(mm));
    text.stack = Stack { header, key, count, flags };
    // SAFETY: the element is of at least that size.
    if unsafe { emit::send((&raw const *text).cast(), size, mm) } {
        let _ = STACKS.insert(key, 0, 0);
    }
}

//! Stacks that grow: by page faults, outside and inside of system calls.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sys::{
    ANON, Case, Outcome, PAGE, RW, area, call, fails, mmap, munmap, must, open, ready, touch,
};
use crate::threads::together;

pub(crate) const CASES: &[Case] = &[
    ("stack_grows_by_fault", by_fault),
    ("stack_grows_in_read", in_read),
    ("growsdown_far_from_sp", far_from_sp),
    ("growsdown_of_a_thread", of_a_thread),
    ("growsdown_thread_stack", thread_stack),
    ("stack_grows_locked", locked),
    ("stack_growth_refused", refused),
    ("growsdown_race", race),
    ("stack_grows_at_a_signals_return", at_a_signals_return),
];

/// As far below this function's frame as the argument says, in bytes: within the stack's limit,
/// and not mapped yet.
fn below(distance: usize) -> usize {
    let local = 0_u8;
    ((&raw const local).expose_provenance() - distance) & !(PAGE - 1)
}

#[inline(never)]
#[expect(clippy::large_stack_arrays, reason = "the stack is to grow")]
fn recurse(depth: usize) -> u8 {
    let frame = black_box([depth as u8; 32 << 10]);
    if depth == 0 { frame[9] } else { recurse(depth - 1) ^ black_box(&frame)[depth] }
}

fn by_fault() -> Outcome {
    ready();
    black_box(recurse(40));
    touch(below(2 << 20));
    Ok(())
}

/// The commit carries the number of a call that maps nothing.
fn in_read() -> Outcome {
    let zero = open("/dev/zero", libc::O_RDONLY) as usize;
    ready();
    assert_eq!(call(libc::SYS_read, [zero, below(600 << 10), 10]), Ok(10));
    Ok(())
}

/// A region that grows down, with room below it. The kernel puts nothing else there, for it keeps
/// 256 pages below a stack free, and what is below the room is no hindrance: only mappings that can
/// be used have to be kept away from.
fn growing() -> usize {
    const ROOM: usize = 250;
    let at = must(mmap(0, 2048 * PAGE, libc::PROT_NONE, ANON, -1, 0));
    let region = at + 2000 * PAGE;
    must(munmap(region - ROOM * PAGE, ROOM * PAGE));
    must(mmap(region, 2 * PAGE, RW, ANON | libc::MAP_GROWSDOWN | libc::MAP_FIXED, -1, 0))
}

fn far_from_sp() -> Outcome {
    let at = growing();
    ready();
    touch(at - PAGE);
    touch(at - 100 * PAGE);
    Ok(())
}

fn of_a_thread() -> Outcome {
    let at = growing();
    ready();
    std::thread::spawn(move || touch(at - 3 * PAGE)).join().expect("a thread");
    Ok(())
}

/// A task whose own stack it is.
fn thread_stack() -> Outcome {
    extern "C" fn work(_: *mut libc::c_void) -> i32 {
        i32::from(black_box(recurse(3)))
    }
    let at = growing();
    ready();
    let stack = std::ptr::with_exposed_provenance_mut(at + 2 * PAGE);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is the child's alone, and grows to what it needs.
    let pid = unsafe { libc::clone(work, stack, flags, std::ptr::null_mut()) };
    assert!(pid > 0);
    must(call(libc::SYS_wait4, [pid as usize, 0, 0, 0]));
    Ok(())
}

/// A locked stack is populated when it grows.
fn locked() -> Outcome {
    must(call(libc::SYS_mlockall, [libc::MCL_CURRENT as usize]));
    ready();
    touch(below(1 << 20));
    Ok(())
}

/// Threads that fault on the same page below: the one that comes second has taken the lock for
/// writing, finds nothing left to do, and lets go as if it had.
fn race() -> Outcome {
    const THREADS: usize = 2;
    const ROUNDS: usize = 200;
    const REGIONS: usize = 2;
    let regions: Vec<_> = (0..REGIONS).map(|_| growing()).collect();
    let arrived = AtomicUsize::new(0);
    ready();
    together(THREADS, |_| {
        for round in 0..REGIONS * ROUNDS {
            arrived.fetch_add(1, Ordering::SeqCst);
            // Not asleep: who is woken comes too late.
            while arrived.load(Ordering::SeqCst) < THREADS * (round + 1) {
                std::hint::spin_loop();
            }
            touch(regions[round / ROUNDS] - (1 + round % ROUNDS) * PAGE);
        }
    });
    Ok(())
}

/// A second signal waits for the first one's handler to return: its frame is written at the end of that
/// call, which has set the number of the call to -1, and is the first on a stack that has to grow for it.
fn at_a_signals_return() -> Outcome {
    extern "C" fn first(_: i32) {
        // SAFETY: its handler is there, and it waits until this one has returned.
        unsafe { libc::raise(libc::SIGUSR2) };
        must(mmap(0, 11 * PAGE, RW, ANON, -1, 0));
    }
    extern "C" fn second(_: i32) {
        must(mmap(0, 12 * PAGE, RW, ANON, -1, 0));
    }
    const ROOM: usize = 16;
    let region = growing();
    let stack = libc::stack_t {
        ss_sp: std::ptr::with_exposed_provenance_mut(region - ROOM * PAGE),
        ss_flags: 0,
        ss_size: ROOM * PAGE,
    };
    let handle = |signal, handler: extern "C" fn(i32), flags| {
        // SAFETY: of zeros it blocks no signal and has no flag.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        (action.sa_sigaction, action.sa_flags) = (handler as *const () as usize, flags);
        // SAFETY: the action is a local; its handler does no more than a handler may.
        unsafe {
            libc::sigaddset(&raw mut action.sa_mask, libc::SIGUSR2);
            assert_eq!(libc::sigaction(signal, &raw const action, std::ptr::null_mut()), 0);
        }
    };
    // SAFETY: nobody else has the room below the region, which is the stack's once it has grown.
    assert_eq!(unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) }, 0);
    handle(libc::SIGUSR1, first, 0);
    handle(libc::SIGUSR2, second, libc::SA_ONSTACK);
    ready();
    // SAFETY: its handler is there.
    unsafe { libc::raise(libc::SIGUSR1) };
    must(mmap(0, 13 * PAGE, RW, ANON, -1, 0));
    Ok(())
}

/// What is mapped below is too near: the read fails, and nothing grows.
fn refused() -> Outcome {
    let zero = open("/dev/zero", libc::O_RDONLY) as usize;
    let at = area(400);
    must(munmap(at + 100 * PAGE, 300 * PAGE));
    let flags = ANON | libc::MAP_GROWSDOWN | libc::MAP_FIXED;
    let stack = must(mmap(at + 200 * PAGE, PAGE, RW, flags, -1, 0));
    ready();
    fails(call(libc::SYS_read, [zero, stack - 90 * PAGE, 1]), libc::EFAULT);
    Ok(())
}

//! `brk`, which moves by bytes.

use std::sync::atomic::{AtomicBool, Ordering};

use mmaptrace_tests::often;

use crate::sys::{ANON, Case, Outcome, PAGE, R, call, mmap, mprotect, munmap, must, ready};
use crate::threads::together;

pub(crate) const CASES: &[Case] = &[
    ("brk_up", up),
    ("brk_down", down),
    ("brk_unaligned", unaligned),
    ("brk_failing", failing),
    ("brk_stops_at_a_mapping", stops),
    ("brk_down_to_nothing", to_nothing),
    ("brk_hole_in_the_heap", heap_hole),
    ("brk_populates_beside_unmapping", populates),
];

fn brk(to: usize) -> usize {
    must(call(libc::SYS_brk, [to]))
}

/// The heap's first byte, which `sbrk` does not tell: the C library has moved the break already.
fn start() -> usize {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("stat");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    fields.split(' ').nth(44).and_then(|field| field.parse().ok()).expect("start_brk")
}

fn up() -> Outcome {
    let old = brk(0);
    ready();
    assert_eq!(brk(old + 40 * PAGE), old + 40 * PAGE);
    Ok(())
}

fn down() -> Outcome {
    let old = brk(0);
    brk(old + 40 * PAGE);
    ready();
    assert_eq!(brk(old + 7 * PAGE), old + 7 * PAGE);
    Ok(())
}

/// Within a page it moves without a change of any region, and counts all the same.
fn unaligned() -> Outcome {
    let old = brk(0);
    ready();
    for to in [old + 1, old + 100, old + 99, old + PAGE, old + PAGE + 1, old + 17] {
        assert_eq!(brk(to), to);
    }
    Ok(())
}

/// A break that cannot be is answered with the one that is, and no error.
fn failing() -> Outcome {
    let old = brk(0);
    ready();
    for to in [0, 1, usize::MAX, start() - 1] {
        assert_eq!(brk(to), old);
    }
    Ok(())
}

fn stops() -> Outcome {
    let old = brk(0);
    let wall = (old + 16 * PAGE) & !(PAGE - 1);
    must(mmap(wall, PAGE, R, ANON | libc::MAP_FIXED_NOREPLACE, -1, 0));
    ready();
    assert_eq!(brk(wall + PAGE), old);
    assert_eq!(brk(wall - 2 * PAGE), wall - 2 * PAGE);
    Ok(())
}

/// No heap is left, and no `[heap]` line. Nothing may allocate from here on.
fn to_nothing() -> Outcome {
    let start = start();
    ready();
    brk(start);
    Ok(())
}

/// Two regions and both are `[heap]`.
fn heap_hole() -> Outcome {
    let old = brk(0).next_multiple_of(PAGE);
    brk(old + 16 * PAGE);
    ready();
    must(crate::sys::munmap(old + 4 * PAGE, 4 * PAGE));
    must(crate::sys::mprotect(old + 12 * PAGE, PAGE, R));
    Ok(())
}

/// What is new is populated, and the lock let go of by a reader after it: perhaps while another
/// thread, which was a writer of late, takes apart the many regions it has unmapped.
fn populates() -> Outcome {
    const PAGES: usize = 128;
    let rounds = often(120);
    let old = brk(0);
    must(call(libc::SYS_mlockall, [libc::MCL_FUTURE as usize]));
    let done = AtomicBool::new(false);
    ready();
    together(2, |thread| {
        for _ in 0..rounds * thread {
            let at = must(mmap(0, PAGES * PAGE, libc::PROT_NONE, ANON, -1, 0));
            for page in (1..PAGES).step_by(2) {
                must(mprotect(at + page * PAGE, PAGE, R));
            }
            must(munmap(at, PAGES * PAGE));
        }
        done.fetch_or(thread == 1, Ordering::Relaxed);
        // At least once, also if it comes to run only then.
        loop {
            assert_eq!(brk(old + 8 * PAGE), old + 8 * PAGE);
            assert_eq!(brk(old), old);
            if done.load(Ordering::Relaxed) {
                break;
            }
        }
    });
    Ok(())
}

//! `munmap`, in its forms.

use crate::sys::{
    ANON, Case, Outcome, PAGE, R, RW, Unsupported, area, fails, hole, mmap, mprotect, munmap, must,
    ready,
};

pub(crate) const CASES: &[Case] = &[
    ("munmap_whole", whole),
    ("munmap_middle", middle),
    ("munmap_edges", edges),
    ("munmap_over_holes", over_holes),
    ("munmap_nothing", nothing),
    ("munmap_failing", failing),
    ("munmap_odd_length", odd_length),
    ("munmap_then_same_address", same_address),
    ("munmap_at_the_limit", at_the_limit),
];

fn whole() -> Outcome {
    let at = area(4);
    ready();
    must(munmap(at, 4 * PAGE));
    Ok(())
}

fn middle() -> Outcome {
    let at = area(9);
    ready();
    must(munmap(at + 3 * PAGE, 2 * PAGE));
    Ok(())
}

fn edges() -> Outcome {
    let at = area(9);
    ready();
    must(munmap(at, PAGE));
    must(munmap(at + 8 * PAGE, PAGE));
    Ok(())
}

/// Splits the first and the last, removes one between, steps over the holes.
fn over_holes() -> Outcome {
    let at = area(20);
    must(munmap(at + 4 * PAGE, 3 * PAGE));
    must(munmap(at + 12 * PAGE, 3 * PAGE));
    ready();
    must(munmap(at + 2 * PAGE, 15 * PAGE));
    Ok(())
}

fn nothing() -> Outcome {
    let at = hole(8);
    ready();
    must(munmap(at + PAGE, 4 * PAGE));
    Ok(())
}

fn failing() -> Outcome {
    let at = area(4);
    ready();
    fails(munmap(at + 1, PAGE), libc::EINVAL);
    fails(munmap(at, 0), libc::EINVAL);
    fails(munmap(usize::MAX & !(PAGE - 1), PAGE), libc::EINVAL);
    Ok(())
}

fn odd_length() -> Outcome {
    let at = area(4);
    ready();
    must(munmap(at, PAGE + 1));
    Ok(())
}

/// An allocator's habit: what was just given back is given out again.
fn same_address() -> Outcome {
    ready();
    let first = must(mmap(0, 4 * PAGE, RW, ANON, -1, 0));
    for pages in [4, 3, 4, 1] {
        must(munmap(first, 4 * PAGE));
        must(mmap(first, pages * PAGE, R, ANON | libc::MAP_FIXED_NOREPLACE, -1, 0));
    }
    Ok(())
}

/// As many regions as a process may have: a hole in one would be one too many.
fn at_the_limit() -> Outcome {
    const MOST: usize = 70_000;
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").expect("a limit");
    let limit: usize = limit.trim().parse().expect("a number");
    if limit > MOST {
        return Err(Unsupported { call: "munmap", errno: libc::E2BIG });
    }
    let last = area(9);
    let at = must(mmap(0, limit * PAGE, RW, ANON | libc::MAP_NORESERVE, -1, 0));
    for page in (1..limit).step_by(2) {
        if mprotect(at + page * PAGE, PAGE, R).is_err() {
            break;
        }
    }
    // The last one or two.
    while mmap(0, PAGE, R, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0).is_ok() {}
    ready();
    fails(munmap(last + 2 * PAGE, PAGE), libc::ENOMEM);
    fails(mprotect(last + 2 * PAGE, PAGE, R), libc::ENOMEM);
    must(munmap(last, 9 * PAGE));
    must(munmap(at, 100 * PAGE));
    Ok(())
}

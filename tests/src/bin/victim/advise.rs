//! `madvise` and `process_madvise`: advices that set or clear a flag split and merge regions.

use crate::sys::{
    Case, Outcome, PAGE, Unsupported, area, call, fails, if_supported, munmap, must, ready, touch,
};

pub(crate) const CASES: &[Case] = &[
    ("madvise_dontfork", dontfork),
    ("madvise_dontdump", dontdump),
    ("madvise_wipeonfork", wipeonfork),
    ("madvise_hugepage", hugepage),
    ("madvise_mergeable", mergeable),
    ("madvise_access_pattern", pattern),
    ("madvise_dontneed", dontneed),
    ("madvise_over_a_hole", over_a_hole),
    ("madvise_failing", failing),
    ("madvise_guard", guard),
    ("madvise_collapse", collapse),
    ("madvise_hugepage_of_small_pages", want_huge),
    ("process_madvise", process),
    ("process_madvise_from_outside", process_from_outside),
];

fn madvise(at: usize, len: usize, advice: i32) -> Result<usize, i32> {
    call(libc::SYS_madvise, [at, len, advice as usize])
}

/// Sets a flag in the middle of a region, and clears part of it.
fn set_and_clear(set: i32, clear: i32) -> Outcome {
    let at = area(9);
    ready();
    if_supported("madvise", madvise(at + 2 * PAGE, 5 * PAGE, set))?;
    must(madvise(at + 3 * PAGE, PAGE, clear));
    must(madvise(at + 5 * PAGE, 2 * PAGE, clear));
    Ok(())
}

fn dontfork() -> Outcome {
    set_and_clear(libc::MADV_DONTFORK, libc::MADV_DOFORK)
}

fn dontdump() -> Outcome {
    set_and_clear(libc::MADV_DONTDUMP, libc::MADV_DODUMP)
}

fn wipeonfork() -> Outcome {
    set_and_clear(libc::MADV_WIPEONFORK, libc::MADV_KEEPONFORK)
}

fn hugepage() -> Outcome {
    set_and_clear(libc::MADV_HUGEPAGE, libc::MADV_NOHUGEPAGE)
}

fn mergeable() -> Outcome {
    set_and_clear(libc::MADV_MERGEABLE, libc::MADV_UNMERGEABLE)
}

fn pattern() -> Outcome {
    set_and_clear(libc::MADV_SEQUENTIAL, libc::MADV_RANDOM)
}

/// Advices that take pages away and leave the regions as they are.
fn dontneed() -> Outcome {
    let at = area(9);
    touch(at);
    ready();
    for advice in [libc::MADV_DONTNEED, libc::MADV_FREE, libc::MADV_COLD, libc::MADV_PAGEOUT] {
        if_supported("madvise", madvise(at, 9 * PAGE, advice))?;
    }
    Ok(())
}

/// It fails, and has changed both sides of the hole.
fn over_a_hole() -> Outcome {
    let at = area(16);
    must(munmap(at + 4 * PAGE, 4 * PAGE));
    ready();
    fails(madvise(at + 2 * PAGE, 8 * PAGE, libc::MADV_DONTDUMP), libc::ENOMEM);
    Ok(())
}

fn failing() -> Outcome {
    let at = area(4);
    ready();
    fails(madvise(at + 1, PAGE, libc::MADV_DONTDUMP), libc::EINVAL);
    fails(madvise(at, PAGE, 12345), libc::EINVAL);
    Ok(())
}

/// Guard pages, which make a hole for the program and none in its regions: 6.13 and later.
fn guard() -> Outcome {
    const INSTALL: i32 = 102;
    const REMOVE: i32 = 103;
    let at = area(9);
    ready();
    if_supported("madvise", madvise(at + 2 * PAGE, 2 * PAGE, INSTALL))?;
    must(madvise(at + 2 * PAGE, PAGE, REMOVE));
    Ok(())
}

/// Bytes in a huge page.
const HUGE: usize = 2 << 20;

/// The place of a huge page.
fn room() -> usize {
    area(3 * HUGE / PAGE).next_multiple_of(HUGE)
}

/// Has small pages there, unless the kernel gives huge ones to all.
fn used(at: usize) -> usize {
    for page in (0..HUGE).step_by(PAGE) {
        touch(at + page);
    }
    at
}

/// Huge pages now: the lock is taken for writing, and no region changes.
fn collapse() -> Outcome {
    let at = used(room());
    ready();
    if_supported("madvise", madvise(at, HUGE, libc::MADV_COLLAPSE))?;
    Ok(())
}

/// A worker of the kernel makes a huge page of them, when it comes to it.
fn want_huge() -> Outcome {
    let at = room();
    if_supported("madvise", madvise(at, HUGE, libc::MADV_NOHUGEPAGE))?;
    used(at);
    ready();
    must(madvise(at, HUGE, libc::MADV_HUGEPAGE));
    Ok(())
}

fn process() -> Outcome {
    let at = area(9);
    let pid = std::process::id() as usize;
    let pidfd = must(call(libc::SYS_pidfd_open, [pid, 0]));
    ready();
    let part = libc::iovec {
        iov_base: std::ptr::with_exposed_provenance_mut(at + 2 * PAGE),
        iov_len: 3 * PAGE,
    };
    let args = [pidfd, (&raw const part).expose_provenance(), 1, libc::MADV_COLD as usize, 0];
    if_supported("process_madvise", call(libc::SYS_process_madvise, args))?;
    Ok(())
}

/// A child asks for a huge page in its parent's space: the lock is taken for writing by one whose
/// space it is not.
fn process_from_outside() -> Outcome {
    let at = used(room());
    let pid = std::process::id() as usize;
    let pidfd = must(call(libc::SYS_pidfd_open, [pid, 0]));
    ready();
    let part = libc::iovec { iov_base: std::ptr::with_exposed_provenance_mut(at), iov_len: HUGE };
    let child = must(call(libc::SYS_fork, []));
    if child == 0 {
        let advice = libc::MADV_COLLAPSE as usize;
        let args = [pidfd, (&raw const part).expose_provenance(), 1, advice, 0];
        let errno = call(libc::SYS_process_madvise, args).err();
        crate::sys::exit(errno.unwrap_or(0));
    }
    let mut status = 0_i32;
    must(call(libc::SYS_wait4, [child, (&raw mut status).expose_provenance(), 0, 0]));
    match libc::WEXITSTATUS(status) {
        0 => Ok(()),
        errno => Err(Unsupported { call: "process_madvise", errno }),
    }
}

//! `mprotect`, `pkey_mprotect` and `mseal`.

use crate::sys::{
    ANON, Case, Outcome, PAGE, R, RW, area, begins, call, fails, hole, if_supported, mmap,
    mprotect, munmap, must, ready, touch,
};

pub(crate) const CASES: &[Case] = &[
    ("mprotect_whole", whole),
    ("mprotect_splits", splits),
    ("mprotect_merges", merges),
    ("mprotect_many", many),
    ("mprotect_of_a_reservation", reservation),
    ("mprotect_over_a_hole", over_a_hole),
    ("mprotect_failing", failing),
    ("mprotect_no_change", no_change),
    ("mprotect_neighbours_that_do_not_merge", no_merge),
    ("mprotect_growsdown", growsdown),
    ("pkey_mprotect", pkey),
    ("mseal", seal),
];

fn whole() -> Outcome {
    let at = area(4);
    ready();
    must(mprotect(at, 4 * PAGE, R | libc::PROT_EXEC));
    Ok(())
}

fn splits() -> Outcome {
    let at = area(9);
    ready();
    must(mprotect(at + 3 * PAGE, 2 * PAGE, R));
    must(mprotect(at, PAGE, libc::PROT_NONE));
    Ok(())
}

/// Back to what its neighbours are: three regions become one.
fn merges() -> Outcome {
    let at = area(9);
    must(mprotect(at + 3 * PAGE, 2 * PAGE, R));
    ready();
    must(mprotect(at + 3 * PAGE, 2 * PAGE, RW));
    Ok(())
}

/// Over more regions than one commit record holds.
fn many() -> Outcome {
    const PAGES: usize = 1200;
    let at = area(PAGES);
    for page in (0..PAGES).step_by(2) {
        must(mprotect(at + page * PAGE, PAGE, R));
    }
    ready();
    must(mprotect(at, PAGES * PAGE, libc::PROT_EXEC));
    must(mprotect(at, PAGES * PAGE, RW));
    Ok(())
}

/// What allocators do: room is taken without rights, and gets them a piece at a time, from its start on
/// and elsewhere; what is given back loses them again, by either call.
fn reservation() -> Outcome {
    const ROOM: usize = 16 << 10;
    const PIECE: usize = 32;
    let none = libc::PROT_NONE;
    ready();
    let at = must(mmap(0, ROOM * PAGE, none, ANON | libc::MAP_NORESERVE, -1, 0));
    for piece in 0..8 {
        must(mprotect(at + piece * PIECE * PAGE, PIECE * PAGE, RW));
        touch(at + piece * PIECE * PAGE);
    }
    let apart = at + ROOM / 2 * PAGE;
    must(mprotect(apart, 2 * PIECE * PAGE, RW));
    touch(apart);
    must(mprotect(at + 6 * PIECE * PAGE, 2 * PIECE * PAGE, none));
    let flags = ANON | libc::MAP_NORESERVE | libc::MAP_FIXED;
    must(mmap(apart + PIECE * PAGE, PIECE * PAGE, none, flags, -1, 0));
    let edges = [at + 6 * PIECE * PAGE, apart, apart + PIECE * PAGE];
    assert!(edges.into_iter().all(begins), "not what was asked for");
    Ok(())
}

/// It fails, and has changed what came before the hole.
fn over_a_hole() -> Outcome {
    let at = area(16);
    must(munmap(at + 4 * PAGE, 4 * PAGE));
    ready();
    fails(mprotect(at + 2 * PAGE, 8 * PAGE, R), libc::ENOMEM);
    Ok(())
}

fn failing() -> Outcome {
    let at = area(4);
    ready();
    fails(mprotect(at + 1, PAGE, R), libc::EINVAL);
    fails(mprotect(hole(4), PAGE, R), libc::ENOMEM);
    fails(mprotect(at, PAGE, 0x40), libc::EINVAL);
    Ok(())
}

fn no_change() -> Outcome {
    let at = area(4);
    ready();
    must(mprotect(at, 4 * PAGE, RW));
    must(mprotect(at, 0, R));
    Ok(())
}

/// Equal in every way that shows, but each has touched pages of its own, when they were apart: what comes
/// between them becomes part of one, and they stay two.
fn no_merge() -> Outcome {
    let at = area(6);
    must(munmap(at + 2 * PAGE, 2 * PAGE));
    touch(at);
    touch(at + 4 * PAGE);
    ready();
    must(mmap(at + 2 * PAGE, 2 * PAGE, RW, ANON | libc::MAP_FIXED, -1, 0));
    must(mprotect(at, 6 * PAGE, R));
    must(mprotect(at, 6 * PAGE, RW));
    let edges = [at, at + 2 * PAGE, at + 4 * PAGE].into_iter().filter(|&edge| begins(edge));
    assert_eq!(edges.count(), 2, "they are one");
    Ok(())
}

/// `PROT_GROWSDOWN`: from the region's own start, wherever the call's range begins.
fn growsdown() -> Outcome {
    let at = hole(1024);
    let flags = crate::sys::ANON | libc::MAP_GROWSDOWN | libc::MAP_FIXED;
    must(crate::sys::mmap(at + 1000 * PAGE, 8 * PAGE, RW, flags, -1, 0));
    ready();
    must(mprotect(at + 1004 * PAGE, PAGE, R | libc::PROT_GROWSDOWN));
    Ok(())
}

fn pkey() -> Outcome {
    let at = area(4);
    ready();
    let key = call(libc::SYS_pkey_alloc, [0, 0]).unwrap_or(usize::MAX);
    let args = [at + PAGE, PAGE, R as usize, key];
    if_supported("pkey_mprotect", call(libc::SYS_pkey_mprotect, args))?;
    Ok(())
}

/// What is sealed stays: the failed calls after it change nothing.
fn seal() -> Outcome {
    let at = area(8);
    ready();
    if_supported("mseal", call(libc::SYS_mseal, [at + 2 * PAGE, 2 * PAGE, 0]))?;
    fails(munmap(at, 8 * PAGE), libc::EPERM);
    fails(mprotect(at + 3 * PAGE, PAGE, R), libc::EPERM);
    Ok(())
}

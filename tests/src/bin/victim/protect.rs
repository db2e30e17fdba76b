//! `mprotect`, `pkey_mprotect` and `mseal`.

use crate::sys::{
    Case, Outcome, PAGE, R, RW, area, call, fails, hole, if_supported, mprotect, munmap, must,
    ready, touch,
};

pub(crate) const CASES: &[Case] = &[
    ("mprotect_whole", whole),
    ("mprotect_splits", splits),
    ("mprotect_merges", merges),
    ("mprotect_many", many),
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

/// Equal in every way that shows, but each has touched pages of its own.
fn no_merge() -> Outcome {
    let at = area(4);
    must(mprotect(at + 2 * PAGE, 2 * PAGE, R));
    touch(at);
    must(mprotect(at, 2 * PAGE, R));
    must(mprotect(at + 2 * PAGE, 2 * PAGE, RW));
    touch(at + 2 * PAGE);
    ready();
    must(mprotect(at, 2 * PAGE, RW));
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

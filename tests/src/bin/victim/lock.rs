//! Locks on memory, and memory policies.

use crate::sys::{
    ANON, Case, Outcome, PAGE, RW, area, call, fails, if_supported, mmap, munmap, must, ready,
};

pub(crate) const CASES: &[Case] = &[
    ("mlock", lock),
    ("mlock_over_a_hole", lock_over_a_hole),
    ("mlock2_onfault", onfault),
    ("munlock", unlock),
    ("mlockall_current", lockall_current),
    ("mlockall_future", lockall_future),
    ("munlockall", unlockall),
    ("mbind", bind),
    ("mbind_over_a_hole", bind_over_a_hole),
    ("set_mempolicy_home_node", home_node),
];

fn mlock(at: usize, len: usize) -> Result<usize, i32> {
    call(libc::SYS_mlock, [at, len])
}

fn mlockall(flags: i32) -> Result<usize, i32> {
    call(libc::SYS_mlockall, [flags as usize])
}

fn lock() -> Outcome {
    let at = area(9);
    ready();
    must(mlock(at + 2 * PAGE + 5, 2 * PAGE));
    Ok(())
}

/// It fails, and has locked what came before the hole.
fn lock_over_a_hole() -> Outcome {
    let at = area(16);
    must(munmap(at + 4 * PAGE, 4 * PAGE));
    ready();
    fails(mlock(at + 2 * PAGE, 8 * PAGE), libc::ENOMEM);
    Ok(())
}

fn onfault() -> Outcome {
    let at = area(9);
    ready();
    let flags = libc::MLOCK_ONFAULT as usize;
    must(call(libc::SYS_mlock2, [at + 2 * PAGE, 2 * PAGE, flags]));
    Ok(())
}

fn unlock() -> Outcome {
    let at = area(9);
    must(mlock(at, 9 * PAGE));
    ready();
    must(call(libc::SYS_munlock, [at + 2 * PAGE, 2 * PAGE]));
    Ok(())
}

fn lockall_current() -> Outcome {
    ready();
    must(mlockall(libc::MCL_CURRENT));
    Ok(())
}

/// Changes nothing now, and every mapping after it.
fn lockall_future() -> Outcome {
    ready();
    must(mlockall(libc::MCL_FUTURE | libc::MCL_ONFAULT));
    must(mmap(0, 3 * PAGE, RW, ANON, -1, 0));
    Ok(())
}

fn unlockall() -> Outcome {
    must(mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE));
    ready();
    must(call(libc::SYS_munlockall, []));
    Ok(())
}

fn mbind(at: usize, pages: usize) -> Result<usize, i32> {
    let nodes = 1_u64;
    let mask = (&raw const nodes).expose_provenance();
    let (mode, flags) = (libc::MPOL_BIND as usize, 1); // MPOL_MF_STRICT
    call(libc::SYS_mbind, [at, pages * PAGE, mode, mask, 64, flags])
}

/// Neighbours that look the same on both sides of an edge that stays.
fn bind() -> Outcome {
    let at = area(9);
    ready();
    if_supported("mbind", mbind(at + 2 * PAGE, 3))?;
    Ok(())
}

fn bind_over_a_hole() -> Outcome {
    let at = area(16);
    must(munmap(at + 4 * PAGE, 4 * PAGE));
    ready();
    match mbind(at + 2 * PAGE, 8) {
        Err(libc::EFAULT) => Ok(()),
        other => if_supported("mbind", other).map(|_| panic!("bound a hole")),
    }
}

fn home_node() -> Outcome {
    let at = area(9);
    if_supported("mbind", mbind(at, 9))?;
    ready();
    let args = [at + 2 * PAGE, 2 * PAGE, 0, 0];
    if_supported("set_mempolicy_home_node", call(libc::SYS_set_mempolicy_home_node, args))?;
    Ok(())
}

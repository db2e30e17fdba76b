//! `mmap`, in its forms.

use crate::sys::{
    ANON, Case, Outcome, PAGE, R, RW, area, call, fails, hole, if_supported, mmap, munmap, must,
    open_self, ready, touch,
};

pub(crate) const CASES: &[Case] = &[
    ("mmap_anonymous", anonymous),
    ("mmap_hint", hint),
    ("mmap_fixed", fixed),
    ("mmap_fixed_unaligned", fixed_unaligned),
    ("mmap_noreplace", noreplace),
    ("mmap_noreplace_taken", noreplace_taken),
    ("mmap_growsdown", growsdown),
    ("mmap_32bit", low),
    ("mmap_populate", populate),
    ("mmap_takes_long", takes_long),
    ("mmap_takes_for_ever", takes_for_ever),
    ("mmap_locked", locked),
    ("mmap_hugetlb", hugetlb),
    ("mmap_huge_alignment", huge_alignment),
    ("mmap_file_private", file_private),
    ("mmap_file_shared", file_shared),
    ("mmap_file_offset", file_offset),
    ("mmap_shared_anonymous", shared_anonymous),
    ("mmap_memfd", memfd),
    ("mmap_none", none),
    ("mmap_droppable", droppable),
    ("mmap_failing", failing),
    ("mmap_merges_both_neighbours", merges),
    ("mmap_stack_flag", stack_flag),
    ("mmap_zero_page", zero_page),
];

fn anonymous() -> Outcome {
    ready();
    must(mmap(0, 3 * PAGE + 1, RW, ANON, -1, 0));
    Ok(())
}

fn hint() -> Outcome {
    let (free, taken) = (hole(64), area(2));
    ready();
    must(mmap(free + 8 * PAGE + 123, PAGE, RW, ANON, -1, 0));
    must(mmap(taken, PAGE, R, ANON, -1, 0));
    Ok(())
}

/// Over the middle of one region, then over several and the hole between them.
fn fixed() -> Outcome {
    let at = area(16);
    must(crate::sys::munmap(at + 8 * PAGE, 2 * PAGE));
    ready();
    must(mmap(at + 2 * PAGE, 2 * PAGE, R, ANON | libc::MAP_FIXED, -1, 0));
    must(mmap(at + 3 * PAGE, 8 * PAGE, libc::PROT_NONE, ANON | libc::MAP_FIXED, -1, 0));
    must(mmap(at + 5 * PAGE, PAGE, R, libc::MAP_PRIVATE | libc::MAP_FIXED, open_self(), 0));
    Ok(())
}

fn fixed_unaligned() -> Outcome {
    let at = area(4);
    ready();
    fails(mmap(at + 1, PAGE, R, ANON | libc::MAP_FIXED, -1, 0), libc::EINVAL);
    Ok(())
}

fn noreplace() -> Outcome {
    let at = hole(8);
    ready();
    must(mmap(at + PAGE, PAGE, RW, ANON | libc::MAP_FIXED_NOREPLACE, -1, 0));
    Ok(())
}

fn noreplace_taken() -> Outcome {
    let at = area(4);
    ready();
    fails(mmap(at + PAGE, PAGE, R, ANON | libc::MAP_FIXED_NOREPLACE, -1, 0), libc::EEXIST);
    Ok(())
}

fn growsdown() -> Outcome {
    let at = hole(1024);
    ready();
    let flags = ANON | libc::MAP_GROWSDOWN | libc::MAP_FIXED;
    must(mmap(at + 1000 * PAGE, 4 * PAGE, RW, flags, -1, 0));
    Ok(())
}

fn low() -> Outcome {
    ready();
    assert!(must(mmap(0, PAGE, RW, ANON | libc::MAP_32BIT, -1, 0)) < 1 << 32);
    Ok(())
}

/// Long after its commit it returns, for it fetches each page.
fn takes_long() -> Outcome {
    ready();
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    let at = must(mmap(0, 40_000 * PAGE, RW, flags, -1, 0));
    must(munmap(at, 40_000 * PAGE));
    Ok(())
}

/// Sixteen million times it enters the page of zeros, one at a time.
fn takes_for_ever() -> Outcome {
    must(call(libc::SYS_prctl, [libc::PR_SET_THP_DISABLE as usize, 1, 0, 0, 0]));
    ready();
    must(mmap(0, PAGE << 24, R, ANON | libc::MAP_POPULATE, -1, 0));
    Ok(())
}

/// The populate releases the lock again, after the commit.
fn populate() -> Outcome {
    ready();
    must(mmap(0, 512 * PAGE, RW, ANON | libc::MAP_POPULATE, -1, 0));
    must(mmap(0, 16 * PAGE, R, libc::MAP_SHARED | libc::MAP_POPULATE, open_self(), 0));
    Ok(())
}

fn locked() -> Outcome {
    ready();
    must(mmap(0, 4 * PAGE, RW, ANON | libc::MAP_LOCKED, -1, 0));
    Ok(())
}

/// A length of a page is rounded up to a huge page. Without a reserve it needs no huge page.
fn hugetlb() -> Outcome {
    const HUGE: usize = 2 << 20;
    ready();
    let flags = ANON | libc::MAP_HUGETLB | libc::MAP_NORESERVE;
    let at = if_supported("mmap", mmap(0, PAGE, RW, flags, -1, 0))?;
    must(mmap(0, 2 * HUGE + 1, R, flags, -1, 0));
    fails(crate::sys::munmap(at, PAGE), libc::EINVAL);
    must(crate::sys::munmap(at, HUGE));
    Ok(())
}

/// The kernel looks for a padded area where a huge page could lie in it.
fn huge_alignment() -> Outcome {
    ready();
    for _ in 0..4 {
        must(mmap(0, (4 << 20) + PAGE, RW, ANON, -1, 0));
        must(mmap(0, PAGE, R, ANON, -1, 0));
    }
    Ok(())
}

fn file_private() -> Outcome {
    let fd = open_self();
    ready();
    let at = must(mmap(0, 3 * PAGE, RW, libc::MAP_PRIVATE, fd, 0));
    touch(at);
    Ok(())
}

fn file_shared() -> Outcome {
    let fd = crate::sys::file(b"shared", 4);
    ready();
    let at = must(mmap(0, 4 * PAGE, RW, libc::MAP_SHARED, fd, 0));
    touch(at);
    Ok(())
}

/// Two pieces of a file that meet in address and offset are one region; others are not.
fn file_offset() -> Outcome {
    let (fd, at) = (open_self(), hole(8));
    ready();
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
    must(mmap(at, PAGE, R, flags, fd, 4 * PAGE));
    must(mmap(at + PAGE, PAGE, R, flags, fd, 5 * PAGE));
    must(mmap(at + 2 * PAGE, PAGE, R, flags, fd, 5 * PAGE));
    Ok(())
}

fn shared_anonymous() -> Outcome {
    ready();
    must(mmap(0, 4 * PAGE, RW, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0));
    Ok(())
}

fn memfd() -> Outcome {
    ready();
    for name in [c"plain", c"a name with spaces\tand\nlines", c""] {
        let fd = must(call(libc::SYS_memfd_create, [name.as_ptr().addr(), 0])) as i32;
        must(mmap(0, PAGE, RW, libc::MAP_SHARED, fd, 0));
    }
    Ok(())
}

fn none() -> Outcome {
    ready();
    must(mmap(0, 64 << 30, libc::PROT_NONE, ANON | libc::MAP_NORESERVE, -1, 0));
    Ok(())
}

fn droppable() -> Outcome {
    const MAP_DROPPABLE: i32 = 8;
    ready();
    if_supported("mmap", mmap(0, PAGE, RW, MAP_DROPPABLE | libc::MAP_ANONYMOUS, -1, 0))?;
    Ok(())
}

fn failing() -> Outcome {
    ready();
    fails(mmap(0, 0, R, ANON, -1, 0), libc::EINVAL);
    fails(mmap(0, usize::MAX, R, ANON, -1, 0), libc::ENOMEM);
    fails(mmap(0, PAGE, R, libc::MAP_PRIVATE, -1, 0), libc::EBADF);
    fails(mmap(0, PAGE, R, libc::MAP_PRIVATE, open_self(), 1), libc::EINVAL);
    Ok(())
}

/// A mapping between two that are like it makes one of three.
fn merges() -> Outcome {
    let at = area(3);
    must(crate::sys::munmap(at + PAGE, PAGE));
    ready();
    must(mmap(at + PAGE, PAGE, RW, ANON | libc::MAP_FIXED, -1, 0));
    Ok(())
}

fn stack_flag() -> Outcome {
    ready();
    let flags = ANON | libc::MAP_STACK | libc::MAP_NORESERVE;
    must(mmap(0, 32 * PAGE, libc::PROT_NONE, flags, -1, 0));
    Ok(())
}

/// The lowest address there is, which `vm.mmap_min_addr` forbids to most, but not to root.
fn zero_page() -> Outcome {
    ready();
    if_supported("mmap", mmap(0, PAGE, R, ANON | libc::MAP_FIXED, -1, 0))?;
    Ok(())
}

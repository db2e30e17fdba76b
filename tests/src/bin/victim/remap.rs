//! `mremap` and `remap_file_pages`.

use crate::sys::{
    ANON, Case, Outcome, PAGE, R, RW, area, call, fails, file, hole, if_supported, mmap, mprotect,
    munmap, must, ready, touch,
};

pub(crate) const CASES: &[Case] = &[
    ("mremap_grows_in_place", grows),
    ("mremap_moves", moves),
    ("mremap_part_moves", part_moves),
    ("mremap_shrinks", shrinks),
    ("mremap_dontunmap", dontunmap),
    ("mremap_fixed", fixed),
    ("mremap_fixed_replaces", fixed_replaces),
    ("mremap_old_size_0", old_size_0),
    ("mremap_several", several),
    ("mremap_failing", failing),
    ("mremap_fixed_fails", fixed_fails),
    ("mremap_same_size", same_size),
    ("remap_file_pages", file_pages),
];

const MAYMOVE: i32 = libc::MREMAP_MAYMOVE;
const FIXED: i32 = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;

fn mremap(at: usize, old: usize, new: usize, flags: i32, to: usize) -> Result<usize, i32> {
    call(libc::SYS_mremap, [at, old * PAGE, new * PAGE, flags as usize, to])
}

fn grows() -> Outcome {
    let at = hole(16);
    must(mmap(at, 2 * PAGE, RW, ANON | libc::MAP_FIXED, -1, 0));
    ready();
    assert_eq!(mremap(at, 2, 5, 0, 0), Ok(at));
    Ok(())
}

/// Touched, so that the region has pages of its own to take along, and may not merge.
fn moves() -> Outcome {
    let at = area(4);
    touch(at);
    ready();
    assert_ne!(must(mremap(at, 4, 300, MAYMOVE, 0)), at);
    Ok(())
}

fn part_moves() -> Outcome {
    let at = area(9);
    touch(at + 4 * PAGE);
    ready();
    must(mremap(at + 3 * PAGE, 2, 6, MAYMOVE, 0));
    Ok(())
}

fn shrinks() -> Outcome {
    let at = area(9);
    ready();
    assert_eq!(mremap(at, 9, 4, 0, 0), Ok(at));
    Ok(())
}

fn dontunmap() -> Outcome {
    let at = area(4);
    touch(at);
    ready();
    let flags = MAYMOVE | libc::MREMAP_DONTUNMAP;
    if_supported("mremap", mremap(at, 4, 4, flags, 0))?;
    Ok(())
}

fn fixed() -> Outcome {
    let (at, to) = (area(4), hole(64));
    ready();
    must(mremap(at, 4, 8, FIXED, to + 16 * PAGE));
    Ok(())
}

/// The target is unmapped first, the middle of a region with its neighbours too; also shrinking.
fn fixed_replaces() -> Outcome {
    let (at, to) = (area(8), area(16));
    must(mprotect(to + 4 * PAGE, 4 * PAGE, R));
    must(munmap(to + 6 * PAGE, PAGE));
    touch(at);
    ready();
    must(mremap(at, 4, 4, FIXED, to + 3 * PAGE));
    must(mremap(at + 4 * PAGE, 4, 2, FIXED, to + 10 * PAGE));
    Ok(())
}

/// A second view of a shared mapping.
fn old_size_0() -> Outcome {
    let at = must(mmap(0, 4 * PAGE, RW, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0));
    ready();
    must(mremap(at, 0, 4, MAYMOVE, 0));
    Ok(())
}

/// Several regions at once, and the holes between them: 6.17 and later.
fn several() -> Outcome {
    let (at, to) = (area(9), hole(64));
    must(mprotect(at + 2 * PAGE, 2 * PAGE, R));
    must(munmap(at + 6 * PAGE, PAGE));
    ready();
    if_supported("mremap", mremap(at, 9, 9, FIXED, to))?;
    Ok(())
}

fn failing() -> Outcome {
    let at = area(4);
    ready();
    fails(mremap(at + 1, 1, 1, 0, 0), libc::EINVAL);
    fails(mremap(at, 4, 8, 0, 0), libc::ENOMEM);
    fails(mremap(hole(4), 1, 2, MAYMOVE, 0), libc::EFAULT);
    fails(mremap(at, 4, 4, FIXED, at + PAGE), libc::EINVAL);
    Ok(())
}

/// The source is shorter than the call says; the target may be gone before the kernel sees that.
fn fixed_fails() -> Outcome {
    let (at, to) = (area(4), area(16));
    must(munmap(at + 3 * PAGE, PAGE));
    ready();
    assert!(mremap(at, 5, 7, FIXED, to + 3 * PAGE).is_err());
    assert!(mremap(hole(4), 2, 2, FIXED, to + 12 * PAGE).is_err());
    Ok(())
}

fn same_size() -> Outcome {
    let at = area(4);
    ready();
    assert_eq!(mremap(at, 4, 4, MAYMOVE, 0), Ok(at));
    Ok(())
}

/// Emulated by the kernel with a mapping over the old one.
fn file_pages() -> Outcome {
    let fd = file(b"pages", 8);
    let at = must(mmap(0, 8 * PAGE, RW, libc::MAP_SHARED, fd, 0));
    ready();
    let result = call(libc::SYS_remap_file_pages, [at + 2 * PAGE, 2 * PAGE, 0, 6, 0]);
    if_supported("remap_file_pages", result)?;
    Ok(())
}

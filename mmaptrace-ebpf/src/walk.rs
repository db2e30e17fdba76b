//! Reads the regions of an address space from its maple tree, under its lock.
//!
//! The layout of the nodes is the kernel's `include/linux/maple_tree.h`, the same since 6.1: a node
//! is 256 bytes, aligned to as much; the low byte of a pointer to one is its type. One step of the
//! walk either goes down one level or looks at one entry of a leaf, so that the verifier sees no
//! loop but `bpf_loop`.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_kernel};
use mmaptrace_common::{
    layout::ABSENT,
    record::{Commit, REGIONS_PER_PART, Region, backing, flag},
    syscalls,
};

use crate::{
    claim::Busy,
    emit,
    kernel::{layout, mask, read},
    maps::{PART, Part, WALK, Walk},
    name,
};

/// `maple_leaf_64` and `maple_arange_64`; what is neither is `maple_range_64`.
const LEAF: u64 = 1;
/// See [`LEAF`].
const ARANGE: u64 = 3;
/// Entries below this are no pointers (`xa_is_internal`, zero entries).
const POINTERS: u64 = 4096;
/// Steps of one walk: more than `vm.max_map_count` and the nodes above them at any setting in use.
const STEPS: u32 = 1 << 20;
/// Bytes in a page.
const PAGE: u64 = 4096;

const _: () = assert!(syscalls::NUMBERS.is_power_of_two() && REGIONS_PER_PART.is_power_of_two());

/// Takes the CPU's walk and record for a commit of `mm`, of which so many records were lost. `None`,
/// and a loss, if they are in use.
///
/// What it returns must go to [`finish`].
#[inline(always)]
pub(crate) fn begin(mm: u64, root: u64, lost: u64) -> Option<(*mut Walk, *mut Commit)> {
    let (Some(walk), Some(part)) = (WALK.get_ptr_mut(0), PART.get_ptr_mut(0)) else {
        return None;
    };
    // SAFETY: elements of per-CPU arrays, and the programs that use them do not migrate.
    unsafe {
        if !Busy::claim(&raw mut (*walk).busy) {
            emit::count_loss(mm);
            return None;
        }
        (*walk).mm = mm;
        (*walk).root = root;
        (*walk).flags = 0;
        (*walk).lost = lost;
        Some((walk, &raw mut (*part).commit))
    }
}

/// Gives back what [`begin`] took.
#[inline(always)]
pub(crate) fn finish(walk: *mut Walk) {
    // SAFETY: as in `begin`.
    unsafe { Busy::give_back(&raw mut (*walk).busy) }
}

/// Sends the record with the regions that have a page in `[lo, hi)`, to their ends, and the holes
/// around them. Regions beside the range are not read: what merged with something in it reaches
/// into it, and what was cut at its edge ends there, which the model knows by itself.
///
/// `more`: another range of the same commit follows.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn send_range(lo: u64, hi: u64, more: u32) -> i32 {
    let Some(walk) = WALK.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: as in `begin`, whose caller this is.
    unsafe {
        // A hole that the range lies in or adjoins is read to its ends: a call that gave back more
        // than its arguments tell (huge pages) left it.
        (*walk).address = lo.saturating_sub(1);
        (*walk).wanted = lo;
        (*walk).last = hi;
        (*walk).entry = (*walk).root;
        (*walk).min = 0;
        (*walk).max = u64::MAX;
        (*walk).leaf = 0;
        (*walk).done = 0;
        (*walk).count = 0;
        (*walk).from = u64::MAX;
        (*walk).to = 0;
        if (*walk).root == 0 {
            (*walk).from = 0;
            (*walk).to = u64::MAX;
        } else {
            bpf_loop(STEPS, step as *mut c_void, core::ptr::null_mut(), 0);
            if (*walk).done == 0 {
                (*walk).flags |= u32::from(flag::TRUNCATED);
            }
        }
    }
    flush(more != 0);
    0
}

/// Sends the record for a range of which nothing is left.
#[inline(always)]
pub(crate) fn send_hole(walk: *mut Walk, lo: u64, hi: u64) {
    // SAFETY: as in `begin`.
    unsafe {
        (*walk).count = 0;
        (*walk).from = lo;
        (*walk).to = hi;
    }
    flush(false);
}

/// Sends the record without any regions.
#[inline(always)]
pub(crate) fn send_nothing(walk: *mut Walk) {
    send_hole(walk, 0, 0);
}

/// One step.
unsafe extern "C" fn step(_: u32, _: *mut c_void) -> i64 {
    let (Some(walk), Some(part)) = (WALK.get_ptr_mut(0), PART.get_ptr_mut(0)) else {
        return 1;
    };
    // SAFETY: as in `begin`.
    let (walk, part) = unsafe { (&mut *walk, &mut *part) };
    if walk.leaf == 0 {
        // The verifier knows nothing of what a global function returns.
        mask::<1>(descend() as usize) as i64
    } else {
        entry(walk, part)
    }
}

/// One level down, towards `address`. Not 0: there is none.
///
/// A global function, as is [`read_file`]: the verifier looks at it once, and not again for every
/// way that leads to it, which makes loading several times as fast.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn descend() -> i32 {
    let Some(walk) = WALK.get_ptr_mut(0) else {
        return 1;
    };
    // SAFETY: as in `begin`.
    let walk = unsafe { &mut *walk };
    let node = walk.entry;
    // SAFETY: the helper checks the source; the destination is of that size.
    let status = unsafe {
        bpf_probe_read_kernel((&raw mut walk.node).cast(), 256, (node & !255) as *const c_void)
    };
    if status != 0 || node < POINTERS {
        return 1;
    }
    let kind = (node >> 3) & 15;
    let (pivots, slots) = if kind == ARANGE { (9, 10) } else { (15, 16) };
    let mut lower = walk.min;
    let mut upper = walk.max;
    let mut slot = 0;
    while slot < 15 {
        if slot >= pivots {
            break;
        }
        let pivot = walk.node[1 + slot];
        // The last pivot in use is the node's maximum, or 0 where it is left out.
        if (pivot == 0 && slot > 0) || pivot >= walk.max {
            break;
        }
        if pivot >= walk.address {
            upper = pivot;
            break;
        }
        lower = pivot + 1;
        slot += 1;
    }
    if kind == LEAF {
        walk.leaf = 1;
        walk.slot = slot as u32;
        walk.lower = lower;
    } else {
        walk.min = lower;
        walk.max = upper;
        walk.entry = walk.node[(slots + slot) & 31];
    }
    0
}

/// One entry of a leaf: a region or a hole.
#[inline(always)]
fn entry(walk: &mut Walk, part: &mut Part) -> i64 {
    let slot = (walk.slot & 15) as usize;
    let mut upper = walk.max;
    if slot < 15 {
        let pivot = walk.node[1 + slot];
        if (pivot != 0 || slot == 0) && pivot < upper {
            upper = pivot;
        }
    }
    let vma = walk.node[16 + slot];
    let mapped = vma >= POINTERS;
    if mapped && walk.lower >= walk.last {
        walk.done = 1;
        return 1;
    }
    let before = mapped && upper < walk.wanted;
    if walk.from == u64::MAX {
        walk.from = if before { upper + 1 } else { walk.lower };
    }
    if mapped && !before {
        if walk.count as usize >= REGIONS_PER_PART {
            flush(true);
        }
        if !region(walk, vma, part) {
            return 1;
        }
        if walk.lower <= walk.expected && walk.expected <= upper {
            walk.flags |= u32::from(flag::RETURNS);
        }
        walk.count += 1;
    }
    walk.to = upper.wrapping_add(1);
    if (upper >= walk.last && !mapped) || upper == u64::MAX {
        if upper == u64::MAX {
            walk.to = u64::MAX;
        }
        walk.done = 1;
        return 1;
    }
    walk.lower = upper + 1;
    if upper >= walk.max || slot == 15 {
        walk.address = upper + 1;
        walk.entry = walk.root;
        walk.min = 0;
        walk.max = u64::MAX;
        walk.leaf = 0;
    } else {
        walk.slot = slot as u32 + 1;
    }
    0
}

/// Reads one region.
#[inline(always)]
fn region(walk: &mut Walk, vma: u64, part: &mut Part) -> bool {
    let index = mask::<{ REGIONS_PER_PART - 1 }>(walk.count as usize);
    // SAFETY: the index is masked to the array's length.
    let out = unsafe { &mut *part.regions.as_mut_ptr().add(index) };
    let size = layout!(vma_size);
    // SAFETY: the helper checks the source; `vma_size` is 256, the destination's, at most.
    let status =
        unsafe { bpf_probe_read_kernel((&raw mut walk.vma).cast(), size, vma as *const c_void) };
    if status != 0 {
        return false;
    }
    macro_rules! field {
        ($field:ident) => {
            walk.vma[(layout!($field) as usize / 8) & 31]
        };
    }
    out.start = field!(vma_start);
    out.end = field!(vma_end);
    out.flags = field!(vma_flags);
    out.pgoff = field!(vma_pgoff);
    out.ino = 0;
    out.dev = 0;
    out.name = 0;
    out.backing = backing::ANON;
    let file = field!(vma_file);
    if file != 0 {
        out.backing = backing::FILE;
        read_file(file);
    } else {
        let ops = field!(vma_ops);
        if ops != 0 && read::<u64>(ops + u64::from(layout!(ops_name))).unwrap_or(0) != 0 {
            let mapping = field!(vma_private);
            let text: u64 = read(mapping + u64::from(layout!(special_name))).unwrap_or(0);
            if text != 0 {
                out.backing = backing::SPECIAL;
                out.name = name::special(walk, text);
            }
        }
    }
    if layout!(vma_anon_name) != ABSENT
        && out.backing != backing::SPECIAL
        && (file == 0 || layout!(named_files) != 0)
    {
        let anon_name = field!(vma_anon_name);
        if anon_name >= POINTERS {
            out.backing = if file == 0 { backing::NAMED } else { backing::NAMED_SHARED };
            out.name = name::anonymous(walk, anon_name + u64::from(layout!(anon_name_text)));
        }
    }
    true
}

/// Reads what a file is, and sees that its path is known. What cannot be read stays 0: a file
/// without a name is shown as such, and the region is what it is all the same.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn read_file(file: u64) -> i32 {
    let (Some(walk), Some(part)) = (WALK.get_ptr_mut(0), PART.get_ptr_mut(0)) else {
        return 0;
    };
    // SAFETY: as in `begin`; the index is masked to the array's length.
    let (walk, out) = unsafe {
        let walk = &mut *walk;
        let index = mask::<{ REGIONS_PER_PART - 1 }>(walk.count as usize);
        (walk, &mut *(*part).regions.as_mut_ptr().add(index))
    };
    if !read_head(&mut walk.file, file) {
        return 0;
    }
    // What the user opened may be another file than the one that is mapped, which is of the layer
    // below.
    let mode = word(&walk.file, layout!(file_mode)) >> (layout!(file_mode) % 8 * 8);
    let backed = layout!(backing_user_path) != ABSENT && mode as u32 & layout!(file_backing) != 0;
    let (mnt, dentry) = if backed {
        let path = file + u64::from(layout!(backing_user_path));
        (
            read(path + u64::from(layout!(path_mnt))).unwrap_or(0),
            read(path + u64::from(layout!(path_dentry))).unwrap_or(0),
        )
    } else {
        (word(&walk.file, layout!(file_mnt)), word(&walk.file, layout!(file_dentry)))
    };
    if !read_head(&mut walk.dentry_head, dentry) {
        return 0;
    }
    macro_rules! field {
        ($field:ident) => {
            word(&walk.dentry_head, layout!($field))
        };
    }
    let inode = if backed { field!(dentry_inode) } else { word(&walk.file, layout!(file_inode)) };
    let _ = read_head(&mut walk.inode, inode);
    let superblock = word(&walk.inode, layout!(inode_sb));
    out.ino = word(&walk.inode, layout!(inode_ino));
    out.dev = read(superblock + u64::from(layout!(sb_dev))).unwrap_or(0);
    walk.mnt = mnt;
    walk.dentry = dentry;
    walk.ino = out.ino;
    walk.superblock = superblock;
    // Whatever changes the path changes one of these, but for a rename of a directory above.
    let mut key = name::mix(dentry, mnt);
    key = name::mix(key, out.ino);
    key = name::mix(key, u64::from(out.dev));
    key = name::mix(key, field!(dentry_parent));
    key = name::mix(key, field!(dentry_name));
    key = name::mix(key, u64::from(field!(dentry_pprev) == 0));
    walk.key = key | 1;
    out.name = walk.key;
    name::path(walk, field!(dentry_pprev) == 0 && field!(dentry_parent) != dentry);
    0
}

/// Reads the first 128 bytes of a structure; zeros, if they cannot be.
#[inline(always)]
fn read_head(head: &mut [u64; 16], address: u64) -> bool {
    // SAFETY: the helper checks the source, and fills the destination with zeros where it fails.
    unsafe { bpf_probe_read_kernel(head.as_mut_ptr().cast(), 128, address as *const c_void) == 0 }
}

/// The word of a structure's head at this offset, in bytes; user space saw that it is one of these.
#[inline(always)]
fn word(head: &[u64; 16], offset: u32) -> u64 {
    head[(offset as usize / 8) & 15]
}

/// Sends what was gathered since the last time.
#[inline(always)]
fn flush(more: bool) {
    let (Some(walk), Some(part)) = (WALK.get_ptr_mut(0), PART.get_ptr_mut(0)) else {
        return;
    };
    // SAFETY: as in `begin`.
    let (walk, part) = unsafe { (&mut *walk, &mut *part) };
    let count = walk.count.min(REGIONS_PER_PART as u32);
    let size = size_of::<Commit>() as u32 + count * size_of::<Region>() as u32;
    let commit = &mut part.commit;
    commit.header.size = size;
    commit.header.flags = walk.flags as u16 | if more { flag::MORE } else { 0 };
    commit.header.lost = walk.lost;
    commit.lo = walk.from;
    commit.hi = walk.to & !(PAGE - 1);
    commit.count = count;
    // SAFETY: the element is of at least that size.
    if !unsafe { emit::send((&raw const *part).cast(), size, walk.mm) } {
        walk.lost += 1;
    }
    walk.count = 0;
    walk.from = walk.to;
}

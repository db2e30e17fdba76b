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
    emit::{self, Tally},
    kernel::{Words, layout, mask, read},
    maps::{WALK, Walk},
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
/// Levels of one step. Of more, and of more entries, there are more steps.
const LEVELS: u32 = 2;
/// Entries of a leaf in one step.
const ENTRIES: u32 = 4;
/// What is read of a file, a dentry and an inode, in bytes: user space saw that it is enough.
const HEAD: u32 = 128;
/// Bytes in a page.
const PAGE: u64 = 4096;

const _: () = assert!(syscalls::NUMBERS.is_power_of_two() && REGIONS_PER_PART.is_power_of_two());

/// Takes the CPU's walk, with its record, for a commit of `mm`, whose headers tell `tally`. `None`,
/// and a loss, if it is in use.
///
/// What it returns must go to [`finish`].
#[inline(always)]
pub(crate) fn begin(mm: u64, root: u64, tally: Tally) -> Option<*mut Walk> {
    let walk = WALK.get_ptr_mut(0)?;
    // SAFETY: the element of a per-CPU array, and the programs that use it do not migrate.
    unsafe {
        if !Busy::claim(&raw mut (*walk).busy) {
            emit::count_loss(mm);
            return None;
        }
        (*walk).mm = mm;
        (*walk).root = root;
        (*walk).flags = 0;
        (*walk).tally = tally;
    }
    Some(walk)
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
    // SAFETY: as above.
    flush(unsafe { &mut *walk }, more != 0);
    0
}

/// Sends the record for a range of which nothing is left.
#[inline(always)]
pub(crate) fn send_hole(walk: *mut Walk, lo: u64, hi: u64) {
    // SAFETY: as in `begin`.
    let walk = unsafe { &mut *walk };
    walk.count = 0;
    walk.from = lo;
    walk.to = hi;
    flush(walk, false);
}

/// Sends the record without any regions.
#[inline(always)]
pub(crate) fn send_nothing(walk: *mut Walk) {
    send_hole(walk, 0, 0);
}

/// One step: down to a leaf, as a rule, and through it.
unsafe extern "C" fn step(_: u32, _: *mut c_void) -> i64 {
    let Some(walk) = WALK.get_ptr_mut(0) else {
        return 1;
    };
    // SAFETY: as in `begin`.
    let walk = unsafe { &mut *walk };
    if walk.leaf == 0 && descend() != 0 {
        return 1;
    }
    let mut entries = 0;
    while entries < ENTRIES {
        if walk.leaf == 0 {
            break;
        }
        if entry(walk) != 0 {
            return 1;
        }
        entries += 1;
    }
    0
}

/// Down towards `address`, some levels at a time. Not 0: there is nothing.
///
/// A global function, as is [`read_backing`]: the verifier looks at it once, and not again for every
/// way that leads to it, which makes loading several times as fast.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn descend() -> i32 {
    let Some(walk) = WALK.get_ptr_mut(0) else {
        return 1;
    };
    // SAFETY: as in `begin`.
    let walk = unsafe { &mut *walk };
    let mut levels = 0;
    while levels < LEVELS {
        if walk.leaf != 0 {
            break;
        }
        if !go_down(walk) {
            return 1;
        }
        levels += 1;
    }
    0
}

/// One level. `false`: there is none.
#[inline(always)]
fn go_down(walk: &mut Walk) -> bool {
    if walk.entry < POINTERS {
        return false;
    }
    let Some(node) = Head::of(&mut walk.node, walk.entry & !255, 256).filter(Head::is_in_tree)
    else {
        return false;
    };
    let kind = (walk.entry >> 3) & 15;
    let (pivots, slots) = if kind == ARANGE { (9, 10) } else { (15, 16) };
    let mut lower = walk.min;
    let mut upper = walk.max;
    let mut slot = 0;
    while slot < 15 {
        if slot >= pivots {
            break;
        }
        let pivot = node.word(1 + slot);
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
        walk.entry = node.word(slots + slot);
    }
    true
}

/// One entry of a leaf: a region or a hole.
#[inline(always)]
fn entry(walk: &mut Walk) -> i64 {
    let slot = (walk.slot & 15) as usize;
    let node = Head::again(&walk.node, walk.entry & !255);
    let mut upper = walk.max;
    if slot < 15 {
        let pivot = node.word(1 + slot);
        if (pivot != 0 || slot == 0) && pivot < upper {
            upper = pivot;
        }
    }
    let vma = node.word(16 + slot);
    // It may have been taken out of the tree since, by a stack that grows under the lock for reading.
    if !node.is_in_tree() {
        return 1;
    }
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
            flush_more();
        }
        if !region(walk, vma) {
            return 1;
        }
        if walk.lower <= walk.expected && walk.expected <= upper {
            walk.flags |= u32::from(flag::RETURNS);
        }
        walk.count = reread(&walk.count) + 1;
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

/// A field of a [`Head`], which user space saw to be a word of it.
macro_rules! field {
    ($head:ident, $field:ident) => {
        $head.word(layout!($field) as usize / 8)
    };
}

/// Reads one region.
#[inline(always)]
fn region(walk: &mut Walk, vma: u64) -> bool {
    let index = mask::<{ REGIONS_PER_PART - 1 }>(reread(&walk.count) as usize);
    // SAFETY: the index is masked to the array's length.
    let out = unsafe { &mut *walk.part.regions.as_mut_ptr().add(index) };
    let Some(vma) = Head::of(&mut walk.vma, vma, layout!(vma_size)) else {
        return false;
    };
    out.start = field!(vma, vma_start);
    out.end = field!(vma, vma_end);
    if out.end <= out.start {
        return false;
    }
    out.flags = field!(vma, vma_flags);
    out.pgoff = field!(vma, vma_pgoff);
    out.ino = 0;
    out.dev = 0;
    out.name = 0;
    out.backing = backing::ANON;
    if field!(vma, vma_file) != 0 || field!(vma, vma_ops) != 0 || anon_name(&vma) != 0 {
        read_backing(vma.address);
    }
    true
}

/// Where the name of anonymous memory is, in the kernel; 0: it has none.
#[inline(always)]
fn anon_name<const LENGTH: usize>(vma: &Head<'_, LENGTH>) -> u64 {
    if layout!(vma_anon_name) == ABSENT {
        return 0;
    }
    match field!(vma, vma_anon_name) {
        address if address >= POINTERS => address,
        _ => 0,
    }
}

/// Reads what a region has besides memory: a file or a name.
///
/// A global function, see [`descend`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn read_backing(vma: u64) -> i32 {
    let Some(walk) = WALK.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: as in `begin`; the index is masked to the array's length.
    let (walk, out) = unsafe {
        let index = mask::<{ REGIONS_PER_PART - 1 }>((*walk).count as usize);
        let regions = (&raw mut (*walk).part.regions).cast::<Region>();
        (&mut *walk, &mut *regions.add(index))
    };
    let vma = Head::again(&walk.vma, vma);
    let (file, ops) = (field!(vma, vma_file), field!(vma, vma_ops));
    let (private, anon_name) = (field!(vma, vma_private), anon_name(&vma));
    if file != 0 {
        out.backing = backing::FILE;
        read_file(walk, out, file);
    } else if ops != 0 && word(ops + u64::from(layout!(ops_name))) != 0 {
        let text = word(private + u64::from(layout!(special_name)));
        if text != 0 {
            out.backing = backing::SPECIAL;
            out.name = name::special(walk, text);
        }
    }
    if anon_name != 0 && out.backing != backing::SPECIAL && (file == 0 || layout!(named_files) != 0)
    {
        out.backing = if file == 0 { backing::NAMED } else { backing::NAMED_SHARED };
        out.name = name::anonymous(walk, anon_name + u64::from(layout!(anon_name_text)));
    }
    0
}

/// Reads what a file is, and sees that its path is known. Whatever of it cannot be read, the region is
/// what it is all the same.
#[inline(always)]
fn read_file(walk: &mut Walk, out: &mut Region, file: u64) {
    let Some(opened) = Head::of(&mut walk.file, file, HEAD) else {
        return;
    };
    // What the user opened may be another file than the one that is mapped, which is of the layer
    // below.
    let mode = field!(opened, file_mode) >> (layout!(file_mode) % 8 * 8);
    let backed = layout!(backing_user_path) != ABSENT && mode as u32 & layout!(file_backing) != 0;
    let (mnt, dentry) = if backed {
        let path = file + u64::from(layout!(backing_user_path));
        (
            read(path + u64::from(layout!(path_mnt))).unwrap_or(0),
            read(path + u64::from(layout!(path_dentry))).unwrap_or(0),
        )
    } else {
        (field!(opened, file_mnt), field!(opened, file_dentry))
    };
    let Some(head) = Head::of(&mut walk.dentry_head, dentry, HEAD) else {
        return;
    };
    let as_opened = backed && layout!(backing_as_opened) != 0;
    let inode = if as_opened { field!(head, dentry_inode) } else { field!(opened, file_inode) };
    let (parent, text) = (field!(head, dentry_parent), field!(head, dentry_name));
    let unhashed = field!(head, dentry_pprev) == 0;
    let superblock = match Head::of(&mut walk.inode, inode, HEAD) {
        Some(inode) => {
            out.ino = field!(inode, inode_ino);
            field!(inode, inode_sb)
        }
        None => 0,
    };
    out.dev = word(superblock + u64::from(layout!(sb_dev))) as u32;
    walk.mnt = mnt;
    walk.dentry = dentry;
    walk.ino = out.ino;
    walk.superblock = superblock;
    // Whatever changes the path changes one of these, but for a rename of a directory above, and what
    // becomes of a mount on which this one is. `mnt` lies within a `struct mount`.
    let mount = mnt.wrapping_sub(u64::from(layout!(mount_mnt)));
    let mut key = name::mix(dentry, mnt);
    key = name::mix(key, out.ino);
    key = name::mix(key, u64::from(out.dev));
    key = name::mix(key, word(mount + u64::from(layout!(mount_parent))));
    key = name::mix(key, word(mount + u64::from(layout!(mount_mountpoint))));
    key = name::mix(key, parent);
    key = name::mix(key, text);
    key = name::mix(key, u64::from(unhashed));
    walk.key = key | 1;
    out.name = walk.key;
    name::path(walk, unhashed && parent != dentry);
}

/// A field that a global function may have changed, of which the compiler does not know that it has the
/// same walk.
#[inline(always)]
pub(crate) fn reread<T: Copy>(field: &T) -> T {
    // SAFETY: it is a reference.
    unsafe { core::ptr::read_volatile(field) }
}

/// The word at any kernel address; 0 where nothing is mapped.
#[inline(always)]
fn word(address: u64) -> u64 {
    match Words::get() {
        Some(words) => words.at(address),
        None => read(address).unwrap_or(0),
    }
}

/// The start of one of the kernel's structures, in words: a copy, where they cannot be loaded from
/// where they are.
struct Head<'a, const LENGTH: usize> {
    address: u64,
    copy: &'a [u64; LENGTH],
}

impl<'a, const LENGTH: usize> Head<'a, LENGTH> {
    /// Of the structure at this address, so many bytes, for which `copy` has room. What cannot be read
    /// is `None`, or zeros, where nothing is copied.
    #[inline(always)]
    fn of(copy: &'a mut [u64; LENGTH], address: u64, bytes: u32) -> Option<Self> {
        // SAFETY: the helper checks the source; the destination is of that size.
        let read = Words::get().is_some()
            || unsafe {
                bpf_probe_read_kernel(copy.as_mut_ptr().cast(), bytes, address as *const _) == 0
            };
        read.then_some(Self { address, copy })
    }

    /// Of one that was read before.
    #[inline(always)]
    fn again(copy: &'a [u64; LENGTH], address: u64) -> Self {
        Self { address, copy }
    }

    /// The word at this place of it.
    #[inline(always)]
    fn word(&self, place: usize) -> u64 {
        const { assert!(LENGTH.is_power_of_two()) };
        match Words::get() {
            Some(words) => words.at(self.address + 8 * place as u64),
            None => self.copy[place & (LENGTH - 1)],
        }
    }

    /// Of a node: whether it is one of a tree's, and was read. It then has a parent, at its start, which
    /// is not itself (`ma_dead_node`, `lib/maple_tree.c`).
    #[inline(always)]
    fn is_in_tree(&self) -> bool {
        let parent = self.word(0);
        parent != 0 && parent & !255 != self.address
    }
}

/// Sends a record that is full. A global function, see [`descend`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn flush_more() -> i32 {
    if let Some(walk) = WALK.get_ptr_mut(0) {
        // SAFETY: as in `begin`.
        flush(unsafe { &mut *walk }, true);
    }
    0
}

/// Sends what was gathered since the last time.
#[inline(always)]
fn flush(walk: &mut Walk, more: bool) {
    let count = walk.count.min(REGIONS_PER_PART as u32);
    let size = size_of::<Commit>() as u32 + count * size_of::<Region>() as u32;
    let commit = &mut walk.part.commit;
    commit.header.size = size;
    commit.header.flags = walk.flags as u16 | if more { flag::MORE } else { 0 };
    commit.header.lost = walk.tally.lost;
    commit.lo = walk.from;
    commit.hi = walk.to & !(PAGE - 1);
    commit.count = count;
    if !emit::send_part(&walk.part, count, walk.mm) {
        walk.tally.lost += 1;
    }
    walk.count = 0;
    walk.from = walk.to;
}

//! Names of what is mapped, sent once, before the first region that has them.
//!
//! The kernel's own `d_path` may not be called here, so the way up the dentries is walked as
//! `prepend_path` (`fs/d_path.c`) does it; user space puts the components together.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_kernel_str};
use mmaptrace_common::{
    control::Renames,
    record::{NAME_MAX, Name, PATH_TEXT_MAX, Path, flag, kind},
};

use crate::{
    emit,
    kernel::{ids, layout, mask, read},
    maps::{NAME_TEXT, NAMES, PATH_TEXT, RENAMES, WALK, Walk},
    ring,
    walk::reread,
};

/// `DCACHE_OP_REVALIDATE` (`include/linux/dcache.h`)
const DCACHE_OP_REVALIDATE: u32 = 4;

/// Components of one path, crossings of mounts included.
const COMPONENTS: u32 = 8192;

/// Mixes a value into a key.
#[inline(always)]
pub(crate) fn mix(key: u64, value: u64) -> u64 {
    (key ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

/// What the hash of names is keyed with, which no program can know.
#[unsafe(no_mangle)]
static NAME_KEY: [u64; 2] = [u64::MAX; 2];

/// SipHash-1-3: programs choose the names of their memory, and would find two with one key otherwise.
#[inline(always)]
fn hash_of(text: &[u64; NAME_MAX / 8]) -> u64 {
    // SAFETY: they are there; volatile, as `kernel::constant`.
    let (k0, k1) = unsafe {
        let key = &raw const NAME_KEY;
        (
            core::ptr::read_volatile(&raw const (*key)[0]),
            core::ptr::read_volatile(&raw const (*key)[1]),
        )
    };
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    // All of the room, for a branch on the length would cost the verifier a path a byte.
    let mut at = 0;
    while at < NAME_MAX / 8 {
        v[3] ^= text[at];
        round(&mut v);
        v[0] ^= text[at];
        at += 1;
    }
    v[2] ^= 0xff;
    round(&mut v);
    round(&mut v);
    round(&mut v);
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[inline(always)]
fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

/// Sees that the path at `walk.mnt` and `walk.dentry` is known as `walk.key`.
#[inline(always)]
pub(crate) fn path(walk: &mut Walk, deleted: bool) {
    if !known(walk.key) {
        send_path(u32::from(if deleted { flag::DELETED } else { 0 }));
    }
}

/// Whether a name was sent, and nothing was moved since.
#[inline(always)]
fn known(key: u64) -> bool {
    // SAFETY: elements stay valid for the length of a run.
    NAMES.get_ptr(key).is_some_and(|sent| unsafe { *sent } == renames().moves)
}

/// Notes that a name was sent; so many were the moves before it was read.
#[inline(always)]
fn note_sent(key: u64, moves: u64) {
    let _ = NAMES.insert(key, moves, 0);
}

/// How often names have changed.
#[inline(always)]
pub(crate) fn renames() -> Renames {
    // SAFETY: as in `known`. Others may count meanwhile: each number is whole.
    RENAMES.get_ptr(0).map_or(Renames::NONE, |it| unsafe { *it })
}

/// Adds to the counts of changes. One more of `moves` has all names looked for anew where they are
/// next met.
#[inline(always)]
pub(crate) fn count(more: Renames) {
    if let Some(renames) = RENAMES.get_ptr_mut(0) {
        // SAFETY: as in `known`. `calls` last: by it a picture says which changes it has seen, and its
        // names are looked for anew by the others.
        unsafe {
            ring::add(&raw mut (*renames).untold, more.untold);
            ring::add(&raw mut (*renames).moves, more.moves);
            ring::add(&raw mut (*renames).calls, more.calls);
        }
    }
}

/// Sends the path, with these flags.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn send_path(flags: u32) -> i32 {
    let (Some(walk), Some(out)) = (WALK.get_ptr_mut(0), PATH_TEXT.get_ptr_mut(0)) else {
        return 0;
    };
    // SAFETY: elements of per-CPU arrays; the walk is this program's.
    let (walk, out) = unsafe { (&mut *walk, &mut *out) };
    let moves = renames().moves;
    walk.length = 0;
    walk.complete = 0;
    walk.revalidated = revalidated(walk.dentry);
    let mut flags = flags as u16;
    if synthetic(walk) {
        flags |= flag::SYNTHETIC;
        let text: u64 = read(name_of(walk.dentry)).unwrap_or(0);
        if !append(walk, &mut out.text, text) {
            flags |= flag::CUT;
        }
    } else {
        // SAFETY: the callback is of the type the helper wants.
        unsafe { bpf_loop(COMPONENTS, component as *mut c_void, core::ptr::null_mut(), 0) };
        if walk.complete == 0 {
            flags |= flag::CUT;
        }
        if walk.revalidated != 0 {
            flags |= flag::REVALIDATED;
        }
    }
    let length = walk.length.min(PATH_TEXT_MAX as u32 + NAME_MAX as u32);
    let size = size_of::<Path>() as u32 + length;
    let header = emit::header(kind::PATH, flags, size, walk.mm, ids(), walk.tally);
    out.path = Path {
        header,
        key: walk.key,
        ino: walk.ino,
        magic: read(walk.superblock + u64::from(layout!(sb_magic))).unwrap_or(0),
        len: length,
        pad: 0,
    };
    // SAFETY: the element is of at least that size.
    if unsafe { emit::send((&raw const *out).cast(), size, walk.mm) } {
        note_sent(walk.key, moves);
    } else {
        walk.tally.lost += 1;
    }
    0
}

/// Whether the file system names the file itself, as `d_path` decides it.
#[inline(always)]
fn synthetic(walk: &Walk) -> bool {
    let op: u64 = read(walk.dentry + u64::from(layout!(dentry_op))).unwrap_or(0);
    if op == 0 || read::<u64>(op + u64::from(layout!(dop_dname))).unwrap_or(0) == 0 {
        return false;
    }
    let parent: u64 = read(walk.dentry + u64::from(layout!(dentry_parent))).unwrap_or(0);
    let root: u64 = read(walk.mnt + u64::from(layout!(vfsmount_root))).unwrap_or(0);
    parent != walk.dentry || root != walk.dentry
}

/// Not 0: the file system of a dentry looks at its files anew.
#[inline(always)]
fn revalidated(dentry: u64) -> u32 {
    let flags: u32 = read(dentry + u64::from(layout!(dentry_flags))).unwrap_or(0);
    flags & DCACHE_OP_REVALIDATE
}

/// Where a dentry's pointer to its name is.
#[inline(always)]
fn name_of(dentry: u64) -> u64 {
    dentry + u64::from(layout!(dentry_name)) + u64::from(layout!(qstr_name))
}

/// One component, or one crossing of a mount.
unsafe extern "C" fn component(_: u32, _: *mut c_void) -> i64 {
    let (Some(walk), Some(out)) = (WALK.get_ptr_mut(0), PATH_TEXT.get_ptr_mut(0)) else {
        return 1;
    };
    // SAFETY: as in `send_path`.
    let (walk, out) = unsafe { (&mut *walk, &mut *out) };
    let (dentry, mnt) = (walk.dentry, walk.mnt);
    let Some(root) = read::<u64>(mnt + u64::from(layout!(vfsmount_root))) else {
        return 1;
    };
    if dentry == root {
        // Up to the mount below. `mnt` lies within a `struct mount`.
        let mount = mnt - u64::from(layout!(mount_mnt));
        let (Some(parent), Some(point)) = (
            read::<u64>(mount + u64::from(layout!(mount_parent))),
            read::<u64>(mount + u64::from(layout!(mount_mountpoint))),
        ) else {
            return 1;
        };
        if parent == mount {
            walk.complete = 1;
            return 1;
        }
        walk.mnt = parent + u64::from(layout!(mount_mnt));
        walk.dentry = point;
        return 0;
    }
    let (Some(parent), Some(text)) =
        (read::<u64>(dentry + u64::from(layout!(dentry_parent))), read::<u64>(name_of(dentry)))
    else {
        return 1;
    };
    if parent == dentry {
        // Moved out of what its mount shows: the kernel drops what it has so far, and prints `/`
        // (`prepend_path`, where `__prepend_path` returns 3).
        walk.length = 0;
        walk.complete = 1;
        return 1;
    }
    // Of a directory on the way, or of what is mounted on, as of the file. What the root of a mount is called shows
    // nowhere.
    walk.revalidated |= revalidated(dentry);
    walk.dentry = parent;
    i64::from(!append(walk, &mut out.text, text))
}

/// Appends the string at a kernel address, and its NUL. `false`: there is no room, or no string.
#[inline(always)]
fn append(walk: &mut Walk, text: &mut [u8; PATH_TEXT_MAX + NAME_MAX], from: u64) -> bool {
    let at = walk.length as usize;
    if at >= PATH_TEXT_MAX {
        return false;
    }
    // SAFETY: `at` leaves room for one name; the mask is for the verifier.
    let length = unsafe {
        bpf_probe_read_kernel_str(
            text.as_mut_ptr().add(mask::<{ PATH_TEXT_MAX - 1 }>(at)).cast(),
            NAME_MAX as u32,
            from as *const c_void,
        )
    };
    // As many as the helper copies at most: one of that length, or more of which the rest is missing.
    // Linux has names of 255 bytes, but some file systems longer ones: FUSE, and those that count
    // characters.
    let is_cut = length == NAME_MAX as i64 && read(from + NAME_MAX as u64 - 1) != Some(0_u8);
    if length <= 0 || is_cut {
        return false;
    }
    walk.length = at as u32 + (mask::<{ 2 * NAME_MAX - 1 }>(length as usize) as u32);
    true
}

/// Sees that the name of a special mapping, a constant of the kernel at `text`, is known; its key.
#[inline(always)]
pub(crate) fn special(walk: &mut Walk, text: u64) -> u64 {
    walk.key = mix(text, u64::from(kind::NAME)) | 1;
    if !known(walk.key) {
        send_name(text, 0);
    }
    walk.key
}

/// Sees that the name of anonymous memory at `text` is known; its key. The memory of the text is
/// reused for other names, so that the key is of its contents.
#[inline(always)]
pub(crate) fn anonymous(walk: &mut Walk, text: u64) -> u64 {
    send_name(text, 1);
    reread(&walk.key)
}

/// Sends a name under `walk.key`, or, if `hash` is not 0, under a key made of it, and only if that
/// is not known.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn send_name(text: u64, hash: u32) -> i32 {
    let (Some(walk), Some(out)) = (WALK.get_ptr_mut(0), NAME_TEXT.get_ptr_mut(0)) else {
        return 0;
    };
    // SAFETY: as in `send_path`.
    let (walk, out) = unsafe { (&mut *walk, &mut *out) };
    let moves = renames().moves;
    // What lies behind the NUL counts for the key.
    out.text = [0; NAME_MAX / 8];
    // SAFETY: the helper checks the source, and the destination is of that size.
    let length = unsafe {
        bpf_probe_read_kernel_str(out.text.as_mut_ptr().cast(), NAME_MAX as u32, text as *const _)
    };
    if length <= 0 {
        // That of no name.
        walk.key = 0;
        return 0;
    }
    // Without the NUL.
    let length = mask::<{ NAME_MAX - 1 }>(length as usize - 1) as u32;
    if hash != 0 {
        walk.key = hash_of(&out.text) | 1;
        if known(walk.key) {
            return 0;
        }
    }
    let size = size_of::<Name>() as u32 + length;
    let header = emit::header(kind::NAME, 0, size, walk.mm, ids(), walk.tally);
    out.name = Name { header, key: walk.key, len: length, pad: 0 };
    // SAFETY: the element is of at least that size.
    if unsafe { emit::send((&raw const *out).cast(), size, walk.mm) } {
        note_sent(walk.key, moves);
    } else {
        walk.tally.lost += 1;
    }
    0
}

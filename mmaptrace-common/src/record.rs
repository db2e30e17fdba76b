//! The records, as they lie in the ring buffer.
//!
//! Every record starts with a [`Header`]. Records of one mm leave the ring in the order in which
//! its lock was held, because those that tell of its regions are written under that lock; records
//! of one thread leave it in the order in which the thread ran.

#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Kinds of records, the value of [`Header::kind`].
pub mod kind {
    /// [`Commit`](super::Commit), then [`Commit::count`](super::Commit::count) times
    /// [`Region`](super::Region).
    pub const COMMIT: u16 = 1;
    /// [`Path`](super::Path), then [`Path::len`](super::Path::len) bytes: the path's components,
    /// the last one first, each ended by a NUL.
    pub const PATH: u16 = 2;
    /// [`Name`](super::Name), then [`Name::len`](super::Name::len) bytes, without a NUL.
    pub const NAME: u16 = 3;
    /// [`Call`](super::Call): a system call of the table has returned. Then
    /// [`Call::len`](super::Call::len) bytes of text: the file name of a failed execve.
    pub const CALL: u16 = 4;
    /// [`Exec`](super::Exec), then [`Exec::path_len`](super::Exec::path_len) bytes of the file
    /// name and [`Exec::argv_len`](super::Exec::argv_len) of the arguments, each ended by a NUL.
    pub const EXEC: u16 = 5;
    /// [`Fork`](super::Fork): a task was created.
    pub const FORK: u16 = 6;
    /// [`Exit`](super::Exit): a task has ended.
    pub const EXIT: u16 = 7;
    /// A bare [`Header`](super::Header): the last user of `mm` is gone, and with it all its regions.
    pub const END: u16 = 8;
    /// [`Stack`](super::Stack), then [`Stack::count`](super::Stack::count) addresses of 8 bytes.
    pub const STACK: u16 = 9;
    /// [`BuildId`](super::BuildId), then [`BuildId::len`](super::BuildId::len) bytes. Written by
    /// user space, when it first meets a file in a stack.
    pub const BUILD_ID: u16 = 10;
    /// A bare [`Header`](super::Header): so many records of `mm` are lost, as no record that came since
    /// could tell; or what else is missing, as flags tell. Written by user space.
    pub const LOSS: u16 = 11;
}

/// The start of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct Header {
    /// One of [`kind`].
    pub kind: u16,
    /// A union of [`flag`].
    pub flags: u16,
    /// Length of the whole record, in bytes, this header and what follows the fixed part included.
    pub size: u32,
    /// When it was written: ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// The address space: the kernel's `struct mm_struct *`. Reused after an [`kind::END`]; see
    /// [`Header::generation`].
    pub mm: u64,
    /// The acting task's thread group id, in the initial PID namespace.
    pub pid: u32,
    /// The acting task's thread id, in the initial PID namespace.
    pub tid: u32,
    /// How many records of this address space found no room in the ring, since it was first followed. Comes
    /// back to 0.
    pub lost: u32,
    /// Which of the address spaces at this mm it is: another number for each that is followed there; 0: not
    /// told.
    pub generation: u32,
}

/// Flags of records, the bits of [`Header::flags`]. Those of different kinds may share a bit.
pub mod flag {
    /// Commit: the lock was held for writing (else it is a read lock, a downgraded one mostly).
    pub const WRITE: u16 = 1 << 0;
    /// Commit: another part of the same commit follows; apply them together.
    pub const MORE: u16 = 1 << 1;
    /// Commit: the regions were not all read; the model must be healed.
    pub const TRUNCATED: u16 = 1 << 2;
    /// Commit: the parts together are the whole address space, whatever was known before.
    pub const WHOLE: u16 = 1 << 3;
    /// Commit: `total_vm` is that of the regions, as `map_count` always is. Not set where another
    /// thread's unmapping may be half accounted: `map_count` falls before the lock is downgraded,
    /// `total_vm` after.
    pub const COUNTED: u16 = 1 << 4;
    /// Commit, call: `nr` is of the 32-bit (ia32) table.
    pub const COMPAT: u16 = 1 << 5;
    /// Commit: the address space has the `[vsyscall]` page, which is no region.
    pub const VSYSCALL: u16 = 1 << 6;
    /// Path: the file has no name any more; `/proc/PID/maps` appends ` (deleted)`.
    pub const DELETED: u16 = 1 << 7;
    /// Path: the file system names its files itself (`d_dname`), and the only component is that
    /// name's variable part; see [`Path::magic`](super::Path::magic).
    pub const SYNTHETIC: u16 = 1 << 8;
    /// Commit: all names were looked for anew, and files may have got others since the last reading.
    pub const RENAMED: u16 = 1 << 8;
    /// Path, exec: cut short.
    pub const CUT: u16 = 1 << 9;
    /// Exit: the last thread of its group.
    pub const GROUP: u16 = 1 << 10;
    /// Fork: the new task shares its parent's address space (a thread, or vfork's child).
    pub const SHARED_MM: u16 = 1 << 11;
    /// Path: the file system looks at its files anew (`d_revalidate`), as those of file servers do and those in
    /// user space: names, numbers and whether there is one at all may change with no call that tells of it.
    pub const REVALIDATED: u16 = 1 << 11;
    /// Commit: the ids are the kernel's own (`mm_lock_seq`) and rise by 2, so that a hole is a lost
    /// commit. Else they are counted by the hook.
    pub const SEQUENCED: u16 = 1 << 12;
    /// Commit: its call changes nothing any more, and what it returns is certain: it is
    /// [`Commit::result`](super::Commit::result). A [`Call`](super::Call) that says the same may
    /// follow, or not.
    pub const RETURNS: u16 = 1 << 13;
    /// Commit: the regions were read without the lock, and may be none of one moment.
    pub const UNLOCKED: u16 = 1 << 14;
    /// Commit: nothing was sent of those whose ids lie between the last one sent and this. As a rule
    /// they changed nothing: a page fault that comes too late to grow a stack has taken the lock for
    /// writing, and downgraded it. To tell, all of the space follows, read under the same lock, as a
    /// commit of the same id and of [`cause::SEED`](super::cause::SEED), of the process 0.
    pub const CHECKED: u16 = 1 << 7;
    /// Exit: how it ended is not known.
    pub const UNTOLD: u16 = 1 << 15;
    /// Loss: a picture was needed, to be sure of the space or of who is in it, and not to be had.
    pub const NO_PICTURE: u16 = 1 << 15;
}

/// Why a commit happened, the value of [`Commit::cause`].
pub mod cause {
    /// A system call of a thread of this address space: `nr` and `args` are that call's.
    pub const CALL: u32 = 1;
    /// A page fault or another exception of a thread of this address space, outside any call.
    pub const FAULT: u32 = 2;
    /// Stack growth on a page fault; `nr` is the call it happened in, or -1.
    pub const GROWTH: u32 = 3;
    /// A kernel thread.
    pub const KERNEL: u32 = 4;
    /// An `io_uring` worker.
    pub const WORKER: u32 = 5;
    /// A task of another address space.
    pub const REMOTE: u32 = 6;
    /// The tracer read the whole space, to seed or to heal the model: nothing changed. The record's
    /// `pid` and `comm` are of the process that was read.
    pub const SEED: u32 = 7;
    /// A fork made this address space.
    pub const FORK: u32 = 8;
    /// An exec made this address space.
    pub const EXEC: u32 = 9;
}

/// The address of what nobody knows the place of: no region has it.
pub const NOWHERE: u64 = u64::MAX;

/// What the kernel says of an address space at the moment its lock is released, and the regions as
/// they now are in `[lo, hi)`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct Commit {
    /// `kind` is [`kind::COMMIT`].
    pub header: Header,
    /// The commit id: even, and 2 more from commit to commit. Without [`flag::SEQUENCED`] those of readers of the
    /// lock may come in another order than they were counted in.
    pub id: u64,
    /// The regions that follow are all there is from this address ...
    pub lo: u64,
    /// ... up to this one. Page-aligned both, and on an edge of a region or in a hole. `lo == hi`
    /// where nothing was read.
    pub hi: u64,
    /// `mm->total_vm`, in pages.
    pub total_vm: u64,
    /// `mm->map_count`.
    pub map_count: u32,
    /// The number of regions that follow.
    pub count: u32,
    /// `mm->start_brk`, an address, or [`NOWHERE`].
    pub start_brk: u64,
    /// `mm->brk`, an address, not page-aligned.
    pub brk: u64,
    /// `mm->start_stack`, an address, or [`NOWHERE`].
    pub start_stack: u64,
    /// One of [`cause`].
    pub cause: u32,
    /// The number of the system call the task is in, or -1.
    pub nr: i32,
    /// The call's argument registers.
    pub args: [u64; 6],
    /// What the call returns, if [`flag::RETURNS`] is set.
    pub result: i64,
    /// The acting task's name, NUL-padded.
    pub comm: [u8; 16],
    /// How many calls had changed names of files, machine-wide, before the regions were read; see
    /// [`Renames::calls`](crate::control::Renames::calls).
    pub renames: u64,
    /// Key of the [`Stack`] of the acting thread in user space, sent before; 0: none was taken.
    pub user_stack: u64,
    /// Key of its [`Stack`] in the kernel; 0: none was taken.
    pub kernel_stack: u64,
}

/// One region (`struct vm_area_struct`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct Region {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// `vm_flags`, as in the kernel's `include/linux/mm.h`.
    pub flags: u64,
    /// `vm_pgoff`, in pages.
    pub pgoff: u64,
    /// Inode number of the mapped file, or 0.
    pub ino: u64,
    /// Key of the [`Path`] or [`Name`] record sent before the first region that has it; 0: none.
    pub name: u64,
    /// `s_dev` of the mapped file: `major << 20 | minor`, or 0.
    pub dev: u32,
    /// One of [`backing`].
    pub backing: u32,
}

/// What is behind a region, the value of [`Region::backing`].
pub mod backing {
    /// Private anonymous memory, without a name of its own.
    pub const ANON: u32 = 0;
    /// A file: `name` is the key of a [`Path`](super::Path).
    pub const FILE: u32 = 1;
    /// A special mapping of the kernel (`[vdso]`): `name` is the key of a [`Name`](super::Name).
    pub const SPECIAL: u32 = 2;
    /// Anonymous memory named with `PR_SET_VMA_ANON_NAME`: `name` is the key of a
    /// [`Name`](super::Name).
    pub const NAMED: u32 = 3;
    /// Shared anonymous memory named so; it has `dev` and `ino` as well.
    pub const NAMED_SHARED: u32 = 4;
}

/// The path of a mapped file; the components follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct Path {
    /// `kind` is [`kind::PATH`].
    pub header: Header,
    /// What [`Region::name`] will hold. Never 0.
    pub key: u64,
    /// Inode number.
    pub ino: u64,
    /// `s_magic` of the file system, as in `include/uapi/linux/magic.h`.
    pub magic: u64,
    /// Bytes that follow.
    pub len: u32,
    /// Zero.
    pub pad: u32,
}

/// The name of a special or named anonymous mapping; its bytes follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct Name {
    /// `kind` is [`kind::NAME`].
    pub header: Header,
    /// What [`Region::name`] will hold. Never 0.
    pub key: u64,
    /// Bytes that follow.
    pub len: u32,
    /// Zero.
    pub pad: u32,
}

/// A system call that returned.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct Call {
    /// `kind` is [`kind::CALL`].
    pub header: Header,
    /// Its argument registers.
    pub args: [u64; 6],
    /// What it returned: a value, or `-errno` from -4095 to -1.
    pub result: i64,
    /// Its number; the table is [`flag::COMPAT`]'s.
    pub nr: i32,
    /// Bytes that follow.
    pub len: u32,
    /// The thread's name, NUL-padded.
    pub comm: [u8; 16],
    /// Key of the thread's [`Stack`] in user space, sent before; 0: none was taken, as where a
    /// commit of the call has it.
    pub user_stack: u64,
    /// When the call began, as [`Header::time`]; 0: not known.
    pub entered: u64,
}

/// A new image. The [`Commit`] parts with [`cause::EXEC`] that follow are its regions.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct Exec {
    /// `kind` is [`kind::EXEC`]; `mm` is the new address space.
    pub header: Header,
    /// The thread's id before the call: a thread that is not the leader takes the leader's.
    pub old_tid: u32,
    /// Bytes of the file name that follow.
    pub path_len: u32,
    /// Bytes of the arguments that follow it.
    pub argv_len: u32,
    /// Zero.
    pub pad: u32,
    /// The new name of the task, NUL-padded.
    pub comm: [u8; 16],
}

/// A new task. If it has an address space of its own, the [`Commit`] parts with [`cause::FORK`]
/// that follow, whose `mm` is this record's, are its regions.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct Fork {
    /// `kind` is [`kind::FORK`]; `pid` and `tid` are the parent's, `mm` is the child's.
    pub header: Header,
    /// The child's thread group id.
    pub child_pid: u32,
    /// The child's thread id.
    pub child_tid: u32,
    /// The child's name, NUL-padded.
    pub comm: [u8; 16],
}

/// A task that ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct Exit {
    /// `kind` is [`kind::EXIT`]; `mm` is 0 where the kernel had let go of it already.
    pub header: Header,
    /// The status as `wait` tells it: signal in the low 7 bits, exit status in bits 8 to 15.
    pub status: u32,
    /// Zero.
    pub pad: u32,
}

/// The stack of a thread; the addresses follow, the innermost first: of the instruction that was
/// about to run, and of those to return to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct Stack {
    /// `kind` is [`kind::STACK`].
    pub header: Header,
    /// What [`Commit::user_stack`] and the like will hold. Never 0, and of a user's stack not that
    /// of any other address space, ended ones included.
    pub key: u64,
    /// The number of addresses that follow, [`STACK_MAX`] at most.
    pub count: u32,
    /// A union of [`stack`].
    pub flags: u32,
}

/// Flags of stacks, the bits of [`Stack::flags`].
pub mod stack {
    /// In user space, else in the kernel.
    pub const USER: u32 = 1 << 0;
    /// There are more frames than fit.
    pub const CUT: u32 = 1 << 1;
    /// It ends where the next frame was to be and is none: at a function that keeps no frame
    /// pointer, as a rule.
    pub const BROKEN: u32 = 1 << 2;
    /// The second address is what the stack pointer points to. That is the return address of the
    /// first function if that has set up no frame (the C library's wrappers of calls do not), else
    /// anything.
    pub const LEAF: u32 = 1 << 3;
}

/// The build id of a file (`NT_GNU_BUILD_ID`); its bytes follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct BuildId {
    /// `kind` is [`kind::BUILD_ID`].
    pub header: Header,
    /// The [`Path::key`] of the file.
    pub key: u64,
    /// Bytes that follow; 0: it has none, or could not be read.
    pub len: u32,
    /// Zero.
    pub pad: u32,
}

const _: () = {
    assert!(size_of::<Header>() == 40);
    assert!(size_of::<Commit>() == 208);
    assert!(size_of::<Region>() == 56);
    assert!(size_of::<Path>() == 72);
    assert!(size_of::<Name>() == 56);
    assert!(size_of::<Call>() == 136);
    assert!(size_of::<Exec>() == 72);
    assert!(size_of::<Fork>() == 64);
    assert!(size_of::<Exit>() == 48);
    assert!(size_of::<Stack>() == 56);
    assert!(size_of::<BuildId>() == 56);
    assert!(core::mem::offset_of!(Header, mm) == 16);
    assert!(core::mem::offset_of!(Commit, args) == 112);
    assert!(size_of::<Path>() + PATH_TEXT_MAX + NAME_MAX <= crate::ring::SLACK);
    assert!(size_of::<Exec>() + 2 * TEXT_MAX <= crate::ring::SLACK);
    assert!(size_of::<Commit>() + REGIONS_PER_PART * size_of::<Region>() <= crate::ring::SLACK);
};

/// The most regions in one [`Commit`] part. The record is built in a per-CPU buffer, and per-CPU
/// memory comes in pieces of 32 KiB at most (`PCPU_MIN_UNIT_SIZE`).
pub const REGIONS_PER_PART: usize = 256;

/// The most bytes of an exec's file name, of its arguments and of other text in one record.
pub const TEXT_MAX: usize = 4096;

/// The most bytes of a path's components in one record. A file may lie deeper than `PATH_MAX`
/// (4096), and maps prints all of it; per-CPU memory sets the limit.
pub const PATH_TEXT_MAX: usize = 16384;

/// The most addresses of one stack, as the kernel's `perf_event_max_stack`.
pub const STACK_MAX: usize = 127;

/// The most bytes of one component or name, its NUL included (`NAME_MAX` + 1).
pub const NAME_MAX: usize = 256;

//! What user space tells the eBPF programs while they run, and what they keep for each mm.

/// The one element of the `CONTROL` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Control {
    /// Not 0: the reader sleeps without a tick; the next record wakes it and sets this to 0.
    pub idle: u32,
    /// The thread of the tracer whose next read release of a foreign mmap lock asks for a picture
    /// of that address space; 0: none. Set to 0 when the picture is taken.
    pub seed_tid: u32,
    /// The process that picture is of, for the record; the kernel's side does not check it.
    pub seed_pid: u32,
    /// Not 0: user space holds that files may have got other names and nobody has told. A picture
    /// looks for all anew, as it does after an [untold](Renames::untold) change.
    pub uncertain_names: u32,
    /// Not 0: the picture asked for looks for all names anew. Set to 0 with `seed_tid`.
    pub anew: u32,
    /// Not used.
    pub pad: u32,
    /// The name of that process, for the record.
    pub seed_comm: [u8; 16],
}

/// Counts of calls that succeed and change what `/proc/PID/maps` prints without changing an address
/// space, by whomever; the one element of the `RENAMES` map. See
/// [`NAMING`](crate::syscalls::NAMING).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renames {
    /// All of them.
    pub calls: u64,
    /// Those that may change the paths of files they do not touch.
    pub moves: u64,
    /// Those that were begun where nobody tells when they are done: by workers of `io_uring`.
    pub untold: u64,
}

impl Renames {
    /// None yet.
    pub const NONE: Self = Self { calls: 0, moves: 0, untold: 0 };
}

/// What went wrong that no record can tell, the one element of the `FAULTS` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Records that found no room in the ring, of any mm.
    pub lost: u64,
    /// Address spaces or processes that found no room in the maps, and are not followed; and spaces of
    /// which the record that they begin with was not sent.
    pub unfollowed: u64,
}

/// [`Space::result`] of a call that may return anything.
pub const NOT_KNOWN: i64 = i64::MIN;

/// The places of the `PLACES` map: a power of two.
pub const PLACES: u32 = 1 << 12;

/// The place in `PLACES` that an address space has, by the address of its `mm_struct`: a multiple of
/// 64, which is what slabs hold.
#[must_use]
#[inline]
pub const fn place(mm: u64) -> u32 {
    ((mm >> 6) ^ (mm >> 18)) as u32 & (PLACES - 1)
}

/// The element of the `PLACES` map: the first address space of those followed that has this place. An
/// array is looked into in a few instructions, a hash table in some hundred, and that is asked at every
/// hook.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// The address of its `mm_struct`, or 0: there is none. With bit 0 set it is being put there.
    pub mm: u64,
    /// How many others have this place: those are in the `SPACES` map.
    pub others: u64,
    /// What is kept for it.
    pub space: Space,
}

/// What is kept for each address space: in its [`Place`], or as the value of the `SPACES` map (key: the
/// mm's address).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Space {
    /// The last commit id sent.
    pub id: u64,
    /// Records that found no room. Comes back to 0.
    pub lost: u32,
    /// See [`Header::generation`](crate::record::Header::generation). Never 0.
    pub generation: u32,
    /// `mm->total_vm` when last looked at, in pages.
    pub total_vm: u64,
    /// `mm->stack_vm` when last looked at, in pages.
    pub stack_vm: u64,
    /// `mm->brk` when last looked at.
    pub brk: u64,
    /// `mm->brk` when the lock was last let go of by a writer: what a call that moves it started from.
    pub settled_brk: u64,
    /// `mm->start_brk` when last looked at.
    pub start_brk: u64,
    /// `mm->start_stack` when last looked at.
    pub start_stack: u64,
    /// Where the kernel last found room in this space, under the lock now held ...
    pub found_lo: u64,
    /// ... and the end of it; 0: it has not looked.
    pub found_hi: u64,
    /// The room it found before that, in the same lock section.
    pub earlier_lo: u64,
    /// The end of it, or 0.
    pub earlier_hi: u64,
    /// What the call of the last commit returns, if it is sure to; else [`NOT_KNOWN`].
    pub result: i64,
    /// The thread of the last commit.
    pub tid: u32,
    /// The call of the last commit.
    pub nr: i32,
    /// The thread (upper half) and the call of the last commit that told a stack of user space.
    pub stacked: u64,
    /// Not 0: what the exec or fork tells that it begins with is on its way, and no picture may come
    /// between.
    pub begins: u64,
}

/// What is kept for each followed process, the value of the `PROCESSES` map (key: its PID).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// Its records that found no room, in the degraded tier: the other counts them by [`Space`].
    pub lost: u64,
    /// Not 0: it has ended and told so, but for threads that were about to; it is the `signal_struct` that
    /// they share. User space removes it then. Not in the degraded tier.
    pub ended: u64,
}

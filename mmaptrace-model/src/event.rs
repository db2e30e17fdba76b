//! Events: what comes out of the model, in order, for history and sinks.

use std::{num::NonZeroU64, sync::Arc};

use smallvec::SmallVec;

use serde::{Deserialize, Serialize};

use crate::effect::Effect;

/// The task an event is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    /// Thread group id, in the initial PID namespace.
    pub pid: u32,
    /// Thread id, likewise.
    pub tid: u32,
    /// Its name, NUL-padded, any bytes; the traced program chooses it.
    pub comm: [u8; 16],
}

/// A system call, as its registers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Syscall {
    /// Its number.
    pub nr: i32,
    /// Whether the number is of the 32-bit table (ia32).
    pub compat: bool,
    /// Its argument registers.
    pub args: [u64; 6],
}

/// Why a commit happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A call of a thread of the address space.
    Call(Syscall),
    /// An exception of such a thread, outside any call.
    Fault,
    /// Stack growth on a page fault; the call it happened in, if in one.
    Growth(Option<Syscall>),
    /// A kernel thread.
    Kernel,
    /// An `io_uring` worker.
    Worker,
    /// A task of another address space (the event's task), in this call.
    Remote(Option<Syscall>),
    /// The tracer read the whole space.
    Seed,
    /// A fork made the space.
    Fork,
    /// An exec made the space.
    Exec,
}

/// Why a model is not known to be exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Doubt {
    /// It has not been seeded yet.
    Unseeded,
    /// This many records of the space found no room in the ring.
    Lost(u64),
    /// This many commits are missing in the sequence of ids.
    Hole(u64),
    /// The kernel could not read all regions.
    Truncated,
    /// A record contradicts the model: an edge moved that the commit did not touch.
    Contradiction {
        /// Where.
        at: u64,
    },
    /// The kernel's count of regions is not the model's.
    Count {
        /// The kernel's `map_count`.
        kernel: u64,
        /// The model's.
        model: u64,
    },
    /// The kernel's size is not the model's.
    Pages {
        /// The kernel's `total_vm`, in pages.
        kernel: u64,
        /// The model's.
        model: u64,
    },
    /// A record that no kernel writes.
    Malformed,
    /// Its regions are read without the kernel's lock, after the calls. It is no event, and a
    /// reading heals it only until the next.
    Unlocked,
    /// The recording ends before what came next could have shown that something was missing. It is
    /// no event.
    Cut,
    /// A reading was needed for a dump and not to be had: files may have new names, or the process
    /// another address space. It is no event either, and goes with the next commit.
    NoPicture,
    /// The name of a region is not known, or not all of it. Of a dump; it is no event.
    Name {
        /// Where the region starts.
        at: u64,
    },
}

/// Which address space, over the life of the tracer: unlike the mm's address it is not reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SpaceId(pub u64);

/// What a commit did. Few have more than two effects, and those that have not allocate nothing.
pub type Effects = SmallVec<[Effect; 2]>;

/// The ids of a call's commits; as a rule there is one, or none.
pub type Commits = SmallVec<[u64; 2]>;

/// The stacks of the acting thread as it caused an event, by their keys; `None` where they were not
/// asked for or could not be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stacks {
    /// In user space.
    pub user: Option<NonZeroU64>,
    /// In the kernel.
    pub kernel: Option<NonZeroU64>,
}

impl Stacks {
    /// From the keys that records carry; 0 is none.
    pub(crate) fn of(user: u64, kernel: u64) -> Self {
        Self { user: NonZeroU64::new(user), kernel: NonZeroU64::new(kernel) }
    }
}

/// What happened. Times are ns of `CLOCK_MONOTONIC`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "commits are what most events are")]
pub enum Event {
    /// An address space changed, or its lock was held for writing and nothing changed (no
    /// effects).
    Commit {
        /// When.
        time: u64,
        /// The address space.
        space: SpaceId,
        /// Who.
        task: Task,
        /// The commit id.
        id: u64,
        /// Why.
        cause: Cause,
        /// What it did. Of a seed, a fork and an exec: the difference to what was known, empty for
        /// a first seed and a fork, every region added for an exec.
        effects: Effects,
        /// Whether the break moved, and from where to where (`mm->brk`, an address).
        brk: Option<(u64, u64)>,
        /// Whether the model is exact as of this commit.
        exact: bool,
        /// Where in the program it came from.
        stacks: Stacks,
    },
    /// A call returned.
    Call {
        /// When.
        time: u64,
        /// The address space it ran in.
        space: SpaceId,
        /// Who.
        task: Task,
        /// The call.
        call: Syscall,
        /// Its value, or `-errno`.
        result: i64,
        /// The file name of a failed execve, else empty; any bytes.
        text: Arc<[u8]>,
        /// The ids of the commits it made.
        commits: Commits,
        /// Where in the program it came from, unless its last commit tells that. Of the kernel
        /// there is never one: it would be that of any return.
        stacks: Stacks,
        /// How long it took, in ns, if that was asked for.
        duration: Option<u64>,
    },
    /// A process runs a new image; the commit of [`Cause::Exec`] that follows is its map.
    Exec {
        /// When.
        time: u64,
        /// The new address space.
        space: SpaceId,
        /// Who, with its new name.
        task: Task,
        /// The id of the thread that called, if it was not the leader.
        old_tid: Option<u32>,
        /// The file name; any bytes.
        path: Arc<[u8]>,
        /// The arguments; any bytes each.
        argv: Vec<Arc<[u8]>>,
        /// Whether name or arguments were cut short.
        cut: bool,
    },
    /// A task was created.
    Fork {
        /// When.
        time: u64,
        /// The child's address space; the parent's, if they share it.
        space: SpaceId,
        /// The parent.
        task: Task,
        /// The child.
        child: Task,
        /// Whether they share it: a thread, or vfork's child.
        shared: bool,
    },
    /// A task ended.
    Exit {
        /// When.
        time: u64,
        /// Who.
        task: Task,
        /// The status as `wait` tells it; `None`: it is not known.
        status: Option<u32>,
        /// Whether it was the last of its process.
        last: bool,
        /// Commits of a call that will never return.
        commits: Commits,
    },
    /// The last user of an address space is gone.
    End {
        /// When.
        time: u64,
        /// Which.
        space: SpaceId,
    },
    /// The model of a space is in doubt from this commit on.
    Doubt {
        /// When.
        time: u64,
        /// Which.
        space: SpaceId,
        /// The last commit the model is sure of.
        after: u64,
        /// Why.
        why: Doubt,
    },
    /// A space in doubt was read again and is exact from this commit on.
    Healed {
        /// When.
        time: u64,
        /// Which.
        space: SpaceId,
        /// The commit.
        id: u64,
        /// How many effects the reading had: 0 if the model was right after all.
        differences: u64,
        /// How many of its records were lost since it was last exact.
        lost: u64,
    },
    /// Records that found no room were of no address space that is there now: of ends of tasks, which before
    /// Linux 6.16 have left theirs, or of spaces that have ended. Told once all that are there have told of
    /// theirs.
    Lost {
        /// When that was known: ns of `CLOCK_MONOTONIC`.
        time: u64,
        /// How many.
        records: u64,
    },
    /// A record that could not be decoded.
    Malformed {
        /// Its kind, as far as it could be told.
        kind: u16,
        /// Its length, in bytes.
        len: usize,
    },
}

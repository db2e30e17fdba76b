//! The maps: what the programs share with user space, beside what is in `object`, and their scratch.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray},
};
use mmaptrace_common::{
    control::{self, Place, Process, Renames, Space},
    record::{
        Call, Commit, Exec, NAME_MAX, Name, PATH_TEXT_MAX, Path, REGIONS_PER_PART, Region,
        STACK_MAX, Stack, TEXT_MAX,
    },
    ring::{Positions, Segment},
};

use crate::{claim::Busy, emit::Tally, range::Ranges};

/// How far both sides have come in [`SEGMENTS`].
#[map]
pub(crate) static POSITIONS: Array<Positions> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// All records. User space sets how many there are.
#[map]
pub(crate) static SEGMENTS: Array<Segment> = Array::with_max_entries(64, BPF_F_MMAPABLE);

/// Followed address spaces, by their [`place`](mmaptrace_common::control::place).
#[map]
pub(crate) static PLACES: Array<Place> = Array::with_max_entries(control::PLACES, 0);

/// Those whose place was taken, by the address of their `mm_struct`. Not LRU: nothing may push one out.
#[map]
pub(crate) static SPACES: HashMap<u64, Space> =
    HashMap::with_max_entries(1 << 16, BPF_F_NO_PREALLOC);

/// Followed processes, by PID: what they exec is followed, and their children if so asked.
#[map]
pub(crate) static PROCESSES: HashMap<u32, Process> =
    HashMap::with_max_entries(1 << 16, BPF_F_NO_PREALLOC);

/// Keys of paths and names that were sent, and [`Renames::moves`] of then. User space keeps what it
/// was sent, so that forgetting here costs a repeated record and no more.
#[map]
pub(crate) static NAMES: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1 << 14, 0);

/// Keys of stacks that were sent; the value tells nothing. As with [`NAMES`], to forget one costs a
/// repeated record. User space sets its size, to next to nothing where no stacks are taken.
#[map]
pub(crate) static STACKS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1 << 14, 0);

/// When the call that a thread is in began, by its id. A thread that ends in a call leaves its
/// entry, hence LRU. User space sets its size, likewise.
#[map]
pub(crate) static ENTERED: LruHashMap<u32, u64> = LruHashMap::with_max_entries(1 << 14, 0);

/// One [`Renames`].
#[map]
pub(crate) static RENAMES: Array<Renames> = Array::with_max_entries(1, 0);

/// The walk in progress, and the record under construction.
#[map]
pub(crate) static WALK: PerCpuArray<Walk> = PerCpuArray::with_max_entries(1, 0);

/// A path under construction.
#[map]
pub(crate) static PATH_TEXT: PerCpuArray<PathText> = PerCpuArray::with_max_entries(1, 0);

/// A name under construction.
#[map]
pub(crate) static NAME_TEXT: PerCpuArray<NameText> = PerCpuArray::with_max_entries(1, 0);

/// An exec record under construction.
#[map]
pub(crate) static EXEC_TEXT: PerCpuArray<ExecText> = PerCpuArray::with_max_entries(1, 0);

/// Stack records under construction, see `stack::Buffer`.
#[map]
pub(crate) static STACK_TEXT: PerCpuArray<StackText> = PerCpuArray::with_max_entries(2, 0);

/// Allocate elements when they are needed: a full table of spaces would be 10 MiB.
const BPF_F_NO_PREALLOC: u32 = 1;
/// User space may map the elements.
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// A failed exec's record under construction.
#[map]
pub(crate) static CALL_TEXT: PerCpuArray<CallText> = PerCpuArray::with_max_entries(1, 0);

/// A commit record with its regions.
#[repr(C)]
pub(crate) struct Part {
    pub(crate) commit: Commit,
    pub(crate) regions: [Region; REGIONS_PER_PART],
}

/// A path record with its text, and room for one more component than [`PATH_TEXT_MAX`] takes.
#[repr(C)]
pub(crate) struct PathText {
    pub(crate) path: Path,
    pub(crate) text: [u8; PATH_TEXT_MAX + NAME_MAX],
}

/// A name record with its text.
#[repr(C)]
pub(crate) struct NameText {
    pub(crate) name: Name,
    /// In words, for they are hashed as such.
    pub(crate) text: [u64; NAME_MAX / 8],
}

/// A stack record with its addresses, and the walk that finds them.
#[repr(C)]
pub(crate) struct StackText {
    pub(crate) stack: Stack,
    /// Of a length that a mask can hold an index to.
    pub(crate) frames: [u64; STACK_MAX + 1],
    /// Addresses so far.
    pub(crate) count: u32,
    /// What is to be said of the stack, see `mmaptrace_common::record::stack`.
    pub(crate) flags: u32,
    /// The hash of the addresses.
    pub(crate) key: u64,
    /// The next frame ...
    pub(crate) frame: u64,
    /// ... which is not below this.
    pub(crate) below: u64,
    /// Not 0: a stack of 64-bit code.
    pub(crate) wide: u32,
    pub(crate) pad: u32,
    pub(crate) busy: Busy,
}

/// A call record with its text.
#[repr(C)]
pub(crate) struct CallText {
    pub(crate) call: Call,
    pub(crate) text: [u8; TEXT_MAX],
    pub(crate) busy: Busy,
}

/// An exec record with its text: the file name, then the arguments.
#[repr(C)]
pub(crate) struct ExecText {
    pub(crate) exec: Exec,
    pub(crate) text: [u8; 2 * TEXT_MAX],
    pub(crate) busy: Busy,
}

/// The state of a walk over the maple tree of an mm, in a map for two reasons: it is too large for
/// the stack, and the verifier would follow counts on the stack through every iteration.
#[repr(C)]
pub(crate) struct Walk {
    /// All that is needed for a commit goes with it. Where it is in use that is counted as a loss.
    pub(crate) busy: Busy,
    /// Not 0: `node` is a leaf, and `slot` the entry to look at next.
    pub(crate) leaf: u32,
    pub(crate) slot: u32,
    /// Not 0: the walk came to its end.
    pub(crate) done: u32,
    /// Flags for the parts sent, see `mmaptrace_common::record::flag`.
    pub(crate) flags: u32,
    /// Regions in the part under construction.
    pub(crate) count: u32,
    /// The mm.
    pub(crate) mm: u64,
    /// What headers tell of it, with its losses as far as this walk knows of them.
    pub(crate) tally: Tally,
    /// The root of its tree.
    pub(crate) root: u64,
    /// The encoded node to descend into.
    pub(crate) entry: u64,
    /// The addresses that node covers.
    pub(crate) min: u64,
    pub(crate) max: u64,
    /// The address looked for.
    pub(crate) address: u64,
    /// Where there is a region if the call has succeeded, and so what it returns; if that is not
    /// known, an address that none has.
    pub(crate) expected: u64,
    /// The first address wanted.
    pub(crate) wanted: u64,
    /// The first address after those wanted.
    pub(crate) last: u64,
    /// What to read of it.
    pub(crate) ranges: Ranges,
    /// The first address of the entry at `slot`.
    pub(crate) lower: u64,
    /// The edges of what was seen and not yet sent; `from` is `u64::MAX` at first.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Where words cannot be loaded from where they are (`kernel::Words`): the node, as the kernel lays it
    /// out (`include/linux/maple_tree.h`), 256 bytes; ...
    pub(crate) node: [u64; 32],
    /// ... the region, likewise; ...
    pub(crate) vma: [u64; 32],
    /// ... and the heads of a file, its dentry and its inode.
    pub(crate) file: [u64; 16],
    pub(crate) dentry_head: [u64; 16],
    pub(crate) inode: [u64; 16],
    /// A file's path, to be named.
    pub(crate) mnt: u64,
    pub(crate) dentry: u64,
    pub(crate) key: u64,
    pub(crate) ino: u64,
    pub(crate) superblock: u64,
    /// Bytes of its text so far.
    pub(crate) length: u32,
    /// Not 0: the text is whole.
    pub(crate) complete: u32,
    /// Not 0: the file system of a part of it looks at its files anew.
    pub(crate) revalidated: u32,
    /// What is sent of it.
    pub(crate) part: Part,
}

//! The maps, those of the other object as far as they are needed here.

use aya_ebpf::{
    macros::map,
    maps::{Array, CgroupArray, HashMap, LruHashMap, RingBuf},
};
use mmaptrace_common::control::{Control, Faults, Process};

/// All records. User space sets its size.
#[map]
pub(crate) static RING: RingBuf = RingBuf::with_byte_size(1 << 26, 0);

/// Followed processes, by PID. User space removes those that have ended.
#[map]
pub(crate) static PROCESSES: HashMap<u32, Process> = HashMap::with_max_entries(1 << 16, 0);

/// Tasks that were made and have not run, by the address of their `task_struct`: PID (upper half)
/// and TID of the task that made them. One that is killed before it runs leaves its entry, hence
/// LRU.
#[map]
pub(crate) static BORN: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1 << 12, 0);

/// One [`Control`].
#[map]
pub(crate) static CONTROL: Array<Control> = Array::with_max_entries(1, 0);

/// One [`Faults`].
#[map]
pub(crate) static FAULTS: Array<Faults> = Array::with_max_entries(1, 0);

/// The cgroup whose processes are followed, if `follow_cgroup` is set.
#[map]
pub(crate) static CGROUP: CgroupArray = CgroupArray::with_max_entries(1, 0);

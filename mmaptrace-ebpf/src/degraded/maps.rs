//! The maps of this object alone.

use aya_ebpf::{
    macros::map,
    maps::{HashMap, LruHashMap},
};
use mmaptrace_common::control::Process;

/// Followed processes, by PID. User space removes those that have ended.
#[map]
pub(crate) static PROCESSES: HashMap<u32, Process> = HashMap::with_max_entries(1 << 16, 0);

/// Tasks that were made and have not run, by the address of their `task_struct`: PID (upper half)
/// and TID of the task that made them, and in the highest bit whether it was followed. One that is killed before it runs leaves its entry, hence
/// LRU.
#[map]
pub(crate) static BORN: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1 << 12, 0);

//! What a recording tells beside its items.

use serde::{Deserialize, Serialize};

/// What was known when recording began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// When: ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// The version of mmaptrace.
    pub version: String,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// How exact the trace can be: `exact`, `degraded`.
    pub tier: String,
    /// What to add to times to get those of `CLOCK_REALTIME`, in ns.
    pub clock_offset: i64,
    /// What to add to UTC to get local time, in seconds.
    pub utc_offset: i32,
    /// Whether a region that only touches the break is part of the heap, as before Linux 6.7.
    pub heap_inclusive: bool,
    /// Whether the `[vsyscall]` page may be read, and not executed only (`vsyscall=emulate`).
    #[serde(default)]
    pub vsyscall_readable: bool,
    /// The most regions that an address space could have (`vm.max_map_count`).
    pub max_map_count: u64,
    /// Whether returns of calls were recorded.
    pub calls: bool,
}

/// What was known when it ended, and is not in the items.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When: ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// Records that found no room, as the kernel's side counted them.
    pub lost: u64,
    /// Address spaces and processes that found no room in the maps.
    pub unfollowed: u64,
    /// Whether some process was asked for whose picture never came.
    pub unseen: bool,
    /// Differences that `--verify` found; `None`: it did not look, or could compare nothing.
    pub differences: Option<u64>,
    /// How the launched command ended, as `wait` tells it.
    pub command: Option<u32>,
    /// By how many seconds `CLOCK_REALTIME` was ahead of what [`Start::clock_offset`] makes of the time:
    /// the machine had slept, or its clock was set.
    #[serde(default)]
    pub slip: i64,
}

//! The kernel's side of the tool: its types, the programs in it, and the pictures they take.

pub mod btf;
pub mod degraded;
mod left_out;
mod load;
pub mod maps;
pub mod probe;
pub mod ring;
pub mod seed;
pub mod shared;
pub mod source;
mod types;

pub use degraded::Degraded;
pub use load::{Follow, LoadError, Settings, Stacks};
pub use probe::Probe;
pub use seed::SeedError;
pub use shared::Shared;
pub use source::{Source, Tally, Tier};

/// The most regions that an address space may have: `vm.max_map_count`; the kernel's default where
/// it cannot be read.
pub fn max_map_count() -> u64 {
    procfs::sys::vm::max_map_count().unwrap_or(65530)
}

/// Whether PIDs of this process's namespace are those the programs see. The number is the inode of
/// the initial namespace (`PROC_PID_INIT_INO`, `include/linux/proc_ns.h`).
pub fn in_initial_pid_namespace() -> bool {
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == "pid:[4026531836]")
}

//! eBPF programs that the kernel has.

use std::os::fd::{FromRawFd as _, OwnedFd};

/// The ids of the eBPF programs that a process holds, as the kernel tells of its descriptors.
///
/// # Panics
/// If there is no such process.
pub fn programs(pid: u32) -> Vec<u32> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("a running process");
    let infos = files.flatten().filter_map(|file| std::fs::read_to_string(file.path()).ok());
    let ids = infos.filter_map(|info| {
        info.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
    });
    ids.collect()
}

/// Whether the kernel has an eBPF program of this id.
pub fn is_loaded(program: u32) -> bool {
    const PROG_GET_FD_BY_ID: i32 = 13;
    let attribute = [program, 0, 0, 0];
    let size = size_of_val(&attribute);
    // SAFETY: the command reads `size` bytes at `attribute`, which start with the id.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_GET_FD_BY_ID, attribute.as_ptr(), size) };
    if fd >= 0 {
        // SAFETY: the kernel just made this descriptor, and nobody else has it.
        drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    }
    fd >= 0
}

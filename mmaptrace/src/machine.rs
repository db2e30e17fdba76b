//! What is to be known of this machine: its clocks, its limits, its processes, and who we are on it.

use std::{
    fs,
    hash::{BuildHasher as _, RandomState},
    io::{self, Read as _},
    sync::LazyLock,
};

/// Nanoseconds of `CLOCK_MONOTONIC` as the kernel has them, whatever the time namespace
/// (`time_namespaces(7)`).
pub fn now() -> u64 {
    static AHEAD: LazyLock<i64> = LazyLock::new(|| {
        // The offsets are those of the namespace that children get, which may be another until an `execve`
        // (`PROC_TIME_INIT_INO`, `include/linux/proc_ns.h`).
        let own = fs::read_link("/proc/self/ns/time").unwrap_or_default();
        if own.as_os_str() == "time:[4026531834]" {
            return 0;
        }
        let offsets = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
        monotonic_offset(&offsets).unwrap_or(0)
    });
    time(libc::CLOCK_MONOTONIC).wrapping_sub(AHEAD.cast_unsigned())
}

/// What the clock of a time namespace is ahead of the kernel's, in ns: of the line
/// `monotonic  SECONDS  NANOSECONDS`.
fn monotonic_offset(offsets: &str) -> Option<i64> {
    let line = offsets.lines().find_map(|line| line.strip_prefix("monotonic"))?;
    let mut parts = line.split_whitespace();
    let (seconds, nanos): (i64, i64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(seconds * 1_000_000_000 + nanos)
}

/// Since the machine was booted, in the unit of `/proc/PID/stat`'s times.
pub fn ticks() -> u64 {
    time(libc::CLOCK_BOOTTIME) / (1_000_000_000 / procfs::ticks_per_second())
}

fn time(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the result is a local; these clocks are there on every kernel.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What is to be added to `CLOCK_MONOTONIC` to get `CLOCK_REALTIME`, in ns.
pub fn clock_offset() -> i64 {
    let wall = time(libc::CLOCK_REALTIME);
    wall.cast_signed() - now().cast_signed()
}

/// What local time is ahead of UTC now, in seconds.
pub fn utc_offset() -> i32 {
    let now = (time(libc::CLOCK_REALTIME) / 1_000_000_000).cast_signed();
    // SAFETY: `tm` is plain data, and both are locals.
    unsafe {
        let mut local: libc::tm = std::mem::zeroed();
        libc::localtime_r(&raw const now, &raw mut local);
        local.tm_gmtoff as i32
    }
}

/// A number that nobody can know: what the standard library keys its hash tables with is of the kernel's.
pub fn random() -> u64 {
    RandomState::new().hash_one(())
}

/// The most regions that an address space may have: `vm.max_map_count`; the kernel's default where
/// it cannot be read.
pub fn max_map_count() -> u64 {
    procfs::sys::vm::max_map_count().unwrap_or(65530)
}

/// Whether PIDs of this process's namespace are those the programs see. The number is the inode of
/// the initial namespace (`PROC_PID_INIT_INO`, `include/linux/proc_ns.h`).
pub fn in_initial_pid_namespace() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == "pid:[4026531836]")
}

/// This process's user.
pub fn user() -> u32 {
    // SAFETY: it has no requirements.
    unsafe { libc::geteuid() }
}

/// Whether that is root.
pub fn is_root() -> bool {
    user() == 0
}

/// The PID of the process that a thread is of; of a main thread its own. `None`: there is no such thread.
pub fn process_of(tid: u32) -> Option<u32> {
    let status = fs::read(format!("/proc/{tid}/status")).ok()?;
    // Its name stands there too, and may be any bytes.
    let status = String::from_utf8_lossy(&status);
    status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())
}

/// A thread of a process by which `/proc` tells of its memory: the main one, unless that has ended while
/// others run; itself if there is none.
pub fn thread_with_memory(pid: u32) -> u32 {
    let has_memory = |tid: &u32| {
        let maps = fs::File::open(format!("/proc/{tid}/maps"));
        maps.and_then(|mut maps| maps.read(&mut [0])).is_ok_and(|length| length > 0)
    };
    if has_memory(&pid) {
        return pid;
    }
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut tids = tasks.filter_map(|task| task.file_name().to_str()?.parse().ok());
    tids.find(has_memory).unwrap_or(pid)
}

/// The PIDs of all processes.
pub fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Whether two tasks have the same memory, or both none (`kcmp(2)`).
///
/// # Errors
/// One is not there, or may not be looked at; or the kernel has no such call.
pub fn share_memory(one: u32, other: u32) -> io::Result<bool> {
    // `KCMP_VM`, `include/uapi/linux/kcmp.h`
    let what = 1;
    // SAFETY: takes integers.
    match unsafe { libc::syscall(libc::SYS_kcmp, one, other, what, 0, 0) } {
        0 => Ok(true),
        1.. => Ok(false),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The arguments of a process, as they are in its memory: with a NUL after each, and no more than so many
/// bytes. Where they are it says itself (`PR_SET_MM`): they may be as long as all that it has mapped.
///
/// # Errors
/// It has ended, or may not be looked at.
pub fn arguments(pid: u32, limit: usize) -> io::Result<Vec<u8>> {
    let mut arguments = Vec::new();
    let file = fs::File::open(format!("/proc/{pid}/cmdline"))?;
    file.take(limit as u64).read_to_end(&mut arguments)?;
    Ok(arguments)
}

/// Has this thread none of the process's descriptors any more, which it would keep open if it outlives the process: what
/// waits for a lock cannot be killed.
pub fn close_descriptors() {
    /// `CLOSE_RANGE_UNSHARE`
    const UNSHARE: u32 = 2;
    // SAFETY: with a table of its own the thread closes nobody else's. Before Linux 5.9 there is no such call.
    unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, UNSHARE) };
}

/// Gives back what was freed. To load programs takes many times the memory that tracing does.
pub fn give_back_memory() {
    // SAFETY: a plain call.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_time_namespace_is_ahead() {
        let of = |seconds| {
            format!("monotonic  {seconds:>10} {:>9}\nboottime           7         0\n", 500)
        };
        assert_eq!(monotonic_offset(&of(1000)), Some(1_000_000_000_500));
        assert_eq!(monotonic_offset(&of(-2)), Some(-1_999_999_500));
        assert_eq!(monotonic_offset(""), None);
    }
}

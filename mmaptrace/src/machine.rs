//! What is to be known of this machine: its clocks, and what a recording says of it.

use std::{fs, io::Read as _};

use mmaptrace_model::HeapRule;
use mmaptrace_recording::Start;

use crate::kernel::{self, Tier};

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn now() -> u64 {
    time(libc::CLOCK_MONOTONIC)
}

/// Since the machine was booted, in the unit of `/proc/PID/stat`'s times.
pub fn ticks() -> u64 {
    time(libc::CLOCK_BOOTTIME) / (1_000_000_000 / procfs::ticks_per_second())
}

fn time(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the result is a local; both clocks are there on every kernel.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What a trace of this tier that begins now has to tell; `calls`: returns of calls are reported.
pub fn start(tier: Tier, calls: bool) -> Start {
    let heap = procfs::sys::kernel::Version::current()
        .map_or(HeapRule::Exclusive, |v| HeapRule::of_kernel(v.major.into(), v.minor.into()));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let wall = time(libc::CLOCK_REALTIME);
    let time = now();
    Start {
        time,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: kernel.trim().to_owned(),
        tier: tier.name().to_owned(),
        clock_offset: wall.cast_signed() - time.cast_signed(),
        utc_offset: utc_offset((wall / 1_000_000_000).cast_signed()),
        heap_inclusive: heap == HeapRule::Inclusive,
        max_map_count: kernel::max_map_count(),
        calls,
    }
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

/// Gives back what was freed. To load programs takes many times the memory that tracing does.
pub fn give_back_memory() {
    // SAFETY: a plain call.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// What local time is ahead of UTC, in seconds, at a time in seconds since the epoch.
pub fn utc_offset(seconds: i64) -> i32 {
    // SAFETY: `tm` is plain data, and both are locals.
    unsafe {
        let mut local: libc::tm = std::mem::zeroed();
        libc::localtime_r(&raw const seconds, &raw mut local);
        local.tm_gmtoff as i32
    }
}

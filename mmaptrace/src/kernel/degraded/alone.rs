//! Whether a process is alone in its address space.
//!
//! What another process does there is told as its own, if it is traced at all. So where nothing is told of
//! the one, its map may change all the same.

use std::{fs, os::unix::fs::MetadataExt as _};

use crate::machine::{processes, share_memory, thread_with_memory};

/// Whether no other process shares the memory of this one. `false` as well where that is not to be known.
pub(super) fn is_alone(pid: u32) -> bool {
    let own = thread_with_memory(pid);
    let mut others = processes().filter(|&other| other != pid);
    others.all(|other| !may_share(own, other))
        // It may have been this one that had ended.
        && share_memory(own, own).is_ok()
}

/// Whether a process may share the memory of a task.
fn may_share(own: u32, other: u32) -> bool {
    task_may_share(own, other) || other_thread_may_share(own, other)
}

/// The same of a process whose main thread has ended while others run.
fn other_thread_may_share(own: u32, other: u32) -> bool {
    let tasks = format!("/proc/{other}/task");
    // A link for each thread, beside the two of every directory: of most processes that tells soonest.
    let has_others = fs::metadata(&tasks).is_ok_and(|tasks| tasks.nlink() > 3);
    if !has_others || has_memory(other) {
        return false;
    }
    let tasks = fs::read_dir(tasks).into_iter().flatten().flatten();
    let mut tids = tasks.filter_map(|task| task.file_name().to_str()?.parse().ok());
    tids.any(|tid| task_may_share(own, tid))
}

fn task_may_share(own: u32, other: u32) -> bool {
    match share_memory(own, other).map_err(|error| error.raw_os_error()) {
        Ok(shared) => shared,
        // It has ended meanwhile.
        Err(Some(libc::ESRCH)) => false,
        // It may not be looked at, as one that has more rights.
        Err(Some(libc::EPERM)) => has_memory(other) && peaks_agree(own, other),
        Err(_) => true,
    }
}

/// Whether a task has memory; `true` as well where nobody says.
fn has_memory(task: u32) -> bool {
    fs::read(format!("/proc/{task}/statm")).map_or(true, |pages| !pages.starts_with(b"0 "))
}

/// Whether the most that two tasks have ever had mapped may be the same: everybody is told that, and it never
/// falls. Of one memory it is.
fn peaks_agree(own: u32, other: u32) -> bool {
    let (before, peak, after) = (peak(own), peak(other), peak(own));
    peak.is_none() || (before <= peak && peak <= after)
}

/// The most that a task has ever had mapped, in KiB; `None`: nobody says.
fn peak(task: u32) -> Option<u64> {
    let status = fs::read(format!("/proc/{task}/status")).ok()?;
    // Its name stands there too, and may be any bytes but that of a line's end.
    let status = String::from_utf8_lossy(&status);
    let peak = status.lines().find_map(|line| line.strip_prefix("VmPeak:"))?;
    peak.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, id};

    use super::*;

    /// Threads of one process do, a process of its own and one that has ended do not.
    #[test]
    fn who_shares_memory() {
        // SAFETY: it has no requirements.
        let this = unsafe { libc::gettid() }.cast_unsigned();
        assert!(may_share(this, id()));
        assert!(peak(this) > Some(0) && peaks_agree(this, id()));
        let mut child = Command::new("sleep").arg("60").spawn().expect("a child");
        assert!(!may_share(this, child.id()) && !peaks_agree(this, child.id()));
        child.kill().expect("our own child");
        while has_memory(child.id()) {
            std::thread::yield_now();
        }
        assert!(!may_share(this, child.id()));
        child.wait().expect("our own child");
    }
}

//! `/proc/PID/maps`, and how a picture differs from it.

use std::fmt::Write as _;

use crate::until;

/// What the kernel says of a thread's address space: `/proc/TID/maps`, byte for byte.
///
/// # Panics
/// If there is no such thread.
pub fn maps(tid: u32) -> Vec<u8> {
    std::fs::read(format!("/proc/{tid}/maps")).unwrap_or_else(|e| panic!("/proc/{tid}/maps: {e}"))
}

/// Waits until all threads of a process sleep: then its address space stands still. For programs
/// that do not say when they are done.
pub fn settled(pid: u32) {
    until("a process that sleeps", || are_all(pid, &['S', 'Z']).then_some(()));
}

/// The children of a process, in order of their PIDs.
pub fn children(pid: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut children: Vec<u32> = pids.filter(|&child| parent(child) == Some(pid)).collect();
    children.sort_unstable();
    children
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

/// Whether all threads of a process are in one of these states, as `stat` has them; `false`: or there
/// is no such process.
fn are_all(pid: u32, states: &[char]) -> bool {
    let is = |stat: &std::path::Path| {
        let Ok(stat) = std::fs::read_to_string(stat) else { return false };
        // The state follows the name, which is in parentheses and may hold any character.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(states))
    };
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    tasks.is_ok_and(|tasks| tasks.flatten().all(|task| is(&task.path().join("stat"))))
}

/// Whether a process was stopped by a signal, all of its threads that have not ended.
pub fn is_stopped(pid: u32) -> bool {
    are_all(pid, &['T', 'Z']) && !is_zombie(pid)
}

/// Whether a process has ended, and its parent has not asked for it.
pub fn is_zombie(pid: u32) -> bool {
    are_all(pid, &['Z'])
}

/// Whether another one of these processes shares the memory of this one.
pub(crate) fn shares_memory(pid: u32, all: &[u32]) -> bool {
    let what = 1; // KCMP_VM
    // SAFETY: takes integers.
    let is_same =
        |other: u32| unsafe { libc::syscall(libc::SYS_kcmp, pid, other, what, 0, 0) } == 0;
    all.iter().any(|&other| other != pid && is_same(other))
}

/// How two texts differ, line by line (`-` only in `expected`, `+` only in `found`), with the
/// lines around the differences; `None` if they are equal.
pub fn difference(expected: &[u8], found: &[u8]) -> Option<String> {
    if expected == found {
        return None;
    }
    let old: Vec<_> = expected.split_inclusive(|&byte| byte == b'\n').collect();
    let new: Vec<_> = found.split_inclusive(|&byte| byte == b'\n').collect();
    let same = |(a, b): &(&&[u8], &&[u8])| a == b;
    let head = old.iter().zip(&new).take_while(same).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(same).count();
    let mut text = String::from("--- expected\n+++ found\n");
    let mut put = |sign: char, line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{sign}{}", line.escape_debug());
    };
    let context = head.saturating_sub(3);
    old[context..head].iter().for_each(|line| put(' ', line));
    // Both middles hold lines in address order, so a merge by content finds what they share.
    let (middle, other) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    for line in middle {
        put(if other.contains(line) { ' ' } else { '-' }, line);
    }
    other.iter().filter(|line| !middle.contains(line)).for_each(|line| put('+', line));
    old[old.len() - tail..].iter().take(3).for_each(|line| put(' ', line));
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn a_difference_shows_the_lines_and_what_is_around_them() {
        assert_eq!(difference(b"a\nb\n", b"a\nb\n"), None);
        let text = difference(b"a\nb\nc\n", b"a\nx\nc\n").expect("a difference");
        assert_eq!(text, "--- expected\n+++ found\n a\\n\n-b\\n\n+x\\n\n c\\n\n");
        let text = difference(b"a\n", b"a").expect("a missing line end is one");
        assert!(text.ends_with("-a\\n\n+a\n"), "{text}");
    }
}

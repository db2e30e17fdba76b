//! `--verify`: the model against `/proc/PID/maps`.

use std::fs;

use anyhow::Result;

use super::engine::{Engine, Known};
use crate::{kernel::Tier, machine::thread_with_memory, note};

/// How often a process that does not hold still is looked at before it is left for the next time.
const ATTEMPTS: usize = 2;

/// Whether the model of a process differs from the kernel's regions, or from what /proc prints of them;
/// says so if it does. `None`: they could not be compared.
///
/// The model's commit before and after the reading must be the same one: the file is not one
/// picture where the process changes meanwhile. The looks wait for writers that are at it while the
/// file is read, which since Linux 6.17 does not wait for them itself.
pub(super) fn process(engine: &mut Engine, pid: u32) -> Result<Option<bool>> {
    // The model is what /proc says, in the degraded tier.
    if engine.source.tier() == Tier::Degraded {
        return Ok(None);
    }
    for _ in 0..ATTEMPTS {
        let Some(known) = engine.known(pid)? else { return Ok(None) };
        let Some(before) = engine.looked_at(pid)? else { return Ok(None) };
        let read = move || fs::read(format!("/proc/{}/maps", thread_with_memory(pid)));
        let Ok(Ok(maps)) = engine.read(pid, read) else { return Ok(None) };
        let Some(after) = engine.looked_at(pid)? else { return Ok(None) };
        for (known, seen) in [(&known, &before), (&before, &after)] {
            if is_corrected(known, seen) {
                report(pid, known.commit, "the kernel", &seen.map, &known.map);
                return Ok(Some(true));
            }
        }
        // A file that gets another name is no commit.
        if before.commit != after.commit || before.map != after.map || maps.is_empty() {
            continue;
        }
        if maps == after.map {
            return Ok(Some(false));
        }
        report(pid, after.commit, "/proc", &maps, &after.map);
        return Ok(Some(true));
    }
    Ok(None)
}

/// Whether a look at a process put right what was known: the model, which knows whether another thread
/// may be about to tell, took that for an error of its own, and the kernel has left nothing out.
const fn is_corrected(known: &Known, seen: &Known) -> bool {
    seen.corrected > known.corrected && seen.left_out == known.left_out
}

/// The first line in which the two differ.
fn report(pid: u32, commit: u64, who: &str, maps: &[u8], model: &[u8]) {
    let mut maps = maps.split(|&byte| byte == b'\n');
    let mut model = model.split(|&byte| byte == b'\n');
    let (kernel, model) = loop {
        match (maps.next(), model.next()) {
            (kernel, model) if kernel == model && kernel.is_some() => {}
            differing => break differing,
        }
    };
    let show = |line: Option<&[u8]>| line.unwrap_or(b"(nothing)").escape_ascii().to_string();
    note(format_args!(
        "PID {pid} differs at commit {commit}: {who} has '{}', the model '{}'",
        show(kernel),
        show(model)
    ));
}

#[cfg(test)]
mod tests {
    use super::{Known, is_corrected};

    #[test]
    fn what_a_look_puts_right_is_a_difference_unless_something_was_left_out() {
        let known = |corrected, left_out| Known { commit: 8, corrected, left_out, map: Vec::new() };
        let before = known(1, 2);
        assert!(is_corrected(&before, &known(2, 2)));
        for told in [known(1, 2), known(1, 3), known(2, 3)] {
            assert!(!is_corrected(&before, &told));
        }
    }
}

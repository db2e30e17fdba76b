//! `--verify`: the model against `/proc/PID/maps`.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::engine::{Engine, Known};
use crate::{kernel::Tier, note};

/// How often a process that does not hold still is looked at before it is left for the next time.
const ATTEMPTS: usize = 2;
/// How long the record of a commit may come after a look that shows it.
const LATE: Duration = Duration::from_millis(100);

/// Whether the model of a process differs from the kernel's regions, or from what /proc prints of them;
/// says so if it does. `None`: they could not be compared.
///
/// The model's commit before and after the reading must be the same one: the file is not one
/// picture where the process changes meanwhile. The looks wait for writers that are at it while the
/// file is read, which since Linux 6.17 does not wait for them itself.
pub(super) fn process(engine: &mut Engine, pid: u32) -> Result<Option<bool>> {
    for _ in 0..ATTEMPTS {
        let Some(known) = engine.known(pid)? else { return Ok(None) };
        let Some(before) = engine.looked_at(pid)? else { return Ok(None) };
        if is_corrected(engine, pid, &known, &before)? {
            report(pid, known.commit, "the kernel", &before.map, &known.map);
            return Ok(Some(true));
        }
        let Ok(maps) = fs::read(format!("/proc/{pid}/maps")) else { return Ok(None) };
        let Some(after) = engine.looked_at(pid)? else { return Ok(None) };
        if before.commit != after.commit || maps.is_empty() {
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

/// Whether a look at a process found regions that no commit had told of, nor a loss. Files get other
/// names without a commit.
fn is_corrected(engine: &mut Engine, pid: u32, known: &Known, seen: &Known) -> Result<bool> {
    let told = engine.source.tier() == Tier::Degraded
        || known.commit != seen.commit
        || known.lost != seen.lost
        || nameless(&known.map).eq(nameless(&seen.map));
    if told || seen.healed > known.healed {
        return Ok(!told);
    }
    // Where the hook counts the commits, a look may be ahead of the record of an unmapping.
    let start = Instant::now();
    while start.elapsed() < LATE {
        thread::sleep(LATE / 10);
        if engine.known(pid)?.is_none_or(|now| now.commit != known.commit) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The lines of a map without the names, which follow five words.
fn nameless(map: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    map.split(|&byte| byte == b'\n').map(|line| line.splitn(6, |&it| it == b' ').take(5).collect())
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

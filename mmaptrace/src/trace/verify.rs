//! `--verify`: the model against `/proc/PID/maps`.

use std::fs;

use anyhow::Result;

use super::engine::Engine;
use crate::note;

/// How often a process that does not hold still is looked at before it is left for the next time.
const ATTEMPTS: usize = 2;

/// Whether the model of a process differs from what /proc prints; says so if it does. `None`: they
/// could not be compared.
///
/// The model's commit before and after the reading must be the same one: the file is not one
/// picture where the process changes meanwhile. The second look waits for writers that were at it
/// while the file was read, which since Linux 6.17 does not wait for them itself.
pub(super) fn process(engine: &mut Engine, pid: u32) -> Result<Option<bool>> {
    for _ in 0..ATTEMPTS {
        let Some((before, _)) = engine.map_of(pid)? else { return Ok(None) };
        let Ok(maps) = fs::read(format!("/proc/{pid}/maps")) else { return Ok(None) };
        let Some((after, model)) = engine.map_of(pid)? else { return Ok(None) };
        if before != after || maps.is_empty() {
            continue;
        }
        if maps == model {
            return Ok(Some(false));
        }
        report(pid, after, &maps, &model);
        return Ok(Some(true));
    }
    Ok(None)
}

/// The first line in which the two differ.
fn report(pid: u32, commit: u64, maps: &[u8], model: &[u8]) {
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
        "PID {pid} differs at commit {commit}: /proc has '{}', the model '{}'",
        show(kernel),
        show(model)
    ));
}

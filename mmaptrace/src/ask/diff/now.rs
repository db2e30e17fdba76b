//! The map that a process has now, as `/proc` tells it.

use std::fs;

use anyhow::{Context as _, Result};
use mmaptrace_model::{Backing, Flags, Region, event::Task, history::Labels};
use procfs::{FromRead as _, process::Stat};

use super::{Side, image};
use crate::{machine, proc_maps::ProcMaps, sink::Clock};

/// Of flags what maps has.
const TOLD: u64 = Flags::READ.0 | Flags::WRITE.0 | Flags::EXEC.0 | Flags::MAYSHARE.0;

/// The map of a process, to be compared with `old`, of which [`forget`] has left what maps tells.
///
/// # Errors
/// The process is gone, or it may not be looked at.
pub(super) fn side(labels: &mut Labels, pid: u32, old: &Side) -> Result<Side> {
    let tid = machine::thread_with_memory(pid);
    let read = |name: &str| {
        let path = format!("/proc/{tid}/{name}");
        fs::read(&path).with_context(|| format!("cannot read {path}"))
    };
    let maps = read("maps")?;
    let maps = ProcMaps::parse(&maps).context("its maps are none")?;
    let stat = Stat::from_read(&read("stat")?[..]).context("cannot read its stat")?;
    let mut comm = [0; 16];
    let name = &stat.comm.as_bytes()[..stat.comm.len().min(15)];
    comm[..name.len()].copy_from_slice(name);
    let take = |(region, name)| {
        let mut region = labels.take(&region, name);
        forget(&mut region);
        region
    };
    Ok(Side {
        owner: Task { pid, tid: pid, comm },
        time: machine::now(),
        clock: Clock::of_now(),
        regions: maps.regions().map(take).collect(),
        // It does not tell where the break is within its page.
        brk: old.brk,
        image: image(stat.startstack, stat.start_brk.unwrap_or(0)),
    })
}

/// Leaves of a region what maps tells: permissions of its flags, and no offset of memory.
pub(super) fn forget(region: &mut Region) {
    region.flags.0 &= TOLD;
    match region.backing {
        Backing::Anonymous | Backing::Named { .. } | Backing::Special { .. } => {
            region.pgoff = region.start >> 12;
        }
        Backing::File { .. } | Backing::NamedShared { .. } => {}
    }
}

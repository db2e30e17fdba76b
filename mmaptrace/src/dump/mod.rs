//! The map of one process, in the format asked for.

mod residence;

use std::{fs, io};

use mmaptrace_model::Space;

use crate::{
    config::DumpFormat,
    flow::Mirror,
    sink::{Clock, json, maps, pmap},
};

pub use residence::Residence;

/// What a map is printed of.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The process it was asked for.
    pub pid: u32,
    /// Its space.
    pub space: &'a Space,
    /// When: ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// How times are told.
    pub clock: Clock,
    /// What the process calls itself: its arguments with spaces between them.
    pub command: &'a [u8],
    /// How much of its regions is in memory, for the format that has it.
    pub residence: &'a Residence,
}

/// Prints it.
///
/// # Errors
/// None that a vector has.
pub fn print(mirror: &Mirror, subject: &Subject<'_>, format: DumpFormat) -> io::Result<Vec<u8>> {
    let &Subject { pid, space, time, clock, command, residence } = subject;
    let regions = mirror.regions(space);
    let vsyscall = space.layout().vsyscall;
    let mut out = Vec::with_capacity(regions.len() * 100);
    match format {
        DumpFormat::Maps => maps::write(&mut out, regions, vsyscall)?,
        DumpFormat::Pmap => pmap::write(&mut out, pid, command, regions, vsyscall)?,
        DumpFormat::PmapX => {
            let rows = regions.iter().map(|&(region, name)| {
                let resident = residence.get(&region);
                (region, name, resident)
            });
            pmap::write_extended(&mut out, pid, command, rows, vsyscall)?;
        }
        DumpFormat::Json => {
            json::write_dump(&mut out, &Mirror::dump(pid, time, space, &regions), clock)?;
        }
    }
    Ok(out)
}

/// The arguments of a process that runs, with spaces between them; its name in brackets if it has
/// none.
pub fn command_line(pid: u32) -> Vec<u8> {
    let mut line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    while line.last() == Some(&0) {
        line.pop();
    }
    if line.is_empty() {
        let mut comm = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
        comm.pop();
        return [b"[", &comm[..], b"]"].concat();
    }
    line.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
    line
}

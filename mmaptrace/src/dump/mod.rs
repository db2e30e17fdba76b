//! `mmaptrace dump`: the map of one process, in the format asked for.

mod residence;
mod then;

use std::{
    fs,
    io::{self, IsTerminal as _},
};

use anyhow::Result;
use mmaptrace_model::Space;

use crate::{
    ask,
    config::Dump,
    control::{
        DumpFormat,
        client::{self, Printed},
    },
    escape,
    exit::Exit,
    flow::Mirror,
    machine, note, output,
    sink::{Clock, json, maps, pmap},
};

pub use residence::Residence;

/// The most bytes of a command line (`MAX_BUFSZ` of procps, its NUL not included).
const COMMAND_MAX: usize = (1 << 17) - 1;

/// Prints a map, of now or of a moment that is past.
///
/// # Errors
/// Nobody has it, it cannot be had, or it cannot be written.
pub fn run(config: &Dump) -> Result<Exit> {
    let &Dump { pid, format, blame, verbose, .. } = config;
    if blame {
        return ask::blame(config);
    }
    let printed = match (&config.at, &config.input) {
        (None, None) => client::dump(pid, format, config.socket.as_deref())?,
        (Some(_), _) | (_, Some(_)) => then::print(config)?,
    };
    let Printed { body, commit, exact, why } = printed;
    if !exact {
        let why = why.as_deref().unwrap_or("in doubt");
        note(format_args!("{pid}: NOT known to be exact as of commit {commit}: {why}"));
    } else if verbose {
        note(format_args!("{pid}: exact as of commit {commit}"));
    }
    write(&body)
}

fn write(body: &[u8]) -> Result<Exit> {
    let escaped;
    let body = if io::stdout().is_terminal() {
        // The names in it are the traced program's choice.
        escaped = escape::lines(body);
        escaped.as_bytes()
    } else {
        body
    };
    output::print(|out| out.write_all(body))?;
    Ok(Exit::Success)
}

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
    let vsyscall = mirror.vsyscall(space);
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
            json::write_dump(&mut out, &mirror.dump(pid, time, space, &regions), clock)?;
        }
    }
    Ok(out)
}

/// The arguments of a process that runs, with spaces between them, as much of them as pmap prints; its
/// name in brackets if it has none.
pub fn command_line(pid: u32) -> Vec<u8> {
    let mut line = machine::arguments(pid, COMMAND_MAX).unwrap_or_default();
    while line.last() == Some(&0) {
        line.pop();
    }
    if line.is_empty() {
        return name(pid);
    }
    line.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
    line
}

/// The name of a process that runs, in brackets.
pub fn name(pid: u32) -> Vec<u8> {
    let mut comm = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    comm.pop();
    [b"[", &comm[..], b"]"].concat()
}

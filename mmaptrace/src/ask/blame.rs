//! `mmaptrace dump --blame`: beside each region, how old it is and who made it, by which call.
//!
//! ```text
//! 7f84c36bd000-7f84c36be000 rw-p    4K    3.1 s  [heap]  thread 4713 worker: brk(0x7f84c36be000)
//! ```

use std::{
    cmp::Reverse,
    io::{self, Write},
    ops::ControlFlow,
    sync::Arc,
};

use anyhow::{Result, bail};
use mmaptrace_model::{
    HeapRule, Names, Region, Space,
    history::{Deed, Origins},
};

use super::{
    note_doubt, until,
    words::{About, Did, Span},
};
use crate::{
    config::Dump,
    control::DumpFormat,
    escape::Escaped,
    exit::Exit,
    history::{Moment, Past, Then},
    output::print,
    sink::{
        Telling,
        json::{self, Blamed},
        maps,
    },
    symbols::Backtraces,
};

/// The longest name that all calls are aligned to: longer ones push theirs to the right.
const NAME_COLUMN: usize = 40;
/// How many parts back one of the same commit is looked for: a heap has as many as it grew.
const NEAR: usize = 8;

/// A region with its name, and who made it.
struct Row<'a> {
    region: &'a Region,
    /// As maps prints it.
    name: Vec<u8>,
    /// What made most of it; `None`: it was there before anyone looked.
    created: Option<Arc<Deed>>,
    /// How many commits made parts of it, that counts as one.
    parts: usize,
    /// What changed any of it last.
    changed: Option<Arc<Deed>>,
}

/// Prints the map of a process with who made what of it.
///
/// # Errors
/// There is no such past, no such moment in it or no such process then; or the map cannot be
/// written.
pub fn run(config: &Dump) -> Result<Exit> {
    let mut past = Past::open(&config.source())?;
    let (heap, clock) = (past.heap_rule(), past.clock());
    let mut origins = Origins::default();
    let mut stacks = Backtraces::default();
    let until = until(&mut past, config.at.as_ref(), Some(config.pid))?;
    let told = past.replay(None, until, |event, model| {
        origins.event(event, model);
        if config.format == DumpFormat::Json {
            stacks.event(event, model);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let point = until.map_or_else(|| past.point(&Moment::END), Ok)?;
    let doubt = past.doubt_at(point, &told.model, config.pid)?;
    note_doubt(&past, told.until, config.pid, doubt);
    let Some(space) = told.model.space_of(config.pid) else {
        if let Some(why) = Then::homeless(&told.model, config.pid) {
            bail!(why);
        }
        bail!("there was no process {} then; --at exit is the end of one", config.pid);
    };
    let rows = rows(space, told.model.names(), heap, &origins);
    print(|out| match config.format {
        DumpFormat::Json => rows.iter().try_for_each(|row| {
            let Row { region, ref name, ref created, parts, ref changed } = *row;
            let (created, changed) = (created.as_deref(), changed.as_deref());
            let telling = Telling { clock, stacks: &stacks };
            json::write_blame(out, &Blamed { region, name, created, parts, changed }, telling)
        }),
        DumpFormat::Maps | DumpFormat::Pmap | DumpFormat::PmapX => write(out, &rows, told.until),
    })?;
    Ok(told.end())
}

/// `now`: the moment it is told of, ns of `CLOCK_MONOTONIC`.
fn write(out: &mut dyn Write, rows: &[Row<'_>], now: u64) -> io::Result<()> {
    let names: Vec<_> = rows.iter().map(|row| Escaped(&row.name).to_string()).collect();
    let fits = |width: &usize| *width <= NAME_COLUMN;
    let width = names.iter().map(|name| name.chars().count()).filter(fits).max().unwrap_or(0);
    for (Row { region, created, parts, .. }, name) in rows.iter().zip(&names) {
        let &&Region { start, end, flags, .. } = region;
        let perms = maps::permissions(flags);
        let age = created.as_ref().map(|deed| Span(now.saturating_sub(deed.time)).to_string());
        let (size, age) = (About(end - start), age.unwrap_or_default());
        write!(out, "{start:x}-{end:x} {perms} {size:>6} {age:>8}  {name:width$}  ")?;
        match created {
            Some(deed) => write!(out, "{}", Did(deed))?,
            None => write!(out, "before tracing began")?,
        }
        match parts {
            0 | 1 => writeln!(out)?,
            parts => writeln!(out, ", and {} more", parts - 1)?,
        }
    }
    Ok(())
}

fn rows<'a>(space: &'a Space, names: &Names, heap: HeapRule, origins: &Origins) -> Vec<Row<'a>> {
    let row = |region| {
        let mut name = Vec::new();
        maps::push_name(&mut name, space.name(region, names, heap));
        let (created, parts) = makers(region, space, origins);
        let pages = origins.of(space.id(), region.start, region.end);
        let changes = pages.filter_map(|(_, origin)| origin.changed.clone());
        Row { region, name, created, parts, changed: changes.max_by_key(|deed| deed.time) }
    };
    space.map().iter().map(row).collect()
}

/// What made most of a region, and how many commits made parts of it.
fn makers(region: &Region, space: &Space, origins: &Origins) -> (Option<Arc<Deed>>, usize) {
    let mut parts: Vec<(Option<Arc<Deed>>, u64)> = Vec::new();
    let mut unknown = region.size();
    for (range, origin) in origins.of(space.id(), region.start, region.end) {
        let Some(created) = &origin.created else { continue };
        let size = range.end - range.start;
        unknown -= size;
        // The parts of one commit lie side by side, but for what others have put between.
        match parts.iter_mut().rev().take(NEAR).find(|(deed, _)| deed.as_ref() == Some(created)) {
            Some((_, sum)) => *sum += size,
            None => parts.push((Some(Arc::clone(created)), size)),
        }
    }
    if unknown > 0 {
        parts.push((None, unknown));
    }
    let count = parts.len();
    // Of equals the oldest.
    let age = |deed: &Option<Arc<Deed>>| Reverse(deed.as_ref().map_or(0, |deed| deed.time));
    let most = parts.into_iter().max_by_key(|(deed, size)| (*size, age(deed)));
    (most.and_then(|(deed, _)| deed), count)
}

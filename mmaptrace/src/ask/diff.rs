//! `mmaptrace diff`: what one moment's map has that another's has not.
//!
//! Of one address space, the same lines that live viewing has for one commit. Of two, whose
//! addresses have nothing to do with each other, how much there is of each name.

mod now;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    num::NonZeroU64,
    sync::Arc,
};

use anyhow::{Result, bail};
use mmaptrace_common::record::NOWHERE;
use mmaptrace_model::{
    Effect, Region, RegionName,
    effect::diff,
    event::{SpaceId, Task},
    history::{Labels, Sum, Tally},
    process::Process,
};

use super::{list, note_doubt, only, style::palette, turn, words::About};
use crate::{
    config::{Diff, Format, Later, When},
    escape::{Escaped, comm},
    exit::Exit,
    history::{Moment, Past, Then},
    output::print,
    sink::{
        Clock, Filter, View,
        json::{self, Compared},
        maps,
        text::{self, Palette},
    },
    symbols::Backtrace,
};

/// A map, of regions with keys of [`Labels`].
#[derive(Debug)]
struct Side {
    owner: Task,
    /// Of when: ns of `CLOCK_MONOTONIC` of its clock.
    time: u64,
    clock: Clock,
    regions: Vec<Region>,
    brk: u64,
    /// Where stack and heap start, if that is known: chosen anew for each image, so that it tells them
    /// apart.
    image: Option<(u64, u64)>,
}

impl Side {
    fn compared(&self) -> Compared<'_> {
        let mut regions = Sum::default();
        self.regions.iter().for_each(|region| regions.add(region.size()));
        Compared { owner: &self.owner, time: self.time, clock: self.clock, regions }
    }
}

/// The names of both.
#[derive(Debug, Default)]
struct Names(Labels);

impl View for Names {
    fn name(&self, _: SpaceId, region: &Region) -> RegionName<'_> {
        self.0.name(region)
    }

    fn owner(&self, _: SpaceId) -> Option<Task> {
        None
    }

    fn stack(&self, _: SpaceId, _: NonZeroU64) -> Option<Arc<Backtrace>> {
        None
    }
}

/// Compares.
///
/// # Errors
/// There is no such past, moment or process, or the answer cannot be written.
pub fn run(config: &Diff) -> Result<Exit> {
    let mut names = Names::default();
    let mut old = side(&mut names.0, &config.from)?;
    let new = match &config.to {
        Later::Then(when) => side(&mut names.0, when)?,
        Later::Now(pid) => {
            old.regions.iter_mut().for_each(now::forget);
            now::side(&mut names.0, pid.unwrap_or(old.owner.pid), &old)?
        }
    };
    print(|out| {
        if old.image.is_some() && old.image == new.image {
            let effects = diff(&old.regions, &new.regions);
            let tally = Tally::of(&effects, &old.regions, &new.regions);
            match config.format {
                Format::Text => {
                    title(out, &old, &new)?;
                    let palette = palette(config.colour);
                    out.write_all(lines(&effects, &old, &new, &names, palette).as_bytes())?;
                    write_tally(out, &tally)?;
                    total(out, &old, &new)
                }
                Format::Json => {
                    let sides = [old.compared(), new.compared()];
                    json::write_diff(out, sides, &effects, &tally, &names)
                }
            }
        } else {
            let sums = by_name(&old, &new, &names);
            match config.format {
                Format::Text => {
                    title(out, &old, &new)?;
                    sums.iter().try_for_each(|(name, sums)| write_sums(out, name, *sums))?;
                    total(out, &old, &new)
                }
                Format::Json => {
                    let sides = [old.compared(), new.compared()];
                    let sums = sums.iter().map(|(name, sums)| (&name[..], *sums));
                    json::write_diff_names(out, sides, sums)
                }
            }
        }
    })?;
    Ok(Exit::Success)
}

/// The map of a process at a moment, or the last that it had.
fn side(labels: &mut Labels, of: &When) -> Result<Side> {
    let mut past = Past::open(&of.source)?;
    let (then, pid) = moment(&mut past, of)?;
    let (Some(space), Some(&Process { comm, .. })) =
        (then.model.space_of(pid), then.model.process(pid))
    else {
        if let Some(why) = Then::homeless(&then.model, pid) {
            bail!(why);
        }
        let living: Vec<_> = then.model.processes().map(|it| it.pid).collect();
        match &living[..] {
            [] => bail!("there was no process {pid} then, nor any other"),
            living => bail!("there was no process {pid} then, but these: {}", list(living)),
        }
    };
    let doubt = past.doubt_at(then.point, &then.model, pid)?;
    note_doubt(&past, then.time, pid, doubt);
    let (names, heap) = (then.model.names(), past.heap_rule());
    let take = |region| labels.take(region, space.name(region, names, heap));
    Ok(Side {
        owner: Task { pid, tid: pid, comm },
        time: then.time,
        clock: past.clock(),
        regions: space.map().iter().map(take).collect(),
        brk: space.layout().brk,
        image: image(space.layout().start_stack, space.layout().start_brk),
    })
}

/// What [`Side::image`] is by these addresses. 0 stands for what may not be known, and for none.
fn image(start_stack: u64, start_brk: u64) -> Option<(u64, u64)> {
    (![0, NOWHERE].contains(&start_stack)).then_some((start_stack, start_brk))
}

/// The model of a moment, and which process in it is meant.
///
/// Without a moment it is the end; for a process that had ended by then, right before it did.
fn moment(past: &mut Past, of: &When) -> Result<(Then, u32)> {
    if let Some(at @ (Moment::Exec | Moment::Exit)) = &of.at {
        return turn(past, at, of.pid);
    }
    let then = past.at(&of.at.unwrap_or(Moment::END), 0)?;
    let pid = of.pid.map_or_else(|| only(&then.model), Ok)?;
    let has_ended = of.at.is_none() && then.model.space_of(pid).is_none();
    Ok((if has_ended { past.at(&Moment::Exit, pid)? } else { then }, pid))
}

/// What has changed in one address space, as live viewing tells it.
fn lines(effects: &[Effect], old: &Side, new: &Side, view: &Names, palette: Palette) -> String {
    let mut lines = String::new();
    let effects = text::Effects {
        space: SpaceId(0),
        all: effects,
        brk: (old.brk != new.brk).then_some((old.brk, new.brk)),
        view,
        filter: &Filter::default(),
        palette,
    };
    effects.push_lines(&mut lines);
    lines
}

fn write_tally(out: &mut dyn Write, tally: &Tally) -> io::Result<()> {
    let totals = [
        ("added", tally.added),
        ("removed", tally.removed),
        ("grown", tally.grown),
        ("shrunk", tally.shrunk),
        ("re-protected", tally.protected),
        ("renamed", tally.renamed),
        ("replaced", tally.replaced),
        ("of other flags", tally.flagged),
    ];
    let told = totals.iter().filter(|(_, sum)| sum.count > 0);
    let told: Vec<_> = told
        .map(|(what, Sum { count, bytes })| format!("{count} {what} ({})", About(*bytes)))
        .collect();
    match (&told[..], tally.edges) {
        ([], 0) => writeln!(out, "no difference"),
        ([], _) => writeln!(out, "no difference but where regions begin and end"),
        (told, _) => writeln!(out, "{}", told.join(", ")),
    }
}

/// How much each map has of each name, where they differ: first what differs most.
fn by_name(old: &Side, new: &Side, names: &Names) -> Vec<(Vec<u8>, [Sum; 2])> {
    let mut sums = BTreeMap::<Vec<u8>, [Sum; 2]>::new();
    for (index, side) in [old, new].into_iter().enumerate() {
        for region in &side.regions {
            let mut name = Vec::new();
            maps::push_name(&mut name, names.0.name(region));
            sums.entry(name).or_default()[index].add(region.size());
        }
    }
    let mut sums: Vec<_> = sums.into_iter().filter(|(_, [old, new])| old != new).collect();
    sums.sort_by_key(|(_, [old, new])| std::cmp::Reverse(old.bytes.abs_diff(new.bytes)));
    sums
}

fn write_sums(out: &mut dyn Write, name: &[u8], [old, new]: [Sum; 2]) -> io::Result<()> {
    let change = match new.bytes.checked_sub(old.bytes) {
        Some(more) => format!("+{}", About(more)),
        None => format!("-{}", About(old.bytes - new.bytes)),
    };
    let [from, to] = [old, new].map(|sum| format!("{:>7} in {:<4}", About(sum.bytes), sum.count));
    write!(out, "{change:>8}  {from} -> {to}  ")?;
    if name.is_empty() { writeln!(out, "anonymous") } else { writeln!(out, "{}", Escaped(name)) }
}

fn title(out: &mut dyn Write, old: &Side, new: &Side) -> io::Result<()> {
    let [from, to] = [old, new].map(|Side { owner, time, clock, .. }| {
        format!("{} {} {}", owner.pid, Escaped(comm(&owner.comm)), clock.of_day(*time))
    });
    writeln!(out, "{from} -> {to}")
}

fn total(out: &mut dyn Write, old: &Side, new: &Side) -> io::Result<()> {
    let [from, to] = [old, new].map(|side| {
        let Sum { count, bytes } = side.compared().regions;
        format!("{count} regions, {}", About(bytes))
    });
    writeln!(out, "{from} -> {to}")
}

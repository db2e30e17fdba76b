//! Lines of `mmaptrace who`, `dump --blame` and `diff`.

use std::{borrow::Cow, io};

use mmaptrace_model::{
    Effect, Region,
    event::{SpaceId, Task},
    history::{Deed, Ending, Sum, Tally},
};
use serde::Serialize;

use super::{
    convert,
    wire::{self, Bytes, Hex, Shown, Time},
};
use crate::sink::{Clock, Telling, View, maps};

/// What is known of an address in a space.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The address.
    pub address: u64,
    /// The space.
    pub space: SpaceId,
    /// Whose it is.
    pub owner: Option<&'a Task>,
    /// Whether it is mapped, or was when the space ended.
    pub mapped: bool,
    /// The region that holds it, and the name that maps prints of that.
    pub region: Option<(&'a Region, &'a [u8])>,
    /// What made its page.
    pub created: Option<&'a Deed>,
    /// What changed it last.
    pub changed: Option<&'a Deed>,
    /// What unmapped it.
    pub unmapped: Option<&'a Deed>,
    /// Where to, if it was moved.
    pub moved_to: Option<u64>,
    /// How the space ended, and when.
    pub end: Option<(Ending, u64)>,
}

/// A region, and who made it.
#[derive(Clone, Copy, Debug)]
pub struct Blamed<'a> {
    /// The region.
    pub region: &'a Region,
    /// The name that maps prints of it.
    pub name: &'a [u8],
    /// What made most of it.
    pub created: Option<&'a Deed>,
    /// How many commits made parts of it.
    pub parts: usize,
    /// What changed any of it last.
    pub changed: Option<&'a Deed>,
}

/// A map that is compared with another: whose and of when, and how many regions of how many bytes.
#[derive(Clone, Copy, Debug)]
pub struct Compared<'a> {
    /// The process.
    pub owner: &'a Task,
    /// The moment: ns of `CLOCK_MONOTONIC` of that clock.
    pub time: u64,
    /// How its times are told.
    pub clock: Clock,
    /// The regions.
    pub regions: Sum,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, on the stack")]
enum Line<'a> {
    Who(Who<'a>),
    Blame { region: Held<'a>, created: Option<Done<'a>>, parts: usize, changed: Option<Done<'a>> },
    Diff { from: Side<'a>, to: Side<'a>, effects: Vec<wire::Effect<'a>>, totals: Totals },
    DiffNames { from: Side<'a>, to: Side<'a>, names: Vec<Named<'a>> },
}

#[derive(Serialize)]
struct Who<'a> {
    address: Hex,
    space: u64,
    process: Option<wire::Task<'a>>,
    mapped: bool,
    region: Option<Held<'a>>,
    created: Option<Done<'a>>,
    changed: Option<Done<'a>>,
    unmapped: Option<Done<'a>>,
    moved_to: Option<Hex>,
    end: Option<End>,
}

#[derive(Serialize)]
struct End {
    time: Time,
    status: Option<wire::Status>,
}

/// A region, by what maps prints of it.
#[derive(Serialize)]
pub(super) struct Held<'a> {
    start: Hex,
    end: Hex,
    size: u64,
    perms: String,
    name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_bytes: Option<Bytes<'a>>,
}

#[derive(Serialize)]
pub(super) struct Done<'a> {
    time: Time,
    id: u64,
    #[serde(flatten)]
    task: wire::Task<'a>,
    cause: &'static str,
    call: Option<wire::Syscall<'a>>,
    stack: Option<wire::Stack>,
}

#[derive(Serialize)]
struct Side<'a> {
    time: Time,
    #[serde(flatten)]
    task: wire::Task<'a>,
    regions: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Amount {
    regions: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Totals {
    added: Amount,
    removed: Amount,
    grown: Amount,
    shrunk: Amount,
    protected: Amount,
    renamed: Amount,
    replaced: Amount,
    flagged: Amount,
}

#[derive(Serialize)]
struct Named<'a> {
    name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_bytes: Option<Bytes<'a>>,
    from: Amount,
    to: Amount,
}

/// Writes what is known of an address.
///
/// # Errors
/// What the writer says.
pub fn write_known(
    out: &mut dyn io::Write,
    known: &Known<'_>,
    telling: Telling<'_>,
) -> io::Result<()> {
    let line = Line::Who(Who {
        address: Hex(known.address),
        space: known.space.0,
        process: known.owner.map(convert::task),
        mapped: known.mapped,
        region: known.region.map(|(region, name)| held(region, Some(name))),
        created: known.created.map(|it| done(it, telling)),
        changed: known.changed.map(|it| done(it, telling)),
        unmapped: known.unmapped.map(|it| done(it, telling)),
        moved_to: known.moved_to.map(Hex),
        end: known.end.map(|(end, time)| End {
            time: Shown(telling.clock.epoch(time)),
            status: match end {
                Ending::Exit(status) => status.map(convert::status),
                Ending::Exec => None,
            },
        }),
    });
    write(out, &line)
}

/// Writes a region and who made it.
///
/// # Errors
/// What the writer says.
pub fn write_blame(
    out: &mut dyn io::Write,
    blamed: &Blamed<'_>,
    telling: Telling<'_>,
) -> io::Result<()> {
    let line = Line::Blame {
        region: held(blamed.region, Some(blamed.name)),
        created: blamed.created.map(|it| done(it, telling)),
        parts: blamed.parts,
        changed: blamed.changed.map(|it| done(it, telling)),
    };
    write(out, &line)
}

/// Writes what has changed in one address space.
///
/// # Errors
/// What the writer says.
pub fn write_diff(
    out: &mut dyn io::Write,
    [from, to]: [Compared<'_>; 2],
    effects: &[Effect],
    tally: &Tally,
    view: &dyn View,
) -> io::Result<()> {
    let totals = Totals {
        added: amount(tally.added),
        removed: amount(tally.removed),
        grown: amount(tally.grown),
        shrunk: amount(tally.shrunk),
        protected: amount(tally.protected),
        renamed: amount(tally.renamed),
        replaced: amount(tally.replaced),
        flagged: amount(tally.flagged),
    };
    let effects = effects.iter().map(|it| convert::effect(it, SpaceId(0), view)).collect();
    write(out, &Line::Diff { from: side(&from), to: side(&to), effects, totals })
}

/// Writes how much of each name two maps have.
///
/// # Errors
/// What the writer says.
pub fn write_diff_names<'a>(
    out: &mut dyn io::Write,
    [from, to]: [Compared<'_>; 2],
    names: impl Iterator<Item = (&'a [u8], [Sum; 2])>,
) -> io::Result<()> {
    let names = names.map(|(name, [from, to])| {
        let (name, name_bytes) = name_of(Some(name));
        Named { name, name_bytes, from: amount(from), to: amount(to) }
    });
    let names = names.collect();
    write(out, &Line::DiffNames { from: side(&from), to: side(&to), names })
}

fn side<'a>(of: &Compared<'a>) -> Side<'a> {
    let Sum { count: regions, bytes } = of.regions;
    let time = Shown(of.clock.epoch(of.time));
    Side { time, task: convert::task(of.owner), regions, bytes }
}

const fn amount(Sum { count: regions, bytes }: Sum) -> Amount {
    Amount { regions, bytes }
}

pub(super) fn write(out: &mut dyn io::Write, line: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(line)?;
    line.push(b'\n');
    out.write_all(&line)
}

pub(super) fn done<'a>(deed: &'a Deed, telling: Telling<'_>) -> Done<'a> {
    let (cause, call) = convert::cause(&deed.cause);
    Done {
        time: Shown(telling.clock.epoch(deed.time)),
        id: deed.id,
        task: convert::task(&deed.task),
        cause,
        call,
        stack: convert::user_stack(deed.stacks.user, telling.stacks.of(deed)),
    }
}

pub(super) fn held<'a>(region: &Region, name: Option<&'a [u8]>) -> Held<'a> {
    let (name, name_bytes) = name_of(name);
    Held {
        start: Hex(region.start),
        end: Hex(region.end),
        size: region.size(),
        perms: maps::permissions(region.flags),
        name,
        name_bytes,
    }
}

/// A name as maps prints it; of none it prints nothing.
fn name_of(name: Option<&[u8]>) -> (Option<Cow<'_, str>>, Option<Bytes<'_>>) {
    let (text, bytes) = name.filter(|name| !name.is_empty()).map(convert::text).unzip();
    (text, bytes.flatten())
}

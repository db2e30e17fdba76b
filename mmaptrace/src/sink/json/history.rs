//! Lines of `mmaptrace who`, `dump --blame` and `diff`.

use std::{borrow::Cow, io};

use mmaptrace_model::{
    Effect, Region,
    event::{SpaceId, Task},
    history::{Deed, Ending, Sum, Tally},
};

use super::{
    convert,
    value::{Fields, Flat, Maybe, Plain, Value, key, object, tagged},
    wire::{self, Bytes, Hex},
    write_line,
};
use crate::sink::{Clock, Telling, View, clock::Epoch, maps};

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

tagged! {
    #[expect(clippy::large_enum_variant, reason = "there is one at a time, on the stack")]
    enum Line<'a> by "type" {
        Who = "who" (it: Who<'a>),
        Blame = "blame" { region: Held<'a>, created: Option<Done<'a>>, parts: usize, changed: Option<Done<'a>> },
        Diff = "diff" { from: Side<'a>, to: Side<'a>, effects: Vec<wire::Effect<'a>>, totals: Totals },
        DiffNames = "diff_names" { from: Side<'a>, to: Side<'a>, names: Vec<Named<'a>> },
    }
}

object! {
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

    struct End {
        time: Epoch,
        status: Option<wire::Status>,
    }

    /// A region, by what maps prints of it.
    pub(super) struct Held<'a> {
        start: Hex,
        end: Hex,
        size: u64,
        perms: String,
        name: Option<Cow<'a, str>>,
        name_bytes: Maybe<Bytes<'a>>,
    }

    pub(super) struct Done<'a> {
        time: Epoch,
        id: u64,
        task: Flat<wire::Task<'a>>,
        cause: Plain<'static>,
        call: Option<wire::Syscall<'a>>,
        stack: Option<wire::Stack>,
    }

    struct Side<'a> {
        time: Epoch,
        task: Flat<wire::Task<'a>>,
        regions: u64,
        bytes: u64,
    }

    struct Amount {
        regions: u64,
        bytes: u64,
    }

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

    struct Named<'a> {
        name: Option<Cow<'a, str>>,
        name_bytes: Maybe<Bytes<'a>>,
        from: Amount,
        to: Amount,
    }
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
            time: telling.clock.epoch(time),
            status: match end {
                Ending::Exit(status) => status.map(convert::status),
                Ending::Exec => None,
            },
        }),
    });
    write_line(out, &line)
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
    write_line(out, &line)
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
    write_line(out, &Line::Diff { from: side(&from), to: side(&to), effects, totals })
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
        Named { name, name_bytes: Maybe(name_bytes), from: amount(from), to: amount(to) }
    });
    let names = names.collect();
    write_line(out, &Line::DiffNames { from: side(&from), to: side(&to), names })
}

fn side<'a>(of: &Compared<'a>) -> Side<'a> {
    let Sum { count: regions, bytes } = of.regions;
    let time = of.clock.epoch(of.time);
    Side { time, task: Flat(convert::task(of.owner)), regions, bytes }
}

const fn amount(Sum { count: regions, bytes }: Sum) -> Amount {
    Amount { regions, bytes }
}

pub(super) fn done<'a>(deed: &'a Deed, telling: Telling<'_>) -> Done<'a> {
    let (cause, call) = convert::cause(&deed.cause);
    Done {
        time: telling.clock.epoch(deed.time),
        id: deed.id,
        task: Flat(convert::task(&deed.task)),
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
        name_bytes: Maybe(name_bytes),
    }
}

/// A name as maps prints it; of none it prints nothing.
fn name_of(name: Option<&[u8]>) -> (Option<Cow<'_, str>>, Option<Bytes<'_>>) {
    let (text, bytes) = name.filter(|name| !name.is_empty()).map(convert::text).unzip();
    (text, bytes.flatten())
}

//! Lines of `mmaptrace report`.

use std::{borrow::Cow, io};

use mmaptrace_model::{
    event::Task,
    history::{Exposed, Figures, How, Population, Shared, Site},
};

use super::{
    convert,
    history::{Done, Held, done, held},
    value::{Fields, Maybe, Plain, Value, key, object, tagged},
    wire::{self, Bytes, Decimal, Hex},
    write_line,
};
use crate::{
    escape::comm,
    sink::{Telling, maps},
};

tagged! {
    enum Line<'a> by "type" {
        Site = "site" (it: SiteLine<'a>),
        Population = "population" { process: Option<wire::Task<'a>>, regions: u64, peak: u64, limit: u64 },
        Exposed = "exposed" (it: ExposedLine<'a>),
        Shared = "shared" (it: SharedLine<'a>),
    }
}

object! {
    struct SiteLine<'a> {
        pid: u32,
        comm: Cow<'a, str>,
        comm_bytes: Maybe<Bytes<'a>>,
        cause: Plain<'static>,
        call: Option<Cow<'static, str>>,
        perms: Option<String>,
        file: Option<bool>,
        stack: Option<wire::Stack>,
        held: u64,
        regions: u64,
        reserved: u64,
        peak: u64,
        churn: u64,
        mapped: u64,
        lifetime: Option<Lifetime>,
        splits: u64,
    }

    struct Lifetime {
        min: u64,
        mean: u64,
        max: u64,
    }

    struct ExposedLine<'a> {
        space: u64,
        process: Option<wire::Task<'a>>,
        how: &'static str,
        region: Held<'a>,
        first: Option<Done<'a>>,
        second: Option<Done<'a>>,
        implied: bool,
        times: u64,
    }

    struct SharedLine<'a> {
        dev: String,
        inode: Decimal,
        path: Option<Cow<'a, str>>,
        path_bytes: Maybe<Bytes<'a>>,
        start: Hex,
        end: Hex,
        writable: Option<Done<'a>>,
        executable: Option<Done<'a>>,
    }
}

/// Writes what a site of a report has come to.
///
/// # Errors
/// What the writer says.
pub fn write_site(
    out: &mut dyn io::Write,
    site: &Site,
    figures: &Figures,
    telling: Telling<'_>,
) -> io::Result<()> {
    let Site { pid, comm: name, cause, pages, stack } = site;
    let (comm, comm_bytes) = convert::text(comm(name));
    let (cause, call) = convert::cause(cause);
    let &Figures { held, reserved, peak, churn, mapped, lifetimes, splits, .. } = figures;
    let lifetime = |mean| Lifetime { min: lifetimes.min, mean, max: lifetimes.max };
    let line = SiteLine {
        pid: *pid,
        comm,
        comm_bytes: Maybe(comm_bytes),
        cause,
        call: call.map(|call| call.name),
        perms: pages.map(|kind| maps::permissions(kind.flags)),
        file: pages.map(|kind| kind.file),
        stack: convert::user_stack(*stack, telling.stacks.first(*stack)),
        held,
        regions: figures.left(),
        reserved,
        peak,
        churn,
        mapped,
        lifetime: lifetimes.mean().map(lifetime),
        splits,
    };
    write_line(out, &Line::Site(line))
}

/// Writes how many regions a space has, and may have.
///
/// # Errors
/// What the writer says.
pub fn write_population(
    out: &mut dyn io::Write,
    population: &Population,
    limit: u64,
) -> io::Result<()> {
    let owner = population.owner.map(process);
    let process = owner.as_ref().map(convert::task);
    let Population { now: regions, peak, .. } = *population;
    write_line(out, &Line::Population { process, regions, peak, limit })
}

/// Writes pages that were writable and executable.
///
/// # Errors
/// What the writer says.
pub fn write_exposed(
    out: &mut dyn io::Write,
    exposed: &Exposed,
    telling: Telling<'_>,
) -> io::Result<()> {
    let owner = exposed.owner.map(process);
    let line = Line::Exposed(ExposedLine {
        space: exposed.space.0,
        process: owner.as_ref().map(convert::task),
        how: match exposed.how {
            How::Both => "both",
            How::WrittenFirst => "written_first",
            How::ExecutedFirst => "executed_first",
            How::Implied => "implied",
        },
        region: held(&exposed.pages, exposed.name.as_deref()),
        first: exposed.first.as_deref().map(|deed| done(deed, telling)),
        second: exposed.second.as_deref().map(|deed| done(deed, telling)),
        implied: exposed.implied,
        times: exposed.times,
    });
    write_line(out, &line)
}

/// Writes a file that was mapped both ways.
///
/// # Errors
/// What the writer says.
pub fn write_shared(
    out: &mut dyn io::Write,
    shared: &Shared,
    telling: Telling<'_>,
) -> io::Result<()> {
    let (major, minor) = maps::device(shared.dev);
    let (start, end) = shared.part;
    let (path, path_bytes) = shared.name.as_deref().map(convert::text).unzip();
    let line = Line::Shared(SharedLine {
        dev: format!("{major:02x}:{minor:02x}"),
        inode: Decimal(shared.ino),
        path,
        path_bytes: Maybe(path_bytes.flatten()),
        start: Hex(start),
        end: Hex(end),
        writable: shared.writable.as_deref().map(|deed| done(deed, telling)),
        executable: shared.executable.as_deref().map(|deed| done(deed, telling)),
    });
    write_line(out, &line)
}

const fn process((pid, comm): (u32, [u8; 16])) -> Task {
    Task { pid, tid: pid, comm }
}

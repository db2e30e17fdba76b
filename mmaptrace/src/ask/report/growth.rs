//! Growth, a site a line, its stack beneath:
//!
//! ```text
//!    held regions    peak   churn  mapped  lifetime  by
//!    6.2M     100    6.2M    6.2M     100         -  4711 worker: mmap rw-p anonymous
//!                                                      handle_request (server.c:81)
//! ```
//!
//! and how many regions each process has, and who splits them.

use std::{
    cmp::Reverse,
    fmt::{self, Display, Formatter},
    io::{self, Write},
};

use mmaptrace_model::history::{Figures, Growth, Population, Site};

use crate::{
    ask::words::{About, Span, Stack},
    escape::{Escaped, comm},
    sink::{
        maps::permissions,
        text::{Function, tag},
    },
    symbols::Backtraces,
};

/// Where the text of a site begins.
const SITE: usize = 51;

/// What there is to tell, and how much of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table<'a> {
    pub(super) growth: &'a Growth,
    pub(super) stacks: &'a Backtraces,
    /// How many sites.
    pub(super) top: usize,
    /// How many regions a space may have.
    pub(super) limit: u64,
}

impl Table<'_> {
    /// Writes it.
    ///
    /// # Errors
    /// What the writer says.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let sites = self.growth.sites();
        let mapped = sites.iter().filter(|(_, figures)| figures.mapped > 0);
        let (mut count, mut held, mut regions) = (0, 0, 0);
        for (_, figures) in mapped.clone() {
            (count, held, regions) = (count + 1, held + figures.held, regions + figures.left());
        }
        if count == 0 {
            writeln!(out, "nothing was mapped while it was traced")?;
        } else {
            let [held, regions, peak, churn] = ["held", "regions", "peak", "churn"];
            let [mapped, lifetime] = ["mapped", "lifetime"];
            writeln!(
                out,
                "{held:>7} {regions:>7} {peak:>7} {churn:>7} {mapped:>7} {lifetime:>9}  by"
            )?;
        }
        let mut left = held;
        for (site, figures) in mapped.take(self.top) {
            left -= figures.held;
            self.write_site(out, site, figures)?;
        }
        if count > self.top {
            let others = count - self.top;
            writeln!(out, "{:>7} by {others} others, which --top 0 tells", About(left))?;
        }
        if count > 1 {
            writeln!(out, "{:>7} {regions:>7} in all", About(held))?;
        }
        self.write_populations(out)?;
        self.write_splits(out, &sites)
    }

    /// How many lines of what stands beneath the sites.
    const fn few(&self) -> usize {
        self.top.div_ceil(4)
    }

    fn write_site(&self, out: &mut dyn Write, site: &Site, figures: &Figures) -> io::Result<()> {
        let &Figures { held, reserved, peak, churn, mapped, lifetimes, .. } = figures;
        let lifetime = lifetimes.mean().map_or_else(|| "-".to_owned(), |it| Span(it).to_string());
        write!(out, "{:>7} {:>7} {:>7} ", About(held), figures.left(), About(peak))?;
        write!(out, "{:>7} {mapped:>7} {lifetime:>9}  {}", About(churn), Named(site))?;
        if reserved > 0 {
            write!(out, ", and {} reserved", About(reserved))?;
        }
        writeln!(out)?;
        write!(out, "{}", Stack { stack: self.stacks.first(site.stack), indent: SITE + 2 })
    }

    fn write_populations(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut populations: Vec<_> = self.growth.populations().values().collect();
        populations.sort_by_key(|it| Reverse(it.peak));
        let top = self.few();
        writeln!(out)?;
        for &&Population { now, peak, owner } in populations.iter().take(top) {
            match owner {
                Some((pid, name)) => write!(out, "{pid} {}: ", Escaped(comm(&name)))?,
                None => write!(out, "?: ")?,
            }
            let percent = peak * 100 / self.limit.max(1);
            let limit = self.limit;
            writeln!(
                out,
                "{now} regions, at most {peak}: {percent} % of vm.max_map_count, {limit}"
            )?;
        }
        match populations.len().saturating_sub(top) {
            0 => Ok(()),
            others => writeln!(out, "and {others} others that had fewer"),
        }
    }

    fn write_splits(&self, out: &mut dyn Write, sites: &[(&Site, &Figures)]) -> io::Result<()> {
        let mut sites: Vec<_> = sites.iter().filter(|(_, figures)| figures.splits > 0).collect();
        if sites.is_empty() {
            return Ok(());
        }
        sites.sort_by_key(|(_, figures)| Reverse(figures.splits));
        let top = self.few();
        writeln!(out, "\n splits  by")?;
        for (site, figures) in sites.into_iter().take(top) {
            writeln!(out, "{:>7}  {}", figures.splits, Named(site))?;
            write!(out, "{}", Stack { stack: self.stacks.first(site.stack), indent: 11 })?;
        }
        Ok(())
    }
}

/// Writes a line of each site that holds anything, for tools that draw flame graphs: the process,
/// its frames from the outermost to the innermost, and bytes.
///
/// # Errors
/// What the writer says.
pub(super) fn write_folded(
    out: &mut dyn Write,
    growth: &Growth,
    stacks: &Backtraces,
) -> io::Result<()> {
    // What those tools split lines at.
    let clean = |text: &dyn Display| text.to_string().replace(';', ":").replace(' ', "_");
    for (site, figures) in growth.sites().into_iter().filter(|(_, figures)| figures.held > 0) {
        write!(out, "{}-{}", site.pid, clean(&Escaped(comm(&site.comm))))?;
        for frame in stacks.first(site.stack).iter().flat_map(|stack| stack.frames.iter().rev()) {
            write!(out, ";{}", clean(&Function(frame)))?;
        }
        writeln!(out, ";{} {}", clean(&Asked(site)), figures.held)?;
    }
    Ok(())
}

/// Who asked for what: `4711 worker: mmap rw-p anonymous`.
struct Named<'a>(&'a Site);

impl Display for Named<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Site { pid, comm: name, .. } = self.0;
        write!(f, "{pid} {}: {}", Escaped(comm(name)), Asked(self.0))
    }
}

/// What was asked for: `mmap rw-p anonymous`.
struct Asked<'a>(&'a Site);

impl Display for Asked<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&tag(&self.0.cause))?;
        let Some(kind) = self.0.pages else { return Ok(()) };
        let of = if kind.file { "file" } else { "anonymous" };
        write!(f, " {} {of}", permissions(kind.flags))
    }
}

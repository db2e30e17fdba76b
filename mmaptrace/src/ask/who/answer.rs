//! The answer in short, before the events.

use std::io::{self, Write};

use mmaptrace_model::{
    event::SpaceId,
    history::{Deed, Ending, Tale},
    region::PAGE,
};

use super::picture::Picture;
use crate::{
    ask::words::{About, Did, Pages, Span, Stack, Who},
    escape::Escaped,
    sink::{
        Telling,
        json::{self, Known},
        summary::Ended,
    },
};

/// What there is to say of one space.
pub(super) struct Answer<'a> {
    pub(super) address: u64,
    /// How many bytes it was asked for, at least 1.
    pub(super) length: u64,
    pub(super) tale: &'a Tale,
    pub(super) picture: &'a Picture,
    /// When it is said: ns of `CLOCK_MONOTONIC`.
    pub(super) now: u64,
}

impl Answer<'_> {
    pub(super) fn write(&self, out: &mut dyn Write, telling: Telling<'_>) -> io::Result<()> {
        let Self { address, length, tale, picture, .. } = self;
        let owner = tale.owner.as_ref().map_or_else(|| "?".to_owned(), |it| Who(it).to_string());
        write!(out, "{address:x}")?;
        if *length > 1 {
            write!(out, "-{:x}", address.saturating_add(*length))?;
        }
        write!(out, " in {owner}: ")?;
        match (tale.mapped, &tale.last) {
            (false, None) => writeln!(out, "never mapped while it was traced")?,
            (false, Some(_)) => writeln!(out, "not mapped")?,
            (true, _) => {
                let part = if picture.mapped < *length { " in part" } else { "" };
                let until = match tale.end {
                    None => "",
                    Some((Ending::Exit(_), _)) => " until the end",
                    Some((Ending::Exec, _)) => " until it ran another program",
                };
                writeln!(out, "mapped{part}{until}")?;
            }
        }
        if let Some((region, name)) = &picture.region {
            writeln!(out, "  in       {}{}", Pages(region), named(name))?;
            self.deed(out, "created", picture.origin.created.as_deref(), telling)?;
            if let Some(changed) = &picture.origin.changed {
                self.deed(out, "changed", Some(changed), telling)?;
            }
            return Ok(());
        }
        if let (false, Some(last)) = (tale.mapped, &tale.last) {
            match self.moved_to() {
                None => self.deed(out, "unmapped", Some(last), telling)?,
                Some(to) => self.deed(out, &format!("moved to {to:x}"), Some(last), telling)?,
            }
        }
        if let Some((region, name)) = &picture.below {
            let distance = Distance(address - region.end);
            writeln!(out, "  below    {}{} ends {distance} before", Pages(region), named(name))?;
        }
        if let Some((region, name)) = &picture.above {
            let distance = Distance(region.start - address);
            writeln!(out, "  above    {}{} starts {distance} after", Pages(region), named(name))?;
        }
        Ok(())
    }

    /// Where the address was taken: the tale knows of its page.
    fn moved_to(&self) -> Option<u64> {
        self.tale.moved_to.map(|page| page + self.address % PAGE)
    }

    fn deed(
        &self,
        out: &mut dyn Write,
        what: &str,
        deed: Option<&Deed>,
        telling: Telling<'_>,
    ) -> io::Result<()> {
        let Some(deed) = deed else {
            return writeln!(out, "  {what:8} before tracing began");
        };
        let since = match self.tale.end {
            Some((end, time)) => {
                format!("{} before it {}", Span(time.saturating_sub(deed.time)), Past(end))
            }
            None => format!("{} ago", Span(self.now.saturating_sub(deed.time))),
        };
        writeln!(out, "  {what:8} {since}, {}", telling.clock.of_day(deed.time))?;
        writeln!(out, "           by {}, commit {}", Did(deed), deed.id)?;
        write!(out, "{}", Stack { stack: telling.stacks.of(deed), indent: 13 })
    }

    pub(super) fn write_json(
        &self,
        out: &mut dyn Write,
        space: SpaceId,
        telling: Telling<'_>,
    ) -> io::Result<()> {
        let Self { address, tale, picture, .. } = self;
        let known = Known {
            address: *address,
            space,
            owner: tale.owner.as_ref(),
            mapped: tale.mapped,
            region: picture.region.as_ref().map(|(region, name)| (region, &name[..])),
            created: picture.origin.created.as_deref(),
            changed: picture.origin.changed.as_deref(),
            unmapped: tale.last.as_ref().filter(|_| !tale.mapped),
            moved_to: self.moved_to().filter(|_| !tale.mapped),
            end: tale.end,
        };
        json::write_known(out, &known, telling)
    }
}

/// How many bytes before or after, if any.
struct Distance(u64);

impl std::fmt::Display for Distance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == 0 { f.write_str("right") } else { About(self.0).fmt(f) }
    }
}

/// How an address space ended, as the end of a sentence of its process: `was killed by SIGSEGV`.
struct Past(Ending);

impl std::fmt::Display for Past {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Ending::Exit(status) if Ended(status).signal().is_none() => Ended(status).fmt(f),
            Ending::Exit(status) => write!(f, "was {}", Ended(status)),
            Ending::Exec => f.write_str("ran another program"),
        }
    }
}

fn named(name: &[u8]) -> String {
    if name.is_empty() { String::new() } else { format!(" {}", Escaped(name)) }
}

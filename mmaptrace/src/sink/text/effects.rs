//! The effects of one commit, a line each.
//!
//! ```text
//! + 7f84c36c7000-7f84c36cb000 rw-p 16K   (merged into 7f84c36c7000-7f84c36f3000 176K)
//! - 7f84c36c7000-7f84c36cb000 rw-p 16K   (leaves 7f84c36cb000-7f84c36f3000 160K)
//! ~ 7f84c36c7000-7f84c36cb000 rw-p -> r--p 16K   (cut from 7f84c36c7000-7f84c36f3000 176K)
//! = 7f84c36c7000-7f84c36cb000 ---p 16K anon -> r-xp /usr/lib/libc.so.6 @0x26000
//! | 7f84c36cb000 splits 7f84c36c7000-7f84c36f3000 176K
//! ^ 7f84c36cb000 joined in 7f84c36c7000-7f84c36f3000 176K
//! ```

use std::{
    fmt::{self, Display, Formatter, Write as _},
    str,
};

use anstyle::Style as Ansi;

use mmaptrace_model::{Effect, Region, RegionName, effect, event::SpaceId};

use super::style::Palette;
use crate::{
    digits::Digits,
    escape::Escaped,
    sink::{Filter, View, size::Size, vmflags},
};

/// The effects of a commit, and what is needed to tell them.
pub(crate) struct Effects<'a> {
    pub(crate) space: SpaceId,
    pub(crate) all: &'a [Effect],
    /// From where to where the break moved.
    pub(crate) brk: Option<(u64, u64)>,
    pub(crate) view: &'a dyn View,
    pub(crate) filter: &'a Filter,
    pub(crate) palette: Palette,
}

impl Effects<'_> {
    /// Appends a line for each effect, newlines included; tells whether any was too small to be
    /// shown.
    pub(crate) fn push_lines(&self, out: &mut String) -> bool {
        let mut hidden = false;
        for effect in self.all {
            if !self.filter.effect(effect) {
                hidden = true;
            } else if !self.is_told(effect) {
                self.push_line(effect, out);
            }
        }
        if let (&[], Some((from, to))) = (self.all, self.brk) {
            // Within its last page: no region shows it, but where [heap] ends hangs on it.
            let style = self.palette.changed;
            push(out, format_args!("{style}~ brk {from:x} -> {to:x}{style:#}\n"));
        }
        hidden
    }

    /// Whether an edge is told by the line of the pages beside it.
    fn is_told(&self, edge: &Effect) -> bool {
        match *edge {
            Effect::Split { at, .. } => self.all.iter().any(|other| match other {
                Effect::Changed { new, .. } | Effect::Replaced { new, .. } => {
                    new.start == at || new.end == at
                }
                Effect::Added { .. }
                | Effect::Removed { .. }
                | Effect::Split { .. }
                | Effect::Merged { .. } => false,
            }),
            Effect::Merged { at, into } => self.all.iter().any(|other| match other {
                Effect::Changed { new, within, .. } => {
                    *within == into && (new.start == at || new.end == at)
                }
                Effect::Added { .. }
                | Effect::Removed { .. }
                | Effect::Replaced { .. }
                | Effect::Split { .. }
                | Effect::Merged { .. } => false,
            }),
            Effect::Added { .. }
            | Effect::Removed { .. }
            | Effect::Replaced { .. }
            | Effect::Changed { .. } => false,
        }
    }

    fn push_line(&self, effect: &Effect, out: &mut String) {
        let Palette { added, removed, changed, .. } = self.palette;
        match effect {
            Effect::Added { pages, within } => {
                let name = self.name(pages, *within);
                paint(out, added, format_args!("+ {}", Pages { pages, name }));
                if let Some(what) = growth(pages, *within, name) {
                    self.push_note(out, format_args!("{what} {}", Sized(*within)));
                }
            }
            Effect::Removed { pages, within } => {
                let name = self.old_name(pages, *within);
                paint(out, removed, format_args!("- {}", Pages { pages, name }));
                self.push_rest(out, pages, *within, name);
            }
            Effect::Replaced { old, new } => {
                let was = Source { region: old, name: self.view.name(self.space, old) };
                let is = Source { region: new, name: self.view.name(self.space, new) };
                let (from, to) = (Permissions(old), Permissions(new));
                let (range, size) = (Range::of(new), Size(new.size()));
                paint(out, changed, format_args!("= {range} {from} {size}{was} -> {to}{is}"));
            }
            Effect::Changed { old, new, was_within, within } => {
                self.push_changed(out, old, new, *was_within, *within);
            }
            Effect::Split { at, was } => {
                paint(out, changed, format_args!("| {at:x} splits {}", Sized(*was)));
            }
            Effect::Merged { at, into } => {
                paint(out, changed, format_args!("^ {at:x} joined in {}", Sized(*into)));
            }
        }
        out.push('\n');
    }

    fn push_changed(
        &self,
        out: &mut String,
        old: &Region,
        new: &Region,
        was_within: (u64, u64),
        within: (u64, u64),
    ) {
        let name = self.name(new, within);
        let range = Range::of(new);
        let style = self.palette.changed;
        push(out, format_args!("{style}~ {range} {}", Permissions(old)));
        if new.flags.permissions() != old.flags.permissions() {
            push(out, format_args!(" -> {}", Permissions(new)));
        }
        let differ = effect::changed(old.flags, new.flags).0 & !vmflags::PERMISSIONS.0;
        for (sign, side) in [(" +", new), (" -", old)] {
            for letters in vmflags::letters(mmaptrace_model::Flags(differ & side.flags.0)) {
                out.push_str(sign);
                out.extend(letters.map(char::from));
            }
        }
        push(out, format_args!(" {}", Size(new.size())));
        let is = Source { region: new, name };
        if old.backing == new.backing {
            push(out, format_args!("{}", Named { region: new, name }));
        } else {
            let was = Source { region: old, name: self.name(old, was_within) };
            push(out, format_args!("{was} ->{is}"));
        }
        push(out, format_args!("{style:#}"));
        let (was, is) = (Sized(was_within), Sized(within));
        match (was_within != range.0, within != range.0) {
            (true, true) => self.push_note(out, format_args!("cut from {was}, merged into {is}")),
            (true, false) => self.push_note(out, format_args!("cut from {was}")),
            (false, true) => self.push_note(out, format_args!("merged into {is}")),
            (false, false) => {}
        }
    }

    /// Appends what is left of the region that the pages were cut from, or what that was if more than this
    /// happened to it.
    fn push_rest(
        &self,
        out: &mut String,
        pages: &Region,
        within: (u64, u64),
        name: RegionName<'_>,
    ) {
        let (start, end) = within;
        if within == Range::of(pages).0 {
            return;
        }
        if !self.only_cut(pages, within) {
            return self.push_note(out, format_args!("cut from {}", Sized(within)));
        }
        let (low, high) = (Sized((start, pages.start)), Sized((pages.end, end)));
        match (start < pages.start, pages.end < end) {
            (true, true) => self.push_note(out, format_args!("leaves {low} and {high}")),
            (true, false) if name == RegionName::Heap => {
                self.push_note(out, format_args!("heap shrunk to {low}"));
            }
            (true, false) => self.push_note(out, format_args!("leaves {low}")),
            (false, _) => self.push_note(out, format_args!("leaves {high}")),
        }
    }

    /// Whether nothing but the removal of `pages` happened in a region of the old map and at its
    /// edges.
    fn only_cut(&self, pages: &Region, (start, end): (u64, u64)) -> bool {
        let inside = |region: &Region| region.start < end && start < region.end;
        let touches = |region: &Region| region.start <= end && start <= region.end;
        self.all.iter().all(|effect| match effect {
            Effect::Removed { pages: other, .. } => other == pages || !inside(other),
            Effect::Replaced { new, .. } | Effect::Changed { new, .. } => !touches(new),
            Effect::Added { pages, .. } => !touches(pages),
            Effect::Split { at, .. } | Effect::Merged { at, .. } => *at < start || end < *at,
        })
    }

    /// The name of pages that are mapped: that of their whole region.
    fn name(&self, pages: &Region, (start, end): (u64, u64)) -> RegionName<'_> {
        self.view.name(self.space, &Region { start, end, ..*pages })
    }

    /// The name of pages that were. Where the heap ended is known of the commit, and no longer of
    /// the space.
    fn old_name(&self, pages: &Region, within: (u64, u64)) -> RegionName<'_> {
        match (self.name(pages, within), self.brk) {
            (RegionName::None, Some((from, to))) if to <= pages.start && pages.start < from => {
                RegionName::Heap
            }
            (name, _) => name,
        }
    }

    fn push_note(&self, out: &mut String, note: fmt::Arguments<'_>) {
        out.push_str("   ");
        paint(out, self.palette.note, format_args!("({note})"));
    }
}

/// What became of the region that the pages joined.
fn growth(pages: &Region, within: (u64, u64), name: RegionName<'_>) -> Option<&'static str> {
    let what = match name {
        RegionName::Heap if pages.end == within.1 => "heap grown to",
        RegionName::Stack if pages.start == within.0 => "stack grown to",
        RegionName::None
        | RegionName::Heap
        | RegionName::Stack
        | RegionName::Path(_)
        | RegionName::Special(_)
        | RegionName::Anon(_)
        | RegionName::AnonShmem(_)
        | RegionName::Unknown => "merged into",
    };
    (within != Range::of(pages).0).then_some(what)
}

/// Appends to a string, which takes all that is written.
pub(super) fn push(out: &mut String, text: fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a string takes all that is written");
}

fn paint(out: &mut String, style: Ansi, text: fmt::Arguments<'_>) {
    if style.is_plain() {
        push(out, text);
    } else {
        push(out, format_args!("{style}{text}{style:#}"));
    }
}

/// `7f84c36c7000-7f84c36cb000`
struct Range((u64, u64));

impl Range {
    const fn of(region: &Region) -> Self {
        Self((region.start, region.end))
    }
}

impl Display for Range {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (start, end) = self.0;
        f.write_str(Digits::hex(start).as_str())?;
        f.write_char('-')?;
        f.write_str(Digits::hex(end).as_str())
    }
}

/// A range and its size: `7f84c36c7000-7f84c36cb000 16K`
struct Sized((u64, u64));

impl Display for Sized {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Range(self.0), Size(self.0.1 - self.0.0))
    }
}

/// `rw-p`
struct Permissions<'a>(&'a Region);

impl Display for Permissions<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.0.flags.permissions()).unwrap_or_default())
    }
}

/// Pages and all that is known of them.
struct Pages<'a> {
    pages: &'a Region,
    name: RegionName<'a>,
}

impl Display for Pages<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let &Self { pages, name } = self;
        Range::of(pages).fmt(f)?;
        f.write_char(' ')?;
        Permissions(pages).fmt(f)?;
        f.write_char(' ')?;
        Size(pages.size()).fmt(f)?;
        Named { region: pages, name }.fmt(f)
    }
}

/// The name of pages and their offset in it, with a space before each; nothing if they have none.
struct Named<'a> {
    region: &'a Region,
    name: RegionName<'a>,
}

impl Display for Named<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.name {
            RegionName::None => return Ok(()),
            RegionName::Unknown => f.write_str(" (name lost)")?,
            RegionName::Heap => f.write_str(" [heap]")?,
            RegionName::Stack => f.write_str(" [stack]")?,
            RegionName::Path(name) | RegionName::Special(name) => write!(f, " {}", Escaped(name))?,
            RegionName::Anon(name) => write!(f, " [anon:{}]", Escaped(name))?,
            RegionName::AnonShmem(name) => write!(f, " [anon_shmem:{}]", Escaped(name))?,
        }
        match self.region.offset() {
            0 => Ok(()),
            offset => write!(f, " @{offset:#x}"),
        }
    }
}

/// The same where it must be said that there is no name.
struct Source<'a> {
    region: &'a Region,
    name: RegionName<'a>,
}

impl Display for Source<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Self { name: RegionName::None, .. } => f.write_str(" anon"),
            Self { region, name } => Named { region, name }.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;

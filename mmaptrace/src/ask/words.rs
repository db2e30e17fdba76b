//! Deeds, times and places in words.

use std::{
    fmt::{self, Display, Formatter},
    os::unix::ffi::OsStrExt as _,
};

use mmaptrace_model::{Region, event::Task, history::Deed, stack::Place};

use crate::{
    escape::{Escaped, comm},
    sink::{
        maps::permissions,
        text::{Function, base, why::Action, why_cut},
    },
    symbols::{Backtrace, NamedFrame},
};

/// A length of time in ns, in the largest unit that leaves something before the point: `3.1 ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(pub(super) u64);

impl Display for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let tenths = |unit: u64| (self.0 / unit, self.0 % unit / (unit / 10));
        let (unit, name) = match self.0 {
            0..1_000 => return write!(f, "{} ns", self.0),
            1_000..1_000_000 => (1_000, "us"),
            1_000_000..1_000_000_000 => (1_000_000, "ms"),
            1_000_000_000..60_000_000_000 => (1_000_000_000, "s"),
            60_000_000_000..3_600_000_000_000 => (60_000_000_000, "min"),
            _ => (3_600_000_000_000, "h"),
        };
        match tenths(unit) {
            (whole, tenth) if whole < 100 => write!(f, "{whole}.{tenth} {name}"),
            (whole, _) => write!(f, "{whole} {name}"),
        }
    }
}

/// A task as lines of events name it: `4711/4713 worker`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who<'a>(pub(super) &'a Task);

impl Display for Who<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Task { pid, tid, comm: name } = self.0;
        write!(f, "{pid}")?;
        if tid != pid {
            write!(f, "/{tid}")?;
        }
        write!(f, " {}", Escaped(comm(name)))
    }
}

/// What was done, and by whom: `thread 4713 worker: munmap(0x7f84c36bd000, 16384)`, or `4711 server:`
/// by the first thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Did<'a>(pub(super) &'a Deed);

impl Display for Did<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Task { pid, tid, comm: name } = &self.0.task;
        if tid == pid {
            write!(f, "{pid}")?;
        } else {
            write!(f, "thread {tid}")?;
        }
        write!(f, " {}: ", Escaped(comm(name)))?;
        Action(self.0).fmt(f)
    }
}

/// Range, permissions and size of a region: `7f84c36bd000-7f84c36be000 rw-p 4K`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pages<'a>(pub(super) &'a Region);

impl Display for Pages<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Region { start, end, flags, .. } = self.0;
        write!(f, "{start:x}-{end:x} {} {}", permissions(*flags), About(end - start))
    }
}

/// A size in bytes, rounded down to three digits or so: `3.2M`.
pub(super) struct About(pub(super) u64);

impl Display for About {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let units = [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')];
        let text = match units.into_iter().find(|(shift, _)| self.0 >> shift > 0) {
            None => self.0.to_string(),
            Some((shift, letter)) => {
                let tenth = ((self.0 & ((1 << shift) - 1)) * 10) >> shift;
                match (self.0 >> shift, tenth) {
                    (whole, 1..) if whole < 100 => format!("{whole}.{tenth}{letter}"),
                    (whole, _) => format!("{whole}{letter}"),
                }
            }
        };
        f.pad(&text)
    }
}

/// The stack a deed came from, a line a frame, the innermost first; nothing without.
pub(super) struct Stack<'a> {
    pub(super) stack: Option<&'a Backtrace>,
    /// Spaces before each.
    pub(super) indent: usize,
}

impl Display for Stack<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(stack) = self.stack else { return Ok(()) };
        let indent = self.indent;
        for frame in &stack.frames {
            writeln!(f, "{:indent$}{}", "", Frame(frame))?;
        }
        match stack.cut {
            Some(cut) => writeln!(f, "{:indent$}({})", "", why_cut(cut)),
            None => Ok(()),
        }
    }
}

/// A frame: its function, and the line of source, or else the file: `handle_request (server.c:81)`.
struct Frame<'a>(&'a NamedFrame);

impl Display for Frame<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let NamedFrame { frame, symbol, .. } = self.0;
        Function(self.0).fmt(f)?;
        let Some(symbol) = symbol else { return Ok(()) };
        match (&symbol.line, &frame.place) {
            (Some((file, line)), _) => {
                write!(f, " ({}:{line})", Escaped(base(file.as_os_str().as_bytes())))
            }
            (None, Place::File { path: name, .. } | Place::Special { name, .. }) => {
                write!(f, "+{:#x} ({})", symbol.offset, Escaped(base(name)))
            }
            (None, Place::Kernel | Place::Anonymous { .. } | Place::Unmapped) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_digits_or_more() {
        for (ns, shown) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.0 us"),
            (3_149_999, "3.1 ms"),
            (999_999_999, "999 ms"),
            (59_900_000_000, "59.9 s"),
            (90_000_000_000, "1.5 min"),
            (u64::MAX, "5124095 h"),
        ] {
            assert_eq!(Span(ns).to_string(), shown);
        }
    }

    #[test]
    fn sizes_fit_their_column() {
        for (bytes, shown) in [
            (0, "0"),
            (4096, "4K"),
            (4096 + 512, "4.5K"),
            (3_355_443, "3.1M"),
            (200 << 10, "200K"),
            ((1023 << 10) + 1023, "1023K"),
            (u64::MAX, "16777215T"),
        ] {
            assert_eq!(About(bytes).to_string(), shown);
        }
    }
}

//! How text looks.

use anstyle::{AnsiColor, Style as Ansi};

use crate::sink::clock::Times;

/// How text looks. The caller knows whether it goes to a terminal, and what `NO_COLOR` says.
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether effects are coloured.
    pub colour: bool,
    /// Whether each effect's line stands alone, with the time and the task of its call's line and
    /// the call's name, for grep; else effects are indented under their call.
    pub standalone: bool,
    /// Whether a dump in the stream is escaped like all else, as a terminal needs it; else it is
    /// byte for byte the kernel's.
    pub escape_dumps: bool,
    /// How lines tell the time.
    pub times: Times,
    /// Whether calls report their return. If not, their commits are shown at once, without a
    /// result.
    pub returns: bool,
}

/// The colours, each empty if there are to be none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Palette {
    pub(crate) added: Ansi,
    pub(crate) removed: Ansi,
    pub(crate) changed: Ansi,
    pub(crate) note: Ansi,
    pub(crate) alarm: Ansi,
}

impl Palette {
    pub(crate) const fn new(colour: bool) -> Self {
        let plain = Ansi::new();
        if !colour {
            return Self {
                added: plain,
                removed: plain,
                changed: plain,
                note: plain,
                alarm: plain,
            };
        }
        Self {
            added: AnsiColor::Green.on_default(),
            removed: AnsiColor::Red.on_default(),
            changed: AnsiColor::Yellow.on_default(),
            note: plain.dimmed(),
            alarm: AnsiColor::Red.on_default().bold(),
        }
    }
}

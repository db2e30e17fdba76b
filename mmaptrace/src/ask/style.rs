//! How answers look on standard output.

use std::io::{self, IsTerminal as _};

use crate::sink::{
    clock::Times,
    text::{Palette, Style},
};

/// How events look there: as live viewing has them on a terminal. `returns`: returns of calls are
/// known.
pub(super) fn style(colour: bool, returns: bool) -> Style {
    let terminal = io::stdout().is_terminal();
    Style {
        colour: terminal && colour,
        standalone: false,
        escape_dumps: true,
        times: Times::Micros,
        returns,
    }
}

/// The colours of that.
pub(super) fn palette(colour: bool) -> Palette {
    Palette::new(style(colour, true).colour)
}

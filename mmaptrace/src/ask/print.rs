//! Answers go to standard output, in one piece.

use std::io::{self, BufWriter, IsTerminal as _, Write};

use anyhow::{Context as _, Result};

use crate::sink::{
    clock::Times,
    text::{Palette, Style},
};

/// Lets `write` write to standard output. A reader that has seen enough is no error.
///
/// # Errors
/// What `write` says, or the writing.
pub(super) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

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

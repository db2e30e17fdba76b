//! Where events are shown, and how: the sink and the output that the options of viewing ask for.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, Result};
use mmaptrace_recording::Start;

use crate::{
    config::{Format, Viewing},
    output::Output,
    sink::{Clock, Json, Sink, Text, text::Style},
};

/// Where events go that are not to go to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error: standard output is that of the command that is traced.
    Stderr,
}

/// Opens what the options ask for. A file that is there already is lost by it.
///
/// # Errors
/// It cannot be created, or is closed.
pub fn open(viewing: &Viewing, stream: Stream, start: &Start) -> Result<(Box<dyn Sink>, Output)> {
    let (output, terminal) = match (&viewing.output, stream) {
        (Some(path), _) => {
            let output = Output::create(path)
                .with_context(|| format!("cannot create {}", path.display()))?;
            (output, false)
        }
        (None, Stream::Stderr) => {
            let stderr = io::stderr();
            let output = Output::stream(&stderr, "standard error");
            (output.context("standard error is closed")?, stderr.is_terminal())
        }
        (None, Stream::Stdout) => {
            let stdout = io::stdout();
            let output = Output::stream(&stdout, "standard output");
            (output.context("standard output is closed")?, stdout.is_terminal())
        }
    };
    let clock = Clock::of(start);
    let filter = viewing.filter.clone();
    let sink: Box<dyn Sink> = match viewing.format {
        Format::Json => Box::new(Json::new(output.clone(), clock, filter)),
        Format::Text => {
            let style = Style {
                colour: terminal && viewing.colour,
                standalone: !terminal,
                escape_dumps: terminal,
                times: viewing.times,
                returns: start.calls,
            };
            Box::new(Text::new(output.clone(), style, clock, filter))
        }
    };
    Ok((sink, output))
}

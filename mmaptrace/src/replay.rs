//! `mmaptrace replay`: what was recorded, through the same flow as when it came.

use std::{ops::ControlFlow, time::Duration};

use anyhow::{Context as _, Result, anyhow};

use crate::{
    config::Replay,
    exit::Exit,
    flow::Flow,
    history::{Past, Step},
    note,
    output::{WRITE, is_broken_pipe},
    sink::Slip,
    view::{self, Stream},
};

/// How long the last lines wait for their reader, which may be a person: ever.
const PATIENCE: Duration = Duration::from_secs(1_000_000_000);

/// Shows a recording.
///
/// # Errors
/// It cannot be read, or is cut or damaged; what precedes that is shown.
pub fn run(config: &Replay) -> Result<Exit> {
    let mut past = Past::of_file(&config.recording)?;
    if let Some(output) = &config.viewing.output {
        past.spare(output)?;
    }
    let start = past.start().clone();
    let (sink, output) = view::open(&config.viewing, Stream::Stdout, &start)?;
    let mut flow = Flow::new(Some(sink), &start, false).context(WRITE)?;
    let shown = past.steps_from_start(|step| {
        match step {
            Step::Model(model) => flow.go_on_from(*model),
            Step::Item(item) => drop(flow.take(item).context(WRITE)?),
        }
        output.make_room();
        Ok(ControlFlow::Continue(()))
    });
    let end = past.end().cloned();
    let short = match shown {
        Err(error) if is_broken_pipe(&error) => return Ok(Exit::Success),
        shown => shown?,
    };
    let written = end.as_ref().map_or(Ok(()), |end| flow.end(end));
    let written = written.and_then(|()| flow.flush()).and_then(|()| output.finish(PATIENCE));
    match written.context(WRITE) {
        Err(error) if is_broken_pipe(&error) => return Ok(Exit::Success),
        written => written?,
    }
    if let Some(error) = short {
        return Err(anyhow!("{}: {error}", config.recording.display()));
    }
    if let Some(end) = end.filter(|_| !config.quiet) {
        Slip(end.slip).note();
        note(format_args!("{}", flow.summary(&end)));
    }
    Ok(Exit::Success)
}

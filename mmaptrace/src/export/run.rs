//! `mmaptrace export`.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Write},
    ops::ControlFlow,
};

use anyhow::{Context as _, Result, bail};

use super::{About, Scope, exporter};
use crate::{
    config::Export,
    exit::Exit,
    history::{Past, Point},
    output::is_broken_pipe,
};

/// How much is gathered before it is written, in bytes.
const BUFFER: usize = 1 << 18;

/// Writes the events of the past as what was asked for.
///
/// # Errors
/// The past cannot be read, or tells nothing of the process asked for, or the output cannot be
/// written. Of one that is cut or damaged, what precedes that is written.
pub fn run(config: &Export) -> Result<Exit> {
    let mut past = Past::open(&config.source)?;
    let name = config
        .output
        .as_ref()
        .map_or_else(|| "standard output".to_owned(), |path| path.display().to_string());
    let [from, to] = [&config.from, &config.to]
        .map(|moment| moment.as_ref().map(|moment| past.point(moment)).transpose());
    let range = (from?, to?);
    let out: Box<dyn Write> = match &config.output {
        Some(path) => {
            past.spare(path)?;
            Box::new(File::create(path).with_context(|| format!("cannot create {name}"))?)
        }
        None if config.format.is_binary() && io::stdout().is_terminal() => {
            bail!("this is nothing for a terminal; name a file: -o FILE")
        }
        None => Box::new(io::stdout()),
    };
    match write(config, &mut past, range, BufWriter::with_capacity(BUFFER, out), &name) {
        // Whoever read it has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(Exit::Success),
        outcome => outcome,
    }
}

fn write(
    config: &Export,
    past: &mut Past,
    (from, to): (Option<Point>, Option<Point>),
    out: impl Write,
    name: &str,
) -> Result<Exit> {
    let failed = || format!("cannot write {name}");
    let scope = Scope { pid: config.pid };
    let about = About { clock: past.clock(), heap: past.heap_rule(), scope };
    let mut export = exporter(config.format, out, about);
    let told = past.replay(from, to, |event, model| {
        if scope.has_event(event, model) {
            export.event(event, model).with_context(failed)?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    export.finish(&told.faults().collect::<Vec<_>>()).with_context(failed)?;
    told.expect(config.pid)?;
    Ok(told.end())
}

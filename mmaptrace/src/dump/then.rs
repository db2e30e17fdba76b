//! The map of a moment that is past, of a process that may be long gone.

use anyhow::{Result, bail};
use mmaptrace_model::Model;

use super::{Residence, Subject};
use crate::{
    config::Dump,
    control::client::Printed,
    flow::Mirror,
    history::{Moment, Past, Then},
    sink::text::Why,
};

/// Finds and prints it.
///
/// # Errors
/// There is no such past, no such moment in it, or the process had no map then.
pub(super) fn print(config: &Dump) -> Result<Printed> {
    let &Dump { pid, format, .. } = config;
    let mut past = Past::open(&config.source())?;
    let mut then = past.at(&config.at.unwrap_or(Moment::END), pid)?;
    past.confirm(&mut then, pid)?;
    let Then { model, time, .. } = then;
    let mut mirror = Mirror::new(past.start(), false);
    mirror.model = model;
    let Some(space) = mirror.model.space_of(pid) else { bail!(absence(&mirror.model, pid)) };
    let command = &name(&mirror.model, pid);
    let (clock, residence) = (past.clock(), &Residence::default());
    let subject = Subject { pid, space, time, clock, command, residence };
    let body = super::print(&mirror, &subject, format)?;
    let doubt = space.doubt_of_dump(mirror.model.names());
    Ok(Printed {
        body,
        commit: space.commit(),
        exact: doubt.is_none(),
        why: doubt.map(|doubt| Why(doubt).to_string()),
    })
}

fn absence(model: &Model, pid: u32) -> String {
    let known = model.process_totals().any(|process| process.pid == pid);
    if let Some(why) = Then::homeless(model, pid) {
        why
    } else if known {
        format!("process {pid} had ended by then; the map that it ended with is that of --at exit")
    } else {
        format!("no process {pid} was traced at that moment")
    }
}

/// Its name in brackets: its arguments are known to itself alone.
fn name(model: &Model, pid: u32) -> Vec<u8> {
    let comm = model.process(pid).map(|process| process.comm).unwrap_or_default();
    let comm = comm.split(|&byte| byte == 0).next().unwrap_or_default();
    [b"[", comm, b"]"].concat()
}

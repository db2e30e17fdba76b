//! `mmaptrace report`: what was mapped and not unmapped, by where it was asked for; what was
//! writable and executable.

mod growth;
mod wx;

use std::ops::ControlFlow;

use anyhow::Result;
use mmaptrace_model::{
    Space,
    history::{Exposure, Growth},
};

use super::until;
use crate::{
    config::{Format, Report, Topic},
    exit::Exit,
    history::{Past, Scope},
    output::print,
    sink::{Telling, json},
    symbols::Backtraces,
};

/// Answers.
///
/// # Errors
/// There is no such past, or no such moment in it, or the answer cannot be written.
pub fn run(config: &Report) -> Result<Exit> {
    let mut past = Past::open(&config.source)?;
    let mut stacks = Backtraces::default();
    let mut growth = Growth::default();
    let mut exposure = Exposure::default();
    let scope = Scope { pid: config.pid };
    let until = until(&mut past, config.at.as_ref(), config.pid)?;
    let told = past.replay(None, until, |event, model| {
        if scope.has_event(event, model) {
            stacks.event(event, model);
            match config.topic {
                Topic::Growth | Topic::Folded => growth.event(event, model),
                Topic::Exposure => exposure.event(event, model),
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    told.expect(config.pid)?;
    for space in told.model.spaces().map(Space::id) {
        if scope.has_space(space, &told.model) {
            growth.meet(space, &told.model);
            exposure.meet(space, &told.model);
        }
    }
    let limit = past.start().max_map_count;
    let telling = Telling { clock: past.clock(), stacks: &stacks };
    print(|out| match (config.topic, config.format) {
        (Topic::Folded, _) => growth::write_folded(out, &growth, &stacks),
        (Topic::Growth, Format::Text) => {
            growth::Table { growth: &growth, stacks: &stacks, top: config.top, limit }.write(out)
        }
        (Topic::Growth, Format::Json) => {
            for (site, figures) in growth.sites() {
                json::write_site(out, site, figures, telling)?;
            }
            growth.populations().values().try_for_each(|it| json::write_population(out, it, limit))
        }
        (Topic::Exposure, Format::Text) => wx::write(out, &exposure, telling, config.top),
        (Topic::Exposure, Format::Json) => {
            let found = exposure.found().iter();
            found.into_iter().try_for_each(|it| json::write_exposed(out, it, telling))?;
            exposure.files().iter().try_for_each(|it| json::write_shared(out, it, telling))
        }
    })?;
    Ok(told.end())
}

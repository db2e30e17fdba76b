//! JSON: one object a line, described in `docs/json.md`.

mod convert;
mod history;
mod report;
mod value;
mod wire;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    mem,
};

use mmaptrace_model::{
    Event,
    event::{Cause, SpaceId},
    history::Crowded,
};

use super::{Clock, Dump, Filter, Sink, Start, Summary, View, clock::Epoch, owners::Owners};
pub use history::{
    Blamed, Compared, Known, write_blame, write_diff, write_diff_names, write_known,
};
pub use report::{write_exposed, write_population, write_shared, write_site};
use value::{Flat, Maybe, Value};
use wire::Line;

/// Writes events as lines of JSON. Nothing is held back: a call's commits come before the call.
#[derive(Debug)]
pub struct Json<W> {
    out: W,
    clock: Clock,
    filter: Filter,
    owners: Owners,
    /// Of the threads whose call's effects were too small to be shown so far, whether all were.
    hidden: BTreeMap<u32, bool>,
    /// Room for the line that goes out.
    text: Vec<u8>,
}

impl<W: Write> Json<W> {
    /// Writes to `out`, which should buffer; a line goes out in one write.
    pub fn new(out: W, clock: Clock, filter: Filter) -> Self {
        Self {
            out,
            clock,
            filter,
            owners: Owners::default(),
            hidden: BTreeMap::new(),
            text: Vec::new(),
        }
    }

    fn write(&mut self, line: &Line<'_>) -> io::Result<()> {
        encode(&mut self.text, line);
        self.out.write_all(&self.text)
    }

    fn time(&self, time: u64) -> Epoch {
        self.clock.epoch(time)
    }

    fn process(&self, space: SpaceId, view: &dyn View) -> Option<u32> {
        self.owners.of(space, view).map(|task| task.pid)
    }

    /// Whether there were effects and all were too small: those of a commit, or those of the call
    /// that now returns.
    fn all_hidden(&mut self, event: &Event) -> bool {
        match event {
            _ if self.filter.min_size == 0 => false,
            Event::Commit { task, cause, effects, .. } if !effects.is_empty() => {
                let all = !effects.iter().any(|effect| self.filter.effect(effect));
                if let Cause::Call(_) = cause {
                    *self.hidden.entry(task.tid).or_insert(true) &= all;
                }
                all
            }
            Event::Call { task, .. } => self.hidden.remove(&task.tid).unwrap_or(false),
            Event::Exit { task, .. } => {
                self.hidden.remove(&task.tid);
                false
            }
            Event::Commit { .. }
            | Event::Exec { .. }
            | Event::Fork { .. }
            | Event::End { .. }
            | Event::Doubt { .. }
            | Event::Healed { .. }
            | Event::Lost { .. }
            | Event::Malformed { .. } => false,
        }
    }

    /// The line of an event, `None` if it is not to be shown.
    fn line<'a>(&'a self, event: &'a Event, view: &'a dyn View) -> Option<Line<'a>> {
        Some(match event {
            Event::Commit { time, space, task, id, cause, effects, brk, exact, stacks } => {
                if !self.filter.cause(cause) {
                    return None;
                }
                let (cause, call) = convert::cause(cause);
                Line::Commit(wire::Commit {
                    time: self.time(*time),
                    space: space.0,
                    process: self.process(*space, view),
                    task: Flat(convert::task(task)),
                    id: *id,
                    cause,
                    call,
                    effects: wire::Effects {
                        all: effects,
                        filter: &self.filter,
                        space: *space,
                        view,
                    },
                    brk: brk
                        .map(|(from, to)| wire::Move { from: wire::Hex(from), to: wire::Hex(to) }),
                    exact: *exact,
                    stack: Maybe(convert::stacks(self.filter.stacks(*stacks), *space, view)),
                })
            }
            Event::Call { time, space, task, call, result, text, commits, stacks, duration } => {
                if !self.filter.call(call) {
                    return None;
                }
                let outcome = crate::syscall::Outcome { call, result: *result };
                Line::Call(wire::Call {
                    time: self.time(*time),
                    space: space.0,
                    task: Flat(convert::task(task)),
                    call: convert::syscall(call, text),
                    result: wire::Returned(outcome),
                    error: outcome.error(),
                    commits,
                    duration: Maybe(self.filter.duration(*duration)),
                    stack: Maybe(convert::stacks(self.filter.stacks(*stacks), *space, view)),
                })
            }
            Event::Exec { time, space, task, old_tid, path, argv, cut } => {
                if !self.filter.exec() {
                    return None;
                }
                Line::Exec(wire::Exec {
                    time: self.time(*time),
                    space: space.0,
                    task: Flat(convert::task(task)),
                    old_tid: *old_tid,
                    image: Flat(convert::image(path, argv)),
                    cut: *cut,
                })
            }
            Event::Fork { time, space, task, child, shared } => {
                if !self.filter.fork() {
                    return None;
                }
                Line::Fork(wire::Fork {
                    time: self.time(*time),
                    space: space.0,
                    task: Flat(convert::task(task)),
                    child: convert::task(child),
                    shared: *shared,
                })
            }
            Event::Exit { time, task, status, last, commits } => Line::Exit(wire::Exit {
                time: self.time(*time),
                task: Flat(convert::task(task)),
                status: status.map(convert::status),
                last: *last,
                commits,
            }),
            Event::End { time, space } => Line::EndSpace {
                time: self.time(*time),
                space: space.0,
                process: self.process(*space, view),
            },
            Event::Doubt { time, space, after, why } => Line::Doubt {
                time: self.time(*time),
                space: space.0,
                process: self.process(*space, view),
                after: *after,
                why: convert::doubt(*why),
            },
            Event::Healed { time, space, id, differences, lost } => Line::Healed {
                time: self.time(*time),
                space: space.0,
                process: self.process(*space, view),
                id: *id,
                differences: *differences,
                lost: *lost,
            },
            Event::Lost { time, records } => {
                Line::Lost { time: self.time(*time), records: *records }
            }
            Event::Malformed { kind, len } => Line::Malformed { kind: *kind, len: *len },
        })
    }
}

impl<W: Write> Sink for Json<W> {
    fn start(&mut self, start: &Start<'_>) -> io::Result<()> {
        let &Start { time, version, kernel, tier } = start;
        self.write(&Line::Start { time: self.time(time), version, kernel, tier })
    }

    fn event(&mut self, event: &Event, view: &dyn View) -> io::Result<()> {
        self.owners.note(event);
        if !self.all_hidden(event) {
            let mut text = mem::take(&mut self.text);
            if let Some(line) = self.line(event, view) {
                encode(&mut text, &line);
                self.out.write_all(&text)?;
            }
            self.text = text;
        }
        if let Event::End { space, .. } = event {
            self.owners.forget(*space);
        }
        Ok(())
    }

    fn crowded(&mut self, crowded: &Crowded, view: &dyn View) -> io::Result<()> {
        let Crowded { time, space, regions, limit } = *crowded;
        let process = self.process(space, view);
        let (time, space) = (self.time(time), space.0);
        self.write(&Line::Crowded { time, space, process, regions, limit })
    }

    fn tick(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn holds(&self) -> bool {
        false
    }

    fn dump(&mut self, dump: &Dump<'_>) -> io::Result<()> {
        let line = dump_line(dump, self.clock);
        self.write(&line)
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        let line = Line::End(convert::end(summary, self.time(summary.time)));
        self.write(&line)?;
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A line and its end, in place of what was there.
fn encode(text: &mut Vec<u8>, line: &impl Value) {
    text.clear();
    line.write(text);
    text.push(b'\n');
}

/// Writes a dump as one line, as `dump --format json` prints it and as it stands in the stream.
///
/// # Errors
/// What the writer says.
pub fn write_dump(out: &mut dyn Write, dump: &Dump<'_>, clock: Clock) -> io::Result<()> {
    write_line(out, &dump_line(dump, clock))
}

fn write_line(out: &mut dyn Write, line: &impl Value) -> io::Result<()> {
    let mut text = Vec::new();
    encode(&mut text, line);
    out.write_all(&text)
}

fn dump_line<'a>(dump: &Dump<'a>, clock: Clock) -> Line<'a> {
    Line::Dump(wire::Dump {
        time: clock.epoch(dump.time),
        pid: dump.pid,
        commit: dump.commit,
        exact: dump.doubt.is_none(),
        doubt: dump.doubt.map(convert::doubt),
        vsyscall: dump.vsyscall.is_some(),
        regions: dump.regions.iter().map(|(region, name)| convert::region(region, *name)).collect(),
    })
}

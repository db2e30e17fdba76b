//! Text for people: each call as strace writes it, and under it what it did to the regions.
//!
//! A commit reaches us before the return of its call. Its effects are held back for that long, to
//! stand under the call's line, but not for longer than [`PATIENCE`]: then the call is shown as
//! `<unfinished ...>` with what it has done so far, and its return later as `<... resumed>`. A
//! thread is in one call at a time, so that as many calls are held as there are threads.

mod effects;
mod page;
mod stack;
mod style;
pub(crate) mod why;

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    io::{self, Write},
    mem,
};

use mmaptrace_model::{
    Event,
    event::{Cause, Syscall, Task},
    history::Crowded,
};

use super::{
    Clock, Dump, Filter, Sink, Start, Summary, View, maps, owners::Owners, summary::Ended,
};
use crate::{
    escape::{self, Quoted},
    syscall::{self, Call, Outcome},
};
pub(crate) use effects::Effects;
use effects::push;
use page::Page;
pub(crate) use stack::{Function, base, why_cut};
pub(crate) use style::Palette;
pub use style::Style;
pub use why::Why;
use why::plural;
pub(crate) use why::{Because, tag};

/// How long effects wait for the return of their call, in ns.
pub const PATIENCE: u64 = 10_000_000;

/// Writes events as text.
#[derive(Debug)]
pub struct Text<W> {
    out: W,
    filter: Filter,
    owners: Owners,
    /// The calls that have done something and not returned yet, by thread.
    held: HashMap<u32, Held>,
    /// An empty string with room for the lines of a commit: that of a call that returned.
    spare: String,
    page: Page,
}

/// A call that has not returned.
#[derive(Debug)]
struct Held {
    /// When its first effect came that is not shown yet.
    since: u64,
    /// The last of its commits.
    id: u64,
    task: Task,
    call: Syscall,
    /// Its effects that are not shown yet, a line each.
    lines: String,
    /// The stacks of its last commit, a line each frame, likewise.
    stack: String,
    /// Whether it had effects that were too small to be shown.
    hidden: bool,
    /// Whether it has been shown as unfinished.
    unfinished: bool,
}

/// What a commit has done, as it will be shown.
struct Done {
    lines: String,
    stack: String,
    hidden: bool,
}

impl<W: Write> Text<W> {
    /// Writes to `out`, which should buffer; what belongs together goes out in one write.
    pub fn new(out: W, style: Style, clock: Clock, filter: Filter) -> Self {
        Self {
            out,
            filter,
            owners: Owners::default(),
            held: HashMap::new(),
            spare: String::new(),
            page: Page::new(style, clock),
        }
    }

    fn commit(&mut self, event: &Event, view: &dyn View) {
        let Event::Commit { time, space, task, id, cause, effects, brk, stacks, .. } = event else {
            return;
        };
        if !self.filter.cause(cause) {
            return;
        }
        let mut lines = mem::take(&mut self.spare);
        let (filter, palette) = (&self.filter, self.page.palette);
        let hidden = Effects { space: *space, all: effects, brk: *brk, view, filter, palette }
            .push_lines(&mut lines);
        let told = !lines.is_empty();
        let mut stack = String::new();
        // A call that did nothing is shown all the same, and its commit alone has its stack.
        if told || (!hidden && matches!(cause, Cause::Call(_))) {
            stack::push_lines(&mut stack, filter.stacks(*stacks), *space, view, palette);
        }
        if !told && !hidden && stack.is_empty() {
            self.spare = lines;
            return;
        }
        let because = Because { cause, task };
        let (who, head) = match cause {
            Cause::Call(call) if self.page.style.returns => {
                self.hold(*time, *id, task, call, Done { lines, stack, hidden });
                return;
            }
            Cause::Call(call) => {
                let call = Call { call, path: b"", open: false };
                (Some(*task), call.to_string())
            }
            Cause::Exec if self.page.exec == Some(*space) => {
                self.page.effects(&tag(cause), &lines);
                self.page.effects(&tag(cause), &stack);
                return;
            }
            Cause::Fault | Cause::Growth(_) | Cause::Worker | Cause::Fork | Cause::Exec => {
                (Some(*task), because.to_string())
            }
            // The acting task is another's, and what matters is whose space it is.
            Cause::Kernel | Cause::Remote(_) | Cause::Seed => {
                (self.owners.of(*space, view), because.to_string())
            }
        };
        if told {
            self.page.head(*time, who.as_ref(), format_args!("{head}"), None);
            self.page.effects(&tag(cause), &lines);
            self.page.effects(&tag(cause), &stack);
        }
    }

    /// Keeps what a call did until it returns.
    fn hold(&mut self, now: u64, id: u64, task: &Task, call: &Syscall, done: Done) {
        if let Some(mut other) = self.held.remove(&task.tid) {
            if other.call == *call {
                self.held.insert(task.tid, other);
            } else {
                // Its return was lost, for the thread is in another call.
                self.unfinished(&mut other);
            }
        }
        let Done { lines, stack, hidden } = done;
        match self.held.entry(task.tid) {
            Entry::Vacant(vacant) => {
                let (task, call) = (*task, *call);
                let unfinished = false;
                vacant.insert(Held {
                    since: now,
                    id,
                    task,
                    call,
                    lines,
                    stack,
                    hidden,
                    unfinished,
                });
            }
            Entry::Occupied(mut held) => {
                let held = held.get_mut();
                if held.lines.is_empty() {
                    held.since = now;
                }
                held.id = id;
                held.lines.push_str(&lines);
                held.stack = stack;
                held.hidden |= hidden;
            }
        }
    }

    /// Shows what a call has done so far, if there is anything.
    fn unfinished(&mut self, held: &mut Held) {
        if held.lines.is_empty() {
            return;
        }
        let call = &held.call;
        if held.unfinished {
            let because = Because { cause: &Cause::Call(*call), task: &held.task };
            self.page.head(held.since, Some(&held.task), format_args!("{because}"), None);
        } else {
            let call = Call { call, path: b"", open: true };
            let head = format_args!("{call} <unfinished ...>");
            self.page.head(held.since, Some(&held.task), head, None);
        }
        let name = syscall::name(call);
        self.page.effects(&name, &held.lines);
        self.page.effects(&name, &held.stack);
        held.lines.clear();
        held.stack.clear();
        held.unfinished = true;
    }

    /// Shows a call that has ended, and what of its effects is not shown yet.
    fn ended(
        &mut self,
        time: u64,
        task: &Task,
        call: &Call<'_>,
        result: fmt::Arguments<'_>,
        held: Option<&Held>,
        stack: &str,
    ) {
        if held.is_some_and(|held| held.hidden && held.lines.is_empty() && !held.unfinished) {
            return;
        }
        let name = syscall::name(call.call);
        if held.is_some_and(|held| held.unfinished) {
            self.page.head(time, Some(task), format_args!("<... {name} resumed>)"), Some(result));
        } else {
            self.page.head(time, Some(task), format_args!("{call}"), Some(result));
        }
        if let Some(held) = held {
            self.page.effects(&name, &held.lines);
            self.page.effects(&name, &held.stack);
        }
        self.page.effects(&name, stack);
    }

    fn call(&mut self, event: &Event, view: &dyn View) {
        let Event::Call { time, space, task, call, result, text, commits, stacks, duration } =
            event
        else {
            return;
        };
        let held = match self.held.remove(&task.tid) {
            Some(held) if held.call == *call || commits.contains(&held.id) => Some(held),
            Some(mut other) => {
                self.unfinished(&mut other);
                None
            }
            None => None,
        };
        if self.filter.call(call) {
            let outcome = Outcome { call, result: *result };
            let call = Call { call, path: text, open: false };
            let mut stack = String::new();
            let stacks = self.filter.stacks(*stacks);
            stack::push_lines(&mut stack, stacks, *space, view, self.page.palette);
            let took = Took(self.filter.duration(*duration));
            self.ended(*time, task, &call, format_args!("{outcome}{took}"), held.as_ref(), &stack);
        }
        if let Some(Held { mut lines, .. }) = held {
            lines.clear();
            self.spare = lines;
        }
    }

    fn exec(&mut self, event: &Event) {
        let Event::Exec { time, space, task, old_tid, path, argv, cut } = event else {
            return;
        };
        if !self.filter.exec() {
            return;
        }
        let mut head = format!("execve({}, [", Quoted(path));
        for (index, argument) in argv.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            push(&mut head, format_args!("{separator}{}", Quoted(argument)));
        }
        head.push_str(match (cut, argv.is_empty()) {
            (false, _) => "], ...)",
            (true, true) => "...], ...)",
            (true, false) => ", ...], ...)",
        });
        let result = match old_tid {
            Some(tid) => format!("0 (called by thread {tid})"),
            None => "0".to_owned(),
        };
        self.page.head(*time, Some(task), format_args!("{head}"), Some(format_args!("{result}")));
        self.page.exec = Some(*space);
    }

    fn exit(&mut self, time: u64, task: &Task, status: Option<u32>) {
        if let Some(held) = self.held.remove(&task.tid) {
            let call = Call { call: &held.call, path: b"", open: false };
            self.ended(time, task, &call, format_args!("?"), Some(&held), "");
        }
        self.page.head(time, Some(task), format_args!("+++ {} +++", Ended(status)), None);
    }

    fn write(&mut self) -> io::Result<()> {
        let written = self.out.write_all(self.page.lines.as_bytes());
        self.page.lines.clear();
        written
    }

    /// Shows the effects that came up to then as those of unfinished calls.
    fn release(&mut self, before: u64) {
        let mut held = mem::take(&mut self.held);
        let mut due: Vec<_> = held.values_mut().filter(|held| held.since <= before).collect();
        // A recording shows them in the same order.
        due.sort_unstable_by_key(|held| held.task.tid);
        for held in due {
            self.unfinished(held);
        }
        self.held = held;
    }
}

/// How long a call took, in ns, behind its result, as strace's `-T` has it.
struct Took(Option<u64>);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(nanos) = self.0 else { return Ok(()) };
        let micros = nanos / 1000;
        write!(f, " <{}.{:06}>", micros / 1_000_000, micros % 1_000_000)
    }
}

impl<W: Write> Sink for Text<W> {
    fn start(&mut self, _: &Start<'_>) -> io::Result<()> {
        Ok(())
    }

    fn event(&mut self, event: &Event, view: &dyn View) -> io::Result<()> {
        self.owners.note(event);
        match event {
            Event::Commit { .. } => self.commit(event, view),
            Event::Call { .. } => self.call(event, view),
            Event::Exec { .. } => self.exec(event),
            Event::Fork { time, task, child, shared, .. } => {
                if self.filter.fork() {
                    let what = match (child.pid == task.pid, shared) {
                        (true, _) => format!("thread -> {}", child.tid),
                        (false, true) => format!("vfork -> {}", child.pid),
                        (false, false) => format!("fork -> {}", child.pid),
                    };
                    self.page.head(*time, Some(task), format_args!("{what}"), None);
                }
            }
            Event::Exit { time, task, status, .. } => self.exit(*time, task, *status),
            Event::End { space, .. } => self.owners.forget(*space),
            Event::Doubt { time, space, after, why } => {
                let owner = self.owners.of(*space, view);
                let why = Why(*why);
                self.page.alarm(
                    Some(*time),
                    owner,
                    format_args!("model in doubt after commit {after}: {why}; reading again"),
                );
            }
            Event::Healed { time, space, id, differences, lost } => {
                let owner = self.owners.of(*space, view);
                let found = format!("{differences} difference{}", plural(*differences));
                let lost = match lost {
                    0 => String::new(),
                    lost => format!(", {lost} record{} lost", plural(*lost)),
                };
                self.page.alarm(
                    Some(*time),
                    owner,
                    format_args!("exact again from commit {id} ({found}{lost})"),
                );
            }
            Event::Lost { time, records } => self.page.alarm(
                Some(*time),
                None,
                format_args!("{records} record{} lost, of what has ended", plural(*records)),
            ),
            Event::Malformed { kind, len } => self.page.alarm(
                None,
                None,
                format_args!("a record that cannot be read: kind {kind}, {len} bytes"),
            ),
        }
        self.write()
    }

    fn crowded(&mut self, crowded: &Crowded, view: &dyn View) -> io::Result<()> {
        let Crowded { time, space, regions, limit } = *crowded;
        let owner = self.owners.of(space, view);
        let percent = regions * 100 / limit;
        self.page.alarm(
            Some(time),
            owner,
            format_args!("{regions} regions, {percent} % of vm.max_map_count ({limit})"),
        );
        self.write()
    }

    fn tick(&mut self, now: u64) -> io::Result<()> {
        self.release(now.saturating_sub(PATIENCE));
        self.write()
    }

    fn holds(&self) -> bool {
        self.held.values().any(|held| !held.lines.is_empty())
    }

    fn dump(&mut self, dump: &Dump<'_>) -> io::Result<()> {
        let &Dump { pid, commit, vsyscall, .. } = dump;
        let exact = match dump.doubt {
            None => "exact".to_owned(),
            Some(doubt) => format!("NOT EXACT: {}", Why(doubt)),
        };
        writeln!(self.out, "=== maps of {pid} at commit {commit}, {exact}")?;
        let mut maps = Vec::new();
        maps::write(&mut maps, dump.regions.iter().copied(), vsyscall)?;
        if self.page.style.escape_dumps {
            self.out.write_all(escape::lines(&maps).as_bytes())?;
        } else {
            self.out.write_all(&maps)?;
        }
        writeln!(self.out, "=== end of maps of {pid}")?;
        self.page.exec = None;
        self.out.flush()
    }

    fn end(&mut self, _: &Summary) -> io::Result<()> {
        self.release(u64::MAX);
        self.write()?;
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests;

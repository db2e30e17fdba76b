//! Lines as they go out: what stands before them, and the column of results.

use std::fmt;

use mmaptrace_model::event::{SpaceId, Task};

use super::{
    effects::push,
    style::{Palette, Style},
};
use crate::{
    escape::{Escaped, comm},
    sink::{Clock, clock::Stamp},
};

/// The column of a result's `=`, the time and the task before the call included.
const RESULT_COLUMN: usize = SPACES.len();
const SPACES: &str = "                                        ";

/// Lines that are to be written.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) style: Style,
    pub(super) palette: Palette,
    clock: Clock,
    /// The space of the exec whose line was the last one.
    pub(super) exec: Option<SpaceId>,
    /// The time of the last line.
    before: Option<u64>,
    /// The task of the last line, and how it was shown.
    task: Option<Task>,
    who: String,
    /// What stands before the lines now written.
    prefix: String,
    /// What is to be written.
    pub(super) lines: String,
}

impl Page {
    pub(super) fn new(style: Style, clock: Clock) -> Self {
        Self {
            style,
            palette: Palette::new(style.colour),
            clock,
            exec: None,
            before: None,
            task: None,
            who: "[?] ".to_owned(),
            prefix: String::new(),
            lines: String::new(),
        }
    }

    /// A line about the model itself, which nobody is to overlook.
    pub(super) fn alarm(
        &mut self,
        time: Option<u64>,
        task: Option<Task>,
        text: fmt::Arguments<'_>,
    ) {
        let style = self.palette.alarm;
        push(&mut self.lines, format_args!("{style}!!! "));
        if let Some(time) = time {
            self.stamp(time).push(&mut self.lines);
        }
        if let Some(task) = task {
            let name = Escaped(comm(&task.comm));
            push(&mut self.lines, format_args!("{} {name}: ", task.pid));
        }
        push(&mut self.lines, format_args!("{text}{style:#}\n"));
        self.exec = None;
    }

    fn stamp(&mut self, time: u64) -> Stamp {
        // The first line is at 0 of -r.
        let before = self.before.replace(time).unwrap_or(time);
        Stamp { times: self.style.times, clock: self.clock, time, before }
    }

    /// Writes the line that effects stand under, with its result in its column.
    pub(super) fn head(
        &mut self,
        time: u64,
        task: Option<&Task>,
        text: fmt::Arguments<'_>,
        result: Option<fmt::Arguments<'_>>,
    ) {
        let stamp = self.stamp(time);
        self.exec = None;
        if self.task.as_ref() != task {
            self.task = task.copied();
            self.who.clear();
            push_who(&mut self.who, task);
        }
        self.prefix.clear();
        stamp.push(&mut self.prefix);
        self.prefix.push_str(&self.who);
        let from = self.lines.len();
        self.lines.push_str(&self.prefix);
        push(&mut self.lines, text);
        if let Some(result) = result {
            let line = &self.lines[from..];
            let width = if line.is_ascii() { line.len() } else { line.chars().count() };
            let padding = RESULT_COLUMN.saturating_sub(width).max(1);
            self.lines.push_str(&SPACES[..padding]);
            self.lines.push_str("= ");
            push(&mut self.lines, result);
        }
        self.lines.push('\n');
    }

    /// Writes effects under the last head.
    pub(super) fn effects(&mut self, tag: &str, lines: &str) {
        for line in lines.lines() {
            if self.style.standalone {
                self.lines.push_str(&self.prefix);
                self.lines.push_str(tag);
                self.lines.push_str(": ");
            } else {
                self.lines.push_str("  ");
            }
            self.lines.push_str(line);
            self.lines.push('\n');
        }
    }
}

/// Appends who acts, and a space.
fn push_who(out: &mut String, task: Option<&Task>) {
    match task {
        Some(task) if task.pid == task.tid => {
            push(out, format_args!("[{} {}] ", task.pid, Escaped(comm(&task.comm))));
        }
        Some(task) => {
            let name = Escaped(comm(&task.comm));
            push(out, format_args!("[{}/{} {name}] ", task.pid, task.tid));
        }
        None => out.push_str("[?] "),
    }
}

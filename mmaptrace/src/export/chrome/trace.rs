//! The entries of a trace.

use std::{
    collections::HashSet,
    io::{self, Write},
    sync::Arc,
};

use mmaptrace_model::{event::Task, history::Deed};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    escape::{Escaped, comm},
    export::{
        lives::{Fate, Past},
        words::{Pages, names},
    },
    sink::text::why::Action,
    symbols::Backtraces,
};

const OPEN: &[u8] = b"{\"traceEvents\":[\n";

/// One event of the trace. Its fields are those of the format.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    name: &'a str,
    /// What is filtered by.
    cat: &'static str,
    /// The phase.
    ph: char,
    /// In microseconds.
    ts: f64,
    pid: u32,
    tid: u32,
    /// Pairs the begin of a slice with its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    /// Of an instant: whether of its thread or its process.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<char>,
    args: Value,
}

/// The entries, as they are written.
#[derive(Debug)]
pub(super) struct Trace<W> {
    out: W,
    pub(super) stacks: Backtraces,
    entries: u64,
    slices: u64,
    /// Names that were written, of processes and threads.
    named: HashSet<(u32, u32, [u8; 16])>,
    /// The first error: what comes after is not written.
    pub(super) result: io::Result<()>,
}

impl<W: Write> Trace<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            stacks: Backtraces::default(),
            entries: 0,
            slices: 0,
            named: HashSet::new(),
            result: Ok(()),
        }
    }

    /// A time in the life of pages.
    pub(super) fn slice(&mut self, past: &Past<'_>) {
        let &Past { owner, piece, until, fate, by } = past;
        self.slices += 1;
        let entry = |ph, time, args| Entry {
            name: piece.kind.name(),
            cat: "memory",
            ph,
            ts: micros(time),
            pid: owner.pid,
            tid: owner.pid,
            id: Some(self.slices),
            s: None,
            args,
        };
        let act = |deed: &Arc<Deed>| {
            let Task { pid, tid, comm: name } = &deed.task;
            let name = Escaped(comm(name));
            let mut args = json!({
                "call": Action(deed).to_string(),
                "by": format!("{pid}/{tid} {name}"),
                "commit": deed.id,
            });
            if deed.stacks.user.is_some() {
                args["stack"] = names(self.stacks.of(deed)).collect();
            }
            args
        };
        let changed = piece.made.as_ref().filter(|&made| piece.mapped.as_ref() != Some(made));
        let mut begin = Map::new();
        begin.insert("region".to_owned(), Pages(piece).to_string().into());
        begin.insert("bytes".to_owned(), piece.region.size().into());
        let mapped = piece.mapped.as_ref().map_or_else(|| "before the trace".into(), act);
        begin.insert("mapped".to_owned(), mapped);
        if let Some(made) = changed {
            begin.insert("changed".to_owned(), act(made));
        }
        let fate = match fate {
            Fate::Alive => "there at the end of the trace",
            Fate::Unmapped => "unmapped",
            Fate::Replaced => "replaced",
            Fate::Changed => "changed",
            Fate::Gone => "the process ended, or ran another program",
        };
        let end = json!({ "then": fate, "by": by.map(act) });
        let (begin, end) = (entry('b', piece.since, begin.into()), entry('e', until, end));
        self.write(&begin);
        self.write(&end);
    }

    pub(super) fn counter(&mut self, name: &str, pid: u32, time: u64, args: Value) {
        let ts = micros(time);
        self.write(&Entry {
            name,
            cat: "memory",
            ph: 'C',
            ts,
            pid,
            tid: pid,
            id: None,
            s: None,
            args,
        });
    }

    pub(super) fn instant(
        &mut self,
        name: &str,
        cat: &'static str,
        time: u64,
        task: &Task,
        args: Value,
    ) {
        let &Task { pid, tid, comm } = task;
        self.name_thread(pid, tid, comm);
        let (ts, s) = (micros(time), Some('t'));
        self.write(&Entry { name, cat, ph: 'i', ts, pid, tid, id: None, s, args });
    }

    /// An instant of a whole process.
    pub(super) fn mark(&mut self, name: &str, time: u64, pid: u32, args: Value) {
        let (ts, s) = (micros(time), Some('p'));
        self.write(&Entry { name, cat: "model", ph: 'i', ts, pid, tid: pid, id: None, s, args });
    }

    pub(super) fn name_process(&mut self, pid: u32, name: [u8; 16]) {
        // No thread has this id.
        if self.named.insert((pid, 0, name)) {
            self.metadata("process_name", pid, pid, name);
        }
    }

    fn name_thread(&mut self, pid: u32, tid: u32, name: [u8; 16]) {
        if self.named.insert((pid, tid, name)) {
            self.metadata("thread_name", pid, tid, name);
        }
    }

    fn metadata(&mut self, what: &str, pid: u32, tid: u32, name: [u8; 16]) {
        let args = json!({ "name": Escaped(comm(&name)).to_string() });
        let (cat, ph) = ("__metadata", 'M');
        self.write(&Entry { name: what, cat, ph, ts: 0.0, pid, tid, id: None, s: None, args });
    }

    fn write(&mut self, entry: &Entry<'_>) {
        if self.result.is_ok() {
            self.result = self.try_write(entry);
        }
    }

    fn try_write(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        self.out.write_all(match self.entries {
            0 => OPEN,
            _ => b",\n",
        })?;
        self.entries += 1;
        Ok(serde_json::to_writer(&mut self.out, entry)?)
    }

    pub(super) fn finish(mut self, about: &Value) -> io::Result<()> {
        self.result?;
        if self.entries == 0 {
            self.out.write_all(OPEN)?;
        }
        writeln!(self.out, "\n],\"otherData\":{about}}}")?;
        self.out.flush()
    }
}

/// The format's unit.
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1000.0
}

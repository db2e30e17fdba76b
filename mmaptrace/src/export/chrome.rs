//! Chrome's JSON trace format, as <https://ui.perfetto.dev> and `chrome://tracing` open it.
//!
//! Times in the life of pages are asynchronous slices, named after the kind of memory, since
//! viewers give each name in each process a track of its own. Calls are instants of their thread;
//! sizes and counts of regions are counters. A slice is written when it is over: viewers sort.

use std::{
    collections::{HashMap, HashSet},
    io::{self, Write},
    sync::Arc,
};

use mmaptrace_model::{
    Event, Model,
    event::{SpaceId, Task},
    history::Deed,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    About, Close, Export,
    frames::Frames,
    kind::Kind,
    lives::{self, Fate, Lives, Past},
    words::{Done, Pages},
};
use crate::{
    sink::{
        Clock,
        escape::{Escaped, comm},
        summary::Ended,
        text::why::Why,
    },
    syscall::{self, Call, Outcome},
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

/// Writes a trace.
#[derive(Debug)]
pub(super) struct Chrome<W> {
    clock: Clock,
    lives: Lives,
    trace: Trace<W>,
    /// What the counters of each process stand at: sizes, and the number of regions.
    counters: HashMap<u32, ([u64; Kind::ALL.len()], usize)>,
    now: u64,
}

/// The entries, as they are written.
#[derive(Debug)]
struct Trace<W> {
    out: W,
    frames: Frames,
    entries: u64,
    slices: u64,
    /// Names that were written, of processes and threads.
    named: HashSet<(u32, u32, [u8; 16])>,
    /// The first error: what comes after is not written.
    result: io::Result<()>,
}

impl<W: Write> Chrome<W> {
    pub(super) fn new(out: W, about: About) -> Self {
        let trace = Trace {
            out,
            frames: Frames::default(),
            entries: 0,
            slices: 0,
            named: HashSet::new(),
            result: Ok(()),
        };
        let (clock, lives) = (about.clock, Lives::new(&about));
        Self { clock, lives, trace, counters: HashMap::new(), now: 0 }
    }

    /// Writes the counters of a space's process, where they have changed.
    fn count(&mut self, space: SpaceId, time: u64, model: &Model) {
        let Some(owner) = self.lives.owner(space) else { return };
        let regions = model.space(space).map_or(0, |space| space.map().len());
        let sizes = self.lives.sizes(space);
        let (old_sizes, old_regions) = self.counters.entry(owner.pid).or_default();
        if *old_sizes != sizes {
            *old_sizes = sizes;
            let all: u64 = sizes.iter().sum();
            let kinds = Kind::ALL.iter().zip(sizes);
            let kinds: Map<_, _> =
                kinds.map(|(kind, size)| (kind.name().to_owned(), size.into())).collect();
            self.trace.counter("size", owner.pid, time, json!({ "bytes": all }));
            self.trace.counter("bytes of", owner.pid, time, kinds.into());
        }
        if *old_regions != regions {
            *old_regions = regions;
            self.trace.counter("regions", owner.pid, time, json!({ "count": regions }));
        }
    }
}

impl<W: Write> Export for Chrome<W> {
    fn event(&mut self, event: &Event, model: &Model) -> io::Result<()> {
        let Self { lives, trace, now, .. } = self;
        *now = (*now).max(lives::time(event).unwrap_or(*now));
        trace.frames.event(event, model);
        let pid = |lives: &Lives, space| lives.owner(space).map_or(0, |owner| owner.pid);
        lives.event(event, model, &mut |past| trace.slice(past));
        match event {
            Event::Commit { time, space, .. } => {
                if let Some(owner) = lives.owner(*space) {
                    trace.name_process(owner.pid, owner.comm);
                }
                self.count(*space, *time, model);
            }
            Event::Call { time, task, call, result, text, commits, .. } => {
                let shown = Call { call, path: text, open: false };
                let result = Outcome { call, result: *result };
                let args = json!({
                    "call": format!("{shown} = {result}"),
                    "commits": commits.as_slice(),
                });
                trace.instant(&syscall::name(call), "call", *time, task, args);
            }
            Event::Exec { time, task, path, .. } => {
                let path = Escaped(path).to_string();
                trace.instant("exec", "task", *time, task, json!({ "path": path }));
            }
            Event::Fork { time, task, child, shared, .. } => {
                let args = json!({ "pid": child.pid, "tid": child.tid, "shares memory": shared });
                trace.instant("fork", "task", *time, task, args);
            }
            Event::Exit { time, task, status, .. } => {
                let args = json!({ "status": Ended(*status).to_string() });
                trace.instant("exit", "task", *time, task, args);
            }
            Event::Doubt { time, space, why, .. } => {
                let args = json!({ "why": Why(*why).to_string() });
                trace.mark("model in doubt", *time, pid(lives, *space), args);
            }
            Event::Healed { time, space, differences, .. } => {
                let args = json!({ "differences": differences });
                trace.mark("model exact again", *time, pid(lives, *space), args);
            }
            Event::Malformed { kind, len } => {
                let args = json!({ "kind": kind, "bytes": len });
                trace.mark("malformed record", *now, 0, args);
            }
            Event::End { .. } => {}
        }
        std::mem::replace(&mut self.trace.result, Ok(()))
    }

    fn finish(self: Box<Self>, close: &Close<'_>) -> io::Result<()> {
        let Self { clock, lives, mut trace, now, .. } = *self;
        lives.finish(now, &mut |past| trace.slice(past));
        trace.finish(&json!({
            "mmaptrace": env!("CARGO_PKG_VERSION"),
            "ends at": clock.epoch(now).to_string(),
            "faults": close.faults().collect::<Vec<_>>(),
        }))
    }
}

impl<W: Write> Trace<W> {
    fn slice(&mut self, past: &Past<'_>) {
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
                "call": Done(deed).to_string(),
                "by": format!("{pid}/{tid} {name}"),
                "commit": deed.id,
            });
            if deed.stacks.user.is_some() {
                args["stack"] = self.frames.names(deed.stacks.user).collect();
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

    fn counter(&mut self, name: &str, pid: u32, time: u64, args: Value) {
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

    fn instant(&mut self, name: &str, cat: &'static str, time: u64, task: &Task, args: Value) {
        let &Task { pid, tid, comm } = task;
        self.name_thread(pid, tid, comm);
        let (ts, s) = (micros(time), Some('t'));
        self.write(&Entry { name, cat, ph: 'i', ts, pid, tid, id: None, s, args });
    }

    /// An instant of a whole process.
    fn mark(&mut self, name: &str, time: u64, pid: u32, args: Value) {
        let (ts, s) = (micros(time), Some('p'));
        self.write(&Entry { name, cat: "model", ph: 'i', ts, pid, tid: pid, id: None, s, args });
    }

    fn name_process(&mut self, pid: u32, name: [u8; 16]) {
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

    fn finish(mut self, about: &Value) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{Format, testing};

    #[test]
    fn it_is_a_trace() {
        let trace = testing::export(Format::Chrome);
        let trace: Value = serde_json::from_slice(&trace).expect("JSON");
        let entries = trace["traceEvents"].as_array().expect("an array");
        let mut open = HashMap::new();
        let mut slices = Vec::new();
        for entry in entries {
            let text = |field: &str| entry[field].as_str().expect("a text").to_owned();
            let ts = entry["ts"].as_f64().expect("a time");
            assert!(entry["pid"].is_u64() && entry["tid"].is_u64() && entry["args"].is_object());
            match &*text("ph") {
                "b" => {
                    let begun = (ts, text("name"), entry["args"]["region"].clone());
                    assert!(open.insert(entry["id"].to_string(), begun).is_none());
                }
                "e" => {
                    let begun = open.remove(&entry["id"].to_string());
                    let (begin, name, region) = begun.expect("a begin of this id");
                    assert!(begin <= ts && name == text("name"));
                    slices.push(format!("{name}: {}", region.as_str().expect("a text")));
                }
                "i" => assert!(["t", "p"].contains(&&*text("s"))),
                "C" => {
                    let values = entry["args"].as_object().expect("values");
                    assert!(!values.is_empty() && values.values().all(Value::is_u64));
                }
                "M" => assert!(entry["args"]["name"].is_string()),
                other => panic!("a phase {other}"),
            }
        }
        assert!(open.is_empty(), "{open:?}");
        assert_eq!(slices.len(), 7);
        let code = r#"file, code: 400000-402000 r-xp 8K /tmp/</script>;a\012\342\200\250,"=\377"#;
        assert!(slices.iter().any(|slice| slice == code), "{slices:#?}");
        let failed = entries.iter().filter(|entry| entry["ph"] == "i" && entry["name"] == "mmap");
        let calls: Vec<_> = failed.map(|entry| entry["args"]["call"].as_str()).collect();
        assert_eq!(calls.len(), 2);
        assert!(calls[1].is_some_and(|call| call.contains("= -1 ENOMEM")), "{calls:?}");
    }
}

//! Chrome's JSON trace format, as <https://ui.perfetto.dev> and `chrome://tracing` open it.
//!
//! Times in the life of pages are asynchronous slices, named after the kind of memory, since
//! viewers give each name in each process a track of its own. Calls are instants of their thread;
//! sizes and counts of regions are counters. A slice is written when it is over: viewers sort.

mod trace;

use std::{
    collections::HashMap,
    io::{self, Write},
};

use mmaptrace_model::{Event, Model, event::SpaceId};
use serde_json::{Map, json};

use self::trace::Trace;
use super::{
    About, Export,
    kind::Kind,
    lives::{self, Lives},
};
use crate::{
    escape::Escaped,
    sink::{Clock, summary::Ended, text::why::Why},
    syscall::{self, Call, Outcome},
};

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

impl<W: Write> Chrome<W> {
    pub(super) fn new(out: W, about: About) -> Self {
        let (clock, lives) = (about.clock, Lives::new(&about));
        Self { clock, lives, trace: Trace::new(out), counters: HashMap::new(), now: 0 }
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
        trace.stacks.event(event, model);
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
            Event::Lost { time, records } => {
                trace.mark("records lost", *time, 0, json!({ "records": records }));
            }
            Event::Malformed { kind, len } => {
                let args = json!({ "kind": kind, "bytes": len });
                trace.mark("malformed record", *now, 0, args);
            }
            Event::End { .. } => {}
        }
        std::mem::replace(&mut self.trace.result, Ok(()))
    }

    fn finish(self: Box<Self>, faults: &[String]) -> io::Result<()> {
        let Self { clock, lives, mut trace, now, .. } = *self;
        lives.finish(now, &mut |past| trace.slice(past));
        trace.finish(&json!({
            "mmaptrace": env!("CARGO_PKG_VERSION"),
            "ends at": clock.epoch(now).to_string(),
            "faults": faults,
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

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

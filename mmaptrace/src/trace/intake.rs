//! The one way in: whatever comes is recorded, goes through the flow, and tells who lives.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use anyhow::{Context as _, Result};
use mmaptrace_model::{Event, Model, event::Cause};
use mmaptrace_recording::{End, Item};
use zerocopy::IntoBytes as _;

use super::recorder::{Past, Recorder};
use crate::{
    flow::{Flow, Mirror},
    machine::now,
    output::WRITE,
};

/// See the module.
pub(super) struct Intake {
    pub(super) flow: Flow,
    pub(super) recorder: Option<Recorder>,
    /// Processes that are traced and have not ended.
    pub(super) alive: BTreeSet<u32>,
    /// Threads of processes that have begun since and not ended. One may tell of its end after its process
    /// has.
    pub(super) threads: BTreeSet<(u32, u32)>,
    /// Processes that ended a short time ago, of which more may come, and when: ns of `CLOCK_MONOTONIC`.
    pub(super) ended: VecDeque<(u64, u32)>,
    /// The process of which the last picture came.
    pub(super) pictured: Option<u32>,
}

impl Intake {
    pub(super) const fn mirror(&self) -> &Mirror {
        self.flow.mirror()
    }

    pub(super) const fn model(&self) -> &Model {
        &self.mirror().model
    }

    /// Takes a record, and what is to be known of the files in its stacks: records as well.
    pub(super) fn record(&mut self, record: &[u8]) -> Result<()> {
        self.take(Item::Record(record))?;
        for record in self.flow.identify() {
            self.take(Item::Record(record.as_bytes()))?;
        }
        Ok(())
    }

    /// Takes an item.
    pub(super) fn take(&mut self, item: Item<'_>) -> Result<()> {
        self.note(item)?;
        for event in self.flow.take(item).context(WRITE)? {
            match event {
                Event::Fork { task, child, .. } if child.pid != task.pid => {
                    self.alive.insert(child.pid);
                }
                Event::Fork { child, .. } => {
                    self.threads.insert((child.pid, child.tid));
                }
                Event::Exec { task, old_tid, .. } => {
                    self.alive.insert(task.pid);
                    // It has the leader's from now on.
                    old_tid.map(|tid| self.threads.remove(&(task.pid, tid)));
                }
                Event::Exit { task, last, time, .. } => {
                    self.threads.remove(&(task.pid, task.tid));
                    if *last {
                        self.alive.remove(&task.pid);
                        self.ended.push_back((*time, task.pid));
                    }
                }
                // Of nobody is what the programs read again by themselves.
                Event::Commit { cause: Cause::Seed, task, .. } if task.pid != 0 => {
                    self.pictured = Some(task.pid);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Nothing more comes of the threads of a process.
    pub(super) fn forget_threads(&mut self, pid: u32) {
        while let Some(&thread) = self.threads.range((pid, 0)..=(pid, u32::MAX)).next() {
            self.threads.remove(&thread);
        }
    }

    /// Forgets the names that no region has any more, and tells their keys.
    pub(super) fn forget_names(&mut self) -> Result<Vec<u64>> {
        self.note(Item::ForgetNames)?;
        Ok(self.flow.forget_names())
    }

    /// Forgets the stacks that no event had for long, and tells their keys.
    pub(super) fn forget_stacks(&mut self) -> Result<Vec<u64>> {
        self.note(Item::ForgetStacks)?;
        Ok(self.flow.forget_stacks())
    }

    /// Lets time pass. While there are records, they tell it.
    pub(super) fn tick(&mut self, quiet: bool) -> Result<()> {
        let time = now();
        if quiet && self.flow.awaits_time() {
            self.take(Item::Tick { time })?;
        }
        let Self { flow, recorder: Some(recorder), .. } = self else { return Ok(()) };
        recorder.tick(time, &flow.mirror().model).context(RECORD)
    }

    /// Nothing may come for long.
    pub(super) fn rest(&mut self) -> Result<()> {
        let Self { flow, recorder: Some(recorder), .. } = self else { return Ok(()) };
        recorder.rest(&flow.mirror().model).context(RECORD)
    }

    /// What was recorded until now; `None`: nothing is.
    pub(super) fn past(&mut self, patience: Duration) -> Result<Option<Past>> {
        let Self { flow, recorder: Some(recorder), .. } = self else { return Ok(None) };
        recorder.past(&flow.mirror().model, patience).map(Some).context(RECORD)
    }

    /// Shows and records the end. Whatever becomes of one, the other has it.
    pub(super) fn end(&mut self, end: &End, patience: Duration) -> Result<()> {
        let shown = self.flow.end(end).and_then(|()| self.flow.flush()).context(WRITE);
        let Self { flow, recorder: Some(recorder), .. } = self else { return shown };
        shown.and(recorder.end(end, &flow.mirror().model, patience).context(RECORD))
    }

    fn note(&mut self, item: Item<'_>) -> Result<()> {
        let Self { flow, recorder: Some(recorder), .. } = self else { return Ok(()) };
        recorder.take(item, &flow.mirror().model).context(RECORD)
    }
}

/// What fails where they are recorded.
pub(super) const RECORD: &str = "cannot write the recording";

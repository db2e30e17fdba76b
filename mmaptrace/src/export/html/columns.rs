//! The data of the page, as columns: `data.js` reads them.

use std::collections::HashMap;

use mmaptrace_model::{Flags, region};
use serde::{Serialize, Serializer};

use super::super::kind::Kind;
use crate::escape::Escaped;

/// All of it. Times are ns since the first event; rows are told by their place.
#[derive(Debug, Default, Serialize)]
pub(super) struct Data {
    /// The tracer's version.
    pub(super) version: &'static str,
    /// When the first event was, in seconds since the epoch.
    pub(super) begin: String,
    /// Of local time to UTC, in seconds.
    pub(super) utc_offset: i32,
    /// From the first event to the last.
    pub(super) duration: u64,
    /// Why it is not all, or not exact.
    pub(super) faults: Vec<String>,
    /// Names of kinds.
    pub(super) kinds: [&'static str; Kind::ALL.len()],
    /// Address spaces.
    pub(super) spaces: Vec<Space>,
    /// PID, TID and name.
    pub(super) tasks: Vec<(u32, u32, String)>,
    /// Names of regions, calls, and other words.
    pub(super) texts: Vec<String>,
    /// Frames of stacks, the innermost first.
    pub(super) stacks: Vec<Vec<String>>,
    /// What changed anything.
    pub(super) deeds: Deeds,
    /// How pages were, from when to when.
    pub(super) pasts: Pasts,
    /// What happened besides.
    pub(super) marks: Vec<Mark>,
}

/// An address space.
#[derive(Debug, Serialize)]
pub(super) struct Space {
    /// Of the process that runs in it.
    pub(super) pid: u32,
    /// Likewise.
    pub(super) comm: String,
    /// How often it was changed.
    pub(super) changes: u64,
    /// The most that was mapped, in bytes.
    pub(super) peak: u64,
    /// The most regions.
    pub(super) regions: usize,
    /// How much of each kind was mapped last, in bytes.
    pub(super) sizes: [u64; Kind::ALL.len()],
}

impl Space {
    pub(super) fn new(pid: u32, comm: String) -> Self {
        Self { pid, comm, changes: 0, peak: 0, regions: 0, sizes: Default::default() }
    }

    /// Takes what there is after a change.
    pub(super) fn see(&mut self, sizes: &[u64; Kind::ALL.len()], regions: usize) {
        self.changes += 1;
        self.peak = self.peak.max(sizes.iter().sum());
        self.regions = self.regions.max(regions);
        self.sizes = *sizes;
    }
}

/// Numbers, each but the first as the difference to the one before: they compress better.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Deltas {
    all: Vec<i64>,
    #[serde(skip)]
    last: i64,
}

impl Deltas {
    fn push(&mut self, value: u64) {
        let value = value as i64;
        self.all.push(value - self.last);
        self.last = value;
    }
}

/// Commits that changed anything.
#[derive(Debug, Default, Serialize)]
pub(super) struct Deeds {
    space: Vec<usize>,
    time: Deltas,
    task: Vec<usize>,
    text: Vec<usize>,
    commit: Deltas,
    /// How much is mapped after it, in pages.
    pages: Deltas,
    /// How many regions there are after it.
    regions: Deltas,
    stack: Vec<i64>,
}

/// A row of [`Deeds`].
#[derive(Debug)]
pub(super) struct DeedRow {
    pub(super) space: usize,
    pub(super) time: u64,
    pub(super) task: usize,
    pub(super) text: usize,
    pub(super) commit: u64,
    /// In bytes.
    pub(super) size: u64,
    pub(super) regions: usize,
    pub(super) stack: Option<usize>,
}

impl Deeds {
    pub(super) fn len(&self) -> usize {
        self.space.len()
    }

    pub(super) fn push(&mut self, deed: &DeedRow) {
        self.space.push(deed.space);
        self.time.push(deed.time);
        self.task.push(deed.task);
        self.text.push(deed.text);
        self.commit.push(deed.commit);
        self.pages.push(deed.size / region::PAGE);
        self.regions.push(deed.regions as u64);
        self.stack.push(row(deed.stack));
    }
}

/// A row of another table; -1 is none.
fn row(row: Option<usize>) -> i64 {
    row.map_or(-1, |row| row as i64)
}

/// Times in the lives of pages.
#[derive(Debug, Default, Serialize)]
pub(super) struct Pasts {
    space: Vec<usize>,
    /// The first page.
    page: Deltas,
    /// How many pages.
    pages: Vec<u64>,
    until: Deltas,
    /// How long.
    lasted: Vec<u64>,
    kind: Vec<u8>,
    /// 1 readable, 2 writable, 4 executable, 8 shared.
    perms: Vec<u8>,
    name: Vec<usize>,
    /// Of these, -1 is none.
    mapped: Vec<i64>,
    made: Vec<i64>,
    by: Vec<i64>,
    fate: Vec<u8>,
}

/// A row of [`Pasts`].
#[derive(Debug)]
pub(super) struct Past {
    pub(super) space: usize,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) since: u64,
    pub(super) until: u64,
    pub(super) kind: Kind,
    pub(super) flags: Flags,
    pub(super) name: usize,
    pub(super) mapped: Option<usize>,
    pub(super) made: Option<usize>,
    pub(super) by: Option<usize>,
    pub(super) fate: u8,
}

impl Pasts {
    pub(super) fn push(&mut self, past: &Past) {
        let bit = |flag, bit| if past.flags.has(flag) { bit } else { 0 };
        self.space.push(past.space);
        self.page.push(past.start / region::PAGE);
        self.pages.push((past.end - past.start) / region::PAGE);
        self.until.push(past.until);
        self.lasted.push(past.until - past.since);
        self.kind.push(past.kind as u8);
        self.perms.push(
            bit(Flags::READ, 1)
                | bit(Flags::WRITE, 2)
                | bit(Flags::EXEC, 4)
                | bit(Flags::MAYSHARE, 8),
        );
        self.name.push(past.name);
        self.mapped.push(row(past.mapped));
        self.made.push(row(past.made));
        self.by.push(row(past.by));
        self.fate.push(past.fate);
    }
}

/// What happened besides changes of pages.
#[derive(Debug, Serialize)]
pub(super) struct Mark {
    pub(super) time: u64,
    pub(super) kind: MarkKind,
    pub(super) space: Option<usize>,
    pub(super) task: Option<usize>,
    pub(super) text: usize,
}

/// What a mark is of.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum MarkKind {
    /// A task began, ended, or runs another program.
    Task,
    /// A call failed.
    Failure,
    /// The model was, or is again, not known to be exact.
    Doubt,
}

impl Serialize for MarkKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

/// Each text once.
#[derive(Debug, Default)]
pub(super) struct Texts {
    places: HashMap<Vec<u8>, usize>,
    all: Vec<String>,
}

impl Texts {
    /// The place of a text, any bytes.
    pub(super) fn get(&mut self, text: &[u8]) -> usize {
        if let Some(&place) = self.places.get(text) {
            return place;
        }
        let place = self.all.len();
        self.all.push(Escaped(text).to_string());
        self.places.insert(text.to_owned(), place);
        place
    }

    pub(super) fn into_all(self) -> Vec<String> {
        self.all
    }
}

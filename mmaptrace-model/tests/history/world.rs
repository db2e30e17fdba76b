//! Processes that do nothing but change their address spaces, page by page: what a kernel would
//! tell of them, and what is true of every page.

use std::collections::BTreeMap;

use mmaptrace_common::record::{self, Region, backing, cause, flag, kind};
use mmaptrace_model::{
    Event, Model,
    event::SpaceId,
    history::{Crowd, Crowded, Exposure, Growth, Origins, Story},
    region::PAGE,
};

use crate::support::{apply, commit, commit_words, header, seed_words, words};

pub(crate) const READ: u64 = 1;
pub(crate) const WRITE: u64 = 2;
pub(crate) const EXEC: u64 = 4;

pub(crate) const MMAP: i32 = 9;
pub(crate) const MPROTECT: i32 = 10;
pub(crate) const MUNMAP: i32 = 11;
pub(crate) const MREMAP: i32 = 25;

/// A deed: the PID of the space it was done to first, and the commit's id there.
pub(crate) type Done = (u32, u64);

/// The truth about a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) flags: u64,
    pub(crate) pgoff: u64,
    pub(crate) created: Option<Done>,
    pub(crate) changed: Option<Done>,
    /// The thread that mapped it, and the flags it got; unless inherited.
    pub(crate) site: Option<(u32, u64)>,
    pub(crate) written: bool,
    pub(crate) executed: bool,
}

/// One process.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) space: SpaceId,
    pub(crate) pages: BTreeMap<u64, Page>,
    commit: u64,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) model: Model,
    pub(crate) processes: Vec<Process>,
    pub(crate) origins: Origins,
    pub(crate) growth: Growth,
    pub(crate) exposure: Exposure,
    pub(crate) crowd: Crowd,
    pub(crate) crowded: Vec<Crowded>,
    pub(crate) story: Story,
    pub(crate) told: Vec<(SpaceId, Event)>,
    time: u64,
}

/// The mm of a process.
fn mm(pid: u32) -> u64 {
    0xffff_8880_0000_0000 + u64::from(pid) * 0x1000
}

/// A call of a thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) tid: u32,
    pub(crate) nr: i32,
    pub(crate) args: [u64; 6],
}

impl World {
    /// One process, 100, whose pages from `0..seeded` were there before.
    pub(crate) fn new(seeded: u64) -> Self {
        let mut world = Self {
            model: Model::default(),
            processes: Vec::new(),
            origins: Origins::default(),
            growth: Growth::default(),
            exposure: Exposure::default(),
            crowd: Crowd::new(20),
            crowded: Vec::new(),
            story: Story::new(30 * PAGE, 1, None),
            told: Vec::new(),
            time: 0,
        };
        let page = |pgoff| Page {
            flags: READ | WRITE,
            pgoff,
            created: None,
            changed: None,
            site: None,
            written: true,
            executed: false,
        };
        let pages = (0..seeded).map(|at| (at, page(at))).collect();
        let mut process = Process { pid: 100, space: SpaceId(0), pages, commit: 2 };
        let mut seed = process.record(&Call { tid: 100, nr: 0, args: [0; 6] }, 0);
        seed.header.pid = 100;
        let words = seed_words(&seed, &process.regions());
        process.space = world.feed(&words).unwrap_or(SpaceId(0));
        world.processes.push(process);
        world
    }

    /// Hands a record to all that takes events, and tells of which space it was.
    pub(crate) fn feed(&mut self, words: &[u64]) -> Option<SpaceId> {
        let mut space = None;
        for event in apply(&mut self.model, &words.to_vec()) {
            if let Event::Commit { space: of, .. } | Event::Fork { space: of, .. } = &event {
                space = Some(*of);
            }
            assert!(!matches!(event, Event::Doubt { .. } | Event::Malformed { .. }), "{event:?}");
            self.origins.event(&event, &self.model);
            self.growth.event(&event, &self.model);
            self.exposure.event(&event, &self.model);
            self.crowded.extend(self.crowd.event(&event, &self.model));
            self.told.extend(self.story.event(&event, &self.model));
        }
        space
    }

    /// A call that changes pages; what it did is done to them by `change`.
    pub(crate) fn call(
        &mut self,
        index: usize,
        call: Call,
        change: impl FnOnce(&mut BTreeMap<u64, Page>, Done),
    ) {
        self.time += 10;
        let process = &mut self.processes[index];
        process.commit += 2;
        change(&mut process.pages, (process.pid, process.commit));
        let record = process.record(&call, self.time);
        let words = commit_words(&record, &process.regions());
        self.feed(&words);
    }

    /// The return of a call.
    pub(crate) fn returns(&mut self, index: usize, call: Call, result: i64) {
        let process = &self.processes[index];
        let Call { tid, nr, args } = call;
        let header = record::Header {
            mm: mm(process.pid),
            pid: process.pid,
            tid,
            time: self.time,
            ..header(kind::CALL, 0)
        };
        let call = record::Call { header, args, nr, result, comm: comm(tid), ..Default::default() };
        self.feed(&words(&call, &[]));
    }

    /// `mmap` with `MAP_FIXED`.
    pub(crate) fn map(
        &mut self,
        index: usize,
        tid: u32,
        at: u64,
        len: u64,
        flags: u64,
        pgoff: u64,
    ) {
        let prot = if flags & EXEC == 0 { 3 } else { 7 };
        let call = Call { tid, nr: MMAP, args: [at * PAGE, len * PAGE, prot, 0x32, u64::MAX, 0] };
        self.call(index, call, |pages, done| {
            for page in at..at + len {
                let new = Page {
                    flags,
                    pgoff: pgoff + page - at,
                    created: Some(done),
                    changed: None,
                    site: Some((tid, flags)),
                    written: flags & WRITE != 0,
                    executed: flags & EXEC != 0,
                };
                pages.insert(page, new);
            }
        });
        self.returns(index, call, (at * PAGE).cast_signed());
    }

    /// `munmap`.
    pub(crate) fn unmap(&mut self, index: usize, tid: u32, at: u64, len: u64) {
        let call = Call { tid, nr: MUNMAP, args: [at * PAGE, len * PAGE, 0, 0, 0, 0] };
        self.call(index, call, |pages, _| pages.retain(|&page, _| page < at || page >= at + len));
        self.returns(index, call, 0);
    }

    /// `mprotect` of what is mapped there.
    pub(crate) fn protect(&mut self, index: usize, tid: u32, at: u64, len: u64, flags: u64) {
        let prot = flags & (READ | WRITE | EXEC);
        let call = Call { tid, nr: MPROTECT, args: [at * PAGE, len * PAGE, prot, 0, 0, 0] };
        self.call(index, call, |pages, done| {
            for (_, page) in pages.range_mut(at..at + len) {
                if page.flags != flags {
                    (page.flags, page.changed) = (flags, Some(done));
                    page.written |= flags & WRITE != 0;
                    page.executed |= flags & EXEC != 0;
                }
            }
        });
        self.returns(index, call, 0);
    }

    /// `mremap` to another place, which does not overlap.
    pub(crate) fn remap(&mut self, index: usize, tid: u32, at: u64, len: u64, to: u64) {
        let args = [at * PAGE, len * PAGE, len * PAGE, 3, to * PAGE, 0];
        let call = Call { tid, nr: MREMAP, args };
        self.call(index, call, |pages, done| {
            let taken: Vec<_> =
                pages.range(at..at + len).map(|(&at, page)| (at, page.clone())).collect();
            pages.retain(|&page, _| {
                (page < at || page >= at + len) && (page < to || page >= to + len)
            });
            for (page, old) in taken {
                pages.insert(page - at + to, Page { changed: Some(done), ..old });
            }
        });
        self.returns(index, call, (to * PAGE).cast_signed());
    }

    /// `fork`, of which the child has all.
    pub(crate) fn fork(&mut self, index: usize) {
        self.time += 10;
        let pid = 200 + self.processes.len() as u32;
        let parent = &self.processes[index];
        let header = record::Header {
            mm: mm(pid),
            pid: parent.pid,
            tid: parent.pid,
            time: self.time,
            ..header(kind::FORK, 0)
        };
        let fork = record::Fork { header, child_pid: pid, child_tid: pid, comm: comm(parent.pid) };
        let mut child = parent.clone();
        child.pages.values_mut().for_each(|page| page.site = None);
        (child.pid, child.commit) = (pid, 2);
        child.space = self.feed(&words(&fork, &[])).expect("the child's space");
        let call = Call { tid: pid, nr: -1, args: [0; 6] };
        let mut record = child.record(&call, self.time);
        record.cause = cause::FORK;
        record.header.flags |= flag::WHOLE;
        let words = commit_words(&record, &child.regions());
        self.feed(&words);
        self.processes.push(child);
    }

    /// The last thread of a process ends, by a signal.
    pub(crate) fn exit(&mut self, index: usize, signal: u32) {
        self.time += 10;
        let pid = self.processes[index].pid;
        let time = self.time;
        let header = |kind, flags| record::Header {
            mm: mm(pid),
            pid,
            tid: pid,
            time,
            ..header(kind, flags)
        };
        let exit = record::Exit { header: header(kind::EXIT, flag::GROUP), status: signal, pad: 0 };
        self.feed(&words(&exit, &[]));
        self.feed(&words(&header(kind::END, 0), &[]));
    }
}

impl Process {
    fn record(&self, call: &Call, time: u64) -> record::Commit {
        let mut commit = commit(self.commit);
        (commit.header.mm, commit.header.time) = (mm(self.pid), time);
        (commit.header.pid, commit.header.tid) = (self.pid, call.tid);
        (commit.nr, commit.args, commit.comm) = (call.nr, call.args, comm(call.tid));
        (commit.lo, commit.hi) = (0, u64::MAX - (PAGE - 1));
        commit.map_count = self.regions().len() as u32;
        commit.total_vm = self.pages.len() as u64;
        commit
    }

    /// Its pages, those that fit one another joined.
    fn regions(&self) -> Vec<Region> {
        let mut regions: Vec<Region> = Vec::new();
        for (&at, page) in &self.pages {
            if let Some(last) = regions.last_mut()
                && last.end == at * PAGE
                && last.flags == page.flags
                && last.pgoff + (last.end - last.start) / PAGE == page.pgoff
            {
                last.end += PAGE;
                continue;
            }
            let (start, end) = (at * PAGE, (at + 1) * PAGE);
            let (flags, pgoff, backing) = (page.flags, page.pgoff, backing::ANON);
            regions.push(Region { start, end, flags, pgoff, backing, ..Region::default() });
        }
        regions
    }
}

/// The name of a thread.
pub(crate) fn comm(tid: u32) -> [u8; 16] {
    let mut comm = [0; 16];
    let text = format!("t{tid}");
    comm[..text.len()].copy_from_slice(text.as_bytes());
    comm
}

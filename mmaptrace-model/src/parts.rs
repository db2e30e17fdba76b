//! The parts of commits, until their last has come.
//!
//! All parts of a commit are written under one hold of the lock, so that no commit of a writer
//! comes between them. One of another thread that holds the lock for reading, too, may: of the same id, or,
//! where the kernel does not number commits, of another.

use std::ops::Range;

use mmaptrace_common::record::{self, cause, flag};

use serde::{Deserialize, Serialize, Serializer};

use crate::region::{PAGE, Region};

/// Commits of which some parts have come.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Pending(#[serde(serialize_with = "open")] Vec<Parts>);

impl Pending {
    /// Closes what waits for parts that will not come, as `commit` is of another id. Whether there
    /// was any.
    pub(crate) fn close_others(&mut self, commit: &record::Commit) -> bool {
        if is_beside_others(commit) {
            return false;
        }
        let mut closed = false;
        for parts in &mut self.0 {
            closed |= parts.open && parts.id != commit.id;
            parts.open &= parts.id == commit.id;
        }
        closed
    }

    /// Takes the parts so far that `commit` is one of; to be put back if it is not the last, and
    /// put back in any case, so that its room is used again.
    pub(crate) fn take(&mut self, commit: &record::Commit) -> Parts {
        let reader = reader(commit);
        let waiting = self.0.iter().position(|parts| parts.open && parts.reader == reader);
        let index = waiting.or_else(|| self.0.iter().position(|parts| !parts.open));
        index.map(|index| self.0.swap_remove(index)).unwrap_or_default()
    }

    pub(crate) fn put(&mut self, parts: Parts) {
        self.0.push(parts);
    }

    /// Notes that a record of this space was lost: it may have been a part of these.
    pub(crate) fn miss(&mut self) {
        self.0.iter_mut().for_each(|parts| parts.complete = false);
    }
}

/// The parts of one commit. Reused from commit to commit, so that none allocates.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Parts {
    id: u64,
    reader: u32,
    whole: bool,
    open: bool,
    complete: bool,
    regions: Vec<Region>,
    ranges: Vec<Part>,
    /// Room for [`Parts::unite`].
    #[serde(skip)]
    united: Vec<Region>,
}

/// Parts whose ranges adjoin, as one.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    lo: u64,
    hi: u64,
    regions: Range<usize>,
}

/// The thread that reads; of pictures, which the tracer takes, a number that no thread has, for they
/// are told of the process that is read, whose main thread may be reading, too.
fn reader(commit: &record::Commit) -> u32 {
    let record::Header { pid, tid, .. } = commit.header;
    if commit.cause == cause::SEED { !pid } else { tid }
}

/// Whether the number is the kernel's own, which readers of the lock have then in common; or nobody held the
/// lock. Else the programs count those of writers and readers alike.
pub(crate) const fn is_numbered(commit: &record::Commit) -> bool {
    commit.header.flags & (flag::SEQUENCED | flag::UNLOCKED) != 0
}

/// Whether it is of a reader of the lock that has a number of its own, or a picture beside such: one may
/// overtake another on its way. None overtakes a writer, nor is overtaken by one.
pub(crate) const fn is_beside_others(commit: &record::Commit) -> bool {
    !is_numbered(commit) && commit.header.flags & flag::WRITE == 0
}

/// A part that no kernel writes.
#[derive(Debug)]
pub(crate) struct Malformed;

impl Parts {
    /// Whether some have come and the last has not.
    pub(crate) const fn open(&self) -> bool {
        self.open
    }

    /// The end of what was read so far.
    fn end(&self) -> Option<u64> {
        self.ranges.last().map(|part| part.hi)
    }

    /// Takes a part. An error if it is none, or if those before it are not of the same reading,
    /// whose last part is lost then.
    pub(crate) fn push(
        &mut self,
        commit: &record::Commit,
        regions: &[record::Region],
    ) -> Result<(), Malformed> {
        let whole = commit.header.flags & flag::WHOLE != 0;
        // A reading of the whole space goes on where it left off; else it is another one.
        let goes_on = self.id == commit.id
            && self.whole == whole
            && (!whole || self.end() == Some(commit.lo));
        let interrupted = self.open && !goes_on;
        if !self.open || interrupted {
            (self.id, self.reader, self.whole) = (commit.id, reader(commit), whole);
            self.complete = true;
            self.clear();
        }
        self.open = commit.header.flags & flag::MORE != 0;
        let taken = self.take(commit, regions);
        self.complete &= taken.is_ok() && commit.header.flags & flag::TRUNCATED == 0;
        if interrupted { Err(Malformed) } else { taken }
    }

    fn take(
        &mut self,
        commit: &record::Commit,
        regions: &[record::Region],
    ) -> Result<(), Malformed> {
        let record::Commit { lo, mut hi, .. } = *commit;
        // The last page of the address space is never mapped: the end may be any of it.
        let aligned = lo.is_multiple_of(PAGE) && (hi.is_multiple_of(PAGE) || hi > u64::MAX - PAGE);
        if lo > hi || !aligned {
            return Err(Malformed);
        }
        let first = self.regions.len();
        let mut free = lo;
        for raw in regions {
            let region = Region::try_from(raw).ok().filter(|it| it.start >= free && it.end <= hi);
            let Some(region) = region else {
                self.regions.truncate(first);
                return Err(Malformed);
            };
            free = region.end;
            self.regions.push(region);
        }
        if commit.header.flags & flag::TRUNCATED != 0 {
            // What lies behind the last one was not read.
            hi = free;
        }
        let end = self.regions.len();
        match self.ranges.last_mut() {
            Some(last) if last.hi == lo => {
                last.hi = hi;
                last.regions.end = end;
            }
            Some(_) | None => self.ranges.push(Part { lo, hi, regions: first..end }),
        }
        Ok(())
    }

    /// Makes one range of those that overlap or adjoin: a call that touches two places may move an
    /// edge of a region in one of them that is only in sight of the other. What is in both was
    /// read twice under the same lock, and is the same.
    fn unite(&mut self) {
        self.ranges.sort_by_key(|part| part.lo);
        self.united.clear();
        let mut kept: usize = 0;
        for index in 0..self.ranges.len() {
            let Part { lo, hi, ref regions } = self.ranges[index];
            let regions = &self.regions[regions.clone()];
            let start = self.united.len();
            match kept.checked_sub(1).and_then(|last| self.ranges.get_mut(last)) {
                Some(last) if lo <= last.hi => {
                    self.united.extend(regions.iter().filter(|region| region.start >= last.hi));
                    last.hi = last.hi.max(hi);
                    last.regions.end = self.united.len();
                }
                Some(_) | None => {
                    self.united.extend(regions);
                    self.ranges[kept] = Part { lo, hi, regions: start..self.united.len() };
                    kept += 1;
                }
            }
        }
        self.ranges.truncate(kept);
        std::mem::swap(&mut self.regions, &mut self.united);
    }

    /// Drops what was read.
    pub(crate) fn clear(&mut self) {
        self.regions.clear();
        self.ranges.clear();
    }

    /// Whether they are all of the space: none is missing at the start, between or at the end.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole && self.complete && matches!(self.ranges[..], [Part { lo: 0, .. }])
    }

    /// What was read: each range, and all there is in it, in address order. No two overlap or
    /// adjoin.
    pub(crate) fn ranges(&mut self) -> impl Iterator<Item = (u64, u64, &[Region])> {
        if self.ranges.len() > 1 {
            self.unite();
        }
        let regions = &self.regions;
        self.ranges.iter().map(|part| (part.lo, part.hi, &regions[part.regions.clone()]))
    }
}

/// Those that wait for more parts: the others are but room.
fn open<S: Serializer>(parts: &[Parts], serializer: S) -> Result<S::Ok, S::Error> {
    let open: Vec<_> = parts.iter().filter(|parts| parts.open).collect();
    open.serialize(serializer)
}

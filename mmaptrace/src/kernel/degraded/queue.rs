//! Records made by this side, as the programs of the exact tier would have written them.

use std::collections::{HashMap, VecDeque};

use mmaptrace_common::record::{self, Commit, Header, Name, REGIONS_PER_PART, backing, flag, kind};
use mmaptrace_model::{
    Region, RegionName,
    label::{HEAP, STACK},
    region::PAGE,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::picture::{Image, Picture};
use crate::proc_maps::ProcMaps;

/// Records on their way to the model, and the names that it has been told.
#[derive(Debug, Default)]
pub struct Queue {
    records: VecDeque<Vec<u64>>,
    /// The key of each name.
    names: HashMap<Vec<u8>, u64>,
    last_name: u64,
}

impl Queue {
    /// The next record: words, for their alignment.
    pub fn pop(&mut self) -> Option<Vec<u64>> {
        self.records.pop_front()
    }

    /// Takes out all that is there.
    pub(super) fn take(&mut self) -> VecDeque<Vec<u64>> {
        std::mem::take(&mut self.records)
    }

    /// Puts records before and after all that is there.
    pub(super) fn put_around(
        &mut self,
        mut before: VecDeque<Vec<u64>>,
        mut after: VecDeque<Vec<u64>>,
    ) {
        before.append(&mut self.records);
        before.append(&mut after);
        self.records = before;
    }

    /// Forgets names, which will be told again.
    pub(super) fn forget(&mut self, keys: &[u64]) {
        self.names.retain(|_, key| !keys.contains(key));
    }

    /// Appends a record and the bytes that follow it. Its size is set here.
    pub(super) fn push<T: IntoBytes + Immutable>(&mut self, record: &T, rest: &[u8]) {
        let size = size_of::<T>() + rest.len();
        let mut words = vec![0_u64; size.div_ceil(8)];
        let bytes = words.as_mut_bytes();
        bytes[..size_of::<T>()].copy_from_slice(record.as_bytes());
        bytes[size_of::<T>()..size].copy_from_slice(rest);
        if let Ok((header, _)) = Header::mut_from_prefix(bytes) {
            header.size = size as u32;
        }
        self.records.push_back(words);
    }

    /// Appends a commit: what a picture says of all, if `WHOLE` is set, else of the range that
    /// `commit` names, widened to whole regions, those beside it, and the holes around them.
    pub fn push_commit(&mut self, mut commit: Commit, picture: &Picture, image: Image) {
        let all = &picture.maps.regions;
        let (mut lo, mut hi) = (0, u64::MAX);
        let mut wanted = &all[..];
        if commit.header.flags & flag::WHOLE == 0 {
            let first = all.partition_point(|(region, _)| region.end < commit.lo);
            let end = all.partition_point(|(region, _)| region.start <= commit.hi);
            wanted = &all[first..end.max(first)];
            lo = first.checked_sub(1).map_or(0, |before| all[before].0.end);
            hi = all.get(end.max(first)).map_or(u64::MAX, |(region, _)| region.start);
        }
        commit.header.kind = kind::COMMIT;
        commit.map_count = all.len() as u32;
        commit.total_vm = picture.pages;
        image.tell(&mut commit);
        let record = |(region, name)| self.region(&commit.header, &region, name);
        let regions: Vec<_> = ProcMaps::named(wanted).map(record).collect();
        let mut parts = regions.chunks(REGIONS_PER_PART).peekable();
        loop {
            let part = parts.next().unwrap_or_default();
            let more = parts.peek().is_some();
            commit.lo = lo;
            commit.hi = part.last().filter(|_| more).map_or(hi, |region| region.end);
            commit.count = part.len() as u32;
            let mut record = commit;
            record.header.flags |= if more { flag::MORE } else { 0 };
            self.push(&record, part.as_bytes());
            lo = commit.hi;
            if !more {
                break;
            }
        }
    }

    /// A region as a record. `[heap]` and `[stack]` are memory with these names, which a program can give
    /// to none: where the break is no file tells, nor in time where the stack starts.
    fn region(&mut self, header: &Header, region: &Region, name: RegionName<'_>) -> record::Region {
        let (backing, text) = match name {
            RegionName::None | RegionName::Unknown => (backing::ANON, &b""[..]),
            RegionName::Heap => (backing::NAMED, HEAP),
            RegionName::Stack => (backing::NAMED, STACK),
            RegionName::Special(text) => (backing::SPECIAL, text),
            RegionName::Path(text) => (backing::FILE, text),
            RegionName::Anon(text) => (backing::NAMED, text),
            RegionName::AnonShmem(text) => (backing::NAMED_SHARED, text),
        };
        let (dev, ino) = region.inode();
        // As the kernel counts where there is no file: what is moved apart is no other memory.
        let pgoff = if dev == 0 { region.start / PAGE } else { region.pgoff };
        let name = if text.is_empty() { 0 } else { self.name(header, text) };
        let (start, end, flags) = (region.start, region.end, region.flags.0);
        record::Region { start, end, flags, pgoff, ino, name, dev, backing }
    }

    /// The key of a name, told first if it is new.
    fn name(&mut self, header: &Header, text: &[u8]) -> u64 {
        if let Some(&key) = self.names.get(text) {
            return key;
        }
        self.last_name += 1;
        let key = self.last_name;
        self.names.insert(text.to_owned(), key);
        let header = Header { kind: kind::NAME, flags: 0, ..*header };
        self.push(&Name { header, key, len: text.len() as u32, pad: 0 }, text);
        key
    }
}

/// A record of the ring, as words for their alignment.
pub(super) fn words(bytes: &[u8]) -> Vec<u64> {
    let mut words = vec![0; bytes.len().div_ceil(8)];
    words.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
    words
}

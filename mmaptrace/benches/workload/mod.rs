//! What the benchmarks feed the model with: records of a process of so many regions that maps,
//! protects and unmaps a page, over and over.

#[path = "../../../mmaptrace-model/tests/support/mod.rs"]
mod support;

use std::mem::offset_of;

use mmaptrace_common::record::{Call, Commit, Header, Region, cause, flag, kind};
use mmaptrace_model::region::PAGE;
use support::{Words, commit, commit_words, header, seed_words, words};
use zerocopy::IntoBytes as _;

/// Where the first region starts.
const BASE: u64 = 0x7f00_0000_0000;
/// From the start of a region to that of the next, in pages: there is room between them.
const STRIDE: u64 = 4;
/// `VM_READ | VM_WRITE` and that both may be given, and the same without the writing.
const WRITABLE: u64 = 0x73;
const READABLE: u64 = 0x71;

/// Events that a round brings: three commits and three calls.
pub(crate) const EVENTS: usize = 6;

/// The records, with the commit that comes next.
pub(crate) struct Workload {
    /// All there is at first.
    pub(crate) seed: Words,
    round: [Words; 4],
    id: u64,
}

impl Workload {
    /// Of a process of so many regions, of a page each.
    pub(crate) fn new(regions: u64) -> Self {
        let start = |index| BASE + index * STRIDE * PAGE;
        let region = |start, flags| Region { start, end: start + PAGE, flags, ..Region::default() };
        let all: Vec<_> = (0..regions).map(|index| region(start(index), WRITABLE)).collect();
        let counted = |total_vm: u64, args: [u64; 6], nr: i32| Commit {
            total_vm,
            map_count: total_vm as u32,
            args,
            nr,
            cause: cause::CALL,
            ..commit(0)
        };
        let returns = |mut commit: Commit, result| {
            commit.header.flags |= flag::RETURNS;
            Commit { result, ..commit }
        };
        let within = |commit, lo, hi| Commit { lo, hi, ..commit };
        // In the middle, between two regions and beside none.
        let middle = start(regions / 2);
        let (page, hole) = (middle + 2 * PAGE, (middle + PAGE, middle + STRIDE * PAGE));
        let more = regions + 1;
        let map = returns(counted(more, [0, PAGE, 3, 0x22, u64::MAX, 0], 9), page as i64);
        let protect = counted(more, [page, PAGE, 1, 0, 0, 0], 10);
        let unmap = returns(counted(regions, [page, PAGE, 0, 0, 0, 0], 11), 0);
        let protected =
            Call { header: header(kind::CALL, 0), args: protect.args, nr: 10, ..Call::default() };
        Self {
            seed: seed_words(&counted(regions, [0; 6], -1), &all),
            round: [
                commit_words(&within(map, hole.0, hole.1), &[region(page, WRITABLE)]),
                commit_words(&within(protect, page, page + PAGE), &[region(page, READABLE)]),
                words(&Call { comm: protect.comm, ..protected }, &[]),
                commit_words(&within(unmap, page, page + PAGE), &[]),
            ],
            id: 0,
        }
    }

    /// The records of a round, each a microsecond after the one before.
    pub(crate) fn round(&mut self, mut take: impl FnMut(&[u8])) {
        const WORD: usize = size_of::<u64>();
        const TIME: usize = offset_of!(Header, time) / WORD;
        const ID: usize = offset_of!(Commit, id) / WORD;
        for record in &mut self.round {
            record[TIME] += 1000;
            if record.len() * WORD >= size_of::<Commit>() {
                self.id += 2;
                record[ID] = self.id;
            }
            take(record.as_bytes());
        }
    }
}

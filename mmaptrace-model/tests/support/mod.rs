//! Records as the kernel's side writes them.
#![allow(dead_code, reason = "each test uses a part of it")]

use mmaptrace_common::record::{self, Header, Region, cause, flag, kind};
use mmaptrace_model::{Event, Model};
use zerocopy::{Immutable, IntoBytes};

/// The mm that records are of, unless a test says otherwise.
pub(crate) const MM: u64 = 0xffff_8880_1234_5600;

/// A record's bytes, in words so that they are aligned as the ring's are.
pub(crate) type Words = Vec<u64>;

/// `record`, then `rest`; its header's size is set, at the place that all records have it.
pub(crate) fn words(record: &(impl IntoBytes + Immutable), rest: &[u8]) -> Words {
    let bytes = [record.as_bytes(), rest].concat();
    let mut words = vec![0_u64; bytes.len().div_ceil(8)];
    let room = words.as_mut_bytes();
    room[..bytes.len()].copy_from_slice(&bytes);
    room[4..8].copy_from_slice(&(bytes.len() as u32).to_ne_bytes());
    words
}

/// A header of `kind`, by the task 100/101.
pub(crate) fn header(kind: u16, flags: u16) -> Header {
    Header { kind, flags, mm: MM, pid: 100, tid: 101, time: 1, ..Header::default() }
}

/// A commit of a call, before it knows of regions and counters.
pub(crate) fn commit(id: u64) -> record::Commit {
    record::Commit {
        header: header(kind::COMMIT, flag::WRITE | flag::COUNTED | flag::SEQUENCED),
        id,
        cause: cause::CALL,
        nr: 9,
        args: [id; 6],
        comm: *b"worker\0\0\0\0\0\0\0\0\0\0",
        ..record::Commit::default()
    }
}

/// The record of a commit that read `regions` in its range.
pub(crate) fn commit_words(commit: &record::Commit, regions: &[Region]) -> Words {
    let commit = record::Commit { count: regions.len() as u32, ..*commit };
    words(&commit, regions.as_bytes())
}

/// The record of a reading of all there is, of the process 100. Its counters are not said to be
/// right: another thread may be in the middle of an unmapping.
pub(crate) fn seed_words(commit: &record::Commit, regions: &[Region]) -> Words {
    let mut commit = *commit;
    commit.header.flags |= flag::WHOLE;
    commit.header.flags &= !(flag::WRITE | flag::MORE | flag::COUNTED);
    commit.cause = cause::SEED;
    (commit.header.pid, commit.header.tid) = (100, 100);
    (commit.lo, commit.hi) = (0, u64::MAX - 4095);
    commit_words(&commit, regions)
}

/// The events of one record, which a model that was a keyframe in between must have as well.
pub(crate) fn apply(model: &mut Model, words: &Words) -> Vec<Event> {
    let mut again = Model::from_keyframe(&model.to_keyframe()).expect("as made");
    let (mut out, mut same) = (Vec::new(), Vec::new());
    model.apply(words.as_bytes(), &mut out);
    again.apply(words.as_bytes(), &mut same);
    assert_eq!(out, same, "a model goes on otherwise from its keyframe");
    out
}

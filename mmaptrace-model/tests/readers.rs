//! Several that hold the lock for reading, where the kernel does not number what they do: they are counted in
//! one order, and may be told of in any.

mod support;

use std::collections::BTreeMap;

use mmaptrace_common::record::{self, Region, backing, cause, flag};
use mmaptrace_model::{Event, Model, Region as Mapped, region::PAGE};
use proptest::prelude::*;
use support::{Words, apply, commit, commit_words, seed_words};

/// Pages between two stacks, and the pages that each has at first.
const ROOM: u64 = 64;
const STACK: u64 = 4;
/// What is unmapped. It lies below all stacks.
const UNMAPPED: (u64, u64) = (PAGE, 9 * PAGE);
/// `VM_GROWSDOWN`.
const GROWSDOWN: u64 = 0x100;

#[derive(Clone, Copy, Debug)]
enum Reader {
    /// Tells at the end that the range has become free, which it did as a writer.
    Unmaps,
    /// Grows the stack of this number by so many pages, and reads all.
    Grows(u64, u64),
    /// Moves the break.
    Moves(u64),
    /// Reads all.
    Looks,
}

/// What one of them is to do next.
#[derive(Clone, Debug)]
enum Next {
    Count,
    Read(record::Commit),
    Send(Words),
}

struct Kernel {
    id: u64,
    brk: u64,
    is_unmapped: bool,
    /// Whether stacks grow under the lock for reading, as before Linux 6.5: then nobody counts what an
    /// unmapping leaves.
    grows: bool,
    /// Pages that each stack has grown by.
    grown: BTreeMap<u64, u64>,
}

impl Kernel {
    fn regions(&self) -> Vec<Region> {
        let region = |start, end, flags| {
            let backing = backing::ANON;
            Region { start, end, flags, pgoff: start / PAGE, backing, ..Region::default() }
        };
        let lower = (!self.is_unmapped).then(|| region(UNMAPPED.0, UNMAPPED.1, 3));
        let stacks = self.grown.iter().map(|(stack, pages)| {
            let end = (stack + 2) * ROOM * PAGE;
            region(end - (STACK + pages) * PAGE, end, 3 | GROWSDOWN)
        });
        lower.into_iter().chain(stacks).collect()
    }

    /// As a reader of the lock tells it, or a writer.
    fn commit(&self, flags: u16) -> record::Commit {
        let regions = self.regions();
        let mut commit = commit(self.id);
        commit.header.flags = flags;
        commit.map_count = regions.len() as u32;
        commit.total_vm = regions.iter().map(|it| (it.end - it.start) / PAGE).sum();
        commit.brk = self.brk;
        commit
    }

    fn count(&mut self, reader: Reader) -> record::Commit {
        if !matches!(reader, Reader::Looks) {
            self.id += 2;
        }
        match reader {
            Reader::Unmaps | Reader::Looks => {}
            Reader::Grows(stack, pages) => *self.grown.get_mut(&stack).expect("a stack") += pages,
            Reader::Moves(by) => self.brk += by,
        }
        match reader {
            Reader::Unmaps => {
                let (lo, hi) = UNMAPPED;
                let flags = if self.grows { 0 } else { flag::COUNTED };
                record::Commit { lo, hi, ..self.commit(flags) }
            }
            Reader::Grows(..) => record::Commit {
                cause: cause::GROWTH,
                hi: u64::MAX - (PAGE - 1),
                ..self.commit(flag::WHOLE)
            },
            Reader::Moves(_) => self.commit(0),
            Reader::Looks => self.commit(flag::WHOLE),
        }
    }

    fn read(&self, reader: Reader, commit: &record::Commit) -> Words {
        match reader {
            Reader::Unmaps | Reader::Moves(_) => commit_words(commit, &[]),
            Reader::Grows(..) => commit_words(commit, &self.regions()),
            Reader::Looks => seed_words(commit, &self.regions()),
        }
    }
}

fn reader() -> impl Strategy<Value = Reader> {
    prop_oneof![
        (0_u64..3, 1_u64..8).prop_map(|(stack, pages)| Reader::Grows(stack, pages)),
        (1_u64..100).prop_map(Reader::Moves),
        Just(Reader::Looks),
    ]
}

/// Whether all pages of the one are pages of the other.
fn is_within(some: &[Mapped], all: &[Mapped]) -> bool {
    some.iter().all(|it| all.iter().any(|of| of.start <= it.start && it.end <= of.end))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Whatever is told first: what is not known to be missing is right, and nothing is missing at the end.
    #[test]
    fn may_be_told_of_in_any_order(
        others in prop::collection::vec(reader(), 1..6),
        turns in prop::collection::vec(any::<prop::sample::Index>(), 24),
    ) {
        let grown = (0..3).map(|stack| (stack, 0)).collect();
        let grows = others.iter().any(|it| matches!(it, Reader::Grows(..)));
        let mut kernel = Kernel { id: 10, brk: 5, is_unmapped: false, grows, grown };
        let mut model = Model::default();
        apply(&mut model, &seed_words(&kernel.commit(flag::WHOLE), &kernel.regions()));
        kernel.is_unmapped = true;

        let parse = |raw: &Region| Mapped::try_from(raw).expect("the kernel's");
        let mut known = BTreeMap::new();
        // As which commit that is told.
        let mut unmapped = u64::MAX;
        let mut actors: Vec<_> =
            [Reader::Unmaps].into_iter().chain(others).map(|it| (it, Next::Count)).collect();
        for turn in turns {
            if actors.is_empty() {
                break;
            }
            let (reader, next) = actors.swap_remove(turn.index(actors.len()));
            match next {
                Next::Count => {
                    let commit = kernel.count(reader);
                    if let Reader::Unmaps = reader {
                        unmapped = kernel.id;
                    }
                    known.entry(kernel.id).or_insert_with(|| (kernel.regions(), kernel.brk));
                    actors.push((reader, Next::Read(commit)));
                }
                Next::Read(commit) => {
                    let words = kernel.read(reader, &commit);
                    actors.push((reader, Next::Send(words)));
                }
                Next::Send(words) => {
                    for event in apply(&mut model, &words) {
                        prop_assert!(matches!(event, Event::Commit { .. }), "{event:?}");
                    }
                    let space = model.spaces().next().expect("the one space");
                    if space.doubt().is_none() && let Some((regions, brk)) = known.get(&space.commit()) {
                        let untold = |it: &&Mapped| space.commit() < unmapped && it.start == UNMAPPED.0;
                        let map: Vec<_> = space.map().iter().filter(|it| !untold(it)).copied().collect();
                        let then: Vec<_> = regions.iter().map(parse).collect();
                        let now: Vec<_> = kernel.regions().iter().map(parse).collect();
                        prop_assert!(is_within(&then, &map) && is_within(&map, &now));
                        prop_assert_eq!(space.layout().brk, *brk);
                    }
                }
            }
        }
        prop_assume!(actors.is_empty());
        // One who writes counts what is there.
        kernel.id += 2;
        let writer = kernel.commit(flag::WRITE | flag::COUNTED);
        apply(&mut model, &commit_words(&writer, &[]));
        let space = model.spaces().next().expect("the one space");
        prop_assert_eq!((space.doubt(), space.doubts()), (None, 0));
        let truth: Vec<_> = kernel.regions().iter().map(parse).collect();
        prop_assert_eq!(space.map().iter().copied().collect::<Vec<_>>(), truth);
        prop_assert_eq!(space.layout().brk, kernel.brk);
    }
}

//! Records lost, repeated, cut, out of order, in parts that do not all come: never silently wrong.
//!
//! That is: after each record, either the space says that it is in doubt, or its map is what the
//! kernel had at the very commit the space names. A lost record shows with the next one at the
//! earliest; until then the space names the commit before it, and is right about that.

mod support;

use std::collections::HashMap;

use mmaptrace_common::record::{self, Region, backing, flag};
use mmaptrace_model::{Event, Model, Region as Mapped, region::PAGE};
use proptest::prelude::*;
use support::{Words, apply, commit, commit_words, seed_words};
use zerocopy::IntoBytes;

const PAGES: u64 = 64;

/// A kernel of one address space: some regions, counters and commits.
struct Kernel {
    regions: Vec<Region>,
    id: u64,
    lost: u64,
    /// What the map was at each commit.
    history: HashMap<u64, Vec<Region>>,
}

impl Kernel {
    fn new() -> Self {
        let mut kernel = Self { regions: Vec::new(), id: 2, lost: 0, history: HashMap::new() };
        kernel.change(3, 40, 2, 1);
        kernel
    }

    /// Makes the pages `[lo, lo + len)` regions of `size` pages, with a hole after each if `size`
    /// is odd, and returns the range that a commit of it reads.
    fn change(&mut self, lo: u64, len: u64, size: u64, flags: u64) -> (u64, u64) {
        let (lo, hi) = (lo * PAGE, (lo + len) * PAGE);
        let mut next: Vec<Region> = Vec::new();
        for region in &self.regions {
            if region.start < lo {
                next.push(Region { end: region.end.min(lo), ..*region });
            }
            if region.end > hi {
                next.push(at(region.start.max(hi), region.end, region.flags));
            }
        }
        let mut start = lo;
        while size > 0 && start < hi {
            let end = hi.min(start + size * PAGE);
            next.push(at(start, end, flags));
            start = end + size % 2 * PAGE;
        }
        next.sort_by_key(|region| region.start);
        let old = std::mem::replace(&mut self.regions, next);
        self.id += 2;
        self.history.insert(self.id, self.regions.clone());
        // The range read ends at edges that the change did not move.
        let near = |it: &&Region| it.start < hi + PAGE && it.end + PAGE > lo;
        let both = || old.iter().chain(&self.regions).filter(near);
        (
            both().map(|it| it.start).min().unwrap_or(lo).min(lo),
            both().map(|it| it.end).max().unwrap_or(hi).max(hi),
        )
    }

    fn commit(&self) -> record::Commit {
        let mut commit = commit(self.id);
        commit.header.lost = self.lost as u32;
        commit.map_count = self.regions.len() as u32;
        commit.total_vm = self.regions.iter().map(|it| (it.end - it.start) / PAGE).sum();
        commit
    }

    /// The records of a reading, `most` regions in each.
    fn read(&self, (lo, hi): (u64, u64), most: usize) -> Vec<Words> {
        let inside: Vec<_> =
            self.regions.iter().filter(|it| it.start < hi && it.end > lo).copied().collect();
        let parts: Vec<_> = inside.chunks(most).collect();
        let parts = if parts.is_empty() { vec![&[][..]] } else { parts };
        let last = parts.len() - 1;
        let mut from = lo;
        let part = |(index, regions): (usize, &&[Region])| {
            let mut commit = self.commit();
            commit.lo = from;
            commit.hi = hi;
            if index < last {
                commit.header.flags |= flag::MORE;
                commit.hi = regions[regions.len() - 1].end;
            }
            from = commit.hi;
            commit_words(&commit, regions)
        };
        parts.iter().enumerate().map(part).collect()
    }

    fn seed(&self) -> Words {
        seed_words(&self.commit(), &self.regions)
    }
}

fn at(start: u64, end: u64, flags: u64) -> Region {
    let pgoff = start / PAGE;
    Region { start, end, flags, pgoff, backing: backing::ANON, ..Region::default() }
}

/// In doubt, or right.
fn check(model: &Model, kernel: &Kernel) {
    let space = model.spaces().next().expect("the one space");
    if space.doubt().is_none() {
        let truth: Vec<_> = kernel.history[&space.commit()].iter().map(parse).collect();
        let map: Vec<_> = space.map().iter().copied().collect();
        assert_eq!(map, truth, "at commit {}", space.commit());
    }
    let pages: u64 = space.map().iter().map(Mapped::pages).sum();
    assert_eq!((space.map().len(), space.map().pages()), (space.map().iter().count(), pages));
}

fn parse(raw: &Region) -> Mapped {
    Mapped::try_from(raw).expect("the kernel's")
}

/// A reading of everything ends every doubt.
fn heal(model: &mut Model, kernel: &Kernel) {
    let in_doubt = model.spaces().any(|space| space.doubt().is_some());
    let events = apply(model, &kernel.seed());
    assert!(model.spaces().all(|space| space.doubt().is_none()), "{events:?}");
    assert!(!in_doubt || matches!(events[..], [.., Event::Healed { .. }]), "{events:?}");
    check(model, kernel);
}

/// What befalls a commit's records.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    /// One of its parts finds no room, which the next record that does tells.
    Loses(usize),
    /// As if it never was, and nothing tells so but the ids.
    Vanishes,
    Repeats,
    /// Comes a second time, after this many others.
    Returns(usize),
    /// Is overtaken by the next.
    Waits,
    /// Fewer bytes than it says.
    Short,
    /// The kernel gave up reading before this many regions.
    Truncated,
    /// A seed follows.
    Heals,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        10 => Just(Fate::Arrives),
        1 => (0_usize..4).prop_map(Fate::Loses),
        1 => Just(Fate::Vanishes),
        1 => Just(Fate::Repeats),
        1 => (1_usize..6).prop_map(Fate::Returns),
        1 => Just(Fate::Waits),
        1 => Just(Fate::Short),
        1 => Just(Fate::Truncated),
        3 => Just(Fate::Heals),
    ]
}

type Step = ((u64, u64, u64, u64), usize, Fate);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (0..PAGES, 1_u64..24, 0_u64..6, 0_u64..3);
    prop::collection::vec((change, 1_usize..6, fate()), 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn never_silently_wrong(steps in steps()) {
        let mut kernel = Kernel::new();
        let mut model = Model::default();
        heal(&mut model, &kernel);
        let mut later: Vec<(usize, Vec<Words>)> = Vec::new();
        for ((lo, len, size, flags), most, fate) in steps {
            let range = kernel.change(lo, len, size, flags);
            let mut records = kernel.read(range, most);
            match fate {
                Fate::Arrives | Fate::Heals => {}
                Fate::Loses(part) => {
                    let part = part % records.len();
                    records.remove(part);
                    kernel.lost += 1;
                    for record in &mut records[part..] {
                        record[4] = kernel.lost;
                    }
                }
                Fate::Vanishes => records.clear(),
                Fate::Repeats => {
                    let again = records.clone();
                    records.extend(again);
                }
                Fate::Returns(after) => later.push((after, records.clone())),
                Fate::Waits => later.push((1, std::mem::take(&mut records))),
                Fate::Short => {
                    let last = records.last_mut().expect("a record");
                    last.pop();
                }
                Fate::Truncated => {
                    let last = records.last_mut().expect("a record");
                    *last = truncated(last);
                }
            }
            for (after, _) in &mut later {
                *after = after.saturating_sub(1);
            }
            if !matches!(fate, Fate::Waits) {
                records.extend(later.extract_if(.., |(after, _)| *after == 0).flat_map(|it| it.1));
            }
            for record in records {
                apply(&mut model, &record);
                check(&model, &kernel);
            }
            if matches!(fate, Fate::Heals) {
                heal(&mut model, &kernel);
            }
        }
        heal(&mut model, &kernel);
    }

    /// Bytes that no kernel writes. What passes for a record may be wrong, and cannot be known to
    /// be; but nothing panics, and the next reading puts it right that shows all losses.
    #[test]
    fn any_bytes_are_survived(
        steps in steps(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        every in 1_usize..6,
    ) {
        let mut kernel = Kernel::new();
        let mut model = Model::default();
        heal(&mut model, &kernel);
        for (step, ((lo, len, size, flags), most, _)) in steps.into_iter().enumerate() {
            let range = kernel.change(lo, len, size, flags);
            for mut record in kernel.read(range, most) {
                if step % every == 0 {
                    let bytes = record.as_mut_bytes();
                    for (index, value) in &flips {
                        bytes[index.index(bytes.len())] = *value;
                    }
                }
                apply(&mut model, &record);
            }
        }
        let mut spaces = model.spaces();
        let space = spaces.find(|space| space.mm() == support::MM);
        // A reading of before the losses that are known would put nothing right.
        kernel.lost = space.map_or(0, mmaptrace_model::Space::lost);
        drop(spaces);
        apply(&mut model, &kernel.seed());
        let space = model.spaces().find(|space| space.mm() == support::MM).expect("the space");
        prop_assert_eq!(space.doubt(), None);
        let truth: Vec<_> = kernel.regions.iter().map(parse).collect();
        prop_assert_eq!(space.map().iter().copied().collect::<Vec<_>>(), truth);
    }
}

/// The same record with half of its regions.
fn truncated(record: &Words) -> Words {
    let fixed = size_of::<record::Commit>();
    let bytes = record.as_bytes();
    let regions = (bytes.len() - fixed) / size_of::<Region>() / 2;
    let mut record = record[..(fixed + regions * size_of::<Region>()) / 8].to_vec();
    let bytes = record.as_mut_bytes();
    let size = bytes.len() as u32;
    bytes[4..8].copy_from_slice(&size.to_ne_bytes());
    let flags = u16::from_ne_bytes([bytes[2], bytes[3]]) | flag::TRUNCATED;
    bytes[2..4].copy_from_slice(&flags.to_ne_bytes());
    let count = std::mem::offset_of!(record::Commit, count);
    bytes[count..count + 4].copy_from_slice(&(regions as u32).to_ne_bytes());
    record
}

//! Three judges: random calls, done for real by a child, go through the model as the records that
//! the kernel's side would have sent. After each, the mirror is held against the child's own maps,
//! against a page table that only the effects have touched, and the effects against both maps.
#![cfg(target_os = "linux")]

mod calls;
mod child;
mod maps;
mod pages;
#[path = "../support/mod.rs"]
mod support;

use std::{collections::HashMap, fs};

use mmaptrace_common::record::{self, cause, flag, kind};
use mmaptrace_model::{Effect, Event, HeapRule, Model, Region, RegionName, effect, region::PAGE};

use calls::{Call, Given, Rng};
use child::Child;
use maps::{Keys, Line, join, parse, raws, widen};
use pages::{Pages, pages};
use support::{apply, commit, commit_words, header, seed_words, words};

const STEPS: usize = 2000;

#[test]
fn the_mirror_equals_maps_after_every_call() {
    let mut judge = Judge::start();
    let mut rng = Rng(0x9e37_79b9_7f4a_7c15);
    for step in 0..STEPS {
        let call = Call::random(&mut rng, &judge.given);
        judge.step(step, &call);
    }
    // The dice reached what they are there for.
    for kind in ["added", "removed", "replaced", "changed", "split", "merged", "brk", "failed"] {
        let times = judge.seen.get(kind).copied().unwrap_or(0);
        assert!(times >= 20, "{kind}: {times} times");
    }
}

struct Judge {
    child: Child,
    given: Given,
    model: Model,
    keys: Keys,
    id: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    heap: HeapRule,
    /// Touched by effects alone.
    pages: Pages,
    seen: HashMap<&'static str, u64>,
}

impl Judge {
    fn start() -> Self {
        // SAFETY: constant strings, ended by a NUL.
        let (memory_file, program_file) = unsafe {
            let memory = libc::memfd_create(c"judged".as_ptr(), 0);
            libc::ftruncate(memory, 16 * PAGE as i64);
            (memory, libc::open(c"/proc/self/exe".as_ptr(), libc::O_RDONLY))
        };
        assert!(memory_file >= 0 && program_file >= 0);
        let mut child = Child::start();
        let brk = child.call(libc::SYS_brk, [0; 6]) as u64;
        let stat = child.proc("stat");
        // The fields after the name, which is the second; proc_pid_stat(5) counts from 1.
        let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
        let fields: Vec<_> = fields.split(' ').collect();
        let field = |number: usize| fields[number - 3].parse().expect("a number");
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
        let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
        let mut number = || numbers.next().unwrap_or(0);
        let mut judge = Self {
            child,
            given: Given { memory_file, program_file, brk },
            model: Model::default(),
            keys: Keys::default(),
            id: 1000,
            start_brk: field(47),
            brk,
            start_stack: field(28),
            heap: HeapRule::of_kernel(number(), number()),
            pages: Pages::new(),
            seen: HashMap::new(),
        };
        let lines = judge.lines();
        let seed = seed_words(&judge.commit(&lines), &raws(&lines));
        let events = apply(&mut judge.model, &seed);
        let [Event::Commit { exact: true, effects, .. }] = &events[..] else {
            panic!("{events:?}")
        };
        assert!(effects.is_empty(), "of a first seed");
        judge.pages = pages(&judge.regions());
        judge
    }

    fn step(&mut self, step: usize, call: &Call) {
        let before = self.regions();
        let result = self.child.call(call.nr, call.args);
        if call.nr == libc::SYS_brk {
            self.brk = result as u64;
        }
        self.id += 2;
        let lines = self.lines();
        let mut touches = call.touches.clone();
        if call.returns != 0 && result > 0 {
            touches.push((result as u64, result as u64 + call.returns));
        }
        let mut commit = self.commit(&lines);
        (commit.nr, commit.args) = (call.nr as i32, call.args);
        let mut events = Vec::new();
        let ranges = join(touches.iter().map(|&range| widen(range, &lines)).collect());
        for (index, &(lo, hi)) in ranges.iter().enumerate() {
            (commit.lo, commit.hi) = (lo, hi);
            commit.header.flags &= !flag::MORE;
            if index + 1 < ranges.len() {
                commit.header.flags |= flag::MORE;
            }
            let read: Vec<_> =
                raws(&lines).into_iter().filter(|raw| raw.start < hi && raw.end > lo).collect();
            events.extend(apply(&mut self.model, &commit_words(&commit, &read)));
        }

        let told = format!("step {step}: call {} {:x?} = {result:#x}", call.nr, call.args);
        let [Event::Commit { effects, exact: true, brk, .. }] = &events[..] else {
            panic!("{told}: {events:#x?}")
        };
        let truth: Vec<_> = raws(&lines).iter().map(parse).collect();
        assert_eq!(self.regions(), truth, "{told}");
        assert_eq!(effect::apply(&before, effects), truth, "{told}: {effects:#x?}");
        for effect in effects {
            self.touch(effect);
        }
        assert!(self.pages == pages(&truth), "{told}: {effects:#x?}");
        self.names(&lines, &told);
        *self.seen.entry("brk").or_default() += u64::from(brk.is_some());
        *self.seen.entry("failed").or_default() += u64::from(result < 0);
        self.returns(call, result, &told);
    }

    /// The record of the call's return finds its commit.
    fn returns(&mut self, call: &Call, result: i64, told: &str) {
        let header = header(kind::CALL, 0);
        let (args, nr) = (call.args, call.nr as i32);
        let record = record::Call { header, args, result, nr, len: 0, ..record::Call::default() };
        let events = apply(&mut self.model, &words(&record, &[]));
        let [Event::Call { commits, .. }] = &events[..] else { panic!("{told}: {events:?}") };
        assert_eq!(commits[..], [self.id], "{told}");
    }

    /// Does to the page table what an effect says.
    fn touch(&mut self, effect: &Effect) {
        let what = match *effect {
            Effect::Added { pages: region, within } => {
                assert!(within.0 <= region.start && region.end <= within.1);
                for (page, is) in pages(&[region]) {
                    assert!(self.pages.insert(page, is).is_none(), "added twice");
                }
                "added"
            }
            Effect::Removed { pages: region, .. } => {
                for (page, was) in pages(&[region]) {
                    assert_eq!(self.pages.remove(&page), Some(was));
                }
                "removed"
            }
            Effect::Replaced { old, new } | Effect::Changed { old, new, .. } => {
                assert_eq!((old.start, old.end), (new.start, new.end));
                for (page, is) in pages(&[new]) {
                    let was = self.pages.insert(page, is);
                    assert_eq!(was, pages(&[old]).remove(&page));
                    assert_ne!(was, Some(is));
                }
                if matches!(effect, Effect::Replaced { .. }) { "replaced" } else { "changed" }
            }
            Effect::Split { at, was } => {
                assert!(was.0 < at && at < was.1);
                "split"
            }
            Effect::Merged { at, into } => {
                assert!(into.0 < at && at < into.1);
                "merged"
            }
        };
        *self.seen.entry(what).or_default() += 1;
    }

    fn names(&self, lines: &[Line], told: &str) {
        let space = self.model.spaces().next().expect("the one space");
        for (region, line) in space.map().iter().zip(lines) {
            let name = match space.name(region, self.model.names(), self.heap) {
                RegionName::None => Vec::new(),
                RegionName::Heap => b"[heap]".to_vec(),
                RegionName::Stack => b"[stack]".to_vec(),
                RegionName::Path(text) | RegionName::Special(text) => text.to_vec(),
                RegionName::Anon(text) => [b"[anon:", text, b"]"].concat(),
                RegionName::AnonShmem(text) => [b"[anon_shmem:", text, b"]"].concat(),
                RegionName::Unknown => b"?".to_vec(),
            };
            assert_eq!(String::from_utf8_lossy(&name), line.name, "{told}: {region:x?}");
        }
    }

    fn regions(&self) -> Vec<Region> {
        self.model.spaces().flat_map(|space| space.map().iter().copied()).collect()
    }

    /// The child's maps now; what names are new to the model are told to it.
    fn lines(&mut self) -> Vec<Line> {
        let mut names = Vec::new();
        let lines = self.keys.lines(&self.child.proc("smaps"), &mut names);
        for name in names {
            assert!(apply(&mut self.model, &name).is_empty());
        }
        lines
    }

    fn commit(&self, lines: &[Line]) -> record::Commit {
        let statm = self.child.proc("statm");
        let (total_vm, _) = statm.split_once(' ').expect("numbers");
        record::Commit {
            total_vm: total_vm.parse().expect("a number"),
            map_count: lines.len() as u32,
            start_brk: self.start_brk,
            brk: self.brk,
            start_stack: self.start_stack,
            cause: cause::CALL,
            ..commit(self.id)
        }
    }
}

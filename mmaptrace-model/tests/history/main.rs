//! The folds against the truth about every page: random calls of processes that fork, and after
//! each what the folds say.

#[path = "../support/mod.rs"]
mod support;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use mmaptrace_model::{
    Event,
    event::{Cause, SpaceId},
    history::{Ending, Exposure, How, Origin},
    region::PAGE,
};
use proptest::prelude::*;
use world::{EXEC, READ, WRITE, World, comm};

/// A step of a world.
#[derive(Clone, Debug)]
enum Step {
    Map { at: u64, len: u64, flags: u64, own: bool },
    Unmap { at: u64, len: u64 },
    Protect { at: u64, len: u64, flags: u64 },
    Remap { at: u64, len: u64, to: u64 },
    Fork,
}

fn step() -> impl Strategy<Value = Step> {
    let flags = prop::sample::select(vec![0, READ, READ | WRITE, READ | EXEC, READ | WRITE | EXEC]);
    let (at, len) = (0_u64..60, 1_u64..12);
    prop_oneof![
        5 => (at.clone(), len.clone(), flags.clone(), any::<bool>())
            .prop_map(|(at, len, flags, own)| Step::Map { at, len, flags, own }),
        3 => (at.clone(), len.clone()).prop_map(|(at, len)| Step::Unmap { at, len }),
        4 => (at.clone(), len.clone(), flags)
            .prop_map(|(at, len, flags)| Step::Protect { at, len, flags }),
        3 => (at, len, 100_u64..160).prop_map(|(at, len, to)| Step::Remap { at, len, to }),
        1 => Just(Step::Fork),
    ]
}

/// Does a step. Memory that is mapped as its `own` is at an offset that no other has; other memory
/// is not to be told from what was there.
fn take(world: &mut World, index: usize, tid: u32, number: u64, step: &Step) {
    match *step {
        Step::Map { at, len, flags, own } => {
            let pgoff = if own { 1000 * (number + 1) } else { at };
            world.map(index, tid, at, len, flags, pgoff);
        }
        Step::Unmap { at, len } => world.unmap(index, tid, at, len),
        Step::Protect { at, len, flags } => world.protect(index, tid, at, len, flags),
        // The kernel moves what is one region.
        Step::Remap { at, len, to } => {
            let pages = &world.processes[index].pages;
            if (at..at + len).all(|page| pages.contains_key(&page)) {
                world.remap(index, tid, at, len, to);
            }
        }
        Step::Fork if world.processes.len() < 4 => world.fork(index),
        Step::Fork => {}
    }
}

proptest! {
    #[test]
    fn every_page_has_its_origin(
        steps in prop::collection::vec((0_usize..4, 0_u32..3, step()), 1..40)
    ) {
        let mut world = World::new(20);
        for (number, (index, tid, step)) in steps.iter().enumerate() {
            let index = index % world.processes.len();
            take(&mut world, index, 101 + tid, number as u64, step);
            for process in &world.processes {
                for (&at, page) in &process.pages {
                    let origin = world.origins.at(process.space, at * PAGE).cloned();
                    let Origin { created, changed } = origin.unwrap_or_default();
                    let of = |space: SpaceId| {
                        world.processes.iter().find(|it| it.space == space).map(|it| it.pid)
                    };
                    let done = |deed: Option<std::sync::Arc<mmaptrace_model::history::Deed>>| {
                        deed.map(|deed| (of(deed.space).expect("a space"), deed.id))
                    };
                    prop_assert_eq!(
                        (done(created), done(changed)),
                        (page.created, page.changed),
                        "page {} of {} after {:?}", at, process.pid, step
                    );
                }
            }
        }
    }

    #[test]
    fn every_byte_is_accounted_for(
        steps in prop::collection::vec((0_usize..4, 0_u32..3, step()), 1..60)
    ) {
        let mut world = World::new(20);
        for (number, (index, tid, step)) in steps.iter().enumerate() {
            let index = index % world.processes.len();
            take(&mut world, index, 101 + tid, number as u64, step);
            let mut truth = BTreeMap::<_, (u64, u64)>::new();
            for process in &world.processes {
                for page in process.pages.values() {
                    let Some((tid, flags)) = page.site else { continue };
                    let sums = truth.entry((process.pid, comm(tid), flags)).or_default();
                    *(if page.flags == 0 { &mut sums.1 } else { &mut sums.0 }) += PAGE;
                }
            }
            let mut told = BTreeMap::new();
            for (site, figures) in world.growth.sites() {
                let (pid, comm, Some(kind)) = (site.pid, site.comm, site.pages) else { continue };
                prop_assert!(figures.peak >= figures.held && figures.churn >= figures.held);
                prop_assert!(figures.mapped >= figures.unmapped);
                let empty = figures.held + figures.reserved == 0;
                prop_assert_eq!(empty, figures.mapped == figures.unmapped);
                if !empty {
                    told.insert((pid, comm, kind.flags.0), (figures.held, figures.reserved));
                }
            }
            prop_assert_eq!(told, truth, "after {:?}", step);
        }
    }

    #[test]
    fn what_was_exposed_is_told(
        steps in prop::collection::vec((0_usize..4, 0_u32..3, step()), 1..40)
    ) {
        let mut world = World::new(20);
        let mut truth = BTreeSet::new();
        for (number, (index, tid, step)) in steps.iter().enumerate() {
            let index = index % world.processes.len();
            let before: Vec<_> = world.processes.iter().map(|it| it.pages.clone()).collect();
            take(&mut world, index, 101 + tid, number as u64, step);
            for (process, before) in world.processes.iter().zip(before) {
                for (&at, page) in &process.pages {
                    let was = before.get(&at);
                    let (w, x) = (page.flags & WRITE != 0, page.flags & EXEC != 0);
                    let fresh = was.is_none_or(|was| was.created != page.created);
                    if was == Some(page) {
                        continue;
                    }
                    // Pages that moved are what they were, and are both in a new place.
                    let moved = matches!(step, Step::Remap { .. });
                    if (fresh || moved) && page.changed.is_some() {
                        if w && x {
                            truth.insert((process.pid, at, How::Both));
                        }
                        continue;
                    }
                    let gained = fresh || was.is_some_and(|was| page.flags & !was.flags & 6 != 0);
                    if gained && w && x {
                        truth.insert((process.pid, at, How::Both));
                    } else if gained && x && page.written {
                        truth.insert((process.pid, at, How::WrittenFirst));
                    } else if gained && w && page.executed {
                        truth.insert((process.pid, at, How::ExecutedFirst));
                    }
                }
            }
        }
        let mut told = BTreeSet::new();
        for found in world.exposure.found() {
            let pid = world.processes.iter().find(|it| it.space == found.space).expect("it").pid;
            prop_assert_eq!(found.owner.map(|owner| owner.0), Some(pid));
            let pages = found.pages.start / PAGE..found.pages.end / PAGE;
            told.extend(pages.map(|at| (pid, at, found.how)));
        }
        prop_assert_eq!(told, truth);
    }
}

/// The causes of what was told of a space, and the ids of its commits.
fn told(world: &World, space: SpaceId) -> Vec<String> {
    let of = world.told.iter().filter(|(of, _)| *of == space);
    of.map(|(_, event)| match event {
        Event::Commit { cause: Cause::Call(call), effects, .. } => {
            format!("{} {}", call.nr, effects.len())
        }
        Event::Call { call, .. } => format!("{} returned", call.nr),
        Event::Fork { .. } => "fork".to_owned(),
        Event::Exit { status, .. } => format!("exit {}", status.unwrap_or_default()),
        other => format!("{other:?}"),
    })
    .collect()
}

#[test]
fn a_story_has_all_that_concerns_the_page_and_nothing_else() {
    let mut world = World::new(20);
    world.map(0, 101, 28, 4, READ | WRITE, 1000); // page 30 is in it
    world.map(0, 101, 50, 4, READ | WRITE, 2000);
    world.protect(0, 102, 30, 1, READ);
    world.protect(0, 102, 30, 1, READ); // which changes nothing, and is told
    world.protect(0, 102, 50, 1, READ);
    world.fork(0);
    world.unmap(0, 103, 28, 4);
    world.exit(0, 11);
    let [parent, child] = [0, 1].map(|index| world.processes[index].space);
    // Of the protection, an edge on each side and the page between them.
    let calls = ["9 1", "9 returned", "10 3", "10 returned", "10 returned"];
    let end = ["11 1", "11 returned", "exit 11"];
    assert_eq!(told(&world, parent), [&calls[..], &end].concat());
    assert_eq!(told(&world, child), ["fork"]);
    let tales = world.story.tales();
    assert_eq!(tales.len(), 2);
    assert!(!tales[&parent].mapped && tales[&child].mapped);
    assert_eq!(tales[&parent].last.map(|deed| deed.task.tid), Some(103));
    assert_eq!(tales[&parent].end.map(|(end, _)| end), Some(Ending::Exit(Some(11))));
    assert_eq!(tales[&child].last.map(|deed| deed.task.tid), Some(102));
    assert_eq!(tales[&child].parent, Some(parent));
    assert_eq!(tales[&child].owner.map(|task| task.pid), Some(201));
}

#[test]
fn a_leak_among_churn_comes_first() {
    let mut world = World::new(20);
    for round in 0..50 {
        world.map(0, 102, 200, 8, READ | WRITE, 1_000_000 + round * 100);
        world.map(0, 101, 1000 + 2 * round, 1, READ | WRITE, 5000 * round);
        world.unmap(0, 102, 200, 8);
    }
    world.map(0, 103, 5000, 4000, 0, 9_000_000); // addresses, no memory
    let sites = world.growth.sites();
    let (site, leak) = sites[0];
    assert_eq!(site.comm, comm(101), "{site:?}");
    assert_eq!((leak.held, leak.peak, leak.churn), (50 * PAGE, 50 * PAGE, 50 * PAGE));
    assert_eq!((leak.mapped, leak.unmapped, leak.lifetimes.mean()), (50, 0, None));
    let churn = sites.iter().find(|(_, it)| it.unmapped == 50).expect("the churn").1;
    assert_eq!((churn.held, churn.peak, churn.churn), (0, 8 * PAGE, 400 * PAGE));
    assert_eq!(churn.lifetimes.mean(), Some(20));
    assert_eq!(sites[1].1.reserved, 4000 * PAGE);
}

#[test]
fn splits_are_told_of_those_who_split() {
    let mut world = World::new(20);
    world.protect(0, 101, 5, 1, READ);
    world.unmap(0, 102, 12, 1);
    let splits = |name| {
        let sites = world.growth.sites().into_iter();
        let of = sites.filter(|(site, _)| site.comm == name);
        of.map(|(_, figures)| figures.splits).sum::<u64>()
    };
    assert_eq!((splits(comm(101)), splits(comm(102))), (2, 1));
    let population = world.growth.populations()[&world.processes[0].space];
    assert_eq!((population.now, population.peak), (4, 4));
}

#[test]
fn a_crowd_is_told_once_until_it_has_eased() {
    let mut world = World::new(1);
    let fill = |world: &mut World, range: std::ops::Range<u64>| {
        range.for_each(|at| world.map(0, 101, 2 * at, 1, READ, 77 * at));
        world.crowded.len()
    };
    assert_eq!(fill(&mut world, 1..15), 0);
    assert_eq!(fill(&mut world, 15..20), 1);
    assert_eq!((world.crowded[0].regions, world.crowded[0].limit), (16, 20));
    world.unmap(0, 101, 30, 10);
    assert_eq!(fill(&mut world, 15..20), 1, "15 of 20 are not few enough");
    world.unmap(0, 101, 20, 20);
    assert_eq!(fill(&mut world, 10..20), 2);
}

#[test]
fn a_personality_is_told() {
    let mut world = World::new(1);
    let call = world::Call { tid: 101, nr: world::MPROTECT, args: [0, PAGE, READ, 0, 0, 0] };
    world.call(0, call, |pages, done| {
        let page = pages.get_mut(&0).expect("it");
        (page.flags, page.changed) = (READ | EXEC, Some(done));
    });
    let [found] = world.exposure.found() else { panic!("{:?}", world.exposure.found()) };
    assert!(found.implied && found.how == How::WrittenFirst && found.first.is_none());
    let call = world::Call { tid: 101, nr: world::MMAP, args: [0, PAGE, READ, 0x22, 0, 0] };
    world.call(0, call, |pages, _| {
        let page = pages[&0].clone();
        pages.insert(9, page);
    });
    let [_, found] = world.exposure.found() else { panic!("{:?}", world.exposure.found()) };
    assert!(found.implied && found.how == How::Implied);
}

/// A past that begins in the middle: what a tracer still remembers.
#[test]
fn what_was_there_before_the_first_event_has_no_maker() {
    let mut world = World::new(1);
    world.map(0, 101, 10, 4, READ | WRITE | EXEC, 1000);
    world.map(0, 101, 20, 1, READ | WRITE, 2000);
    world.exposure = Exposure::default();
    world.protect(0, 101, 11, 1, READ);
    world.protect(0, 101, 20, 1, READ | EXEC);
    let space = world.processes[0].space;
    let found: Vec<_> = world.exposure.found().iter().collect();
    let told = |how, start: u64, end: u64| {
        found.iter().any(|it| {
            (it.how, it.pages.start, it.pages.end) == (how, start * PAGE, end * PAGE)
                && it.first.is_none()
                && it.second.is_some() == (how == How::WrittenFirst)
        })
    };
    let both = [(10, 11), (11, 12), (12, 14)];
    assert!(both.iter().all(|&(start, end)| told(How::Both, start, end)), "{found:#?}");
    assert!(told(How::WrittenFirst, 20, 21) && found.len() == 4, "{found:#?}");
    world.exposure = Exposure::default();
    world.exposure.meet(space, &world.model);
    assert_eq!(world.exposure.found().len(), 2);
}

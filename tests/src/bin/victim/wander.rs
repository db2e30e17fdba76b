//! A walk: a few changes, then it stands still until it is let go on, again and again.

use crate::{
    storm::Random,
    sys::{ANON, Case, Outcome, PAGE, R, RW, call, mmap, mprotect, munmap, must, open_self},
    sys::{ready, say, wait},
};

pub(crate) const CASES: &[Case] = &[("wander", wander)];

/// How often it stands still.
const HALTS: usize = 100;
/// Changes from one halt to the next.
const CHANGES: usize = 20;
/// Areas that it keeps at most.
const AREAS: usize = 60;

fn wander() -> Outcome {
    let file = open_self();
    let mut random = Random(1);
    let mut areas: Vec<(usize, usize)> = Vec::with_capacity(AREAS);
    ready();
    for halt in 1..=HALTS {
        for _ in 0..CHANGES {
            if areas.len() < AREAS && random.below(3) > 0 {
                areas.push(new_area(&mut random, file));
            } else if !areas.is_empty() {
                let area = areas.swap_remove(random.below(areas.len()));
                areas.extend(change(&mut random, area));
            }
        }
        if halt < HALTS {
            say("DONE");
            wait();
        }
    }
    Ok(())
}

/// An address and pages.
fn new_area(random: &mut Random, file: i32) -> (usize, usize) {
    let pages = 1 + random.below(16);
    let (prot, flags, fd) = match random.below(4) {
        0 => (R, libc::MAP_PRIVATE, file),
        1 => (RW, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1),
        _ => (RW, ANON, -1),
    };
    (must(mmap(0, pages * PAGE, prot, flags, fd, 0)), pages)
}

/// Changes an area, and tells what is left of it.
fn change(random: &mut Random, (at, pages): (usize, usize)) -> Option<(usize, usize)> {
    let from = random.below(pages);
    let part = (at + from * PAGE, (1 + random.below(pages - from)) * PAGE);
    match random.below(6) {
        0 => {
            must(munmap(at, pages * PAGE));
            return None;
        }
        1 => {
            must(munmap(part.0, part.1));
            // Of the rest, the first pages are kept in mind.
            return (from > 0).then_some((at, from));
        }
        2 => drop(mprotect(part.0, part.1, libc::PROT_NONE)),
        3 => drop(call(libc::SYS_madvise, [part.0, part.1, libc::MADV_DONTDUMP as usize])),
        4 => {
            let sizes = [pages * PAGE, 2 * pages * PAGE];
            let flags = libc::MREMAP_MAYMOVE as usize;
            // It is refused where the area was cut in pieces.
            let moved = call(libc::SYS_mremap, [at, sizes[0], sizes[1], flags]);
            return Some(moved.map_or((at, pages), |at| (at, 2 * pages)));
        }
        _ => {
            let name = [c"wander a", c"wander b"][random.below(2)].as_ptr().expose_provenance();
            let operation = [libc::PR_SET_VMA as usize, libc::PR_SET_VMA_ANON_NAME as usize];
            // It is refused for files, and by kernels that have no such names.
            let _ = call(libc::SYS_prctl, [operation[0], operation[1], part.0, part.1, name]);
        }
    }
    Some((at, pages))
}

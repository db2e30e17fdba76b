//! A program to be traced: one case of what changes an address space, named by its first argument.
//!
//! A case prepares what it needs, says `READY`, and waits for a byte on standard input; does its
//! work; says `DONE`, or `UNSUPPORTED call errno` if this kernel lacks the call, and stands still
//! until the next byte or the end of standard input. Children it leaves running it tells of as
//! `CHILD pid`. `victim cases` lists the cases.
#![expect(
    clippy::unnecessary_wraps,
    reason = "a case that no kernel lacks has the type of those that one may lack"
)]

mod advise;
mod aside;
mod brk;
mod compat;
mod deeds;
mod files;
mod fuse;
mod growth;
mod image;
mod layout;
mod lock;
mod map;
mod mounts;
mod protect;
mod remap;
mod ring;
mod special;
mod stacks;
mod storm;
mod sys;
mod tasks;
mod threads;
mod unmap;
mod wander;

use sys::{Case, Outcome, say};

const CASES: &[&[Case]] = &[
    advise::CASES,
    aside::CASES,
    brk::CASES,
    compat::CASES,
    deeds::CASES,
    files::CASES,
    fuse::CASES,
    growth::CASES,
    image::CASES,
    layout::CASES,
    lock::CASES,
    map::CASES,
    mounts::CASES,
    protect::CASES,
    remap::CASES,
    special::CASES,
    stacks::CASES,
    storm::CASES,
    tasks::CASES,
    threads::CASES,
    unmap::CASES,
    wander::CASES,
];

fn main() {
    let name = std::env::args().nth(1).unwrap_or_default();
    if name == "cases" {
        CASES.iter().copied().flatten().for_each(|(name, _)| say(name));
        return;
    }
    let case = CASES.iter().copied().flatten().find(|(case, _)| *case == name);
    let Some((_, case)) = case else { panic!("no case {name:?}; `cases` lists them") };
    finish(case());
}

/// Says how it went, and waits to be let go.
fn finish(outcome: Outcome) -> ! {
    match outcome {
        Ok(()) => say("DONE"),
        Err(unsupported) => {
            say(&format!("UNSUPPORTED {} {}", unsupported.call, unsupported.errno));
        }
    }
    sys::wait();
    sys::exit(0);
}

//! A program to be traced that makes every call of the table, at random or as a file says, from
//! many threads, children and images: see `mmaptrace_tests::torture`.
//!
//! Says `READY` and waits; then, after each phase, tells of its living children (`CHILD pid`) and
//! says `STILL` and how many calls were made, and stands still, they too, until a byte comes; at the end it says `DONE`. From
//! the moment it is ready it neither allocates nor frees: what its address space becomes is what
//! its calls do, and its heap is theirs.

mod carry;
mod children;
mod place;
mod say;
mod signals;

use std::sync::{Barrier, atomic::Ordering};

use mmaptrace_tests::torture::{At, Script, Setting};

use crate::{
    carry::{Sequence, carry_out},
    place::{By, Place},
};

fn main() {
    let setting = Setting::from_args(std::env::args().skip(1)).expect("the arguments of a torture");
    let setting: &'static Setting = Box::leak(Box::new(setting));
    let script = setting.script.as_ref().map(|path| {
        let text = std::fs::read_to_string(path).expect("the file of calls");
        // A child's image needs no more than what is for it, and there are many.
        let is_wanted = |at: At| match setting.child {
            Some(start) => (at.phase, at.thread) == (start.phase, start.thread),
            None => true,
        };
        let script = Script::parse(&text, |at| at.image == setting.image && is_wanted(at));
        &*Box::leak(Box::new(script.expect("calls")))
    });
    let place = Place::prepare(setting);
    if let Some(start) = setting.child {
        let mut sequence = Sequence::new(setting, script, start.phase, start.thread);
        sequence.skip_to(start.index);
        carry_out(place.worker(0), sequence, true);
        children::end(0);
    }
    if setting.image == 0 {
        say::line(format_args!("READY"));
        say::wait();
    }
    let barrier = Barrier::new(setting.threads as usize);
    let work = |thread| work(setting, script, &place, thread, &barrier);
    std::thread::scope(|scope| {
        for thread in 1..setting.threads {
            scope.spawn(move || work(thread));
        }
        work(0);
    });
}

/// All that a thread does.
fn work(
    setting: &'static Setting,
    script: Option<&'static Script>,
    place: &Place,
    thread: u64,
    barrier: &Barrier,
) {
    for phase in 0..setting.phases {
        barrier.wait();
        carry_out(place.worker(thread), Sequence::new(setting, script, phase, thread), false);
        barrier.wait();
        if thread == 0 {
            children::stand_still(place);
            say::line(format_args!("STILL {}", place::made().load(Ordering::Relaxed)));
            say::wait();
        }
    }
    barrier.wait();
    // Any thread begins the next image: the others end, and it becomes the first.
    let next = setting.image + 1;
    if thread != next % setting.threads {
        loop {
            std::thread::park();
        }
    }
    children::kill_all(place);
    if next < setting.images {
        place.worker(thread).execute(&Setting { image: next, script: None, ..*setting }, By::Path);
    }
    say::line(format_args!("DONE"));
    say::wait();
    children::end(0);
}

//! Threads: one address space, whoever of them runs.

use std::thread::ScopedJoinHandle;

use crate::sys::{
    ANON, Case, Outcome, PAGE, R, RW, area, call, mmap, mprotect, munmap, must, ready, say, touch,
};

pub(crate) const CASES: &[Case] = &[
    ("threads_map", map),
    ("threads_come_and_go", come_and_go),
    ("main_thread_exits", main_exits),
];

/// Runs `work` in so many threads at once, with the number of each. When it returns they are gone.
pub(crate) fn together(count: usize, work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || work(number))).collect();
        join(threads);
    });
}

/// Waits until threads are gone: the end of a scope does not wait until they have given back the stacks
/// they take signals on.
pub(crate) fn join(threads: Vec<ScopedJoinHandle<'_, ()>>) {
    for thread in threads {
        thread.join().expect("a thread");
    }
}

/// Eight of them, each with mappings of its own, and some that outlive it.
fn map() -> Outcome {
    ready();
    together(8, |thread| {
        for round in 1..=50 {
            let at = must(mmap(0, (thread + 2) * PAGE, RW, ANON, -1, 0));
            touch(at);
            must(mprotect(at, PAGE, R));
            if round % 10 != 0 {
                must(munmap(at, (thread + 2) * PAGE));
            }
        }
    });
    Ok(())
}

/// Their stacks are mapped by the C library, which keeps some.
fn come_and_go() -> Outcome {
    ready();
    for _ in 0..5 {
        let map = || must(mmap(0, PAGE, RW, ANON, -1, 0));
        let threads: Vec<_> = (0..20).map(|_| std::thread::spawn(map)).collect();
        for thread in threads {
            thread.join().expect("a thread");
        }
    }
    Ok(())
}

/// `/proc/PID/maps` is empty from then on; the address space lives in the other thread, which the
/// test is told of as a child.
fn main_exits() -> Outcome {
    let at = area(9);
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        ready();
        tell.send(()).expect("the main thread waits");
        let status = format!("/proc/{}/stat", std::process::id());
        while !std::fs::read_to_string(&status).expect("stat").contains(") Z ") {
            std::thread::yield_now();
        }
        must(munmap(at + 2 * PAGE, PAGE));
        say(&format!("CHILD {}", must(call(libc::SYS_gettid, []))));
        say("DONE");
        crate::sys::wait();
        crate::sys::exit(0);
    });
    told.recv().expect("the thread lives");
    must(call(libc::SYS_exit, [0]));
    Ok(())
}

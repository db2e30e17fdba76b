//! Many changes, fast, by many.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mmaptrace_tests::{is_emulated, often};

use crate::sys::{
    ANON, Case, Outcome, PAGE, R, RW, area, call, mmap, mprotect, munmap, must, open_self, ready,
    say, touch,
};
use crate::threads::{join, together};

pub(crate) const CASES: &[Case] = &[
    ("storm_same_addresses", same_addresses),
    ("storm_mixed", mixed),
    ("storm_one_arena", one_arena),
    ("storm_without_end", arena_without_end),
    ("storm_without_its_main_thread", arena_without_main_thread),
    ("torrent", torrent),
    ("flood", flood),
    ("climb", climb),
    ("many_regions", many_regions),
    ("crowd", crowd),
    ("all_regions", all_regions),
    ("hostile_name", hostile_name),
    ("hostile_markup", hostile_markup),
    ("stand_still", stand_still),
];

/// So many threads contend.
const THREADS: usize = 32;

/// Runs `work` in all threads at once, [`often`]: of thread number and round.
fn storm(rounds: usize, work: impl Fn(usize, usize) + Sync) {
    let rounds = often(rounds);
    let start = Barrier::new(THREADS);
    together(THREADS, |thread| {
        start.wait();
        (0..rounds).for_each(|round| work(thread, round));
    });
}

/// What one thread gives back, the next is given: exits come in another order than the changes.
fn same_addresses() -> Outcome {
    ready();
    storm(1000, |_, _| {
        let at = must(mmap(0, 2 * PAGE, RW, ANON, -1, 0));
        must(munmap(at, 2 * PAGE));
    });
    Ok(())
}

/// A sequence that looks random, the same each time for each thread.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // Knuth's MMIX generator; its high bits are the good ones.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

fn advise(at: usize, len: usize, advice: i32) -> Result<usize, i32> {
    call(libc::SYS_madvise, [at, len, advice as usize])
}

fn lock(at: usize, len: usize) -> Result<usize, i32> {
    call(libc::SYS_mlock2, [at, len, libc::MLOCK_ONFAULT as usize])
}

/// All the calls there are, each thread in areas of its own, each area near the others'.
fn mixed() -> Outcome {
    let file = open_self();
    ready();
    storm(300, |thread, round| {
        let mut random = Random((thread * 1000 + round) as u64);
        let pages = 2 + random.below(30);
        let (prot, flags, fd) = match random.below(4) {
            0 => (R, libc::MAP_PRIVATE, file),
            1 => (RW, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1),
            2 => (RW, ANON | libc::MAP_POPULATE, -1),
            _ => (RW, ANON, -1),
        };
        let at = must(mmap(0, pages * PAGE, prot, flags, fd, 0));
        let from = random.below(pages - 1);
        let part = (at + from * PAGE, (1 + random.below(pages - from)) * PAGE);
        let gone = match random.below(6) {
            0 => must(mprotect(part.0, part.1, libc::PROT_NONE)) != 0,
            1 => must(mmap(part.0, part.1, R, ANON | libc::MAP_FIXED, -1, 0)) == 0,
            2 => must(munmap(part.0, part.1)) == 0,
            3 => advise(part.0, part.1, libc::MADV_DONTDUMP) != Ok(0),
            4 => lock(part.0, part.1) != Ok(0),
            _ => {
                let target = must(mmap(0, part.1, libc::PROT_NONE, ANON, -1, 0));
                let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as usize;
                must(call(libc::SYS_mremap, [part.0, part.1, part.1, flags, target])) == target
            }
        };
        // The room of what is gone may be another thread's by now.
        let (tail, end) = (part.0 + part.1, at + pages * PAGE);
        if gone {
            let _ = munmap(at, part.0 - at);
            let _ = munmap(tail, end - tail);
        } else if random.below(8) != 0 {
            must(munmap(at, end - at));
        }
    });
    Ok(())
}

/// Pages that many change at a time.
const ARENA: usize = 64;

/// Makes a call somewhere in the arena at `at`. That it may fail, over a hole that another has made, is
/// the point.
fn disturb(at: usize, thread: usize, round: usize) {
    let mut random = Random((thread * 7919 + round) as u64);
    let from = random.below(ARENA - 1);
    let (start, len) = (at + from * PAGE, (1 + random.below((ARENA - from).min(16))) * PAGE);
    let fixed = ANON | libc::MAP_FIXED;
    let _ = match random.below(6) {
        0 => munmap(start, len),
        1 => mmap(start, len, RW, fixed | libc::MAP_POPULATE, -1, 0),
        2 => mmap(start, len, R, fixed, -1, 0),
        3 => mmap(start, len, RW, ANON | libc::MAP_FIXED_NOREPLACE, -1, 0),
        4 => mprotect(start, len, if round.is_multiple_of(2) { R } else { RW }),
        _ => advise(start, len, libc::MADV_DONTFORK),
    };
}

/// All in the same few pages: nobody knows what is there when its call comes to it.
fn one_arena() -> Outcome {
    let at = area(ARENA);
    ready();
    storm(500, |thread, round| disturb(at, thread, round));
    Ok(())
}

/// The same by four, from the moment it says so until the test lets it go: without a pause, but where
/// machines are so slow that a tracer would not keep up.
fn arena_without_end() -> Outcome {
    static STOP: AtomicBool = AtomicBool::new(false);
    let at = area(ARENA);
    let pause = is_emulated().then_some(Duration::from_millis(5));
    // What a thread maps when it starts would else lie in a hole that another has made.
    let start = &Barrier::new(5);
    ready();
    std::thread::scope(|scope| {
        let disturbs = |thread| {
            scope.spawn(move || {
                start.wait();
                let calls = (0..).take_while(|_| !STOP.load(Ordering::Relaxed));
                calls.for_each(|round| {
                    disturb(at, thread, round);
                    pause.into_iter().for_each(std::thread::sleep);
                });
            })
        };
        let threads = (0..4).map(disturbs).collect();
        start.wait();
        say("STORM");
        crate::sys::wait();
        STOP.store(true, Ordering::Relaxed);
        join(threads);
    });
    Ok(())
}

/// The same in a process that is a zombie by its looks.
fn arena_without_main_thread() -> Outcome {
    std::thread::spawn(|| {
        let _ = arena_without_end();
        say("DONE");
        crate::sys::wait();
        crate::sys::exit(0);
    });
    must(call(libc::SYS_exit, [0]));
    Ok(())
}

/// By one, without a pause; it leaves nothing behind, so that the smallest buffer has room for a
/// picture.
fn torrent() -> Outcome {
    ready();
    for _ in 0..50_000 {
        let at = must(mmap(0, 2 * PAGE, RW, ANON, -1, 0));
        must(munmap(at, 2 * PAGE));
    }
    Ok(())
}

/// Never done: changes all the time, from the moment it says so, until the test lets it go; at a
/// pace that two tracers keep up with, however slow the machine: a thousand calls a second, and no
/// more than a twentieth of each thread's time.
fn flood() -> Outcome {
    static STOP: AtomicBool = AtomicBool::new(false);
    let pause = Duration::from_millis(10);
    ready();
    std::thread::scope(|scope| {
        let flows = |_| {
            scope.spawn(|| {
                while !STOP.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    let at = must(mmap(0, 4 * PAGE, RW, ANON, -1, 0));
                    must(mprotect(at + PAGE, PAGE, R));
                    std::thread::sleep(pause.max(20 * start.elapsed()));
                    must(munmap(at, 4 * PAGE));
                }
            })
        };
        let threads = (0..4).map(flows).collect();
        say("FLOOD");
        crate::sys::wait();
        STOP.store(true, Ordering::Relaxed);
        join(threads);
    });
    Ok(())
}

/// Makes every other page of two ranges readable, one after the other, each first in the upper range
/// and then in the lower one, until the test lets it go: whoever sees both can tell how far it was,
/// and whether they were seen at one moment. It says where they are.
fn climb() -> Outcome {
    static STOP: AtomicBool = AtomicBool::new(false);
    const PAGES: usize = 8_000;
    let at = must(mmap(0, 2 * PAGES * PAGE, libc::PROT_NONE, ANON | libc::MAP_NORESERVE, -1, 0));
    ready();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for page in (0..PAGES - 1).step_by(2) {
                must(mprotect(at + (PAGES + page) * PAGE, PAGE, R));
                must(mprotect(at + page * PAGE, PAGE, R));
                std::thread::sleep(Duration::from_millis(1));
                if STOP.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        say(&format!("CLIMB {at:x}"));
        crate::sys::wait();
        STOP.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// Twenty thousand of them. The lock on every other keeps them apart.
fn many_regions() -> Outcome {
    const PAGES: usize = 20_000;
    let at = must(mmap(0, PAGES * PAGE, RW, ANON | libc::MAP_NORESERVE, -1, 0));
    for page in (0..PAGES).step_by(2) {
        must(mprotect(at + page * PAGE, PAGE, R));
    }
    ready();
    for page in (1..PAGES).step_by(500) {
        must(munmap(at + page * PAGE, PAGE));
    }
    touch(at + 3 * PAGE);
    Ok(())
}

/// How many regions a process may have.
fn limit() -> usize {
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").expect("the limit");
    limit.trim().parse().expect("a number")
}

/// More than 80 % of `vm.max_map_count` regions, then less than 75 %, and all again.
fn crowd() -> Outcome {
    let limit = limit();
    let at = must(mmap(0, limit * PAGE, RW, ANON | libc::MAP_NORESERVE, -1, 0));
    let set = |pages: std::ops::Range<usize>, prot| {
        for page in pages.step_by(2) {
            must(mprotect(at + page * PAGE, PAGE, prot));
        }
    };
    ready();
    let (few, many) = (limit * 7 / 20 * 2, limit * 17 / 40 * 2);
    set(1..many, R);
    set(few..many, RW);
    set(few + 1..many, RW);
    set(few + 1..many, R);
    Ok(())
}

/// As many regions as there may be, and a try at one more.
fn all_regions() -> Outcome {
    let pages = limit() / 2 * 2 + 4000;
    let at = must(mmap(0, pages * PAGE, RW, ANON | libc::MAP_NORESERVE, -1, 0));
    ready();
    let mut others = (1..pages).step_by(2);
    let refused = others.find_map(|page| mprotect(at + page * PAGE, PAGE, R).err());
    assert_eq!(refused, Some(libc::ENOMEM));
    // There may be one or none left: two are too many.
    assert_eq!(
        munmap(at + (pages - 3) * PAGE, PAGE).and(munmap(at + (pages - 5) * PAGE, PAGE)),
        Err(libc::ENOMEM)
    );
    must(munmap(at, 100 * PAGE));
    Ok(())
}

/// A process whose name would break a terminal or a line of JSON.
fn hostile_name() -> Outcome {
    let name = c"\x1b[2J\"\n\\\x07\xff}{";
    must(call(libc::SYS_prctl, [libc::PR_SET_NAME as usize, name.as_ptr().expose_provenance()]));
    let fd = crate::sys::file(b"\x1b]0;title\x07\n\"},{\xff", 4);
    ready();
    must(mmap(0, 2 * PAGE, R, libc::MAP_PRIVATE, fd, 0));
    Ok(())
}

/// A process and a file whose names would be elements of a page, columns of a table and frames of a
/// stack.
fn hostile_markup() -> Outcome {
    let name = c"<b>;a,\"='& 1";
    must(call(libc::SYS_prctl, [libc::PR_SET_NAME as usize, name.as_ptr().expose_provenance()]));
    let name = c"</script><img src=x onerror=\"document.title='gone'\">;,\n=1";
    let fd = must(call(libc::SYS_memfd_create, [name.as_ptr().expose_provenance(), 0])) as i32;
    ready();
    let at = must(mmap(0, 2 * PAGE, R, libc::MAP_PRIVATE, fd, 0));
    must(munmap(at + PAGE, PAGE));
    Ok(())
}

/// Does nothing; for tests of what the tracer does.
fn stand_still() -> Outcome {
    ready();
    must(mmap(0, PAGE, RW, ANON, -1, 0));
    Ok(())
}

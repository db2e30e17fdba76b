//! Programs that write down what they do to their address space: who did it, by which call, and
//! from which function. The test holds the tracer's answers against that.

use std::{
    fs::File,
    io::Write as _,
    sync::{Barrier, Mutex, MutexGuard},
};

use crate::{
    stacks::{self, Call, stacks_inner, stacks_middle, stacks_outer},
    sys::{
        ANON, Case, Outcome, PAGE, R, RW, area, call, if_supported, must, ready, scratch, touch,
    },
};

pub(crate) const CASES: &[Case] = &[
    ("deeds_logged", logged),
    ("deeds_leak", leak),
    ("deeds_exposed", exposed),
    ("deeds_between", between),
    ("deeds_crash", crash),
];

/// Pages that the threads of [`logged`] fight over.
const ARENA: usize = 12;
const RX: i32 = libc::PROT_READ | libc::PROT_EXEC;

/// A file with a line for each deed: the thread, how many functions deep it made the call, its
/// number and its arguments, what it returned.
struct Log(Mutex<File>);

/// The right to do something, while nobody else does anything.
struct Turn<'a>(MutexGuard<'a, File>);

impl Log {
    fn new() -> Self {
        Self(Mutex::new(File::create(scratch().join("log")).expect("a file")))
    }

    fn take(&self) -> Turn<'_> {
        Turn(self.0.lock().expect("no thread panicked"))
    }

    fn act<const N: usize>(&self, depth: usize, nr: i64, args: [usize; N]) -> isize {
        self.take().act(depth, nr, args)
    }

    /// Does what no kernel lacks.
    fn must<const N: usize>(&self, depth: usize, nr: i64, args: [usize; N]) -> usize {
        let result = self.act(depth, nr, args);
        usize::try_from(result).unwrap_or_else(|_| panic!("call {nr}: {result}"))
    }
}

impl Turn<'_> {
    /// Does it and writes it down.
    fn act<const N: usize>(&mut self, depth: usize, nr: i64, args: [usize; N]) -> isize {
        let args = stacks::call(nr, args);
        let result = at_depth(depth)(&args);
        let tid = must(call(libc::SYS_gettid, []));
        let args: Vec<_> = args.iter().map(usize::to_string).collect();
        writeln!(self.0, "{tid} {depth} {} {result}", args.join(" ")).expect("a line");
        result
    }
}

fn is_mapped(at: usize) -> bool {
    let mut there = 0_u8;
    call(libc::SYS_mincore, [at, PAGE, (&raw mut there).expose_provenance()]).is_ok()
}

fn at_depth(depth: usize) -> fn(&Call) -> isize {
    match depth {
        2 => |call| stacks_inner(call),
        3 => |call| stacks_middle(call),
        _ => |call| stacks_outer(call),
    }
}

/// Names the calling thread.
fn call_me(name: &'static core::ffi::CStr) {
    let name = name.as_ptr().expose_provenance();
    must(call(libc::SYS_prctl, [libc::PR_SET_NAME as usize, name]));
}

/// Three threads that map, protect, move and unmap the pages of one arena at random.
fn logged() -> Outcome {
    let arena = area(ARENA);
    let log = Log::new();
    log.act(4, libc::SYS_mprotect, [arena, ARENA * PAGE, RW as usize]);
    ready();
    let fixed = ANON | libc::MAP_FIXED;
    let names = [c"one", c"two", c"three"];
    // The stack for signals that a thread starts with must not come to lie in a hole of the arena.
    let started = Barrier::new(names.len());
    std::thread::scope(|scope| {
        for (thread, name) in names.into_iter().enumerate() {
            let (log, started) = (&log, &started);
            scope.spawn(move || {
                call_me(name);
                started.wait();
                let mut seed = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(thread as u64 + 1);
                let mut random = |below: usize| {
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    (seed % below as u64) as usize
                };
                for _ in 0..60 {
                    // What is seen is so until it is done.
                    let mut log = log.take();
                    let first = random(ARENA);
                    let pages = 1 + random((ARENA - first).min(4));
                    let (at, length) = (arena + first * PAGE, pages * PAGE);
                    let to = arena + random(ARENA - pages + 1) * PAGE;
                    let prot = [0, R, RW][random(3)] as usize;
                    let depth = 2 + random(3);
                    match random(5) {
                        0 => log.act(depth, libc::SYS_munmap, [at, length]),
                        1 => log.act(depth, libc::SYS_mprotect, [at, length, prot]),
                        2 if is_mapped(at) => {
                            let how = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as usize;
                            log.act(depth, libc::SYS_mremap, [at, PAGE, PAGE, how, to])
                        }
                        _ => {
                            let args = [at, length, prot, fixed as usize, usize::MAX, 0];
                            log.act(depth, libc::SYS_mmap, args)
                        }
                    };
                }
            });
        }
    });
    Ok(())
}

/// One thread that keeps what it maps, and one that maps much more and keeps nothing; and cuts a
/// region to pieces.
fn leak() -> Outcome {
    let log = Log::new();
    let cut = area(400);
    ready();
    std::thread::scope(|scope| {
        let log = &log;
        let new = |depth, pages| {
            let args = [0, pages * PAGE, RW as usize, ANON as usize, usize::MAX, 0];
            log.must(depth, libc::SYS_mmap, args)
        };
        scope.spawn(move || {
            call_me(c"leaker");
            for _ in 0..300 {
                touch(new(4, 16));
            }
        });
        scope.spawn(move || {
            call_me(c"churner");
            for _ in 0..100 {
                let at = new(3, 2000);
                log.act(3, libc::SYS_munmap, [at, 2000 * PAGE]);
            }
            // Twice as many cuts as unmapping can make between what both threads have mapped.
            for page in 0..100 {
                log.act(2, libc::SYS_mprotect, [cut + 4 * page * PAGE, PAGE, 0]);
            }
        });
    });
    Ok(())
}

/// Every way to memory that is writable and executable.
fn exposed() -> Outcome {
    let log = Log::new();
    let file = crate::sys::file(b"code", 1) as usize;
    ready();
    let new = |depth, prot: i32| {
        let args = [0, PAGE, prot as usize, ANON as usize, usize::MAX, 0];
        log.must(depth, libc::SYS_mmap, args)
    };
    // At once; one after the other; with a key; over what was executable before.
    new(4, RW | RX);
    let at = new(3, RW);
    log.must(2, libc::SYS_mprotect, [at, PAGE, RX as usize]);
    let at = new(2, RW);
    log.must(3, libc::SYS_pkey_mprotect, [at, PAGE, RX as usize, usize::MAX]);
    let at = new(3, RX);
    log.must(4, libc::SYS_mprotect, [at, PAGE, RW as usize]);
    // A file, writable here and executable there.
    let shared = libc::MAP_SHARED as usize;
    log.must(4, libc::SYS_mmap, [0, PAGE, RW as usize, shared, file, 0]);
    log.must(3, libc::SYS_mmap, [0, PAGE, RX as usize, shared, file, 0]);
    // Nobody asks for it to be executable, and it is.
    let personality = if_supported("personality", call(libc::SYS_personality, [0xffff_ffff]))?;
    let implied = personality | libc::READ_IMPLIES_EXEC as usize;
    must(call(libc::SYS_personality, [implied]));
    new(2, RW);
    new(4, R);
    must(call(libc::SYS_personality, [personality]));
    Ok(())
}

/// Two moments, and between them something new, something gone, something larger, and something of
/// another protection. Stands still after each.
fn between() -> Outcome {
    let log = Log::new();
    let at = area(40);
    let none = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as usize;
    // Room on all sides.
    must(call(libc::SYS_munmap, [at, 40 * PAGE]));
    let map = |page: usize, pages: usize| {
        let args = [at + page * PAGE, pages * PAGE, RW as usize, none, usize::MAX, 0];
        log.must(4, libc::SYS_mmap, args)
    };
    map(1, 2);
    map(10, 3);
    map(20, 4);
    ready();
    map(30, 5);
    log.act(3, libc::SYS_munmap, [at + PAGE, 2 * PAGE]);
    map(13, 6);
    log.act(2, libc::SYS_mprotect, [at + 21 * PAGE, PAGE, R as usize]);
    Ok(())
}

/// One thread takes away what another uses.
fn crash() -> Outcome {
    let log = Log::new();
    let at = area(4);
    ready();
    let turn = Barrier::new(2);
    std::thread::scope(|scope| {
        let (log, turn) = (&log, &turn);
        scope.spawn(move || {
            call_me(c"worker-2");
            log.act(4, libc::SYS_munmap, [at, 4 * PAGE]);
            turn.wait();
        });
        turn.wait();
        touch(at + 0x1234);
    });
    Ok(())
}

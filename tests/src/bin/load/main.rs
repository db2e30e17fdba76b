//! What benchmarks trace: one kind of call in a loop, which times itself.
//!
//! `load KIND OPERATIONS [THREADS]` runs and prints one line: ns an operation took, by the clock on
//! the wall and of CPU time; all threads together counted as one. With `LOAD_REGIONS=N` in the
//! environment it maps so many regions first. With `LOAD_WAIT` it says `ready` then and waits for a
//! line, so that it can be attached to.

#![expect(clippy::print_stdout, reason = "it talks to the benchmark through it")]

use std::{
    env,
    hint::black_box,
    io,
    process::{Command, ExitCode},
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

/// Bytes in a page.
const PAGE: usize = 4096;

/// A kind of load: its name, and what one thread does, so many times.
type Load = (&'static str, fn(usize));

/// All kinds.
const LOADS: &[Load] = &[
    ("pair", pair),
    ("mixed", mixed),
    ("getppid", getppid),
    ("fault", fault),
    ("spawn", spawn),
    ("read-maps", read_maps),
    ("regions", regions),
];

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let kind = arguments.next().unwrap_or_default();
    let mut number = || arguments.next().map_or(Some(1), |text| text.parse::<usize>().ok());
    let (Some((_, load)), Some(operations), Some(threads)) =
        (LOADS.iter().find(|(name, _)| *name == kind), number(), number())
    else {
        let kinds: Vec<_> = LOADS.iter().map(|(name, _)| *name).collect();
        println!("usage: load {} OPERATIONS [THREADS]", kinds.join("|"));
        return ExitCode::from(2);
    };
    if let Some(number) = env::var("LOAD_REGIONS").ok().and_then(|text| text.parse().ok()) {
        map_regions(number);
    }
    if env::var_os("LOAD_WAIT").is_some() {
        println!("ready");
        let _ = io::stdin().read_line(&mut String::new());
    }
    let (each, operations) = (operations / threads, operations / threads * threads);
    let start = Barrier::new(threads);
    let used = cpu_time();
    let began = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    // Not when this thread wakes up from waiting for them: they may be done by then.
                    let began = Instant::now();
                    load(each);
                    began
                })
            })
            .collect();
        let began = workers.into_iter().map(|it| it.join().expect("a thread that does not panic"));
        began.min().expect("a thread")
    });
    let elapsed = (began.elapsed(), cpu_time().saturating_sub(used));
    let each = |time: Duration| time.as_nanos() as f64 / operations as f64;
    println!("{:.1} {:.1}", each(elapsed.0), each(elapsed.1));
    ExitCode::SUCCESS
}

/// CPU time of this process so far, and of its children that ended.
fn cpu_time() -> Duration {
    let of = |who| {
        // SAFETY: plain data, and a local.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(who, &raw mut usage);
            usage
        };
        [usage.ru_utime, usage.ru_stime]
            .map(|time| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000))
            .iter()
            .sum::<Duration>()
    };
    of(libc::RUSAGE_SELF) + of(libc::RUSAGE_CHILDREN)
}

/// A new private anonymous mapping.
fn map(length: usize) -> *mut u8 {
    // SAFETY: a mapping where there was none.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(address, libc::MAP_FAILED);
    address.cast()
}

fn unmap(address: *mut u8, length: usize) {
    // SAFETY: this program's own mapping, which nothing refers to.
    assert_eq!(unsafe { libc::munmap(address.cast(), length) }, 0);
}

/// mmap of a page, and munmap of it: an operation is the pair.
fn pair(operations: usize) {
    for _ in 0..operations {
        unmap(map(PAGE), PAGE);
    }
}

/// One call each, in turn: anonymous and file mappings, protections that split and join, growth by
/// mremap and by brk, advice. An operation is a call.
fn mixed(operations: usize) {
    // SAFETY: a file that every system has; the descriptor is never closed.
    let file = unsafe { libc::open(c"/proc/self/exe".as_ptr(), libc::O_RDONLY) };
    assert!(file >= 0);
    for _ in 0..operations / 12 {
        let area = map(8 * PAGE);
        // SAFETY: mappings of this function's own; the break grows and shrinks by a page.
        unsafe {
            let middle = area.add(2 * PAGE).cast();
            libc::mprotect(middle, 2 * PAGE, libc::PROT_READ);
            libc::madvise(area.cast(), 8 * PAGE, libc::MADV_DONTDUMP);
            libc::mprotect(middle, 2 * PAGE, libc::PROT_READ | libc::PROT_WRITE);
            libc::madvise(area.cast(), 8 * PAGE, libc::MADV_DODUMP);
            let moved =
                libc::mremap(area.cast(), 8 * PAGE, 16 * PAGE, libc::MREMAP_MAYMOVE).cast::<u8>();
            assert_ne!(moved.cast(), libc::MAP_FAILED);
            unmap(moved.add(4 * PAGE), 4 * PAGE);
            unmap(moved, 16 * PAGE);
            let mapped = libc::mmap(
                std::ptr::null_mut(),
                4 * PAGE,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file,
                0,
            );
            assert_ne!(mapped, libc::MAP_FAILED);
            unmap(mapped.cast(), 4 * PAGE);
            libc::sbrk(PAGE as libc::intptr_t);
            libc::sbrk(-(PAGE as libc::intptr_t));
        }
    }
}

/// A call that no tracer of memory is interested in.
fn getppid(operations: usize) {
    for _ in 0..operations {
        // SAFETY: it only returns a number.
        black_box(unsafe { libc::getppid() });
    }
}

/// Page faults on private anonymous memory, given back by the thousand.
fn fault(operations: usize) {
    const PAGES: usize = 1000;
    let area = map(PAGES * PAGE);
    // SAFETY: the mapping is this function's own.
    unsafe { libc::madvise(area.cast(), PAGES * PAGE, libc::MADV_NOHUGEPAGE) };
    for _ in 0..operations / PAGES {
        for page in 0..PAGES {
            // SAFETY: within the mapping.
            unsafe { area.add(page * PAGE).write_volatile(1) };
        }
        // SAFETY: as above.
        unsafe { libc::madvise(area.cast(), PAGES * PAGE, libc::MADV_DONTNEED) };
    }
}

/// fork, exec of `/bin/true`, and its end.
fn spawn(operations: usize) {
    for _ in 0..operations {
        assert!(Command::new("/bin/true").status().expect("/bin/true").success());
    }
}

/// Reads `/proc/PID/maps` of the process in `LOAD_PID`.
fn read_maps(operations: usize) {
    let path = format!("/proc/{}/maps", env::var("LOAD_PID").expect("LOAD_PID"));
    for _ in 0..operations {
        black_box(std::fs::read(&path).expect("maps"));
    }
}

/// So many regions, which stay until a line comes in.
fn regions(operations: usize) {
    map_regions(operations);
    println!("mapped");
    let _ = io::stdin().read_line(&mut String::new());
}

/// So many regions, two by two of different protection.
fn map_regions(number: usize) {
    let area = map(number * PAGE);
    for region in (0..number).step_by(2) {
        // SAFETY: within the mapping.
        let status =
            unsafe { libc::mprotect(area.add(region * PAGE).cast(), PAGE, libc::PROT_READ) };
        assert_eq!(status, 0);
    }
}

//! `prctl`, `arch_prctl` and `personality`: what hangs on the address space and not on a region,
//! and what changes what later calls do.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mmaptrace_tests::often;

use crate::sys::{
    ANON, Case, Outcome, PAGE, R, RW, area, call, if_supported, mmap, mprotect, munmap, must, ready,
};
use crate::threads::together;

pub(crate) const CASES: &[Case] = &[
    ("prctl_name_anonymous", name_anonymous),
    ("prctl_name_shared", name_shared),
    ("prctl_move_heap", move_heap),
    ("prctl_move_stack", move_stack),
    ("prctl_wide_option", wide_option),
    ("prctl_long_arguments", long_arguments),
    ("prctl_set_brk", set_brk),
    ("prctl_beside_a_shrinking_brk", shrinking),
    ("prctl_memory_merge", memory_merge),
    ("arch_prctl_map_vdso", map_vdso),
    ("mremap_vdso", move_vdso),
    ("personality_read_implies_exec", read_implies_exec),
];

const PR_SET_VMA: usize = 0x5356_4d41;

fn name(at: usize, pages: usize, name: Option<&std::ffi::CStr>) -> Result<usize, i32> {
    let name = name.map_or(0, |name| name.as_ptr().expose_provenance());
    call(libc::SYS_prctl, [PR_SET_VMA, 0, at, pages * PAGE, name])
}

fn name_anonymous() -> Outcome {
    let at = area(9);
    ready();
    if_supported("prctl", name(at + 2 * PAGE, 5, Some(c"first name")))?;
    must(name(at + 3 * PAGE, 1, Some(c"another")));
    must(name(at + 5 * PAGE, 1, None));
    Ok(())
}

fn name_shared() -> Outcome {
    let at = must(mmap(0, 9 * PAGE, RW, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0));
    ready();
    if_supported("prctl", name(at + 2 * PAGE, 5, Some(c"shared")))?;
    Ok(())
}

/// What `PR_SET_MM_MAP` takes, the kernel's `struct prctl_mm_map`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Layout {
    /// Start and end of code and data; start of the heap, the break; start of the stack; start
    /// and end of arguments and environment.
    places: [u64; 11],
    auxv: u64,
    auxv_size: u32,
    exe_fd: u32,
}

const START_BRK: usize = 4;
const BRK: usize = 5;
const START_STACK: usize = 6;
const ARGUMENTS: usize = 7;

/// The layout as it is, from `/proc/self/stat`.
fn layout() -> Layout {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("stat");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    let fields: Vec<_> = fields.split_whitespace().collect();
    // Numbered from 1 in proc(5), and the state, number 3, is the first here.
    let field = |number: usize| fields[number - 3].parse().expect("an address");
    let brk = must(call(libc::SYS_brk, [0])) as u64;
    let places = [26, 27, 45, 46, 47, 0, 28, 48, 49, 50, 51];
    let places = places.map(|number| if number == 0 { brk } else { field(number) });
    Layout { places, auxv: 0, auxv_size: 0, exe_fd: u32::MAX }
}

fn set(layout: &Layout) -> Outcome {
    set_as(libc::PR_SET_MM as usize, layout)
}

fn set_as(option: usize, layout: &Layout) -> Outcome {
    let size = size_of::<Layout>();
    let what = 14; // PR_SET_MM_MAP
    let args = [option, what, std::ptr::from_ref(layout).expose_provenance(), size, 0];
    if_supported("prctl", call(libc::SYS_prctl, args))?;
    Ok(())
}

/// Another region is `[heap]` now, and the old one is not.
fn move_heap() -> Outcome {
    let at = area(4) as u64;
    let mut layout = layout();
    layout.places[START_BRK] = at;
    layout.places[BRK] = at + PAGE as u64 + 5;
    ready();
    set(&layout)
}

/// Likewise `[stack]`.
fn move_stack() -> Outcome {
    move_stack_as(libc::PR_SET_MM as usize)
}

/// The option is an `int` to the kernel, whatever is in the rest of the register.
fn wide_option() -> Outcome {
    move_stack_as(libc::PR_SET_MM as usize | 0xdead_beef << 32)
}

fn move_stack_as(option: usize) -> Outcome {
    let at = area(4) as u64;
    let mut layout = layout();
    layout.places[START_STACK] = at + 100;
    ready();
    set_as(option, &layout)
}

/// The arguments are one, of 16 MiB less its NUL.
fn long_arguments() -> Outcome {
    const LENGTH: usize = 16 << 20;
    let at = must(mmap(0, LENGTH, RW, ANON, -1, 0));
    let text = std::ptr::with_exposed_provenance_mut::<u8>(at);
    // SAFETY: nobody else has these pages.
    unsafe { text.write_bytes(b'x', LENGTH - 1) };
    let mut layout = layout();
    (layout.places[ARGUMENTS], layout.places[ARGUMENTS + 1]) = (at as u64, (at + LENGTH) as u64);
    ready();
    set(&layout)
}

fn set_brk() -> Outcome {
    let brk = must(call(libc::SYS_brk, [0]));
    ready();
    let what = 7; // PR_SET_MM_BRK
    let args = [libc::PR_SET_MM as usize, what, brk - PAGE, 0, 0];
    if_supported("prctl", call(libc::SYS_prctl, args))?;
    Ok(())
}

/// Another thread sets the break, as a reader of the lock may, while the pages that a brk has given up
/// are taken apart by a reader as well: to where it was, or elsewhere.
fn shrinking() -> Outcome {
    const PAGES: usize = 512;
    let rounds = often(200);
    let beside = area(1);
    let now = layout();
    let old = (now.places[BRK] as usize).next_multiple_of(PAGE);
    let top = old + PAGES * PAGE;
    let set_to = |brk: usize| {
        let mut places = now.places;
        places[BRK] = brk as u64;
        set(&Layout { places, ..now })
    };
    set_to(old)?;
    let (round, shrinks) = (AtomicUsize::new(0), AtomicBool::new(false));
    ready();
    together(2, |thread| {
        let set_to = |brk| assert!(set_to(brk).is_ok(), "it was set before");
        if thread == 0 {
            for at in 0..rounds {
                // The other thread may have set it once more, and what is new begins elsewhere.
                must(call(libc::SYS_brk, [top]));
                let populate = libc::MADV_POPULATE_WRITE as usize;
                let _ = call(libc::SYS_madvise, [old, PAGES * PAGE, populate]);
                round.store(at, Ordering::Relaxed);
                shrinks.store(true, Ordering::Release);
                must(call(libc::SYS_brk, [old]));
                shrinks.store(false, Ordering::Release);
                // A commit with a count, before the next one corrects what was not told.
                must(mprotect(beside, PAGE, [R, RW][at % 2]));
                // What is left if the break was elsewhere before.
                must(munmap(old, PAGES * PAGE));
                set_to(old);
            }
            round.store(rounds, Ordering::Release);
        }
        loop {
            match round.load(Ordering::Acquire) {
                at if at == rounds => break,
                at if shrinks.load(Ordering::Acquire) => set_to([top, old + PAGE, old][at % 3]),
                _ => std::hint::spin_loop(),
            }
        }
    });
    Ok(())
}

/// A flag on every region that can have it, with one release of the lock.
fn memory_merge() -> Outcome {
    area(4);
    ready();
    if_supported("prctl", call(libc::SYS_prctl, [67, 1, 0, 0, 0]))?;
    must(mmap(0, PAGE, RW, ANON, -1, 0));
    must(call(libc::SYS_prctl, [67, 0, 0, 0, 0]));
    Ok(())
}

/// The regions of the kernel's own: start and end.
fn vdso() -> Vec<(usize, usize)> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let own = maps.lines().filter(|line| line.contains("[vdso]") || line.contains("[vvar"));
    own.map(|line| {
        let (range, _) = line.split_once(' ').expect("a range");
        let (start, end) = range.split_once('-').expect("two addresses");
        let hex = |text| usize::from_str_radix(text, 16).expect("an address");
        (hex(start), hex(end))
    })
    .collect()
}

/// The kernel maps it anew, once it is gone. Nothing may ask for the time from here on.
fn map_vdso() -> Outcome {
    const ARCH_MAP_VDSO_64: usize = 0x2003;
    let regions = vdso();
    ready();
    for &(start, end) in &regions {
        must(munmap(start, end - start));
    }
    if_supported("arch_prctl", call(libc::SYS_arch_prctl, [ARCH_MAP_VDSO_64, 0]))?;
    Ok(())
}

fn move_vdso() -> Outcome {
    let regions = vdso();
    let to = crate::sys::hole(64);
    ready();
    let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as usize;
    let first = regions.first().map_or(0, |region| region.0);
    for &(start, end) in &regions {
        let len = end - start;
        must(call(libc::SYS_mremap, [start, len, len, flags, to + start - first]));
    }
    Ok(())
}

/// Readable is executable too, from here on.
fn read_implies_exec() -> Outcome {
    ready();
    must(call(libc::SYS_personality, [libc::READ_IMPLIES_EXEC as usize]));
    must(mmap(0, 2 * PAGE, R, ANON, -1, 0));
    must(mmap(0, 2 * PAGE, R, libc::MAP_PRIVATE, crate::sys::open_self(), 0));
    Ok(())
}

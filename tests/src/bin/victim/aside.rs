//! Changes that no call of the process explains: an `io_uring` worker's, and the kernel's own for
//! a probe.

use crate::ring::{ASYNC, Ring, op, word};
use crate::sys::{Case, Outcome, PAGE, Unsupported, area, call, if_supported, ready};

pub(crate) const CASES: &[Case] =
    &[("io_uring_madvise", uring_madvise), ("uprobes_region", uprobes)];

/// An madvise that splits, handed to a worker: its registers are a copy of its creator's.
fn uring_madvise() -> Outcome {
    let region = area(9);
    let ring = Ring::new()?;
    ready();
    ring.submit([[
        word(op::MADVISE | ASYNC, 0),
        0,
        (region + 2 * PAGE) as u64,
        word(3 * PAGE as u32, libc::MADV_DONTDUMP),
    ]])
}

#[inline(never)]
extern "C" fn probed(value: u64) -> u64 {
    std::hint::black_box(value).wrapping_mul(3)
}

/// A return probe of our own on a function of our own: its first call maps `[uprobes]`.
fn uprobes() -> Outcome {
    const KIND: &str = "/sys/bus/event_source/devices/uprobe/type";
    let Some(kind) =
        std::fs::read_to_string(KIND).ok().and_then(|kind| kind.trim().parse::<u32>().ok())
    else {
        return Err(Unsupported { call: "uprobe", errno: libc::ENODEV });
    };
    let address = probed as *const () as u64;
    let path = c"/proc/self/exe";
    // struct perf_event_attr, version 1: type, size 72; config bit 0: at the return; the path and
    // the file offset at bytes 56 and 64.
    let mut attribute = [0_u64; 9];
    attribute[0] = u64::from(kind) | 72 << 32;
    attribute[1] = 1;
    attribute[7] = path.as_ptr().expose_provenance() as u64;
    attribute[8] = file_offset(address);
    ready();
    let arguments = [attribute.as_ptr().expose_provenance(), 0, usize::MAX, usize::MAX, 0];
    if_supported("perf_event_open", call(libc::SYS_perf_event_open, arguments))?;
    assert_eq!(std::hint::black_box(probed)(14), 42);
    Ok(())
}

/// Where in our file this address of our code comes from.
fn file_offset(address: u64) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let hex = |text| u64::from_str_radix(text, 16).expect("a number");
    let offset = maps.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (start, end) = words.next()?.split_once('-')?;
        let offset = words.nth(1)?;
        let inside = (hex(start)..hex(end)).contains(&address);
        inside.then(|| address - hex(start) + hex(offset))
    });
    offset.expect("our code is mapped")
}

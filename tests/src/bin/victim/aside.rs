//! Changes that no call of the process explains: an `io_uring` worker's, and the kernel's own for
//! a probe.

use std::ptr::with_exposed_provenance_mut;

use crate::sys::{
    Case, Outcome, PAGE, RW, Unsupported, area, call, if_supported, mmap, must, ready,
};

pub(crate) const CASES: &[Case] =
    &[("io_uring_madvise", uring_madvise), ("uprobes_region", uprobes)];

/// A volatile access to a field of a ring.
fn at<T>(base: usize, offset: u32) -> *mut T {
    with_exposed_provenance_mut(base + offset as usize)
}

/// An madvise that splits, handed to a worker: its registers are a copy of its creator's.
fn uring_madvise() -> Outcome {
    const OP_MADVISE: u8 = 25;
    const ASYNC: u8 = 1 << 4;
    const ENTER_GETEVENTS: usize = 1;
    const SQES: usize = 0x1000_0000;
    let region = area(9);
    ready();
    // struct io_uring_params, as 30 words: the submission ring's offsets start at word 10.
    let mut params = [0_u32; 30];
    let arguments = [4, params.as_mut_ptr().expose_provenance()];
    let fd = if_supported("io_uring_setup", call(libc::SYS_io_uring_setup, arguments))?;
    let map = |len, offset| must(mmap(0, len, RW, libc::MAP_SHARED, fd as i32, offset));
    let (ring, entries) = (map(PAGE, 0), map(PAGE, SQES));
    let (tail, array) = (params[11], params[16]);
    // SAFETY: the rings are mapped, and the kernel has said where their fields are. The entry,
    // of 64 bytes, is ours until it is submitted.
    unsafe {
        at::<u8>(entries, 0).write_volatile(OP_MADVISE);
        at::<u8>(entries, 1).write_volatile(ASYNC);
        at::<u64>(entries, 16).write_volatile((region + 2 * PAGE) as u64);
        at::<u32>(entries, 24).write_volatile(3 * PAGE as u32);
        at::<u32>(entries, 28).write_volatile(libc::MADV_DONTDUMP as u32);
        at::<u32>(ring, array).write_volatile(0);
        at::<u32>(ring, tail).write_volatile(1);
    }
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    must(call(libc::SYS_io_uring_enter, [fd, 1, 1, ENTER_GETEVENTS, 0, 0]));
    Ok(())
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

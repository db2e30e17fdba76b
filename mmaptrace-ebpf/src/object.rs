//! What either object has: the maps by which user space steers it and hears of it, its licence, and
//! no way to panic.

use aya_ebpf::{
    macros::map,
    maps::{Array, CgroupArray, RingBuf},
};
use mmaptrace_common::control::{Control, Faults};

/// All records of the degraded tier, whose size user space sets. What wakes the reader, in the exact one: its
/// records are in `SEGMENTS`.
#[map]
pub(crate) static RING: RingBuf = RingBuf::with_byte_size(1 << 26, 0);

/// One [`Control`].
#[map]
pub(crate) static CONTROL: Array<Control> = Array::with_max_entries(1, 0);

/// One [`Faults`].
#[map]
pub(crate) static FAULTS: Array<Faults> = Array::with_max_entries(1, 0);

/// The cgroup whose processes are followed, if `follow_cgroup` is set.
#[map]
pub(crate) static CGROUP: CgroupArray = CgroupArray::with_max_entries(1, 0);

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // No program panics: every index is masked. The verifier refuses one that could get here.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

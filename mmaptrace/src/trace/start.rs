//! What stands at the beginning of a trace.

use std::fs;

use mmaptrace_model::HeapRule;
use mmaptrace_recording::Start;
use procfs::sys::kernel::Version;

use crate::{kernel::Tier, machine, sink::Clock};

/// What a trace of this tier that begins now has to tell; `calls`: returns of calls are reported.
pub(super) fn start(tier: Tier, calls: bool) -> Start {
    let heap = Version::current()
        .map_or(HeapRule::Exclusive, |v| HeapRule::of_kernel(v.major.into(), v.minor.into()));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let Clock { offset, utc_offset } = Clock::of_now();
    Start {
        time: machine::now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: kernel.trim().to_owned(),
        tier: tier.name().to_owned(),
        clock_offset: offset,
        utc_offset,
        heap_inclusive: heap == HeapRule::Inclusive,
        max_map_count: machine::max_map_count(),
        calls,
    }
}

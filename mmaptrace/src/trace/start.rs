//! What stands at the beginning of a trace.

use std::fs;

use mmaptrace_model::{Flags, HeapRule};
use mmaptrace_recording::Start;
use procfs::sys::kernel::Version;

use crate::{kernel::Tier, machine, proc_maps::ProcMaps, sink::Clock};

/// What a trace of this tier that begins now has to tell; `calls`: returns of calls are reported.
pub(super) fn start(tier: Tier, calls: bool) -> Start {
    let of_release = |it: Version| HeapRule::of_kernel(it.major.into(), it.minor.into());
    let of_release = || Version::current().map_or(HeapRule::Exclusive, of_release);
    let heap = heap_rule().unwrap_or_else(of_release);
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
        vsyscall_readable: is_vsyscall_readable(),
        max_map_count: machine::max_map_count(),
        calls,
    }
}

/// Whether this kernel gives the page `[vsyscall]` to read, which it then gives to us.
fn is_vsyscall_readable() -> bool {
    let maps = fs::read("/proc/self/maps").ok().and_then(|maps| ProcMaps::parse(&maps));
    maps.and_then(|maps| maps.vsyscall).is_some_and(|page| page.flags.has(Flags::READ))
}

/// What this kernel, whatever its release, does with a page that only touches the heap: our own. `None`: there is
/// no room for one.
fn heap_rule() -> Option<HeapRule> {
    let (length, flags) =
        (4096, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE);
    // SAFETY: plain calls; the page is a new one in a place where nothing is, and used by nobody.
    let maps = unsafe {
        let at = libc::sbrk(0);
        let page = libc::mmap(at, length, libc::PROT_NONE, flags, -1, 0);
        if page == libc::MAP_FAILED {
            return None;
        }
        let maps = fs::read("/proc/self/maps");
        libc::munmap(page, length);
        (page == at).then_some((at.addr(), maps.ok()?))
    };
    let (at, maps) = maps?;
    let maps = String::from_utf8_lossy(&maps);
    let line = maps.lines().find(|line| line.starts_with(&format!("{at:x}-")))?;
    Some(if line.ends_with("[heap]") { HeapRule::Inclusive } else { HeapRule::Exclusive })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernels_rule_is_seen() {
        assert!(heap_rule().is_some());
    }
}

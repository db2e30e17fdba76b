//! Which part of an address space a call touched: the rule of its row in the table, applied to its
//! arguments.

use mmaptrace_common::{
    control::Space,
    syscalls::{Range, option},
};

use crate::kernel::{Entry, int};

const PAGE: u64 = 4096;
/// An address of a process has no more, unless it asked for one that has (`DEFAULT_MAP_WINDOW`).
const ADDRESS_BITS: u32 = 47;
/// `MAP_FIXED` and `MAP_FIXED_NOREPLACE`: the address is no hint.
const MAP_FIXED: u64 = 0x10_0010;
/// `vm.mmap_min_addr` is below this on any system in use (64 KiB, mostly).
const LOW: u64 = 1 << 20;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_HUGETLB: u64 = 0x4_0000;
const MREMAP_DONTUNMAP: u64 = 4;
/// `MREMAP_FIXED` and `MREMAP_DONTUNMAP`: the fifth argument counts.
const MREMAP_PLACED: u64 = 2 | MREMAP_DONTUNMAP;

/// Up to four ranges; one that is empty (`lo == hi`) is not there.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ranges {
    /// All of the space, whatever else is said.
    pub(crate) all: bool,
    /// Nothing is left in them.
    pub(crate) hole: bool,
    pub(crate) first: (u64, u64),
    pub(crate) second: (u64, u64),
    pub(crate) third: (u64, u64),
    pub(crate) fourth: (u64, u64),
}

impl Ranges {
    /// Everything there is.
    pub(crate) const ALL: Self = Self {
        all: true,
        hole: false,
        first: (0, 0),
        second: (0, 0),
        third: (0, 0),
        fourth: (0, 0),
    };

    /// Whether there is anything to read.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        !self.all
            && self.first.0 == self.first.1
            && self.second.0 == self.second.1
            && self.third.0 == self.third.1
            && self.fourth.0 == self.fourth.1
    }

    /// Those of a call of the rule `rule` (see `mmaptrace_common::syscalls::Rules`). `space` tells
    /// where the kernel found room, and the break before the call; `brk` is the one after it.
    #[inline(always)]
    pub(crate) fn of(rule: u8, call: &Entry, space: &Space, brk: u64) -> Self {
        const NOTHING: u8 = Range::Nothing as u8;
        const FIRST: u8 = Range::First as u8;
        const UNMAP: u8 = Range::Unmap as u8;
        const PRCTL: u8 = Range::Prctl as u8;
        const MMAP: u8 = Range::Mmap as u8;
        const BRK: u8 = Range::Brk as u8;
        const MREMAP: u8 = Range::Mremap as u8;
        const SHMAT: u8 = Range::Shmat as u8;
        const CHOSEN: u8 = Range::Chosen as u8;
        const FOUND: u8 = Range::Found as u8;
        const AT: u8 = Range::At as u8;

        let [a0, a1, a2, a3, a4, _] = call.args;
        // What is above may be a tag, and none of the address (`untagged_addr`).
        let tagged = if rule & 15 == PRCTL { a2 } else { a0 } >> ADDRESS_BITS != 0;
        let found = Self {
            third: (space.found_lo, space.found_hi),
            fourth: (space.earlier_lo, space.earlier_hi),
            ..Self::default()
        };
        let ranges = match rule & 15 {
            NOTHING => return Self::default(),
            _ if tagged => Self::ALL,
            FIRST | UNMAP => return Self { first: pages(a0, a1), ..Self::default() },
            AT => return Self { first: pages(a0, 1), ..Self::default() },
            PRCTL if int(a0) == option::PR_SET_VMA => {
                return Self { first: pages(a2, a3), ..Self::default() };
            }
            BRK => return Self { first: moved(space, brk, a0), ..Self::default() },
            // Such a hint is moved up to `vm.mmap_min_addr`, wherever that is, without a search.
            MMAP if a0 != 0 && a0 < LOW && a3 & MAP_FIXED == 0 => Self::ALL,
            // Where nothing was searched the hint was taken, as the file would have it: hugetlbfs
            // rounds it up to its own page size, and a driver may do what it likes.
            MMAP if a0 != 0
                && a3 & MAP_FIXED == 0
                && a3 & (MAP_ANONYMOUS | MAP_HUGETLB) != MAP_ANONYMOUS
                && space.found_hi == 0 =>
            {
                Self::ALL
            }
            MMAP => {
                let asked = if a0 != 0 || a3 & MAP_FIXED != 0 { pages(a0, a1) } else { (0, 0) };
                Self { first: asked, ..found }
            }
            // Likewise.
            MREMAP if a3 & MREMAP_PLACED == MREMAP_DONTUNMAP && a4 != 0 && space.found_hi == 0 => {
                Self::ALL
            }
            MREMAP => {
                let placed = if a3 & MREMAP_PLACED != 0 { pages(a4, a2) } else { (0, 0) };
                let larger = if a1 > a2 { a1 } else { a2 };
                Self { first: pages(a0, larger), second: placed, ..found }
            }
            SHMAT => {
                let asked = if a1 != 0 { pages(a1, 1) } else { (0, 0) };
                Self { first: asked, ..found }
            }
            CHOSEN => {
                let asked = if a0 != 0 { pages(a0, a1) } else { (0, 0) };
                Self { first: asked, ..found }
            }
            FOUND => found,
            // `All`, and calls that are not in the table.
            _ => Self::ALL,
        };
        // Nobody said where, and the kernel was not seen to look: it may be anywhere.
        if ranges.is_empty() { Self::ALL } else { ranges }
    }
}

/// `[start, start + length)`, rounded outwards to pages.
#[inline(always)]
fn pages(start: u64, length: u64) -> (u64, u64) {
    let end = start.saturating_add(length).saturating_add(PAGE - 1) & !(PAGE - 1);
    let start = start & !(PAGE - 1);
    (start, if end > start { end } else { start + PAGE })
}

/// From the old break to the new one; a call that failed may have split at what it asked for. Where
/// another thread has looked since it was moved, the old one is what was settled before.
#[inline(always)]
fn moved(space: &Space, brk: u64, asked: u64) -> (u64, u64) {
    let (old, settled) = (space.brk, space.settled_brk);
    let (low, high) = if old < settled { (old, settled) } else { (settled, old) };
    let (mut lo, hi) = (if low < brk { low } else { brk }, if high > brk { high } else { brk });
    if asked >= space.start_brk && asked < lo {
        lo = asked;
    }
    pages(lo, hi - lo)
}

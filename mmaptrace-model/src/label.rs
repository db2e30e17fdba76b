//! What `/proc/PID/maps` prints in its last column.

use crate::{
    names::Names,
    region::{Backing, Region},
    space::Space,
};

/// What a reading of maps names the heap, in place of a name that a program has given: those have no
/// brackets (`is_valid_name_char`, `kernel/sys.c`).
pub const HEAP: &[u8] = b"[heap]";
/// The same of the stack.
pub const STACK: &[u8] = b"[stack]";

/// The name of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionName<'a> {
    /// None: anonymous memory.
    None,
    /// `[heap]`
    Heap,
    /// `[stack]`
    Stack,
    /// A path, ` (deleted)` included; any bytes but NUL.
    Path(&'a [u8]),
    /// The kernel's own, brackets included, like `[vdso]`.
    Special(&'a [u8]),
    /// `[anon:NAME]`: this is the name alone; printable ASCII.
    Anon(&'a [u8]),
    /// `[anon_shmem:NAME]`, likewise.
    AnonShmem(&'a [u8]),
    /// It has one, but the record that told it is lost.
    Unknown,
}

/// How the kernel tells which regions are the heap. There may be several, and with the inclusive
/// rule regions that only touch it are among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeapRule {
    /// `vm_start <= brk && vm_end >= start_brk`, before Linux 6.7.
    Inclusive,
    /// `vm_start < brk && vm_end > start_brk`, since [d3bb89ea9c13] in Linux 6.7.
    ///
    /// [d3bb89ea9c13]: https://github.com/torvalds/linux/commit/d3bb89ea9c13e5a98d2b7a0ba8e50a77893132cb
    Exclusive,
}

impl HeapRule {
    /// The rule of a release of the kernel. A distribution may have brought the later rule to an
    /// earlier kernel.
    pub const fn of_kernel(major: u32, minor: u32) -> Self {
        if major > 6 || (major == 6 && minor >= 7) { Self::Exclusive } else { Self::Inclusive }
    }

    const fn holds(self, region: &Region, start_brk: u64, brk: u64) -> bool {
        match self {
            Self::Inclusive => region.start <= brk && region.end >= start_brk,
            Self::Exclusive => region.start < brk && region.end > start_brk,
        }
    }
}

impl Space {
    /// The name of one of its regions. The order of the tests is the kernel's, [`get_vma_name`]:
    /// a heap or stack that was given a name is still the heap or stack.
    ///
    /// [`get_vma_name`]: https://github.com/torvalds/linux/blob/v6.12/fs/proc/task_mmu.c#L240
    pub fn name<'a>(&self, region: &Region, names: &'a Names, heap: HeapRule) -> RegionName<'a> {
        let (layout, own) = (self.layout(), RegionName::of(region, names));
        match (region.backing, own) {
            // A reading of maps has the last word.
            (_, RegionName::Heap | RegionName::Stack) => own,
            (Backing::Anonymous | Backing::Named { .. }, _)
                if heap.holds(region, layout.start_brk, layout.brk) =>
            {
                RegionName::Heap
            }
            // Inclusive in every kernel.
            (Backing::Anonymous | Backing::Named { .. }, _)
                if region.start <= layout.start_stack && region.end >= layout.start_stack =>
            {
                RegionName::Stack
            }
            _ => own,
        }
    }
}

impl<'a> RegionName<'a> {
    /// The name a region has by itself: without what hangs on the layout of its space, unless a reading of
    /// maps has named it [`HEAP`] or [`STACK`].
    pub fn of(region: &Region, names: &'a Names) -> Self {
        let look_up = |key, kind: fn(&'a [u8]) -> Self| {
            names.get(key).map_or(Self::Unknown, |text| kind(text))
        };
        match region.backing {
            Backing::File { path, .. } => look_up(path, Self::Path),
            Backing::NamedShared { name, .. } => look_up(name, Self::AnonShmem),
            Backing::Special { name } => look_up(name, Self::Special),
            Backing::Named { name } => look_up(name, |text| match text {
                HEAP => Self::Heap,
                STACK => Self::Stack,
                text => Self::Anon(text),
            }),
            Backing::Anonymous => Self::None,
        }
    }
}

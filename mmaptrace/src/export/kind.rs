//! Kinds of regions: what the pictures colour, and the tracks they draw.

use mmaptrace_model::{Backing, Flags, Region, RegionName};

/// What a region is for, as far as the kernel tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Kind {
    /// The program break's, `[heap]`.
    Heap,
    /// The first thread's stack, and whatever else grows down. Stacks of other threads are
    /// anonymous memory to the kernel.
    Stack,
    /// Private anonymous memory, named or not.
    Anonymous,
    /// A private mapping of a file that may be executed.
    Code,
    /// Any other private mapping of a file.
    Data,
    /// Memory or files shared with others.
    Shared,
    /// The kernel's own, like `[vdso]`.
    Special,
}

impl Kind {
    /// All, in the order of their discriminants.
    pub(super) const ALL: [Self; 7] = [
        Self::Heap,
        Self::Stack,
        Self::Anonymous,
        Self::Code,
        Self::Data,
        Self::Shared,
        Self::Special,
    ];

    /// Of a region, and the name it has.
    pub(super) fn of(region: &Region, name: RegionName<'_>) -> Self {
        match (name, region.backing) {
            (RegionName::Heap, _) => Self::Heap,
            (RegionName::Stack, _) => Self::Stack,
            (_, Backing::Special { .. }) => Self::Special,
            _ if region.flags.has(Flags::MAYSHARE) => Self::Shared,
            _ if region.flags.has(Flags::GROWSDOWN) => Self::Stack,
            (_, Backing::File { .. }) if region.flags.has(Flags::EXEC) => Self::Code,
            (_, Backing::File { .. }) => Self::Data,
            (_, Backing::Anonymous | Backing::Named { .. } | Backing::NamedShared { .. }) => {
                Self::Anonymous
            }
        }
    }

    /// What people call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Stack => "stack",
            Self::Anonymous => "anonymous",
            Self::Code => "file, code",
            Self::Data => "file, data",
            Self::Shared => "shared",
            Self::Special => "special",
        }
    }
}

//! Flags of the calls that map and advise: `include/uapi/asm-generic/mman-common.h`, `mman.h`,
//! `include/uapi/linux/mman.h`, `shm.h`.

use std::fmt::{self, Display, Formatter};

use super::bits::{Bits, Names, Value};

/// `PROT_*`.
pub(super) const PROT: Names = &[
    (0, "PROT_NONE"),
    (0x1, "PROT_READ"),
    (0x2, "PROT_WRITE"),
    (0x4, "PROT_EXEC"),
    (0x8, "PROT_SEM"),
    (0x0100_0000, "PROT_GROWSDOWN"),
    (0x0200_0000, "PROT_GROWSUP"),
];

/// The low four bits of `mmap`'s flags are one value.
const MAP_TYPE: u64 = 0xf;
const MAP_TYPES: Names = &[
    (0, "MAP_FILE"),
    (1, "MAP_SHARED"),
    (2, "MAP_PRIVATE"),
    (3, "MAP_SHARED_VALIDATE"),
    (8, "MAP_DROPPABLE"),
];

/// The high six bits are the logarithm of a huge page's size.
const MAP_HUGE_SHIFT: u32 = 26;
const MAP_HUGE_MASK: u64 = 0x3f << MAP_HUGE_SHIFT;

const MAP: Names = &[
    (0x10, "MAP_FIXED"),
    (0x20, "MAP_ANONYMOUS"),
    (0x40, "MAP_32BIT"),
    (0x80, "MAP_ABOVE4G"),
    (0x4000, "MAP_NORESERVE"),
    (0x8000, "MAP_POPULATE"),
    (0x1_0000, "MAP_NONBLOCK"),
    (0x100, "MAP_GROWSDOWN"),
    (0x800, "MAP_DENYWRITE"),
    (0x1000, "MAP_EXECUTABLE"),
    (0x2000, "MAP_LOCKED"),
    (0x2_0000, "MAP_STACK"),
    (0x4_0000, "MAP_HUGETLB"),
    (0x8_0000, "MAP_SYNC"),
    (0x10_0000, "MAP_FIXED_NOREPLACE"),
];

/// `mmap`'s flags.
pub(super) struct Map(pub(super) u64);

impl Display for Map {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let huge = (self.0 & MAP_HUGE_MASK) >> MAP_HUGE_SHIFT;
        let kind = self.0 & MAP_TYPE;
        let flags = self.0 & !MAP_TYPE & !MAP_HUGE_MASK;
        Value { of: kind, names: MAP_TYPES, unknown: "MAP_???" }.fmt(f)?;
        if flags != 0 {
            f.write_str("|")?;
            let known = MAP.iter().any(|&(bit, _)| flags & bit == bit);
            if known {
                Bits { value: flags, names: MAP, unknown: "" }.fmt(f)?;
            } else {
                write!(f, "{flags:#x}")?;
            }
        }
        if huge != 0 {
            write!(f, "|{huge}<<MAP_HUGE_SHIFT")?;
        }
        Ok(())
    }
}

/// `MREMAP_*`.
pub(super) const MREMAP: Names =
    &[(1, "MREMAP_MAYMOVE"), (2, "MREMAP_FIXED"), (4, "MREMAP_DONTUNMAP")];

/// The flag of `mremap` that makes its fifth argument count.
pub(super) const MREMAP_FIXED: u64 = 2;

/// `MADV_*`.
pub(super) const MADV: Names = &[
    (0, "MADV_NORMAL"),
    (1, "MADV_RANDOM"),
    (2, "MADV_SEQUENTIAL"),
    (3, "MADV_WILLNEED"),
    (4, "MADV_DONTNEED"),
    (8, "MADV_FREE"),
    (9, "MADV_REMOVE"),
    (10, "MADV_DONTFORK"),
    (11, "MADV_DOFORK"),
    (12, "MADV_MERGEABLE"),
    (13, "MADV_UNMERGEABLE"),
    (14, "MADV_HUGEPAGE"),
    (15, "MADV_NOHUGEPAGE"),
    (16, "MADV_DONTDUMP"),
    (17, "MADV_DODUMP"),
    (18, "MADV_WIPEONFORK"),
    (19, "MADV_KEEPONFORK"),
    (20, "MADV_COLD"),
    (21, "MADV_PAGEOUT"),
    (22, "MADV_POPULATE_READ"),
    (23, "MADV_POPULATE_WRITE"),
    (24, "MADV_DONTNEED_LOCKED"),
    (25, "MADV_COLLAPSE"),
    (100, "MADV_HWPOISON"),
    (101, "MADV_SOFT_OFFLINE"),
    (102, "MADV_GUARD_INSTALL"),
    (103, "MADV_GUARD_REMOVE"),
];

/// `MLOCK_*` of `mlock2`.
pub(super) const MLOCK: Names = &[(1, "MLOCK_ONFAULT")];

/// `MCL_*` of `mlockall`.
pub(super) const MCL: Names = &[(1, "MCL_CURRENT"), (2, "MCL_FUTURE"), (4, "MCL_ONFAULT")];

/// `SHM_*` of `shmat`.
pub(super) const SHM: Names = &[
    (0o10000, "SHM_RDONLY"),
    (0o20000, "SHM_RND"),
    (0o40000, "SHM_REMAP"),
    (0o100_000, "SHM_EXEC"),
];

/// `SHADOW_STACK_*` of `map_shadow_stack`.
pub(super) const SHADOW_STACK: Names =
    &[(1, "SHADOW_STACK_SET_TOKEN"), (2, "SHADOW_STACK_SET_MARKER")];

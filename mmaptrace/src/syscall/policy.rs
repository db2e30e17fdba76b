//! Memory policies: `include/uapi/linux/mempolicy.h`.

use std::fmt::{self, Display, Formatter};

use super::bits::{Bits, Names, Value};

const MODES: Names = &[
    (0, "MPOL_DEFAULT"),
    (1, "MPOL_PREFERRED"),
    (2, "MPOL_BIND"),
    (3, "MPOL_INTERLEAVE"),
    (4, "MPOL_LOCAL"),
    (5, "MPOL_PREFERRED_MANY"),
    (6, "MPOL_WEIGHTED_INTERLEAVE"),
];

const MODE_FLAGS: Names = &[
    (0x8000, "MPOL_F_STATIC_NODES"),
    (0x4000, "MPOL_F_RELATIVE_NODES"),
    (0x2000, "MPOL_F_NUMA_BALANCING"),
];

/// `MPOL_MF_*` of `mbind`.
pub(super) const MOVE: Names =
    &[(1, "MPOL_MF_STRICT"), (2, "MPOL_MF_MOVE"), (4, "MPOL_MF_MOVE_ALL")];

/// A policy's mode, and its flags in the same word.
pub(super) struct Policy(pub(super) u64);

impl Display for Policy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let flags = self.0 & 0xe000;
        Value { of: self.0 & !0xe000, names: MODES, unknown: "MPOL_???" }.fmt(f)?;
        if flags != 0 {
            f.write_str("|")?;
            Bits { value: flags, names: MODE_FLAGS, unknown: "" }.fmt(f)?;
        }
        Ok(())
    }
}

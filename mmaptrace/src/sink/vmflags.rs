//! `vm_flags` by the two letters that `/proc/PID/smaps` gives them on x86-64 (`fs/proc/task_mmu.c`,
//! `show_smap_vma_flags`).

use std::iter;

use mmaptrace_model::Flags;

/// Bit and letters.
#[rustfmt::skip]
const NAMED: &[(u32, &str)] = &[
    (0, "rd"), (1, "wr"), (2, "ex"), (3, "sh"), (4, "mr"), (5, "mw"), (6, "me"), (7, "ms"),
    (8, "gd"), (9, "um"), (10, "pf"), (12, "uw"), (13, "lo"), (14, "io"), (15, "sr"), (16, "rr"),
    (17, "dc"), (18, "de"), (19, "lf"), (20, "ac"), (21, "nr"), (22, "ht"), (23, "sf"), (24, "ar"),
    (25, "wf"), (26, "dd"), (27, "sd"), (28, "mm"), (29, "hg"), (30, "nh"), (31, "mg"),
    // A protection key, a bit each; smaps tells it on a line of its own.
    (32, "k0"), (33, "k1"), (34, "k2"), (35, "k3"),
    (37, "ss"), (38, "ui"), (40, "dp"),
    // VM_SEALED: bit 42 from 6.17 on, the top bit before.
    (42, "sl"), (63, "sl"),
];

/// The flags that the four characters of `/proc/PID/maps` tell.
pub const PERMISSIONS: Flags =
    Flags(Flags::READ.0 | Flags::WRITE.0 | Flags::EXEC.0 | Flags::MAYSHARE.0);

/// The letters of each bit.
const LETTERS: [&str; 64] = {
    let mut letters = ["??"; 64];
    let mut at = 0;
    while at < NAMED.len() {
        letters[NAMED[at].0 as usize] = NAMED[at].1;
        at += 1;
    }
    letters
};

/// The letters of each flag that is set. A flag without letters is `??`, as in smaps.
pub fn letters(flags: Flags) -> impl Iterator<Item = &'static str> {
    let mut rest = flags.0;
    iter::from_fn(move || {
        let letters = LETTERS.get(rest.trailing_zeros() as usize)?;
        rest &= rest - 1;
        Some(*letters)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_as_in_smaps() {
        let show = |flags| letters(Flags(flags)).collect::<Vec<_>>().join(" ");
        // What smaps says of a heap and of a stack.
        assert_eq!(show(0x10_0073), "rd wr mr mw me ac");
        assert_eq!(show(0x10_0173), "rd wr mr mw me gd ac");
        assert_eq!(show(1 << 42 | 1 << 11), "?? sl");
        assert_eq!(show(0), "");
    }
}

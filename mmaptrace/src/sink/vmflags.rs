//! `vm_flags` by the two letters that `/proc/PID/smaps` gives them on x86-64 (`fs/proc/task_mmu.c`,
//! `show_smap_vma_flags`).

use std::iter;

use mmaptrace_model::Flags;

/// Bit and letters.
#[rustfmt::skip]
const NAMED: &[(u32, &[u8; 2])] = &[
    (0, b"rd"), (1, b"wr"), (2, b"ex"), (3, b"sh"), (4, b"mr"), (5, b"mw"), (6, b"me"), (7, b"ms"),
    (8, b"gd"), (9, b"um"), (10, b"pf"), (12, b"uw"), (13, b"lo"), (14, b"io"), (15, b"sr"), (16, b"rr"),
    (17, b"dc"), (18, b"de"), (19, b"lf"), (20, b"ac"), (21, b"nr"), (22, b"ht"), (23, b"sf"), (24, b"ar"),
    (25, b"wf"), (26, b"dd"), (27, b"sd"), (28, b"mm"), (29, b"hg"), (30, b"nh"), (31, b"mg"),
    // A protection key, a bit each; smaps tells it on a line of its own.
    (32, b"k0"), (33, b"k1"), (34, b"k2"), (35, b"k3"),
    (37, b"ss"), (38, b"ui"), (40, b"dp"),
    // VM_SEALED: bit 42 from 6.17 on, the top bit before.
    (42, b"sl"), (63, b"sl"),
];

/// The flags that the four characters of `/proc/PID/maps` tell.
pub const PERMISSIONS: Flags =
    Flags(Flags::READ.0 | Flags::WRITE.0 | Flags::EXEC.0 | Flags::MAYSHARE.0);

/// The letters of each bit.
const LETTERS: [[u8; 2]; 64] = {
    let mut letters = [*b"??"; 64];
    let mut at = 0;
    while at < NAMED.len() {
        letters[NAMED[at].0 as usize] = *NAMED[at].1;
        at += 1;
    }
    letters
};

/// The letters of each flag that is set, in ASCII. A flag without letters is `??`, as in smaps.
pub fn letters(flags: Flags) -> impl Iterator<Item = &'static [u8; 2]> {
    let mut rest = flags.0;
    iter::from_fn(move || {
        let letters = LETTERS.get(rest.trailing_zeros() as usize)?;
        rest &= rest - 1;
        Some(letters)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_as_in_smaps() {
        let show = |flags| {
            let letters: Vec<_> = letters(Flags(flags)).map(|it| &it[..]).collect();
            String::from_utf8(letters.join(&b' ')).expect("letters")
        };
        // What smaps says of a heap and of a stack.
        assert_eq!(show(0x10_0073), "rd wr mr mw me ac");
        assert_eq!(show(0x10_0173), "rd wr mr mw me gd ac");
        assert_eq!(show(1 << 42 | 1 << 11), "?? sl");
        assert_eq!(show(0), "");
    }
}

//! `prctl` and `arch_prctl`: `include/uapi/linux/prctl.h`, `arch/x86/include/uapi/asm/prctl.h`.

use std::fmt;

use mmaptrace_common::syscalls::option;

use super::{
    Show,
    bits::{Address, Bits, Hex, Names, Value},
};

/// The options of `prctl` that change an address space.
const OPTIONS: Names = &[
    (option::PR_SET_MM, "PR_SET_MM"),
    (option::PR_SET_MEMORY_MERGE, "PR_SET_MEMORY_MERGE"),
    (option::PR_SET_VMA, "PR_SET_VMA"),
];

const SET_MM: Names = &[
    (1, "PR_SET_MM_START_CODE"),
    (2, "PR_SET_MM_END_CODE"),
    (3, "PR_SET_MM_START_DATA"),
    (4, "PR_SET_MM_END_DATA"),
    (5, "PR_SET_MM_START_STACK"),
    (6, "PR_SET_MM_START_BRK"),
    (7, "PR_SET_MM_BRK"),
    (8, "PR_SET_MM_ARG_START"),
    (9, "PR_SET_MM_ARG_END"),
    (10, "PR_SET_MM_ENV_START"),
    (11, "PR_SET_MM_ENV_END"),
    (12, "PR_SET_MM_AUXV"),
    (13, "PR_SET_MM_EXE_FILE"),
    (14, "PR_SET_MM_MAP"),
    (15, "PR_SET_MM_MAP_SIZE"),
];

const PR_SET_VMA_ANON_NAME: u64 = 0;
const SET_VMA: Names = &[(PR_SET_VMA_ANON_NAME, "PR_SET_VMA_ANON_NAME")];

/// The arguments of `prctl`; what they mean hangs on the first.
pub(super) fn prctl(args: &[u64; 6], show: &mut Show<'_>) -> fmt::Result {
    let &[option, what, rest @ .., _] = args;
    // The kernel takes it for an `int`.
    let option = u64::from(option as u32);
    show(&Value { of: option, names: OPTIONS, unknown: "PR_???" })?;
    match option {
        option::PR_SET_VMA => {
            show(&Value { of: what, names: SET_VMA, unknown: "PR_SET_VMA_???" })?;
            if what == PR_SET_VMA_ANON_NAME {
                let [start, size, name] = rest;
                show(&Address(start))?;
                show(&size)?;
                return show(&Address(name));
            }
        }
        option::PR_SET_MM => {
            show(&Value { of: what, names: SET_MM, unknown: "PR_SET_MM_???" })?;
        }
        _ => show(&Hex(what))?,
    }
    rest.iter().try_for_each(|&value| show(&Hex(value)))
}

/// `ARCH_*`, as far as they take or give an address or a feature.
const ARCH: Names = &[
    (0x1001, "ARCH_SET_GS"),
    (0x1002, "ARCH_SET_FS"),
    (0x1003, "ARCH_GET_FS"),
    (0x1004, "ARCH_GET_GS"),
    (option::ARCH_MAP_VDSO_X32, "ARCH_MAP_VDSO_X32"),
    (0x2002, "ARCH_MAP_VDSO_32"),
    (option::ARCH_MAP_VDSO_64, "ARCH_MAP_VDSO_64"),
    (option::ARCH_SHSTK_ENABLE, "ARCH_SHSTK_ENABLE"),
    (0x5002, "ARCH_SHSTK_DISABLE"),
    (0x5003, "ARCH_SHSTK_LOCK"),
    (0x5004, "ARCH_SHSTK_UNLOCK"),
    (0x5005, "ARCH_SHSTK_STATUS"),
];

const SHSTK: Names = &[(1, "ARCH_SHSTK_SHSTK"), (2, "ARCH_SHSTK_WRSS")];

/// The arguments of `arch_prctl`.
pub(super) fn arch_prctl(args: &[u64; 6], show: &mut Show<'_>) -> fmt::Result {
    let &[option, value, ..] = args;
    let option = u64::from(option as u32);
    show(&Value { of: option, names: ARCH, unknown: "ARCH_???" })?;
    match option {
        0x5001..=0x5004 => show(&Bits { value, names: SHSTK, unknown: "ARCH_SHSTK_???" }),
        0x1001..=0x1004 | option::ARCH_MAP_VDSO_X32..=option::ARCH_MAP_VDSO_64 | 0x5005 => {
            show(&Address(value))
        }
        _ => show(&Hex(value)),
    }
}

//! Which returns of calls are worth a record.

use mmaptrace_common::syscalls::{Report, option};

use crate::kernel::{Entry, int};

/// Whether the return of a call of the table is reported, see [`Report`].
#[inline(always)]
pub(crate) fn wanted(report: u8, call: &Entry, result: i64, made_last_commit: bool) -> bool {
    const ALWAYS: u8 = Report::Always as u8;
    const PRCTL: u8 = Report::Prctl as u8;
    const ARCH_PRCTL: u8 = Report::ArchPrctl as u8;
    const IOCTL: u8 = Report::Ioctl as u8;
    const FAILURE: u8 = Report::Failure as u8;
    const PARENT: u8 = Report::Parent as u8;
    // An option, a descriptor and a command: the kernel takes each for an `int`.
    let (a0, a1) = (int(call.args[0]), int(call.args[1]));
    match report {
        ALWAYS => true,
        PRCTL => {
            made_last_commit
                || a0 == option::PR_SET_VMA
                || a0 == option::PR_SET_MM
                || a0 == option::PR_SET_MEMORY_MERGE
        }
        ARCH_PRCTL => {
            made_last_commit
                || (option::ARCH_MAP_VDSO_X32..=option::ARCH_MAP_VDSO_64).contains(&a0)
                || a0 == option::ARCH_SHSTK_ENABLE
        }
        IOCTL => {
            made_last_commit || a1 == option::UFFDIO_REGISTER || a1 == option::UFFDIO_UNREGISTER
        }
        FAILURE => result < 0,
        PARENT => result != 0,
        _ => false,
    }
}

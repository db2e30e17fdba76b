//! Calls of the kernel's own functions, by placeholders that the loader replaces (see
//! [`mmaptrace_common::kfunc`]).

use core::arch::asm;

/// Calls a function of at most two arguments; what it returns, if it returns anything.
///
/// # Safety
/// That of the function. Where the loader leaves the call out, what this returns must not be used.
#[inline(always)]
pub(crate) unsafe fn call<const FUNCTION: u64>(first: u64, second: u64) -> u64 {
    let result: u64;
    // SAFETY: a call, with all that it may change.
    unsafe {
        asm!(
            ".quad {}",
            const FUNCTION,
            out("r0") result,
            inout("r1") first => _,
            inout("r2") second => _,
            out("r3") _,
            out("r4") _,
            out("r5") _,
        );
    }
    result
}

//! Runs that nothing of their CPU's other tasks comes into.
//!
//! Since Linux 7.0 tracepoints leave preemption on (`__DECLARE_TRACE`, `include/linux/tracepoint.h`).
//! While a run is preempted, the kernel leaves out all others of the same program on that CPU
//! (`__bpf_trace_run`, `kernel/trace/bpf_trace.c`): what they would have told is missed, for as long
//! as other tasks have that CPU. What a CPU has once would be in use as well.

use core::arch::asm;

use mmaptrace_common::kfunc::{PREEMPT_DISABLE, PREEMPT_ENABLE};

/// The CPU is this run's, but for interrupts, until this is dropped. Where tracepoints see to it, it
/// is nothing.
pub(crate) struct Alone(());

impl Alone {
    /// From here on.
    #[inline(always)]
    pub(crate) fn begin() -> Self {
        call::<PREEMPT_DISABLE>();
        Self(())
    }
}

impl Drop for Alone {
    #[inline(always)]
    fn drop(&mut self) {
        call::<PREEMPT_ENABLE>();
    }
}

/// Calls a function of the kernel that takes nothing and returns nothing.
#[inline(always)]
fn call<const FUNCTION: u64>() {
    // SAFETY: a call, with all that it may change.
    unsafe {
        asm!(
            ".quad {}",
            const FUNCTION,
            out("r0") _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("r4") _,
            out("r5") _,
        );
    }
}

//! Runs that nothing of their CPU's other tasks comes into.
//!
//! Since Linux 7.0 tracepoints leave preemption on (`__DECLARE_TRACE`, `include/linux/tracepoint.h`).
//! While a run is preempted, the kernel leaves out all others of the same program on that CPU
//! (`__bpf_trace_run`, `kernel/trace/bpf_trace.c`): what they would have told is missed, for as long
//! as other tasks have that CPU. What a CPU has once would be in use as well.

use core::{arch::asm, mem::MaybeUninit};

use mmaptrace_common::kfunc::{IRQ_RESTORE, IRQ_SAVE, PREEMPT_DISABLE, PREEMPT_ENABLE};

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
    /// A task that became due to give way meanwhile would do so when preemption is turned on again,
    /// still within the run, if interrupts were on (`preempt_schedule`, `kernel/sched/core.c`). So it
    /// does so after the run, at the next opportunity.
    #[inline(always)]
    fn drop(&mut self) {
        let mut flags = MaybeUninit::<u64>::uninit();
        call_with::<IRQ_SAVE>(&mut flags);
        call::<PREEMPT_ENABLE>();
        call_with::<IRQ_RESTORE>(&mut flags);
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

/// Calls a function of the kernel that keeps the state of interrupts on the stack, or takes it there.
#[inline(always)]
fn call_with<const FUNCTION: u64>(flags: &mut MaybeUninit<u64>) {
    // SAFETY: a call, with all that it may change.
    unsafe {
        asm!(
            ".quad {}",
            const FUNCTION,
            out("r0") _,
            inout("r1") flags.as_mut_ptr() => _,
            out("r2") _,
            out("r3") _,
            out("r4") _,
            out("r5") _,
        );
    }
}

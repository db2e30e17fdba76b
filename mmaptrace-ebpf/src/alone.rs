//! Runs that nothing of their CPU's other tasks comes into.
//!
//! Since Linux 7.0 tracepoints leave preemption on (`__DECLARE_TRACE`, `include/linux/tracepoint.h`).
//! While a run is preempted, the kernel leaves out all others of the same program on that CPU
//! (`__bpf_trace_run`, `kernel/trace/bpf_trace.c`): what they would have told is missed, for as long
//! as other tasks have that CPU. What a CPU has once would be in use as well.

use core::mem::MaybeUninit;

use mmaptrace_common::kfunc::{IRQ_RESTORE, IRQ_SAVE, PREEMPT_DISABLE, PREEMPT_ENABLE};

use crate::kfunc;

/// The CPU is this run's, but for interrupts, until this is dropped. Where tracepoints see to it, it
/// is nothing.
pub(crate) struct Alone(());

impl Alone {
    /// From here on.
    #[inline(always)]
    pub(crate) fn begin() -> Self {
        // SAFETY: it takes nothing, and `drop` undoes it.
        unsafe { kfunc::call::<PREEMPT_DISABLE>(0, 0) };
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
        let flags = flags.as_mut_ptr() as u64;
        // SAFETY: what one keeps on the stack, the other takes there.
        unsafe {
            kfunc::call::<IRQ_SAVE>(flags, 0);
            kfunc::call::<PREEMPT_ENABLE>(0, 0);
            kfunc::call::<IRQ_RESTORE>(flags, 0);
        }
    }
}

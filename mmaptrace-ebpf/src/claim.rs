//! What a CPU has once, for one run of a program at a time. Another run may come in the middle of
//! one, in an interrupt.

use core::arch::asm;

/// Whether a thing is in use: not 0.
#[repr(transparent)]
pub(crate) struct Busy(u64);

impl Busy {
    /// Takes it, unless another run has it; then it must not be touched.
    ///
    /// # Safety
    /// `busy` is in a map.
    #[inline(always)]
    pub(crate) unsafe fn claim(busy: *mut Self) -> bool {
        let mut was = 1_u64;
        // SAFETY: the caller's pointer is to an aligned word in a map. The target has no atomic
        // read-modify-write in `core`, but an instruction for it.
        unsafe { asm!("{1} = xchg_64({0} + 0, {1})", in(reg) busy, inout(reg) was) };
        was == 0
    }

    /// Gives back what [`Busy::claim`] took.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub(crate) unsafe fn give_back(busy: *mut Self) {
        // SAFETY: the caller's pointer is valid.
        unsafe { core::ptr::write_volatile(busy.cast::<u64>(), 0) }
    }
}

//! Writing where nothing may be, outside of any call: the fault is what is wanted.

use std::{
    arch::global_asm,
    ffi::{c_int, c_void},
};

unsafe extern "C" {
    /// Writes a byte there, if that can be.
    pub(crate) safe fn torture_touch(address: usize);
}

global_asm!(".globl torture_touch", "torture_touch: mov byte ptr [rdi], 1", "ret");

/// Bytes of the instruction of [`torture_touch`] that may fault.
const TOUCH: i64 = 3;

/// Lets [`torture_touch`] go on after a fault.
pub(crate) fn catch() {
    // SAFETY: the handler keeps to what may be done in one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = fault as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
        libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut());
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
    }
}

extern "C" fn fault(signal: c_int, _info: *mut c_void, context: *mut libc::ucontext_t) {
    // SAFETY: the kernel gives a handler the interrupted context.
    unsafe {
        let rip = &mut (*context).uc_mcontext.gregs[libc::REG_RIP as usize];
        if *rip == torture_touch as *const () as i64 {
            *rip += TOUCH;
        } else {
            // It comes again, and ends the program: that is a fault of ours.
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

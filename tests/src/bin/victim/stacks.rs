//! Calls from functions that the test knows: three with frames, and one without that makes the
//! call, as the C library's do. In assembler, for whether a compiler keeps frame pointers is its
//! own affair.

use std::arch::global_asm;

use crate::sys::{ANON, Case, Outcome, PAGE, R, RW, area, file, mmap, must, ready};

pub(crate) const CASES: &[Case] = &[
    ("stacks_known", known),
    ("stacks_code_unmapped", code_unmapped),
    ("stacks_no_frames", no_frames),
    ("stacks_deep", deep),
    ("stacks_unmapped", unmapped),
];

/// A call's number and its arguments.
pub(crate) type Call = [usize; 7];

unsafe extern "C" {
    /// Makes the call, four functions deep.
    pub(crate) safe fn stacks_outer(call: &Call) -> isize;
    /// Three deep.
    pub(crate) safe fn stacks_middle(call: &Call) -> isize;
    /// Two deep.
    pub(crate) safe fn stacks_inner(call: &Call) -> isize;
    /// Calls `code` with the address of `stacks_leaf_and_leave`.
    fn stacks_run(call: &Call, code: usize) -> isize;
    /// Makes the call with a frame pointer that leads nowhere.
    safe fn stacks_lost(call: &Call) -> isize;
    /// Makes the call with a frame on the stack that ends at `top`, and returns on the one before.
    fn stacks_elsewhere(call: &Call, top: usize) -> isize;
    /// Makes the call `depth` calls of itself deep.
    safe fn stacks_deep(call: &Call, depth: usize) -> isize;
}

global_asm!(
    r#"
    .macro function name
    .type \name, @function
    .globl \name
    \name:
    .endm
    .macro end name
    .size \name, . - \name
    .endm
    .macro make_call
    mov rax, [rdi]
    mov rsi, [rdi + 16]
    mov rdx, [rdi + 24]
    mov r10, [rdi + 32]
    mov r8, [rdi + 40]
    mov r9, [rdi + 48]
    mov rdi, [rdi + 8]
    syscall
    .endm

    .pushsection .text
    function stacks_leaf
    make_call
    ret
    end stacks_leaf

    function stacks_inner
    push rbp
    mov rbp, rsp
    call stacks_leaf
    pop rbp
    ret
    end stacks_inner

    function stacks_middle
    push rbp
    mov rbp, rsp
    call stacks_inner
    pop rbp
    ret
    end stacks_middle

    function stacks_outer
    push rbp
    mov rbp, rsp
    call stacks_middle
    pop rbp
    ret
    end stacks_outer

    function stacks_run
    push rbp
    mov rbp, rsp
    lea rdx, [rip + stacks_leaf_and_leave]
    call rsi
    pop rbp
    ret
    end stacks_run

    function stacks_leaf_and_leave
    make_call
    leave
    ret
    end stacks_leaf_and_leave

    function stacks_lost
    push rbp
    mov ebp, 8
    call stacks_leaf
    pop rbp
    ret
    end stacks_lost

    function stacks_elsewhere
    push rbp
    push rbx
    mov rbx, rsp
    mov rsp, rsi
    push rbp
    mov rbp, rsp
    make_call
    mov rsp, rbx
    pop rbx
    pop rbp
    ret
    end stacks_elsewhere

    function stacks_deep
    push rbp
    mov rbp, rsp
    test rsi, rsi
    je 1f
    dec rsi
    call stacks_deep
    pop rbp
    ret
    1:
    call stacks_leaf
    pop rbp
    ret
    end stacks_deep
    .popsection
    "#
);

pub(crate) fn call<const N: usize>(nr: i64, args: [usize; N]) -> Call {
    let mut call = [0; 7];
    call[0] = nr as usize;
    call[1..=N].copy_from_slice(&args);
    call
}

/// A mapping, a protection, an unmapping, and a protection that fails.
fn known() -> Outcome {
    ready();
    let at = stacks_outer(&call(
        libc::SYS_mmap,
        [0, 2 * PAGE, RW as usize, ANON as usize, usize::MAX, 0],
    )) as usize;
    assert_eq!(stacks_outer(&call(libc::SYS_mprotect, [at, PAGE, R as usize])), 0);
    assert_eq!(stacks_outer(&call(libc::SYS_munmap, [at, 2 * PAGE])), 0);
    // Refused before it takes the lock.
    let failing = call(libc::SYS_mprotect, [1, PAGE, R as usize]);
    assert_eq!(stacks_outer(&failing), -libc::EINVAL as isize);
    Ok(())
}

/// Code that is unmapped while it runs, as `dlclose` may do; what unmaps it returns in its place.
fn code_unmapped() -> Outcome {
    /// `push rbp; mov rbp, rsp; call rdx`
    const CODE: [u8; 6] = [0x55, 0x48, 0x89, 0xe5, 0xff, 0xd2];
    let fd = file(b"code", 1);
    // SAFETY: the file is this case's own, and the bytes are there.
    assert_eq!(unsafe { libc::pwrite(fd, CODE.as_ptr().cast(), CODE.len(), 0) }, 6);
    let code = must(mmap(0, PAGE, R | libc::PROT_EXEC, libc::MAP_PRIVATE, fd, 0));
    ready();
    // SAFETY: it is code that calls what it is given, and that does not return to it.
    assert_eq!(unsafe { stacks_run(&call(libc::SYS_munmap, [code, PAGE]), code) }, 0);
    Ok(())
}

/// A function that uses the register of the frame pointer for something else.
fn no_frames() -> Outcome {
    let at = area(4);
    ready();
    assert_eq!(stacks_lost(&call(libc::SYS_munmap, [at, PAGE])), 0);
    Ok(())
}

/// More frames than are taken.
fn deep() -> Outcome {
    let at = area(4);
    ready();
    assert_eq!(stacks_deep(&call(libc::SYS_munmap, [at, PAGE]), 300), 0);
    Ok(())
}

/// The stack it runs on is unmapped, as threads do with their own.
fn unmapped() -> Outcome {
    let at = area(4);
    ready();
    // SAFETY: the stack is this case's own, and nothing on it is used again.
    let done = unsafe { stacks_elsewhere(&call(libc::SYS_munmap, [at, 4 * PAGE]), at + 4 * PAGE) };
    assert_eq!(done, 0);
    Ok(())
}

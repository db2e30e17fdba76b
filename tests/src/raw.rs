//! System calls past the C library, which neither allocate nor set `errno`.

use std::arch::asm;

/// Makes a call of the 64-bit table.
///
/// # Errors
/// The errno it fails with.
pub fn call<const N: usize>(nr: i64, args: [usize; N]) -> Result<usize, i32> {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&args);
    let result: isize;
    // SAFETY: the kernel's calling convention. What a call does to memory that Rust knows of is
    // its caller's affair: the programs of the tests touch memory of their own making only.
    unsafe {
        asm!("syscall", inlateout("rax") nr as isize => result,
            in("rdi") all[0], in("rsi") all[1], in("rdx") all[2],
            in("r10") all[3], in("r8") all[4], in("r9") all[5],
            lateout("rcx") _, lateout("r11") _);
    }
    if (-4095..0).contains(&result) { Err(-result as i32) } else { Ok(result as usize) }
}

/// Makes a call of the 32-bit table.
///
/// # Errors
/// The errno it fails with.
pub fn call32<const N: usize>(nr: u32, args: [u32; N]) -> Result<usize, i32> {
    let mut all = [0_u32; 6];
    all[..N].copy_from_slice(&args);
    let result: u32;
    // SAFETY: the kernel's calling convention for 32-bit calls. rbx and rbp are put back, and r8
    // to r11, which old kernels clear, are given up.
    unsafe {
        asm!("push rbx", "push rbp", "mov ebx, {first:e}", "mov ebp, {last:e}", "int 0x80",
            "pop rbp", "pop rbx",
            first = in(reg) all[0], last = in(reg) all[5],
            inlateout("eax") nr => result, in("ecx") all[1], in("edx") all[2],
            in("esi") all[3], in("edi") all[4],
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _);
    }
    if result > -4096_i32 as u32 { Err(-(result as i32)) } else { Ok(result as usize) }
}

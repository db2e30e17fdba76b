//! Calls of the 32-bit table, made by a 64-bit process with `int 0x80`.

use mmaptrace_tests::raw::call32;

use crate::sys::{Case, Outcome, PAGE, RW, Unsupported, must, ready};

pub(crate) const CASES: &[Case] = &[
    ("compat_mmap2", mmap2),
    ("compat_old_mmap", old_mmap),
    ("compat_munmap", munmap),
    ("compat_mprotect", mprotect),
    ("compat_ipc", ipc),
    ("compat_brk", brk),
];

/// Private and anonymous; 32-bit programs have the same bits.
const ANON: u32 = 0x22;

/// A kernel without these calls answers the instruction with a signal; ask in a child.
fn supported() -> Outcome {
    // SAFETY: the child makes one call and ends.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let _ = call32(20, []);
        crate::sys::exit(0);
    }
    let mut status = 0;
    // SAFETY: our own child, and a place for its status.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    if status == 0 { Ok(()) } else { Err(Unsupported { call: "int80", errno: libc::ENOSYS }) }
}

fn map(pages: u32) -> u32 {
    must(call32(192, [0, pages * PAGE as u32, RW as u32, ANON, u32::MAX, 0])) as u32
}

fn mmap2() -> Outcome {
    supported()?;
    ready();
    map(3);
    // The offset is in pages.
    let fd = crate::sys::open_self() as u32;
    must(call32(192, [0, PAGE as u32, 1, 2, fd, 3]));
    Ok(())
}

/// Its arguments are in memory, which has to be below 4 GiB.
fn old_mmap() -> Outcome {
    supported()?;
    let block = map(1);
    let arguments = [0_u32, 5 * PAGE as u32, RW as u32, ANON, u32::MAX, 0];
    let at = std::ptr::with_exposed_provenance_mut::<[u32; 6]>(block as usize);
    // SAFETY: just mapped, writable, a page long.
    unsafe { at.write_volatile(arguments) };
    ready();
    must(call32(90, [block]));
    Ok(())
}

fn munmap() -> Outcome {
    supported()?;
    let at = map(9);
    ready();
    must(call32(91, [at + 2 * PAGE as u32, 3 * PAGE as u32]));
    Ok(())
}

fn mprotect() -> Outcome {
    supported()?;
    let at = map(9);
    ready();
    must(call32(125, [at + 2 * PAGE as u32, 3 * PAGE as u32, 1]));
    Ok(())
}

/// shmat and shmdt by the call that was once all of System V's: the address is written to memory.
fn ipc() -> Outcome {
    const SHMAT: u32 = 21;
    const SHMDT: u32 = 22;
    const SHMCTL: u32 = 24;
    const SHMGET: u32 = 23;
    supported()?;
    let answer = map(1);
    let id = must(call32(117, [SHMGET, 0, 4 * PAGE as u32, 0o600])) as u32;
    ready();
    must(call32(117, [SHMAT, id, 0, answer, 0]));
    let at = std::ptr::with_exposed_provenance::<u32>(answer as usize);
    // SAFETY: mapped above; the kernel has written the address there.
    let first = unsafe { at.read_volatile() };
    must(call32(117, [SHMCTL, id, 0, 0, 0]));
    must(call32(117, [SHMAT, id, 0, answer, 0]));
    must(call32(117, [SHMDT, 0, 0, 0, first]));
    Ok(())
}

/// The break of a 64-bit process is out of reach of 32 bits: the call fails, and says so with half
/// an address.
fn brk() -> Outcome {
    supported()?;
    ready();
    let _ = call32(45, [0x1000]);
    Ok(())
}

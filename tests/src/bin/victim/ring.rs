//! `io_uring`: calls that are made without a call.

use std::ptr::with_exposed_provenance_mut;
use std::sync::atomic::{Ordering, fence};

use crate::sys::{Outcome, PAGE, RW, Unsupported, call, if_supported, mmap, must};

/// `enum io_uring_op`.
pub(crate) mod op {
    pub(crate) const NOP: u32 = 0;
    pub(crate) const MADVISE: u32 = 25;
    pub(crate) const RENAMEAT: u32 = 35;
    pub(crate) const UNLINKAT: u32 = 36;
}

/// `IOSQE_IO_LINK`, beside the operation: the next one follows it.
pub(crate) const LINK: u32 = 1 << 2 << 8;
/// `IOSQE_ASYNC`, beside the operation: a worker is to do it.
pub(crate) const ASYNC: u32 = 1 << 4 << 8;

/// Where the entries for submissions are mapped from.
const ENTRIES: usize = 0x1000_0000;

/// Two halves of a word of an entry.
pub(crate) fn word(low: u32, high: i32) -> u64 {
    u64::from(low) | u64::from(high.cast_unsigned()) << 32
}

/// A ring that takes a few operations, once.
pub(crate) struct Ring {
    fd: usize,
    /// `struct io_uring_params`, as words: the fields of the submission ring start at word 10, those of
    /// the completion ring at 20.
    params: [u32; 30],
    rings: usize,
    entries: usize,
}

impl Ring {
    pub(crate) fn new() -> Result<Self, Unsupported> {
        let mut params = [0_u32; 30];
        let arguments = [4, params.as_mut_ptr().expose_provenance()];
        let fd = if_supported("io_uring_setup", call(libc::SYS_io_uring_setup, arguments))?;
        let map = |offset| must(mmap(0, PAGE, RW, libc::MAP_SHARED, fd as i32, offset));
        Ok(Self { fd, params, rings: map(0), entries: map(ENTRIES) })
    }

    /// Has operations done, each told by the first half of `struct io_uring_sqe`.
    pub(crate) fn submit<const N: usize>(self, entries: [[u64; 4]; N]) -> Outcome {
        const GETEVENTS: usize = 1;
        fn at<T>(base: usize, offset: u32) -> *mut T {
            with_exposed_provenance_mut(base + offset as usize)
        }
        let [tail, array, completions] = [11, 16, 25].map(|word| self.params[word]);
        // SAFETY: the rings are mapped, and the kernel has said where their fields are. The entries, of
        // 64 bytes that are 0, are ours until they are submitted.
        unsafe {
            for (number, entry) in (0..).zip(entries) {
                at::<[u64; 4]>(self.entries, 64 * number).write_volatile(entry);
                at::<u32>(self.rings, array + 4 * number).write_volatile(number);
            }
            at::<u32>(self.rings, tail).write_volatile(N as u32);
        }
        fence(Ordering::SeqCst);
        must(call(libc::SYS_io_uring_enter, [self.fd, N, N, GETEVENTS, 0, 0]));
        for number in 0..N as u32 {
            // SAFETY: all rings are in one mapping, and the result follows the first word of each
            // completion.
            let result =
                unsafe { at::<i32>(self.rings, completions + 16 * number + 8).read_volatile() };
            match -result {
                ..=0 => {}
                errno @ libc::EINVAL => return Err(Unsupported { call: "io_uring_enter", errno }),
                errno => panic!("errno {errno}"),
            }
        }
        Ok(())
    }
}

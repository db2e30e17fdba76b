//! `io_uring`: calls that are made without a call.

use std::ptr::with_exposed_provenance_mut;
use std::sync::atomic::{Ordering, fence};

use crate::sys::{Outcome, PAGE, RW, Unsupported, call, if_supported, mmap, must};

/// `enum io_uring_op`.
pub(crate) mod op {
    pub(crate) const MADVISE: u32 = 25;
    pub(crate) const RENAMEAT: u32 = 35;
    pub(crate) const UNLINKAT: u32 = 36;
}

/// `IOSQE_ASYNC`, beside the operation: a worker is to do it.
pub(crate) const ASYNC: u32 = 1 << 4 << 8;

/// Where the entries for submissions are mapped from.
const ENTRIES: usize = 0x1000_0000;

/// Two halves of a word of an entry.
pub(crate) fn word(low: u32, high: i32) -> u64 {
    u64::from(low) | u64::from(high.cast_unsigned()) << 32
}

/// A ring that takes one operation.
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

    /// Has an operation done, told by the first half of `struct io_uring_sqe`.
    pub(crate) fn submit(self, entry: [u64; 4]) -> Outcome {
        const GETEVENTS: usize = 1;
        fn at<T>(base: usize, offset: u32) -> *mut T {
            with_exposed_provenance_mut(base + offset as usize)
        }
        let [tail, array, completions] = [11, 16, 25].map(|word| self.params[word]);
        // SAFETY: the rings are mapped, and the kernel has said where their fields are. The entry, of
        // 64 bytes that are 0, is ours until it is submitted.
        unsafe {
            at::<[u64; 4]>(self.entries, 0).write_volatile(entry);
            at::<u32>(self.rings, array).write_volatile(0);
            at::<u32>(self.rings, tail).write_volatile(1);
        }
        fence(Ordering::SeqCst);
        must(call(libc::SYS_io_uring_enter, [self.fd, 1, 1, GETEVENTS, 0, 0]));
        // SAFETY: both rings are in one mapping, and the result follows the first word of the first
        // completion.
        let result = unsafe { at::<i32>(self.rings, completions + 8).read_volatile() };
        match result {
            0 => Ok(()),
            error => Err(Unsupported { call: "io_uring_enter", errno: -error }),
        }
    }
}

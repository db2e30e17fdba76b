//! A child to do the calls.

use std::{
    fs,
    io::{self, Read, Write},
    os::fd::{FromRawFd, OwnedFd},
};

/// A child that does the calls it is told and nothing else, so that nothing else changes its map.
pub(crate) struct Child {
    pid: libc::pid_t,
    orders: fs::File,
    answers: fs::File,
}

impl Child {
    pub(crate) fn start() -> Self {
        let (orders_out, orders_in) = pipe();
        let (answers_out, answers_in) = pipe();
        // SAFETY: the child makes system calls only, on memory that is there before the fork.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "{}", io::Error::last_os_error());
        if pid == 0 {
            obey(orders_out, answers_in);
        }
        // SAFETY: both are open, and nobody else's.
        let (orders, answers) = unsafe {
            libc::close(orders_out);
            libc::close(answers_in);
            (OwnedFd::from_raw_fd(orders_in), OwnedFd::from_raw_fd(answers_out))
        };
        Self { pid, orders: orders.into(), answers: answers.into() }
    }

    /// What the call returned, or `-errno`.
    pub(crate) fn call(&mut self, nr: libc::c_long, args: [u64; 6]) -> i64 {
        let order: Vec<u8> =
            [nr as u64].iter().chain(&args).flat_map(|word| word.to_ne_bytes()).collect();
        self.orders.write_all(&order).expect("the child reads");
        let mut answer = [0; 8];
        self.answers.read_exact(&mut answer).expect("the child answers");
        i64::from_ne_bytes(answer)
    }

    /// The text of one of its files in `/proc`.
    pub(crate) fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid)).expect("the child lives")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: it is our child, and not waited for yet.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
    }
}

fn pipe() -> (i32, i32) {
    let mut ends = [0; 2];
    // SAFETY: it writes two descriptors into what holds two.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    (ends[0], ends[1])
}

fn obey(orders: i32, answers: i32) -> ! {
    loop {
        let mut order = [0_u64; 7];
        // SAFETY: as many bytes as there are; calls with addresses of the arena and the break,
        // where nothing of this child lies.
        unsafe {
            if libc::read(orders, order.as_mut_ptr().cast(), 56) != 56 {
                libc::_exit(0);
            }
            let [nr, args @ ..] = order;
            let result = libc::syscall(
                nr as libc::c_long,
                args[0],
                args[1],
                args[2],
                args[3],
                args[4],
                args[5],
            );
            let result = if result == -1 { -i64::from(*libc::__errno_location()) } else { result };
            libc::write(answers, (&raw const result).cast(), 8);
        }
    }
}

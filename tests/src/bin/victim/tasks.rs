//! `fork`, `vfork`, `clone`, `clone3`, and how tasks end.

use std::arch::asm;
use std::time::Duration;

use mmaptrace_tests::often;

use crate::image::{SELF, exec};
use crate::sys::{
    ANON, Case, Outcome, PAGE, R, RW, Unsupported, area, call, fails, if_supported, mmap, mprotect,
    munmap, must, ready, say, sleep_forever,
};
use crate::threads::join;

pub(crate) const CASES: &[Case] = &[
    ("fork", fork),
    ("fork_flags", fork_flags),
    ("fork_child_exits", child_exits),
    ("fork_many", fork_many),
    ("fork_while_threads_map", fork_in_storm),
    ("vfork", vfork),
    ("vfork_shares", vfork_shares),
    ("vfork_and_leave", vfork_and_leave),
    ("clone_vm_and_leave", clone_vm_and_leave),
    ("fork_and_end", fork_and_end),
    ("leave_behind", leave_behind),
    ("after_vfork", after_vfork),
    ("clone_vm", clone_vm),
    ("clone3", clone3),
    ("spawn", spawn),
    ("fork_reuses_a_pid", reuse_pid),
    ("generations", generations),
    ("generations_for_long", generations_for_long),
];

/// `clone` without a stack of the child's own: a fork, if `CLONE_VM` is not in `flags`.
pub(crate) fn clone(flags: i32) -> usize {
    must(call(libc::SYS_clone, [flags as usize, 0, 0, 0, 0]))
}

/// Dies with its parent, which the test kills.
pub(crate) fn child_of_the_test() {
    must(call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as usize, libc::SIGKILL as usize]));
    // That may have been before this.
    if must(call(libc::SYS_getppid, [])) == 1 {
        crate::sys::exit(0);
    }
}

/// Runs `work` in a child that then stands still, and tells of it when it does.
fn child(fork: impl FnOnce() -> usize, work: impl FnOnce()) {
    let mut pipe = [0_i32; 2];
    must(call(libc::SYS_pipe, [pipe.as_mut_ptr().expose_provenance()]));
    let pid = fork();
    if pid == 0 {
        child_of_the_test();
        work();
        must(call(libc::SYS_write, [pipe[1] as usize, pipe.as_ptr().expose_provenance(), 1]));
        sleep_forever();
    }
    let byte = [0_u8];
    must(call(libc::SYS_read, [pipe[0] as usize, byte.as_ptr().expose_provenance(), 1]));
    say(&format!("CHILD {pid}"));
}

/// Both go their own way from here.
fn fork() -> Outcome {
    let at = area(9);
    ready();
    let fork = || must(call(libc::SYS_fork, []));
    child(fork, || {
        must(munmap(at + 2 * PAGE, PAGE));
    });
    must(mprotect(at + 4 * PAGE, 2 * PAGE, R));
    Ok(())
}

/// What the child does not get, and what it gets empty.
fn fork_flags() -> Outcome {
    let at = area(12);
    let advise = |page, advice: i32| {
        must(call(libc::SYS_madvise, [at + page * PAGE, 2 * PAGE, advice as usize]));
    };
    advise(2, libc::MADV_DONTFORK);
    advise(6, libc::MADV_WIPEONFORK);
    must(call(libc::SYS_mlock, [at + 9 * PAGE, PAGE]));
    ready();
    child(|| clone(libc::SIGCHLD), || ());
    Ok(())
}

fn reap(count: usize) {
    for _ in 0..count {
        must(call(libc::SYS_wait4, [usize::MAX, 0, 0, 0]));
    }
}

fn child_exits() -> Outcome {
    ready();
    if clone(libc::SIGCHLD) == 0 {
        must(mmap(0, PAGE, RW, ANON, -1, 0));
        crate::sys::exit(7);
    }
    if clone(libc::SIGCHLD) == 0 {
        // SAFETY: takes two integers.
        unsafe { libc::kill(std::process::id() as i32, libc::SIGKILL) };
        sleep_forever();
    }
    reap(2);
    Ok(())
}

/// Processes that live for a moment, and whose PIDs and address spaces are used again.
fn fork_many() -> Outcome {
    ready();
    for round in 0..200 {
        if clone(libc::SIGCHLD) == 0 {
            if round % 2 == 0 {
                must(mmap(0, (round + 1) * PAGE, RW, ANON, -1, 0));
            }
            crate::sys::exit(0);
        }
        if round % 8 == 7 {
            reap(8);
        }
    }
    Ok(())
}

/// The copy belongs to one commit of the parent, in the middle of others.
fn fork_in_storm() -> Outcome {
    ready();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let maps = |_| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let at = must(mmap(0, 2 * PAGE, RW, ANON, -1, 0));
                    must(mprotect(at, PAGE, R));
                    must(munmap(at, 2 * PAGE));
                }
            })
        };
        let threads = (0..4).map(maps).collect();
        for _ in 0..5 {
            child(|| clone(libc::SIGCHLD), || ());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        join(threads);
    });
    Ok(())
}

/// The child runs on its parent's stack, and so may do nothing but end.
fn vfork() -> Outcome {
    ready();
    let pid: isize;
    // SAFETY: the child touches no memory; when the parent goes on, the child has ended.
    unsafe {
        asm!("syscall", "test rax, rax", "jnz 2f",
            "mov eax, 231", "xor edi, edi", "syscall", "2:",
            inlateout("rax") libc::SYS_vfork as isize => pid,
            out("rdi") _, out("rcx") _, out("r11") _);
    }
    assert!(pid > 0);
    reap(1);
    Ok(())
}

/// A child in its parent's address space, with a stack of its own.
fn sharing(flags: i32, work: extern "C" fn(*mut libc::c_void) -> i32, argument: usize) -> i32 {
    let stack = area(64) + 64 * PAGE;
    let stack = std::ptr::with_exposed_provenance_mut(stack);
    let argument = std::ptr::with_exposed_provenance_mut(argument);
    // SAFETY: the stack is mapped, large enough, and the child's alone.
    let pid = unsafe { libc::clone(work, stack, flags | libc::CLONE_VM | libc::SIGCHLD, argument) };
    assert!(pid > 0);
    pid
}

/// The parent sleeps in the kernel while the child changes their address space, and the test looks
/// at both.
fn vfork_shares() -> Outcome {
    extern "C" fn work(at: *mut libc::c_void) -> i32 {
        child_of_the_test();
        must(munmap(at.expose_provenance() + 2 * PAGE, PAGE));
        say(&format!("CHILD {}", must(call(libc::SYS_getpid, []))));
        say("DONE");
        crate::sys::wait();
        crate::sys::exit(0);
    }
    let at = area(9);
    ready();
    sharing(libc::CLONE_VFORK, work, at);
    Ok(())
}

/// Amid much else a child leaves its parent's address space for an image of its own, which it does not find
/// at once.
fn vfork_and_leave() -> Outcome {
    extern "C" fn work(_: *mut libc::c_void) -> i32 {
        fails(exec(c"/nonexistent/program", c"x"), libc::ENOENT);
        must(exec(SELF, c"after_vfork"));
        0
    }
    ready();
    for _ in 0..400 {
        must(munmap(must(mmap(0, PAGE, RW, ANON, -1, 0)), PAGE));
    }
    sharing(libc::CLONE_VFORK, work, 0);
    sleep_forever();
}

/// A process leaves its address space, in which another stays, for an image of its own.
fn leave_behind() -> Outcome {
    extern "C" fn stay(_: *mut libc::c_void) -> i32 {
        child_of_the_test();
        sleep_forever();
    }
    sharing(0, stay, 0);
    ready();
    must(exec(SELF, c"after_vfork"));
    Ok(())
}

/// A process makes two others in its address space, and ends. One stays there; the other works in it, and
/// leaves for an image of its own.
fn clone_vm_and_leave() -> Outcome {
    extern "C" fn stay(parent: *mut libc::c_void) -> i32 {
        until_adopted(parent.expose_provenance(), std::thread::yield_now);
        sleep_forever();
    }
    extern "C" fn leave(parent: *mut libc::c_void) -> i32 {
        until_adopted(parent.expose_provenance(), std::thread::yield_now);
        must(mmap(0, PAGE, RW, ANON, -1, 0));
        must(exec(SELF, c"after_vfork"));
        0
    }
    in_between(|own, _| {
        sharing(0, stay, own);
        sharing(0, leave, own);
    })
}

/// A process between this one and its children, which this one gets when it has done `work`, by its PID and
/// with a way to wait: for the test, as it does at first.
fn in_between(work: impl FnOnce(usize, &dyn Fn())) -> Outcome {
    must(call(libc::SYS_prctl, [libc::PR_SET_CHILD_SUBREAPER as usize, 1]));
    ready();
    let mut pipe = [0_i32; 2];
    must(call(libc::SYS_pipe, [pipe.as_mut_ptr().expose_provenance()]));
    let mut byte = 0_u8;
    let at = std::ptr::from_mut(&mut byte).expose_provenance();
    let parent = clone(libc::SIGCHLD);
    if parent == 0 {
        child_of_the_test();
        let wait = || {
            must(call(libc::SYS_read, [pipe[0] as usize, at, 1]));
        };
        wait();
        work(must(call(libc::SYS_getpid, [])), &wait);
        crate::sys::exit(0);
    }
    say(&format!("CHILD {parent}"));
    say("DONE");
    loop {
        crate::sys::wait();
        must(call(libc::SYS_write, [pipe[1] as usize, at, 1]));
    }
}

/// Does this until its parent has ended, and dies with who has got it then.
fn until_adopted(parent: usize, meanwhile: fn()) {
    while must(call(libc::SYS_getppid, [])) == parent {
        meanwhile();
    }
    child_of_the_test();
}

/// Amid much else a process makes a child that goes on and on, and ends when it is told to.
fn fork_and_end() -> Outcome {
    fn churn() {
        must(munmap(must(mmap(0, PAGE, RW, ANON, -1, 0)), PAGE));
    }
    in_between(|own, wait| {
        for _ in 0..400 {
            churn();
        }
        // Of these there are smaller records than of what the child begins with.
        for _ in 0..10 {
            let _ = std::thread::spawn(|| ()).join();
        }
        let child = clone(libc::SIGCHLD);
        if child == 0 {
            until_adopted(own, churn);
            loop {
                churn();
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        say(&format!("CHILD {child}"));
        say("DONE");
        wait();
    })
}

/// What the new image does: it tells of itself.
fn after_vfork() -> Outcome {
    child_of_the_test();
    must(mmap(0, 5 * PAGE, RW, ANON, -1, 0));
    say(&format!("CHILD {}", std::process::id()));
    Ok(())
}

/// Two processes, one address space, both at work in it.
fn clone_vm() -> Outcome {
    static SAID: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    extern "C" fn work(at: *mut libc::c_void) -> i32 {
        child_of_the_test();
        must(munmap(at.expose_provenance() + 2 * PAGE, PAGE));
        SAID.store(true, std::sync::atomic::Ordering::Release);
        sleep_forever();
    }
    let at = area(9);
    ready();
    let pid = sharing(0, work, at);
    must(mprotect(at + 5 * PAGE, PAGE, R));
    while !SAID.load(std::sync::atomic::Ordering::Acquire) {
        std::thread::yield_now();
    }
    say(&format!("CHILD {pid}"));
    Ok(())
}

fn clone3() -> Outcome {
    // struct clone_args, version 0: exit_signal is the fifth of its eight fields.
    let arguments = [0, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
    ready();
    let size = size_of_val(&arguments);
    // Nothing of no size: EINVAL where there is such a call.
    let probe = call(libc::SYS_clone3, [0, 0]);
    if probe != Err(libc::EINVAL) {
        if_supported("clone3", probe)?;
    }
    child(|| must(call(libc::SYS_clone3, [arguments.as_ptr().expose_provenance(), size])), || ());
    Ok(())
}

/// What programs start programs with: a child that shares the address space until it execs.
fn spawn() -> Outcome {
    ready();
    for _ in 0..3 {
        let status = std::process::Command::new("/bin/true").status().expect("true");
        assert!(status.success());
    }
    Ok(())
}

/// A child that has the PID of one that is gone. The kernel is told which PID it gave last.
fn reuse_pid() -> Outcome {
    const LAST: &str = "/proc/sys/kernel/ns_last_pid";
    let unsupported = |error: std::io::Error| Unsupported {
        call: "ns_last_pid",
        errno: error.raw_os_error().unwrap_or(0),
    };
    std::fs::write(LAST, std::fs::read(LAST).map_err(unsupported)?).map_err(unsupported)?;
    ready();
    let first = clone(libc::SIGCHLD);
    if first == 0 {
        must(mmap(0, 3 * PAGE, RW, ANON, -1, 0));
        crate::sys::exit(1);
    }
    reap(1);
    let fork = || loop {
        // Somebody else's task may come first.
        let _ = std::fs::write(LAST, (first - 1).to_string());
        let pid = clone(libc::SIGCHLD);
        if pid == 0 || pid == first {
            return pid;
        }
        // SAFETY: our own child, which nobody has waited for.
        unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        reap(1);
    };
    child(fork, || {
        // As a child that is of no use must not say that it is ready, it waits to be told apart.
        if call(libc::SYS_getpid, []) != Ok(first) {
            sleep_forever();
        }
        must(mmap(0, 5 * PAGE, R, ANON, -1, 0));
    });
    Ok(())
}

/// Children that end at once, one after the other: half of them, and the rest when told.
fn come_and_go(children: usize) -> Outcome {
    ready();
    for half in 0..2 {
        for _ in 0..children / 2 {
            if clone(libc::SIGCHLD) == 0 {
                crate::sys::exit(0);
            }
            reap(1);
        }
        if half == 0 {
            say("HALF");
            crate::sys::wait();
        }
    }
    Ok(())
}

fn generations() -> Outcome {
    come_and_go(often(20_000))
}

fn generations_for_long() -> Outcome {
    come_and_go(100_000)
}

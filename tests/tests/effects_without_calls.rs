//! What changes an address space, or what maps prints of it, without a call of the table: faults,
//! 32-bit calls, workers, probes, and what happens to the files behind it. Each test of the lists
//! is of the victim's case of its name.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use mmaptrace_tests::{
    Outcome, Scratch, Tracer, address, assert_exact, assert_exact_thread, cases, needs_root,
    settled, skip, until, victim,
};

cases! { STACKS:
    stack_grows_by_fault: ["growth"];
    stack_grows_in_read: ["growth"];
    stack_grows_at_a_signals_return: ["growth", "mmap"];
    growsdown_far_from_sp: ["growth"];
    growsdown_of_a_thread: ["growth"];
    growsdown_race: ["growth"];
    growsdown_thread_stack: ["growth"];
    stack_grows_locked: ["growth"];
    stack_growth_refused: [];
}

cases! { COMPAT:
    compat_mmap2: ["mmap2"];
    compat_old_mmap: ["old_mmap"];
    compat_munmap: ["munmap"];
    compat_mprotect: ["mprotect"];
    compat_ipc: ["ipc"];
    compat_brk: ["brk"];
}

cases! { OTHERS:
    io_uring_madvise: ["worker"];
    uprobes_region: ["commit"];
    ioctl_that_maps: ["ioctl"];
    userfaultfd_left_to_the_kernel: ["kernel"];
}

/// The cause of growth is growth, whatever call the thread was in.
#[test]
fn stack_growth_in_a_call_is_told_as_growth() {
    needs_root!("stack_growth_in_a_call_is_told_as_growth");
    let mut victim = victim!("stack_grows_in_read");
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    let trace = tracer.finish();
    let growth = trace.of_type("commit").find(|commit| commit["cause"] == "growth");
    assert!(growth.is_some(), "{:?}", trace.lines);
}

/// A signal's handler returns by a call that leaves the number of none: what happens before the next one
/// is in no call, and those around it are what they were.
#[test]
fn growth_at_a_signals_return_is_in_no_call() {
    needs_root!("growth_at_a_signals_return_is_in_no_call");
    let mut victim = victim!("stack_grows_at_a_signals_return");
    let tracer = Tracer::attach(victim.pid(), &["-T"]);
    assert_eq!(victim.work(), Outcome::Done);
    assert_exact(victim.pid());
    let trace = tracer.finish();
    trace.assert_clean();
    let growth: Vec<_> = trace.of_type("commit").filter(|it| it["cause"] == "growth").collect();
    assert_eq!(growth.len(), 1, "{growth:?}");
    assert!(growth[0]["call"].is_null(), "{}", growth[0]);
    // Of a handler, of the one after it, and of the program that they interrupted.
    let lengths: Vec<_> = trace.of_type("call").map(|call| &call["call"]["raw"][1]).collect();
    assert_eq!(lengths, ["0xb000", "0xc000", "0xd000"]);
    assert!(trace.of_type("call").all(|call| call["call"]["name"] == "mmap"));
}

/// `/proc/PID/maps` is empty once the main thread has exited: the process lives on in another.
#[test]
fn main_thread_exited_while_another_runs() {
    needs_root!("main_thread_exited_while_another_runs");
    let mut victim = victim!("main_thread_exits");
    let tracer = Tracer::attach(victim.pid(), &[]);
    assert_eq!(victim.work(), Outcome::Done);
    assert_exact_thread(victim.pid(), victim.children[0]);
    let trace = tracer.finish();
    trace.assert_clean();
    assert!(trace.calls("munmap").next().is_some());
}

/// Likewise if it had exited before the tracer came.
#[test]
fn main_thread_exited_before_attach() {
    needs_root!("main_thread_exited_before_attach");
    let mut victim = victim!("main_thread_exits");
    assert_eq!(victim.work(), Outcome::Done);
    let tracer = Tracer::attach(victim.pid(), &[]);
    assert_exact_thread(victim.pid(), victim.children[0]);
    tracer.finish().assert_clean();
}

/// The files' fate is not the process's doing: nothing it does tells the tracer.
#[test]
fn file_unlinked_by_another_process() {
    needs_root!("file_unlinked_by_another_process");
    let scratch = Scratch::new();
    let mut victim = victim!("file_held", scratch.path());
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    assert_exact(victim.pid());
    std::fs::rename(scratch.join("held"), scratch.join("moved")).expect("rename");
    assert_exact(victim.pid());
    std::fs::remove_file(scratch.join("moved")).expect("unlink");
    assert_exact(victim.pid());
    tracer.finish().assert_clean();
}

/// Its place is taken by the core of another process: no call unlinks it.
#[test]
fn file_unlinked_by_a_core_dump() {
    const NAME: &str = "file_unlinked_by_a_core_dump";
    needs_root!(NAME);
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").expect("a pattern");
    if pattern.trim() != "core" {
        return skip(NAME, &format!("cores go to {pattern:?}"));
    }
    let scratch = Scratch::new();
    let mut victim = victim!("file_held", scratch.path());
    std::fs::rename(scratch.join("held"), scratch.join("core")).expect("rename");
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    let mut crash = Command::new("sh");
    crash.args(["-c", "ulimit -c unlimited; kill -SEGV $$"]).current_dir(scratch.path());
    let status = crash.status().expect("a shell");
    assert!(status.core_dumped(), "{status}");
    // A dump would look for it.
    until("its name in the stream", || {
        String::from_utf8_lossy(&tracer.stream()).contains("/core (deleted)").then_some(())
    });
    assert_exact(victim.pid());
    tracer.finish().assert_clean();
}

/// A picture is asked for by reading the process's memory, which takes the lock and lets go of it: that is
/// a reading, and no commit of the tracer's.
#[test]
fn what_the_tracer_reads_is_no_commit() {
    needs_root!("what_the_tracer_reads_is_no_commit");
    let scratch = Scratch::new();
    let mut victim = victim!("file_held", scratch.path());
    // Only a picture shows that a file got another name.
    let mut tracer = Tracer::attach(victim.pid(), &["--low-overhead"]);
    let reader = tracer.process().pid();
    victim.work();
    assert_exact(victim.pid());
    let names = [scratch.join("held"), scratch.join("moved")];
    for round in 0..4 {
        std::fs::rename(&names[round % 2], &names[(round + 1) % 2]).expect("another name");
        assert_exact(victim.pid());
    }
    let trace = tracer.finish();
    trace.assert_clean();
    let pictures = trace.of_type("commit").filter(|it| it["cause"] == "seed").count();
    assert!(pictures > 4, "{pictures}");
    let others: Vec<_> = trace
        .of_type("commit")
        .filter(|it| it["cause"] != "seed" && (it["cause"] != "call" || it["pid"] == reader))
        .collect();
    assert!(others.is_empty(), "{others:?}");
}

/// Another process makes the kernel take the lock, and nothing changes that anybody can see.
#[test]
fn clear_refs_by_another_process() {
    needs_root!("clear_refs_by_another_process");
    let mut victim = victim!("mmap_anonymous");
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    let path = format!("/proc/{}/clear_refs", victim.pid());
    let cleared = ["1", "4"].iter().filter(|what| std::fs::write(&path, what).is_ok()).count();
    if cleared == 0 {
        return skip("clear_refs_by_another_process", "this kernel has no clear_refs");
    }
    assert_exact(victim.pid());
    tracer.finish().assert_clean();
}

/// What the kernel's worker for huge pages is told, until this is dropped.
struct Worker(Vec<(PathBuf, String)>);

impl Worker {
    /// Tells it to look often, at many pages at a time; `None`: this kernel has none, or does not let it
    /// be told, or wants no huge pages.
    fn hurries() -> Option<Self> {
        let directory = Path::new("/sys/kernel/mm/transparent_hugepage");
        let enabled = std::fs::read_to_string(directory.join("enabled")).ok()?;
        let mut worker = (!enabled.contains("[never]")).then_some(Self(Vec::new()))?;
        for (name, value) in [("scan_sleep_millisecs", "10"), ("pages_to_scan", "100000")] {
            let path = directory.join("khugepaged").join(name);
            let was = std::fs::read_to_string(&path).ok()?;
            std::fs::write(&path, value).ok()?;
            worker.0.push((path, was));
        }
        Some(worker)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        for (path, was) in &self.0 {
            // It was written before.
            let _ = std::fs::write(path, was.trim());
        }
    }
}

/// A worker of the kernel, which has no address space, takes the lock of the process's, and puts a
/// huge page in the place of small ones: no region changes.
#[test]
fn huge_page_by_the_kernels_worker() {
    const NAME: &str = "huge_page_by_the_kernels_worker";
    needs_root!("huge_page_by_the_kernels_worker");
    let Some(_worker) = Worker::hurries() else {
        return skip(NAME, "this kernel makes no huge pages, or does not let it be told how often");
    };
    let mut victim = victim!("madvise_hugepage_of_small_pages");
    let smaps = format!("/proc/{}/smaps", victim.pid());
    let has_huge_page = || {
        let smaps = std::fs::read_to_string(&smaps).expect("smaps");
        smaps.contains("AnonHugePages:      2048 kB")
    };
    let tracer = Tracer::attach(victim.pid(), &[]);
    assert!(!has_huge_page());
    assert_eq!(victim.work(), Outcome::Done);
    until("a huge page", || has_huge_page().then_some(()));
    assert_exact(victim.pid());
    tracer.finish().assert_clean();
}

/// A debugger stops the process, gives a thread other registers, and lets it make a call that is
/// nowhere in the program; then the thread goes on with what it did.
#[test]
fn a_call_that_a_debugger_injects() {
    needs_root!("a_call_that_a_debugger_injects");
    let mut victim = victim!("stand_still");
    let tracer = Tracer::attach(victim.pid(), &[]);
    let at = inject(victim.pid(), libc::SYS_mmap, [0, 3 * 4096, 1, 0x22, u64::MAX, 0]);
    assert_exact(victim.pid());
    assert_eq!(victim.work(), Outcome::Done);
    assert_exact(victim.pid());
    let trace = tracer.finish();
    trace.assert_clean();
    let call = trace.calls("mmap").find(|call| call["call"]["raw"][1] == "0x3000");
    let call = call.expect("the call");
    assert_eq!(address(&call["result"]), at, "{call}");
}

/// Lets a process, of one thread, which waits in a call, make another; what that returns.
fn inject(pid: u32, nr: i64, args: [u64; 6]) -> u64 {
    let ptrace = |request: u32, data: *mut libc::user_regs_struct| {
        // SAFETY: it writes and reads no more than the registers, which are a local or none.
        let status = unsafe { libc::ptrace(request, pid as i32, 0, data) };
        assert_eq!(status, 0, "ptrace {request}: {}", std::io::Error::last_os_error());
    };
    let stopped = |by: i32| {
        let mut status = 0;
        // SAFETY: the status is a local.
        let waited = unsafe { libc::waitpid(pid as i32, &raw mut status, libc::__WALL) };
        let is_stopped = waited == pid as i32 && libc::WIFSTOPPED(status);
        assert!(is_stopped && libc::WSTOPSIG(status) == by, "{waited} {status:#x}");
    };
    let none = std::ptr::null_mut();
    // SAFETY: registers are numbers.
    let (mut before, mut after): (libc::user_regs_struct, libc::user_regs_struct) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    settled(pid);
    ptrace(libc::PTRACE_ATTACH, none);
    stopped(libc::SIGSTOP);
    ptrace(libc::PTRACE_GETREGS, &raw mut before);
    // It stands behind the instruction that made this call. -1: the one it makes now is none that was
    // interrupted, to be made again; that one is when it has its registers back.
    assert_eq!(before.orig_rax, libc::SYS_read as u64, "it does not wait");
    let mut regs = before;
    (regs.rip, regs.rax, regs.orig_rax) = (before.rip - 2, nr as u64, u64::MAX);
    [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = args;
    ptrace(libc::PTRACE_SETREGS, &raw mut regs);
    ptrace(libc::PTRACE_SINGLESTEP, none);
    stopped(libc::SIGTRAP);
    ptrace(libc::PTRACE_GETREGS, &raw mut after);
    ptrace(libc::PTRACE_SETREGS, &raw mut before);
    ptrace(libc::PTRACE_DETACH, none);
    after.rax
}

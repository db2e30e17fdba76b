//! What changes an address space, or what maps prints of it, without a call of the table: faults,
//! 32-bit calls, workers, probes, and what happens to the files behind it. Each test of the lists
//! is of the victim's case of its name.

use std::process::Command;

use mmaptrace_tests::{
    Outcome, Scratch, Tracer, assert_exact, assert_exact_thread, cases, has, needs_root, skip,
    victim,
};

cases! { STACKS:
    stack_grows_by_fault: ["commit"];
    stack_grows_in_read: ["commit"];
    growsdown_far_from_sp: ["commit"];
    growsdown_of_a_thread: ["commit"];
    growsdown_race: ["commit"];
    growsdown_thread_stack: ["commit"];
    stack_grows_locked: ["commit"];
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
    io_uring_madvise: ["commit"];
    uprobes_region: ["commit"];
    ioctl_that_maps: ["ioctl"];
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
        skip("clear_refs_by_another_process", "this kernel has no clear_refs");
    }
    assert_exact(victim.pid());
    tracer.finish().assert_clean();
}

/// A debugger stops the process, gives a thread other registers, and lets it make a call that is
/// nowhere in the program.
#[test]
fn a_call_that_a_debugger_injects() {
    const NAME: &str = "a_call_that_a_debugger_injects";
    needs_root!("a_call_that_a_debugger_injects");
    if !has("gdb") {
        return skip(NAME, "there is no gdb");
    }
    let mut victim = victim!("stand_still");
    let tracer = Tracer::attach(victim.pid(), &[]);
    let call = "call (long)mmap(0, 12288, 1, 34, -1, 0)";
    let pid = victim.pid().to_string();
    let gdb = Command::new("gdb").args(["-nx", "-batch", "-p", &pid, "-ex", call]).output();
    let gdb = gdb.expect("gdb, which told its version");
    let said = String::from_utf8_lossy(&gdb.stdout).into_owned();
    assert_exact(victim.pid());
    victim.work();
    assert_exact(victim.pid());
    let trace = tracer.finish();
    trace.assert_clean();
    let injected = trace.calls("mmap").any(|call| call["raw"][1] == "0x3000");
    assert!(injected || !said.contains("$1 = "), "{said}");
}

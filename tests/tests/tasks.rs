//! New images, new processes and threads: whose address space is whose, from their first
//! instruction on. Each test of the lists runs the victim's case of its name.

use std::process::Command;

use mmaptrace_tests::{
    Tracer, Victim, assert_exact, cases, children, dump_as, needs_root, skip, until, victim,
    victim_path,
};

cases! {
    execve_fails: ["execve"];
    execveat_fails: ["execveat"];
    execve: ["exec"];
    execveat: ["exec"];
    execve_from_a_thread: ["exec"];
    execve_repeatedly: ["exec"];
    execve_zero_page: ["personality", "exec"];
    execve_script: ["exec"];
}

cases! {
    fork: ["fork"];
    fork_flags: ["fork"];
    fork_child_exits: ["fork", "exit"];
    fork_many: ["fork", "exit"];
    fork_while_threads_map: ["fork"];
    vfork: ["vfork", "fork", "exit"];
    vfork_shares: ["fork"];
    clone_vm: ["clone", "fork"];
    clone3: ["clone3", "fork"];
    spawn: ["fork", "exec", "exit"];
}

cases! {
    threads_map: ["mmap", "munmap", "mprotect"];
    threads_come_and_go: ["mmap", "fork", "exit"];
}

/// A fork's child is not ours unless asked for, and what it does is not told.
#[test]
fn children_are_left_alone_without_f() {
    needs_root!("children_are_left_alone_without_f");
    let mut victim = victim!("fork");
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    assert_exact(victim.pid());
    let child = victim.children[0];
    let dump = dump_as(child, &[]);
    assert_eq!(dump.code(), Some(42), "{}", dump.stderr);
    let trace = tracer.finish();
    trace.assert_clean();
    assert!(trace.of_type("commit").all(|commit| commit["pid"] != child));
    assert!(trace.calls("munmap").all(|call| call["pid"] != child));
}

/// The thread that calls becomes the leader: one process before and after, by its PID.
#[test]
fn exec_from_a_thread_keeps_the_pid() {
    needs_root!("exec_from_a_thread_keeps_the_pid");
    let mut victim = victim!("execve_from_a_thread");
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    let trace = tracer.finish();
    let exec = trace.of_type("exec").next().expect("an exec line");
    assert_eq!(exec["pid"], victim.pid(), "{exec}");
    assert_eq!(exec["tid"], victim.pid(), "{exec}");
    trace.process(victim.pid());
}

/// PIDs are those of the tracer's namespace, whatever the process thinks its own is.
#[test]
fn a_process_in_a_pid_namespace() {
    needs_root!("a_process_in_a_pid_namespace");
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork"]).arg(victim_path!()).arg("mmap_fixed");
    if Command::new("unshare").args(["--pid", "--fork", "true"]).output().is_err() {
        return skip("a_process_in_a_pid_namespace", "there is no unshare");
    }
    let mut victim = Victim::launch(&mut unshare);
    victim.expect_ready();
    let pid = until("the child", || children(victim.pid()).first().copied());
    let tracer = Tracer::attach(pid, &[]);
    victim.work();
    assert_exact(pid);
    let trace = tracer.finish();
    trace.assert_clean();
    assert!(trace.calls("mmap").all(|call| call["pid"] == pid), "{:?}", trace.lines);
}

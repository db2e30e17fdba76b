//! New images, new processes and threads: whose address space is whose, from their first
//! instruction on. Each test of the lists is of the victim's case of its name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use mmaptrace_common::record::kind;
use mmaptrace_recording::{Block, Item, Reader};
use mmaptrace_tests::{
    Tracer, Victim, assert_exact, cases, children, dump_as, needs_root, skip, until, victim,
    victim_path,
};

cases! { EXECS:
    execve_fails: ["execve"];
    execveat_fails: ["execveat"];
    execve: ["exec"];
    execveat: ["exec"];
    execve_from_a_thread: ["exec"];
    execve_repeatedly: ["exec"];
    execve_zero_page: ["personality", "exec"];
    execve_script: ["exec"];
}

cases! { FORKS:
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

cases! { THREADS:
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

/// A picture comes between an image's first region and the exec that tells of it, time and again: it is
/// of that image, and of none before or beside it.
#[test]
fn an_image_that_is_seen_in_the_making_is_one() {
    needs_root!("an_image_that_is_seen_in_the_making_is_one");
    let mut victim = victim!("execve_on_and_on");
    // Where no call is hooked, files may have got other names: then a dump takes a picture first.
    let tracer = Tracer::attach(victim.pid(), &["--low-overhead"]);
    let (pid, done) = (victim.pid(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                dump_as(pid, &[]);
            }
        });
        victim.work();
        done.store(true, Ordering::Relaxed);
    });
    assert_exact(pid);
    let trace = tracer.finish();
    trace.assert_clean();
    let images = 1 + trace.of_type("exec").count();
    assert!(images > 100, "{images}");
    let spaces: BTreeSet<_> =
        trace.lines.iter().filter_map(|line| line.get("space")?.as_u64()).collect();
    assert_eq!(spaces.len(), images);
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

/// The kernel's address of a space is the next one's when it has ended: they are two.
#[test]
fn an_mm_is_used_again() {
    needs_root!("an_mm_is_used_again");
    let mut victim = victim!("fork_many");
    let options = ["-f", "--print", "--format", "json"];
    let mut tracer = Tracer::record(&[victim.pid()], &options);
    victim.work();
    assert_exact(victim.pid());
    tracer.process().signal(libc::SIGINT);
    tracer.process().wait();
    let mut children = BTreeMap::<[u8; 8], BTreeSet<[u8; 4]>>::new();
    let recording = File::open(tracer.recording()).expect("the recording");
    let mut reader = Reader::open(recording).expect("a recording");
    while let Some(block) = reader.next_block().expect("a block") {
        let Block::Items(mut items) = block else { continue };
        while let Some(item) = items.next_item().expect("an item") {
            // `record::Fork`: the kind, and further on the child's mm and PID.
            if let Item::Record(fork) = item
                && fork.starts_with(&kind::FORK.to_ne_bytes())
            {
                let (mm, pid) = (fork[16..24].try_into(), fork[40..44].try_into());
                children.entry(mm.expect("8 bytes")).or_default().insert(pid.expect("4 bytes"));
            }
        }
    }
    assert!(children.values().any(|them| them.len() > 1), "the kernel used none again");
    tracer.finish().assert_clean();
}

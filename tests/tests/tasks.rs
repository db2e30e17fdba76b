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
    Outcome, Scratch, Tracer, Victim, assert_exact, cases, children, dump_as, needs_root, skip,
    until, victim, victim_path,
};
use serde_json::Value;

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

/// It works in its parent's space, where its calls are seen, and leaves it with nobody telling.
#[test]
fn a_child_of_vfork_is_left_alone_without_f() {
    needs_root!("a_child_of_vfork_is_left_alone_without_f");
    let mut victim = victim!("vfork_and_leave");
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    let child = victim.children[0];
    let dump = dump_as(child, &[]);
    assert_eq!(dump.code(), Some(42), "{}", dump.stderr);
    assert_exact(victim.pid());
    let trace = tracer.finish();
    trace.assert_clean();
    assert!(trace.calls("execve").any(|call| call["pid"] == child), "the one that failed");
    let processes = trace.end()["processes"].as_array().expect("processes");
    assert!(processes.iter().all(|process| process["pid"] != child), "{processes:?}");
}

/// It was found at work in the space of one that is followed, and is not followed itself.
#[test]
fn who_is_not_followed_and_leaves_a_space_is_not_told_to_be_there() {
    needs_root!("who_is_not_followed_and_leaves_a_space_is_not_told_to_be_there");
    let mut victim = victim!("clone_vm_and_leave");
    victim.work();
    // The tracer goes on for another.
    let other = victim!("stand_still");
    let tracer = Tracer::attach_all(&[victim.children[0], other.pid()], &[]);
    victim.work();
    let child = victim.children[1];
    let dump = dump_as(child, &[]);
    let is_none = dump.code() == Some(42);
    assert!(is_none || dump.stderr.contains("NOT known to be exact"), "{}", dump.stderr);
    tracer.finish();
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

/// What an exec is given is in no register any more when it is done: it is where the new image finds it.
#[test]
fn an_exec_has_its_path_and_arguments() {
    needs_root!("an_exec_has_its_path_and_arguments");
    let scratch = Scratch::new();
    let cases = ["execve", "execveat", "execve_script", "execve_fails"];
    let mut victims = cases.map(|case| victim!(case, scratch.path()));
    let pids = victims.each_ref().map(Victim::pid);
    let tracer = Tracer::attach_all(&pids, &[]);
    for victim in &mut victims {
        assert_eq!(victim.work(), Outcome::Done);
    }
    let trace = tracer.finish();
    trace.assert_clean();
    let [image, image_at, script, failed] = pids;
    let exec = |pid| trace.of_type("exec").find(|exec| exec["pid"] == pid).expect("an exec line");
    let arguments = serde_json::json!(["victim", "after_execve"]);
    assert_eq!(exec(image)["path"], "/proc/self/exe");
    assert_eq!(exec(image)["argv"], arguments);
    let path = exec(image_at)["path"].as_str().expect("a path");
    assert!(path.starts_with("/dev/fd/"), "{path}");
    assert_eq!(exec(image_at)["argv"], arguments);
    let path = scratch.join("script");
    let path = path.to_str().expect("a path");
    assert_eq!(exec(script)["path"], path);
    assert_eq!(exec(script)["argv"], serde_json::json!(["/bin/sh", path, "argument"]));
    // One that fails has them still.
    let calls = trace.calls("execve").filter(|call| call["pid"] == failed);
    let paths: Vec<_> = calls.map(|call| call["call"]["args"][0].clone()).collect();
    assert_eq!(paths[..2], [r#""/nonexistent/program""#, r#""/etc/passwd""#]);
    assert!(trace.of_type("exec").all(|exec| exec["pid"] != failed));
}

/// Both return from the call that makes a child. It is told of the parent alone: to the child it returns
/// 0, which is no PID.
#[test]
fn a_call_that_makes_a_child_is_its_parents() {
    needs_root!("a_call_that_makes_a_child_is_its_parents");
    let mut victims =
        ["fork", "vfork", "fork_flags", "clone_vm", "clone3"].map(|case| victim!(case));
    let pids = victims.each_ref().map(Victim::pid);
    let tracer = Tracer::attach_all(&pids, &["-f"]);
    for victim in &mut victims {
        assert_eq!(victim.work(), Outcome::Done);
    }
    let trace = tracer.finish();
    trace.assert_clean();
    let names = ["fork", "vfork", "clone", "clone3"];
    let calls = names.into_iter().flat_map(|name| trace.calls(name));
    // Whether there is a clone3 is asked by one that fails.
    let mut calls: Vec<_> = calls
        .filter(|call| call["error"].is_null())
        .map(|call| (call["pid"].clone(), call["result"].as_str().expect("text").to_owned()))
        .collect();
    let forks = trace.of_type("fork");
    let mut made: Vec<_> =
        forks.map(|fork| (fork["pid"].clone(), fork["child"]["pid"].to_string())).collect();
    calls.sort_by_key(|(_, child)| child.clone());
    made.sort_by_key(|(_, child)| child.clone());
    assert_eq!(made.len(), pids.len(), "{made:?}");
    assert_eq!(calls, made);
}

/// The parent waits in its call until the child has let go of their space: what that does is told before the
/// call returns, and with whose child it is.
#[test]
fn a_child_is_known_before_its_parents_call_returns() {
    needs_root!("a_child_is_known_before_its_parents_call_returns");
    let mut victim = victim!("vfork_shares");
    let tracer = Tracer::attach(victim.pid(), &["-f"]);
    assert_eq!(victim.work(), Outcome::Done);
    let child = victim.children[0];
    assert_exact(child);
    // Lets the child end, and so the parent go on.
    assert_eq!(victim.work(), Outcome::Done);
    assert_exact(victim.pid());
    let trace = tracer.finish();
    trace.assert_clean();
    let at = |what: &dyn Fn(&Value) -> bool| trace.lines.iter().position(what).expect("a line");
    let told = [
        at(&|line| line["type"] == "fork" && line["child"]["pid"] == child),
        at(&|line| line["type"] == "commit" && line["pid"] == child),
        at(&|line| line["type"] == "call" && line["call"]["name"] == "clone"),
    ];
    assert!(told.is_sorted(), "{told:?}: {:?}", trace.lines);
}

/// When a task's end shows, it has its address space still or no more, as the kernel's version has it:
/// each end is told once, and once that of each space.
#[test]
fn each_end_is_told_once() {
    needs_root!("each_end_is_told_once");
    let mut victims = ["fork_child_exits", "threads_come_and_go"].map(|case| victim!(case));
    let pids = victims.each_ref().map(Victim::pid);
    let tracer = Tracer::attach_all(&pids, &["-f"]);
    for victim in &mut victims {
        assert_eq!(victim.work(), Outcome::Done);
        victim.end();
    }
    let trace = tracer.wait();
    trace.assert_clean();
    if trace.left_out() > 0 {
        // Ends may be among what nobody saw then; which the tracer has told.
        return;
    }
    let begun = trace.of_type("fork").map(|fork| &fork["child"]["tid"]);
    let mut begun: Vec<_> = begun.map(Value::as_u64).collect();
    begun.extend(pids.map(|pid| Some(pid.into())));
    let mut ended: Vec<_> = trace.of_type("exit").map(|exit| exit["tid"].as_u64()).collect();
    begun.sort_unstable();
    ended.sort_unstable();
    assert_eq!(begun, ended);
    // Of two children, and of all threads but the first.
    assert_eq!(begun.len(), 2 + 2 + 100);
    for exit in trace.of_type("exit") {
        assert_eq!(exit["last"], exit["tid"] == exit["pid"], "{exit}");
    }
    let [parent, _] = pids;
    let children: Vec<_> = trace.of_type("fork").filter(|fork| fork["pid"] == parent).collect();
    let status = |fork: &Value| {
        let exit = trace.of_type("exit").find(|exit| exit["tid"] == fork["child"]["tid"]);
        exit.expect("its end")["status"].clone()
    };
    assert_eq!(status(children[0])["code"], 7);
    assert_eq!(status(children[1])["signal"], "SIGKILL");
    let of_space = |process: &Value| {
        trace.of_type("end_space").filter(|end| &end["process"] == process).count()
    };
    for fork in children {
        let ends = trace.of_type("end_space").filter(|end| end["space"] == fork["space"]);
        assert!(ends.map(|end| &end["process"]).eq([&fork["child"]["pid"]]), "{fork}");
    }
    assert_eq!(pids.map(|pid| of_space(&pid.into())), [1, 1]);
    assert_eq!(trace.of_type("end_space").count(), 4);
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

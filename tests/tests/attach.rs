//! `mmaptrace -p PID`: programs that run already, and how the tracing of them ends.

use std::process::Command;

use mmaptrace_tests::{
    Outcome, Process, Tracer, Victim, assert_exact, has, mmaptrace, needs_root, often, run,
    settled, skip, until, victim,
};

#[test]
fn a_sleeping_program_is_seeded_and_silent() {
    needs_root!("a_sleeping_program_is_seeded_and_silent");
    let sleep = Process::quiet("sleep", &["1000"]);
    until("sleep", || {
        let comm = std::fs::read_to_string(format!("/proc/{}/comm", sleep.pid())).ok()?;
        (comm == "sleep\n").then_some(())
    });
    settled(sleep.pid());
    let tracer = Tracer::attach(sleep.pid(), &[]);
    assert_exact(sleep.pid());
    let trace = tracer.finish();
    trace.assert_clean();
    assert_eq!(trace.of_type("call").count(), 0, "{:?}", trace.lines);
    let regions = mmaptrace_tests::maps(sleep.pid());
    // `[vsyscall]` is a line of maps and no region.
    let lines = regions.split_inclusive(|&byte| byte == b'\n');
    let lines = lines.filter(|line| !line.ends_with(b"[vsyscall]\n")).count();
    assert_eq!(trace.total("regions"), lines as u64);
}

/// To trace one is to trace its process; who asks for one is told which that is.
#[test]
fn a_thread_is_told_to_be_one() {
    needs_root!("a_thread_is_told_to_be_one");
    let mut victim = victim!("flood");
    victim.go();
    assert_eq!(victim.line().as_deref(), Some("FLOOD"));
    let threads = std::fs::read_dir(format!("/proc/{}/task", victim.pid())).expect("its threads");
    let mut names =
        threads.map(|it| it.expect("a thread").file_name().into_string().expect("a number"));
    let main = victim.pid().to_string();
    let tid = names.find(|name| *name != main).expect("a thread that is not the main one");
    let traced = run(&mut mmaptrace(&["-d", "0.1", "-o", "/dev/null", "-p", &tid]));
    let told = format!("{tid} is a thread of process {}, which is traced", victim.pid());
    assert!(traced.code() == Some(0) && traced.stderr.contains(&told), "{}", traced.stderr);
    let tracer = Tracer::attach(victim.pid(), &[]);
    for question in [&["dump"][..], &["who", "0x1000", "-p"]] {
        let answer = run(mmaptrace(question).arg(&tid));
        let told = format!("it is a thread of process {}; ask for that", victim.pid());
        assert!(answer.code() == Some(42) && answer.stderr.contains(&told), "{}", answer.stderr);
    }
    victim.work();
    tracer.finish().assert_clean();
}

const PYTHON: &str = "
import mmap, sys, threading
print('READY', flush=True); sys.stdin.readline()
kept = []
def work(number):
    for round in range(200):
        m = mmap.mmap(-1, 4096 * (1 + (number * round) % 64), flags=mmap.MAP_PRIVATE)
        m[0:1] = b'x'
        if round % 10: m.close()
        else: kept.append(m)
threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print('DONE', flush=True); sys.stdin.readline()
";

#[test]
fn python_with_threads_that_map() {
    needs_root!("python_with_threads_that_map");
    if !has("python3") {
        return skip("python_with_threads_that_map", "there is no python3");
    }
    let mut python = Victim::launch(Command::new("python3").args(["-c", PYTHON]));
    python.expect_ready();
    let tracer = Tracer::attach(python.pid(), &[]);
    assert_exact(python.pid());
    assert_eq!(python.work(), Outcome::Done);
    assert_exact(python.pid());
    let trace = tracer.finish();
    trace.assert_clean();
    trace.assert_consistent();
    assert!(trace.calls("mmap").count() >= 1600, "{}", trace.end());
    assert!(trace.calls("munmap").count() >= 1400, "{}", trace.end());
}

const BASH: &str = "echo READY; read -r _
for i in {1..30}; do ls / > /dev/null; (true); x=$(echo $i | cat); done
echo DONE; read -r _";

#[test]
fn bash_and_its_children() {
    needs_root!("bash_and_its_children");
    if !has("bash") {
        return skip("bash_and_its_children", "there is no bash");
    }
    let mut bash = Victim::launch(Command::new("bash").args(["-c", BASH]));
    bash.expect_ready();
    let tracer = Tracer::attach(bash.pid(), &["-f"]);
    bash.work();
    assert_exact(bash.pid());
    let trace = tracer.finish();
    trace.assert_clean();
    trace.assert_consistent();
    // Each round: ls; a subshell; a command substitution, and cat in it.
    assert!(trace.of_type("fork").count() >= 90, "{}", trace.end());
    assert!(trace.of_type("exec").count() >= 60, "{}", trace.end());
    assert!(trace.end()["processes"].as_array().is_some_and(|all| all.len() >= 91));
}

#[test]
fn a_program_with_threads_is_followed_whole() {
    needs_root!("a_program_with_threads_is_followed_whole");
    let mut victim = victim!("threads_map");
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    assert_exact(victim.pid());
    let trace = tracer.finish();
    trace.assert_clean();
    let mut tids: Vec<_> = trace.calls("mmap").map(|call| call["tid"].as_u64()).collect();
    tids.sort_unstable();
    tids.dedup();
    assert!(tids.len() >= 8, "calls of {} threads", tids.len());
    assert!(trace.calls("mmap").all(|call| call["pid"] == victim.pid()));
}

/// The line of a call is there while the program runs on, not only at the end.
#[test]
fn events_show_as_they_happen() {
    needs_root!("events_show_as_they_happen");
    let mut victim = victim!("munmap_middle");
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    until("the line of the munmap", || {
        let stream = tracer.stream();
        String::from_utf8_lossy(&stream).contains("\"munmap\"").then_some(())
    });
    tracer.finish().assert_clean();
}

#[test]
fn a_duration_ends_it_and_leaves_the_program() {
    needs_root!("a_duration_ends_it_and_leaves_the_program");
    let mut victim = victim!("stand_still");
    let tracer = Tracer::attach(victim.pid(), &["-d", "0.2"]);
    let trace = tracer.wait();
    assert_eq!(trace.status.code(), Some(0), "{}", trace.stderr);
    trace.assert_clean();
    assert_eq!(victim.work(), Outcome::Done);
}

#[test]
fn an_interrupt_ends_it_with_one_line_of_summary() {
    needs_root!("an_interrupt_ends_it_with_one_line_of_summary");
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut victim = victim!("mmap_anonymous");
        let mut tracer = Tracer::attach(victim.pid(), &[]);
        victim.work();
        let before = tracer.stderr();
        tracer.process().signal(signal);
        let trace = tracer.wait();
        assert_eq!(trace.status.code(), Some(0), "{}", trace.stderr);
        let summary = trace.stderr.strip_prefix(&before).expect("more, not other, lines");
        // And one, if so, of what the kernel has left out.
        let lines = 1 + usize::from(trace.left_out() > 0);
        assert_eq!(summary.lines().count(), lines, "{summary}");
        assert!(summary.contains("0 lost") && summary.contains("exact"), "{summary}");
        trace.assert_clean();
    }
}

#[test]
fn the_end_of_the_program_ends_it() {
    needs_root!("the_end_of_the_program_ends_it");
    let mut victim = victim!("mmap_anonymous");
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    victim.end();
    let trace = tracer.wait();
    assert_eq!(trace.status.code(), Some(0), "{}", trace.stderr);
    trace.assert_clean();
    assert_eq!(trace.process(victim.pid())["status"]["code"], 0, "{}", trace.end());
}

#[test]
fn a_killed_program_ends_it_too() {
    needs_root!("a_killed_program_ends_it_too");
    let mut victim = victim!("stand_still");
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.process().signal(libc::SIGKILL);
    let trace = tracer.wait();
    assert_eq!(trace.status.code(), Some(0), "{}", trace.stderr);
    trace.assert_clean();
}

#[test]
fn two_programs_at_once() {
    needs_root!("two_programs_at_once");
    let (mut one, mut two) = (victim!("storm_same_addresses"), victim!("mremap_part_moves"));
    let tracer = Tracer::attach_all(&[one.pid(), two.pid()], &[]);
    one.go();
    two.work();
    one.outcome();
    assert_exact(one.pid());
    assert_exact(two.pid());
    one.end();
    // One is gone, the other is still traced.
    assert_exact(two.pid());
    two.end();
    let trace = tracer.wait();
    trace.assert_clean();
    trace.assert_consistent();
    assert!(trace.calls("mremap").all(|call| call["pid"] == two.pid()));
    trace.process(one.pid());
    trace.process(two.pid());
}

/// In mid-life, with all there may be: a heap that has moved, holes, splits, names that are gone.
#[test]
fn one_program_attached_to_again_and_again() {
    needs_root!("one_program_attached_to_again_and_again");
    let mut victim = victim!("storm_without_end");
    for _ in 0..3 {
        let tracer = Tracer::attach(victim.pid(), &[]);
        assert_exact(victim.pid());
        tracer.finish().assert_clean();
    }
    // Attached to in the middle of the storm, and let go there.
    victim.go();
    assert_eq!(victim.line().as_deref(), Some("STORM"));
    for _ in 0..3 {
        let tracer = Tracer::attach(victim.pid(), &[]);
        until("a call", || {
            String::from_utf8_lossy(&tracer.stream()).contains(r#""type":"call""#).then_some(())
        });
        tracer.finish().assert_clean();
    }
    let tracer = Tracer::attach(victim.pid(), &[]);
    assert_eq!(victim.work(), Outcome::Done);
    assert_exact(victim.pid());
    tracer.finish().assert_clean();
}

/// When a call began that was under way when the tracer came is not known: it has no duration, and none
/// is made up.
#[test]
fn a_call_that_was_under_way_has_no_duration() {
    needs_root!("a_call_that_was_under_way_has_no_duration");
    // The parent waits in its call for the child's end.
    let mut victim = victim!("vfork_shares");
    assert_eq!(victim.work(), Outcome::Done);
    let tracer = Tracer::attach(victim.pid(), &["-T"]);
    assert_eq!(victim.work(), Outcome::Done);
    assert_exact(victim.pid());
    let trace = tracer.finish();
    trace.assert_clean();
    let call = trace.calls("clone").next().expect("the parent's return");
    assert_eq!((&call["pid"], call["duration"].as_u64()), (&victim.pid().into(), None), "{call}");
}

/// So many that the places of some of their address spaces are taken by others.
#[test]
fn hundreds_of_programs_at_once() {
    needs_root!("hundreds_of_programs_at_once");
    let mut victims: Vec<_> = (0..often(400)).map(|_| victim!("munmap_middle")).collect();
    let pids: Vec<_> = victims.iter().map(Victim::pid).collect();
    let tracer = Tracer::attach_all(&pids, &[]);
    for victim in &mut victims {
        assert_eq!(victim.work(), Outcome::Done);
    }
    for &pid in &pids {
        assert_exact(pid);
    }
    for victim in &mut victims {
        victim.end();
    }
    let trace = tracer.wait();
    trace.assert_clean();
    for pid in pids {
        assert!(trace.calls("munmap").any(|call| call["pid"] == pid), "{pid}");
    }
    let ended = trace.of_type("exit").filter(|exit| exit["last"] == true).count();
    assert_eq!(ended, victims.len());
    assert_eq!(trace.of_type("end_space").count(), victims.len());
}

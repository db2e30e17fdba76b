//! What goes wrong around the tracing: each fault, one test. What is lost is counted, and told where;
//! the model is made whole again and says so; the traced program does not notice.

use std::io::Read as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use mmaptrace_tests::{
    Finished, Outcome, Process, Scratch, Tracer, Victim, assert_exact, cases, children, difference,
    dump_as, is_emulated, is_loaded, is_stopped, maps, mmaptrace, needs_root, now, often, programs,
    run, skip, until, victim, victim_path,
};

/// Waits until the model of a process that stands still is exact again, and holds that it is.
fn assert_heals(pid: u32) {
    until("a model that is exact again", || {
        let dump = dump_as(pid, &["-v"]);
        let exact = dump.code() == Some(0) && !dump.stderr.contains("NOT known to be exact");
        exact.then(|| assert_eq!(difference(&maps(pid), &dump.stdout), None))
    });
}

/// 4 KiB, a page: the kernel makes none smaller.
#[test]
fn the_smallest_ring_is_flooded() {
    needs_root!("the_smallest_ring_is_flooded");
    let mut victim = victim!("torrent");
    let tracer = Tracer::attach(victim.pid(), &["--buffer", "4K"]);
    victim.work();
    assert_heals(victim.pid());
    tracer.finish().assert_lost_and_healed();
}

/// A picture that has no room in the ring can never come: what is told meanwhile is said to be in
/// doubt.
#[test]
fn a_picture_larger_than_the_ring_is_waited_for_in_doubt() {
    needs_root!("a_picture_larger_than_the_ring_is_waited_for_in_doubt");
    let mut victim = victim!("many_regions");
    let tracer = Tracer::attach(victim.pid(), &["--buffer", "4K"]);
    victim.work();
    let dump = dump_as(victim.pid(), &["-v"]);
    assert_eq!(dump.code(), Some(0), "{}", dump.stderr);
    assert!(dump.stderr.contains("NOT known to be exact"), "{}", dump.stderr);
    until("what to do about it", || tracer.stderr().contains("--buffer").then_some(()));
    let trace = tracer.finish();
    assert!(trace.total("lost") > 0, "{}", trace.end());
    assert_eq!(trace.end()["exact"], false, "{}", trace.end());
    let mut doubts = trace.of_type("doubt");
    assert!(doubts.any(|line| line["why"]["kind"] == "lost"), "no loss is told of");
}

/// Of what lives for a moment the end is lost as well: nobody tells of it, and it is no more.
#[test]
fn what_ended_unseen_has_ended() {
    needs_root!("what_ended_unseen_has_ended");
    let mut victim = victim!("fork_many");
    let mut tracer = Tracer::attach(victim.pid(), &["-f", "--buffer", "16K"]);
    tracer.process().signal(libc::SIGSTOP);
    victim.work();
    tracer.process().signal(libc::SIGCONT);
    assert_heals(victim.pid());
    let trace = tracer.finish();
    assert!(trace.lost_of_none() > 0, "{}", trace.end());
    let ended: Vec<_> = trace.of_type("exit").map(|exit| &exit["pid"]).collect();
    let processes = trace.end()["processes"].as_array().expect("processes");
    // What was lost of nothing that is there leaves nothing in doubt.
    let are_exact = processes.iter().all(|process| process["exact"] == true);
    assert_eq!(trace.end()["exact"], are_exact, "{}", trace.end());
    for process in processes.iter().filter(|process| process["pid"] != victim.pid()) {
        assert!(ended.contains(&&process["pid"]), "it has not ended: {process}");
    }
}

/// Of a child that stands still nothing is told any more, neither that there is one nor that it has left
/// its parent's space.
#[test]
fn a_child_and_its_exec_that_are_lost_are_found() {
    needs_root!("a_child_and_its_exec_that_are_lost_are_found");
    for at_once in [true, false] {
        let mut victim = victim!("vfork_and_leave");
        let mut tracer = Tracer::attach(victim.pid(), &["-f", "--buffer", "16K"]);
        tracer.process().signal(libc::SIGSTOP);
        victim.work();
        let child = victim.children[0];
        tracer.process().signal(libc::SIGCONT);
        if at_once {
            // At once, and whatever is known by then.
            let dump = dump_as(child, &["-v"]);
            let told = dump.code() == Some(42) || dump.stderr.contains("NOT known to be exact");
            assert!(told || difference(&maps(child), &dump.stdout).is_none(), "{}", dump.stderr);
        }
        assert_heals(child);
        assert_heals(victim.pid());
        let trace = tracer.finish();
        assert!(trace.total("lost") > 0, "{}", trace.end());
    }
}

/// Of a child there are records, but none of how it began. It outlives its parent.
#[test]
fn a_child_whose_fork_is_lost_is_traced_to_its_end() {
    needs_root!("a_child_whose_fork_is_lost_is_traced_to_its_end");
    let mut victim = victim!("fork_and_end");
    victim.work();
    let mut tracer = Tracer::attach(victim.children[0], &["-f", "--buffer", "16K"]);
    tracer.process().signal(libc::SIGSTOP);
    victim.work();
    let child = victim.children[1];
    tracer.process().signal(libc::SIGCONT);
    victim.go();
    // Longer than what is on its way when the last process has ended is waited for.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(tracer.process().ended(), None, "{}", tracer.stderr());
    victim.end();
    let trace = tracer.wait();
    assert!(trace.total("lost") > 0, "{}", trace.end());
    assert!(trace.of_type("fork").all(|fork| fork["child"]["pid"] != child), "it was not lost");
    assert!(trace.of_type("exit").any(|exit| exit["pid"] == child), "{}", trace.end());
}

/// All records of an exec are lost, and the old address space, of which none is, goes on: another is in it
/// whom nobody follows.
#[test]
fn an_exec_that_is_lost_and_leaves_another_behind_is_found() {
    needs_root!("an_exec_that_is_lost_and_leaves_another_behind_is_found");
    let (mut other, mut victim) = (victim!("torrent"), victim!("leave_behind"));
    let pids = [other.pid(), victim.pid()];
    let mut tracer = Tracer::attach_all(&pids, &["--buffer", "16K"]);
    tracer.process().signal(libc::SIGSTOP);
    other.work();
    victim.work();
    tracer.process().signal(libc::SIGCONT);
    assert_heals(other.pid());
    assert_heals(victim.pid());
    let trace = tracer.finish();
    assert!(trace.total("lost") > 0, "{}", trace.end());
    assert!(trace.of_type("exec").all(|exec| exec["pid"] != victim.pid()), "it was not lost");
}

#[test]
fn the_tracer_is_stopped_for_10_s() {
    needs_root!("the_tracer_is_stopped_for_10_s");
    let mut victim = victim!("flood");
    let mut tracer = Tracer::attach(victim.pid(), &["--buffer", "1M"]);
    victim.go();
    assert_eq!(victim.line().as_deref(), Some("FLOOD"));
    tracer.process().signal(libc::SIGSTOP);
    std::thread::sleep(Duration::from_secs(10));
    tracer.process().signal(libc::SIGCONT);
    // Whatever the tracer does, the program goes on.
    assert_eq!(victim.work(), Outcome::Done);
    assert_heals(victim.pid());
    tracer.finish().assert_lost_and_healed();
}

/// `mmaptrace -p PID | sleep infinity`.
#[test]
fn the_reader_of_standard_output_does_not_read() {
    const NAME: &str = "the_reader_of_standard_output_does_not_read";
    needs_root!("the_reader_of_standard_output_does_not_read");
    if is_emulated() {
        return skip(NAME, "emulated, a storm does not fill what may wait to be written");
    }
    let mut victim = victim!("storm_one_arena");
    let tracer = Tracer::attach_plainly(victim.pid(), &["--format", "json", "--buffer", "64K"]);
    // It does all its work, however little is read.
    assert_eq!(victim.work(), Outcome::Done);
    tracer.finish_unread(|| assert_heals(victim.pid())).assert_lost_and_healed();
}

/// From its first instructions to the middle of a flood: nothing stays attached, and the program
/// goes on.
#[test]
fn the_tracer_is_killed_at_any_point() {
    needs_root!("the_tracer_is_killed_at_any_point");
    let mut victim = victim!("flood");
    victim.go();
    assert_eq!(victim.line().as_deref(), Some("FLOOD"));
    let pid = victim.pid().to_string();
    // How long it takes one to trace, here and today.
    let start = Instant::now();
    drop(Tracer::attach(victim.pid(), &[]));
    let whole = start.elapsed();
    let rounds = if is_emulated() { 6 } else { 16 };
    let (mut seen, mut round) = (0, 0);
    // Until one was killed that had loaded something, for the next may take longer.
    while round < rounds || seen == 0 {
        assert!(round < 100, "no round came as far as to load a program");
        let mut command = mmaptrace(&["-q", "-o", "/dev/null", "-p", &pid]);
        let mut tracer = Process::spawn(&mut command);
        std::thread::sleep(whole * round / (rounds * 3 / 4));
        round += 1;
        // What it has loaded is looked at while it can load no more.
        tracer.signal(libc::SIGSTOP);
        until("a tracer that stands still", || is_stopped(tracer.pid()).then_some(()));
        let programs = programs(tracer.pid());
        seen += programs.len();
        tracer.signal(libc::SIGKILL);
        tracer.wait();
        until("programs that are gone", || {
            (!programs.iter().any(|&program| is_loaded(program))).then_some(())
        });
    }
    assert_eq!(victim.work(), Outcome::Done);
    let tracer = Tracer::attach(victim.pid(), &[]);
    assert_exact(victim.pid());
    tracer.finish().assert_clean();
}

/// Either it has not begun and never does, or it comes to its end.
#[test]
fn the_tracer_of_a_command_is_killed_at_any_point() {
    const NAME: &str = "the_tracer_of_a_command_is_killed_at_any_point";
    needs_root!("the_tracer_of_a_command_is_killed_at_any_point");
    if !std::path::Path::new("/bin/sh").exists() {
        return skip(NAME, "there is no sh");
    }
    let spawn = || {
        // It ends when nobody can write to its standard input any more: the test.
        let script = "echo begun; read -r _; /bin/sh -c 'echo ended'";
        let mut command = mmaptrace(&["-f", "-o", "/dev/null", "--", "/bin/sh", "-c", script]);
        Process::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))
    };
    let kill = |mut tracer: Process| {
        tracer.signal(libc::SIGKILL);
        tracer.wait();
        drop(tracer.child().stdin.take());
        let mut said = String::new();
        let out = tracer.child().stdout.as_mut().expect("a pipe");
        // To its end: until all are gone that the tracer had started.
        out.read_to_string(&mut said).expect("text");
        said
    };
    let begun = |tracer: &mut Process| {
        let out = tracer.child().stdout.as_mut().expect("a pipe");
        out.read_exact(&mut [0; "begun\n".len()]).expect("what it says");
    };
    let start = Instant::now();
    let mut tracer = spawn();
    begun(&mut tracer);
    let whole = start.elapsed();
    assert_eq!(kill(tracer), "ended\n");
    let rounds = if is_emulated() { 3 } else { 16 };
    for round in 0..rounds {
        let tracer = spawn();
        std::thread::sleep(whole * round / (rounds * 3 / 4));
        let said = kill(tracer);
        assert!(matches!(&said[..], "" | "begun\nended\n"), "{said}");
    }
}

#[test]
fn a_program_is_killed_in_the_middle_of_calls() {
    needs_root!("a_program_is_killed_in_the_middle_of_calls");
    let mut victim = victim!("flood");
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.go();
    assert_eq!(victim.line().as_deref(), Some("FLOOD"));
    until("events", || (tracer.stream().len() > 10_000).then_some(()));
    victim.process().signal(libc::SIGKILL);
    let trace = tracer.wait();
    trace.assert_clean();
    assert_eq!(trace.process(victim.pid())["status"]["signal"], "SIGKILL", "{}", trace.end());
}

/// A call that has done something and is not done.
#[test]
fn a_program_is_killed_between_a_commit_and_its_return() {
    needs_root!("a_program_is_killed_between_a_commit_and_its_return");
    let mut victim = victim!("mmap_takes_for_ever");
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.go();
    let is_told = || String::from_utf8_lossy(&tracer.stream()).contains("\"cause\":\"call\"");
    until("its commit", || is_told().then_some(()));
    victim.process().signal(libc::SIGKILL);
    assert_eq!(victim.line(), None, "the call was done");
    let trace = tracer.wait();
    trace.assert_clean();
    trace.assert_consistent();
    let told: Vec<_> = trace.of_type("commit").filter(|it| it["cause"] == "call").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    // On its way to its end it may come by where calls return.
    let exit = trace.of_type("exit").next().expect("its end");
    let end = trace.calls("mmap").next().unwrap_or(exit);
    assert_eq!(end["commits"][0], told[0]["id"], "{end}");
    assert_eq!(exit["status"]["signal"], "SIGKILL", "{exit}");
}

/// Its address space ends with the last who looks at it, and that is another process.
#[test]
fn a_program_is_killed_while_others_read_its_maps() {
    needs_root!("a_program_is_killed_while_others_read_its_maps");
    for _ in 0..often(8) {
        let mut victim = victim!("many_regions");
        let pid = victim.pid();
        let tracer = Tracer::attach(pid, &[]);
        let readers: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(move || {
                    while std::fs::read(format!("/proc/{pid}/smaps")).is_ok_and(|it| !it.is_empty())
                    {
                    }
                })
            })
            .collect();
        victim.process().signal(libc::SIGKILL);
        let trace = tracer.wait();
        trace.assert_clean();
        assert_eq!(trace.process(pid)["status"]["signal"], "SIGKILL", "{}", trace.end());
        victim.process().wait();
        for reader in readers {
            reader.join().expect("a thread that reads");
        }
    }
}

/// It dies in the middle of a flood that nobody takes, so that no record tells of what was lost, or of
/// its end, and there is nothing left to look at: the end says so all the same.
#[test]
fn what_is_lost_to_the_last_is_told() {
    needs_root!("what_is_lost_to_the_last_is_told");
    let mut victim = victim!("storm_without_end");
    let pid = victim.pid();
    let mut tracer = Tracer::attach(pid, &["--buffer", "4K"]);
    tracer.process().signal(libc::SIGSTOP);
    victim.go();
    assert_eq!(victim.line().as_deref(), Some("STORM"));
    std::thread::sleep(Duration::from_millis(200));
    victim.process().signal(libc::SIGKILL);
    victim.process().wait();
    tracer.process().signal(libc::SIGCONT);
    let trace = tracer.wait();
    assert!(trace.total("lost") > 0, "{}", trace.end());
    assert_eq!(trace.end()["exact"], false, "{}", trace.end());
    assert_eq!(trace.process(pid)["exact"], false, "{}", trace.end());
    let doubt = trace.of_type("doubt").next().expect("a doubt");
    assert_eq!(doubt["why"]["kind"], "lost", "{doubt}");
}

#[test]
fn two_tracers_of_one_process() {
    needs_root!("two_tracers_of_one_process");
    let mut victim = victim!("storm_one_arena");
    let one = Tracer::attach(victim.pid(), &[]);
    let other = Tracer::attach(victim.pid(), &["--low-overhead"]);
    victim.work();
    // The newest that has it answers, and then the other.
    assert_exact(victim.pid());
    let other = other.finish();
    assert_exact(victim.pid());
    for trace in [one.finish(), other] {
        trace.assert_clean();
        trace.assert_leads_to(victim.pid(), &maps(victim.pid()));
    }
}

// A PID that is used again, and address spaces at the place of others; then as many regions as there may be.
cases! { LIMITS:
    fork_reuses_a_pid: ["fork", "exit"];
    all_regions: ["mprotect", "munmap"];
}

/// A file gets another name while the memory that it is mapped in is locked: the old one is not said to be
/// exact, neither at the end nor of a moment that is past.
#[test]
fn a_new_name_in_memory_that_is_locked() {
    const NAME: &str = "a_new_name_in_memory_that_is_locked";
    needs_root!(NAME);
    let scratch = Scratch::new();
    let names = [scratch.join("one"), scratch.join("other")];
    std::fs::copy(victim_path!(), &names[0]).expect("a copy");
    let start = |case| Victim::start_if_supported(&names[0], case, &[scratch.path()]);
    let mut victim = match start("fuse_answers_late") {
        Ok(victim) => victim,
        Err(why) => return skip(NAME, &why),
    };
    let (pid, server) = (victim.pid(), children(victim.pid())[0]);
    let mut tracer = Tracer::record(&[pid], &[]);
    let mut other = victim!("stand_still");
    let mut remembering = Tracer::attach_all(&[pid, other.pid()], &[]);
    victim.go();
    until_locked(pid);
    std::fs::rename(&names[0], &names[1]).expect("another name");
    let renamed = now();
    let assert_doubted = |found: &Finished| {
        assert_eq!(found.code(), Some(0), "{}", found.stderr);
        assert!(found.stderr.contains("NOT known to be exact"), "{}", found.stderr);
    };
    assert_doubted(&dump_as(pid, &["--at", &renamed]));
    assert_exact(other.pid());
    for tracer in [&mut tracer, &mut remembering] {
        tracer.process().signal(libc::SIGINT);
        let summary =
            || tracer.stderr().lines().find(|it| it.contains(" events, ")).map(str::to_owned);
        let summary = until("the last line", summary);
        assert!(summary.contains("0 lost, ") && summary.contains("NOT EXACT"), "{summary}");
    }
    for at in [&renamed[..], "-0s"] {
        let mut dump = mmaptrace(&["dump", "--at", at, &pid.to_string(), "-i"]);
        assert_doubted(&run(dump.arg(tracer.recording())));
    }
    // SAFETY: a plain call.
    unsafe { libc::kill(server.cast_signed(), libc::SIGKILL) };
    for tracer in [&mut tracer, &mut remembering] {
        assert_eq!(tracer.process().wait().code(), Some(0));
    }
    other.work();
}

fn until_locked(pid: u32) {
    until("a victim that waits", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains(") D ").then_some(())
    });
}

/// Who waits for the lock of its memory cannot be woken: the tracer goes on without, and ends when it is told to.
#[test]
fn memory_that_is_locked_for_ever() {
    const NAME: &str = "memory_that_is_locked_for_ever";
    needs_root!(NAME);
    let scratch = Scratch::new();
    let start = |case| Victim::start_if_supported(victim_path!(), case, &[scratch.path()]);
    let mut victim = match start("fuse_answers_late") {
        Ok(victim) => victim,
        Err(why) => return skip(NAME, &why),
    };
    let (pid, server) = (victim.pid(), children(victim.pid())[0]);
    let mut other = victim!("stand_still");
    let mut comparing = Tracer::attach(pid, &["--verify=600"]);
    let mut killed = Tracer::attach(pid, &[]);
    // The newer one is asked.
    let mut tracer = Tracer::attach_all(&[pid, other.pid()], &["--verify=0.1"]);
    victim.go();
    until_locked(pid);
    // Then pictures of all are asked for.
    let names = [scratch.join("one"), scratch.join("other")];
    std::fs::write(&names[0], "").expect("a file");
    std::fs::rename(&names[0], &names[1]).expect("another name");
    assert_exact(other.pid());
    let dump = dump_as(pid, &["-v"]);
    assert!(dump.stderr.contains("NOT known to be exact"), "{}", dump.stderr);
    // What is in its memory cannot be read, nor how much of it there is.
    for format in ["pmap", "pmap-x"] {
        let dump = dump_as(pid, &["--format", format]);
        assert_eq!(dump.code(), Some(0), "{}", dump.stderr);
        assert!(dump.stderr.contains("its memory is locked"), "{}", dump.stderr);
        assert!(dump.stdout.starts_with(format!("{pid}:   [victim]\n").as_bytes()), "{format}");
        assert_exact(other.pid());
    }
    // Nor does the thread that waits keep what it has not loaded itself.
    let programs = programs(killed.process().pid());
    assert!(!programs.is_empty());
    killed.process().signal(libc::SIGKILL);
    until("programs that are gone", || {
        (!programs.iter().any(|&program| is_loaded(program))).then_some(())
    });
    for tracer in [&mut tracer, &mut comparing] {
        tracer.process().signal(libc::SIGINT);
        until("the end", || {
            String::from_utf8_lossy(&tracer.stream()).contains(r#""type":"end""#).then_some(())
        });
    }
    // SAFETY: a plain call.
    unsafe { libc::kill(server.cast_signed(), libc::SIGKILL) };
    assert_eq!(tracer.process().wait().code(), Some(0));
    assert_eq!(comparing.process().wait().code(), Some(0));
    let said = comparing.stderr();
    assert!(said.contains("not compared with /proc"), "{said}");
    other.work();
}

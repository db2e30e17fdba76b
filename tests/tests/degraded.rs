//! The degraded tier, asked for by name where a better one is to be had: a dump equals
//! `/proc/PID/maps`, or says that it may not; never neither.

use std::fs;
use std::process::{Command, Stdio};

use mmaptrace_tests::{
    Outcome, Process, Scratch, Tracer, Victim, address, difference, dump_as, is_stopped, is_zombie,
    maps, mmaptrace, needs_root, now, often, run, skip, until, victim, victim_path,
};
use serde_json::Value;

/// A dump of a process, and whether it claims to be exact.
fn dump(pid: u32) -> (Vec<u8>, bool) {
    let dump = dump_as(pid, &["-v"]);
    assert_eq!(dump.code(), Some(0), "{}", dump.stderr);
    let exact = dump.stderr.contains(": exact as of commit ");
    assert!(exact != dump.stderr.contains("NOT known to be exact"), "{}", dump.stderr);
    (dump.stdout, exact)
}

/// Holds that the dump of a process that stands still is its map, and says so.
fn assert_sure(case: &str, pid: u32) {
    let (dump, exact) = dump(pid);
    assert_eq!(difference(&maps(pid), &dump), None, "{case}");
    assert!(exact, "{case}: nothing happens, and it is not sure");
}

/// All that a victim does, from outside: those it is not told of, those that no call tells of, and
/// those that many do at once.
const CASES: &[&str] = &[
    "arch_prctl_map_vdso",
    "brk_down_to_nothing",
    "brk_hole_in_the_heap",
    "compat_mmap2",
    "execve_from_a_thread",
    "file_replaced_by_rename",
    "fork_many",
    "hostile_name",
    "io_uring_madvise",
    "many_regions",
    "mlockall_future",
    "mmap_fixed",
    "mmap_memfd",
    "mprotect_splits",
    "mremap_part_moves",
    "mremap_several",
    "munmap_middle",
    "path_newline",
    "path_not_utf8",
    "process_madvise",
    "shmat",
    "stack_grows_by_fault",
    "stack_grows_in_read",
    "storm_mixed",
    "storm_one_arena",
    "storm_same_addresses",
    "threads_map",
    "uprobes_region",
];

#[test]
fn what_stands_still_is_dumped_as_it_is() {
    needs_root!("what_stands_still_is_dumped_as_it_is");
    let known = run(Command::new(victim_path!()).arg("cases")).text();
    let start = |case: &&'static str| {
        assert!(known.lines().any(|line| line == *case), "no case {case}");
        let scratch = Scratch::new();
        let victim = Victim::start_if_supported(victim_path!(), case, &[scratch.path()]);
        victim.ok().map(|victim| (*case, victim, scratch))
    };
    let mut victims: Vec<_> = CASES.iter().filter_map(start).collect();
    let pids: Vec<_> = victims.iter().map(|(_, victim, _)| victim.pid()).collect();
    let tracer = Tracer::attach_degraded(&pids, &["-f"]);
    for (case, victim, _) in &mut victims {
        assert_sure(case, victim.pid());
        victim.work();
        assert_sure(case, victim.pid());
        for &child in &victim.children {
            assert_sure(case, child);
        }
    }
    let trace = tracer.finish();
    trace.assert_consistent();
    assert_eq!(trace.total("lost"), 0, "{}", trace.end());
}

/// What another process does in its address space, nobody tells as its own: it is not known to stand still.
#[test]
fn what_another_process_shares_is_not_said_to_be_sure() {
    needs_root!("what_another_process_shares_is_not_said_to_be_sure");
    for case in ["clone_vm", "vfork_shares"] {
        for follow in [&["-f"][..], &[]] {
            let mut victim = Victim::start(victim_path!(), case, &[]);
            let tracer = Tracer::attach_degraded(&[victim.pid()], follow);
            assert_sure(case, victim.pid());
            victim.work();
            let children = victim.children.iter().filter(|_| !follow.is_empty());
            for &pid in [victim.pid()].iter().chain(children) {
                let (dump, exact) = dump(pid);
                assert_eq!(difference(&maps(pid), &dump), None, "{case}");
                assert!(!exact, "{case}: another may be at work, and it is sure");
            }
            for &child in &victim.children {
                // SAFETY: takes two integers.
                unsafe { libc::kill(child.cast_signed(), libc::SIGKILL) };
                until("the end of the other", || is_zombie(child).then_some(()));
            }
            assert_sure(case, victim.pid());
            tracer.finish();
        }
    }
}

/// Pages of each of the two ranges of a climb.
const CLIMB: u64 = 8000;

/// How many steps of a climb a map shows, in the lower range and in the upper one.
fn steps(maps: &[u8], from: u64) -> (u64, u64) {
    let text = String::from_utf8_lossy(maps);
    let starts = text.lines().filter_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let start = u64::from_str_radix(range.split_once('-')?.0, 16).ok()?;
        rest.starts_with("r--p ").then_some(start)
    });
    let (middle, end) = (from + CLIMB * 4096, from + 2 * CLIMB * 4096);
    let (lower, upper): (Vec<_>, Vec<_>) =
        starts.filter(|start| (from..end).contains(start)).partition(|&start| start < middle);
    (lower.len() as u64, upper.len() as u64)
}

/// Each dump of a process that changes all the time shows all that had happened when it was asked
/// for, and nothing that had not when it came; that it is of one moment, or says that it may not be.
/// Every step is told, with its effect.
#[test]
fn what_changes_is_dumped_as_it_was_or_said_to_be_unsure() {
    needs_root!("what_changes_is_dumped_as_it_was_or_said_to_be_unsure");
    let mut victim = victim!("climb");
    let tracer = Tracer::attach_degraded(&[victim.pid()], &[]);
    victim.go();
    let line = victim.line().expect("where it climbs");
    let from = line.strip_prefix("CLIMB ").and_then(|at| u64::from_str_radix(at, 16).ok());
    let from = from.unwrap_or_else(|| panic!("{line}"));
    let mut moving = 0;
    for _ in 0..often(300) {
        let before = steps(&maps(victim.pid()), from);
        let (dump, exact) = dump(victim.pid());
        let after = steps(&maps(victim.pid()), from);
        let (lower, upper) = steps(&dump, from);
        assert!((before.0..=after.0).contains(&lower), "{before:?} {lower} {after:?}");
        assert!((before.1..=after.1).contains(&upper), "{before:?} {upper} {after:?}");
        if exact {
            // A step is made in the upper range first.
            assert!(upper == lower || upper == lower + 1, "{lower} {upper} are of two moments");
        }
        moving += usize::from(before != after);
        if after.0 == CLIMB / 2 {
            break;
        }
    }
    assert_eq!(victim.work(), Outcome::Done);
    assert_sure("climb", victim.pid());
    let (lower, upper) = steps(&maps(victim.pid()), from);
    let trace = tracer.finish();
    assert!(moving > 0, "it was never asked while something happened");
    assert_eq!(trace.total("lost"), 0, "{}", trace.end());
    let places = trace.calls("mprotect").map(|call| address(&call["call"]["raw"][0]));
    let told = places.filter(|place| (from..from + 2 * CLIMB * 4096).contains(place)).count();
    let (told, made) = (told as u64, lower + upper);
    assert!(told <= made && made - told <= trace.left_out(), "{told} of {made}: {}", trace.stderr);
    trace.assert_leads_to(victim.pid(), &maps(victim.pid()));
}

/// Stopped in the middle of whatever it did, a process stands still.
#[test]
fn what_was_stopped_in_a_flood_is_dumped_as_it_is() {
    needs_root!("what_was_stopped_in_a_flood_is_dumped_as_it_is");
    let mut victim = victim!("flood");
    let pid = victim.pid();
    let tracer = Tracer::attach_degraded(&[pid], &[]);
    victim.go();
    assert_eq!(victim.line().as_deref(), Some("FLOOD"));
    for _ in 0..often(20) {
        dump(pid);
        victim.process().signal(libc::SIGSTOP);
        until("a stopped process", || is_stopped(pid).then_some(()));
        assert_sure("flood", pid);
        victim.process().signal(libc::SIGCONT);
    }
    assert_eq!(victim.work(), Outcome::Done);
    assert_sure("flood", pid);
    tracer.finish();
}

/// What finds no room in the ring is counted, and told; read again, the model is what maps is.
#[test]
fn what_a_flood_loses_is_told_and_read_again() {
    needs_root!("what_a_flood_loses_is_told_and_read_again");
    let mut victim = victim!("torrent");
    let tracer = Tracer::attach_degraded(&[victim.pid()], &["--buffer", "4K"]);
    victim.work();
    assert_sure("torrent", victim.pid());
    tracer.finish().assert_lost_and_healed();
}

/// Which tier it is, on start, in the stream, in each dump and at the end.
#[test]
fn it_says_what_it_is() {
    needs_root!("it_says_what_it_is");
    let mut victim = victim!("mmap_fixed");
    let tracer = Tracer::attach_degraded(&[victim.pid()], &[]);
    victim.work();
    let said = tracer.stderr();
    assert_eq!(said.lines().filter(|line| line.contains("tier degraded")).count(), 1, "{said}");
    let dump = dump_as(victim.pid(), &["--format", "json"]);
    let dump: Value = serde_json::from_slice(&dump.stdout).expect("JSON");
    assert_eq!(dump["exact"], true, "it stands still: {dump}");
    victim.end();
    let trace = tracer.wait();
    assert_eq!(trace.lines[0]["tier"], "degraded", "{}", trace.lines[0]);
    let told: Vec<_> = trace.calls("mmap").collect();
    assert!(!told.is_empty(), "no call is told");
    let commits: Vec<_> = trace.of_type("commit").filter(|it| it["cause"] != "seed").collect();
    assert!(commits.iter().all(|commit| commit["exact"] == false), "{commits:?}");
    assert_eq!(trace.end()["exact"], false, "{}", trace.end());
    assert_eq!(trace.of_type("doubt").count(), 0, "what it always is, is no event");
    assert_eq!(trace.process(victim.pid())["exact"], false, "{}", trace.end());

    let checked = run(mmaptrace(&["check"]).env("MMAPTRACE_TIER", "degraded"));
    assert_eq!(checked.code(), Some(0), "{}", checked.text());
    let last = checked.text().lines().last().map(str::to_owned).unwrap_or_default();
    assert!(last.starts_with("tier     degraded: "), "{last}");
}

/// What was read in /proc is the image that runs, and its map what /proc has now.
#[test]
fn what_it_remembers_is_compared_with_now() {
    needs_root!("what_it_remembers_is_compared_with_now");
    let mut victim = victim!("brk_up");
    let tracer = Tracer::attach_degraded(&[victim.pid()], &[]);
    let pid = victim.pid().to_string();
    let diff = |from: &str| {
        let diff = run(&mut mmaptrace(&["diff", "--from", from, "--to", "now", "-p", &pid]));
        assert_eq!(diff.code(), Some(0), "{}", diff.stderr);
        diff.text()
    };
    let before = now();
    victim.work();
    let grown = diff(&before);
    assert!(grown.contains("[heap]") && !grown.contains("replaced"), "{grown}");
    let same = diff(&now());
    assert!(same.contains("no difference"), "{same}");
    tracer.finish();
}

/// Of a program that has ended the last map that it had is meant.
#[test]
fn what_has_ended_is_remembered_as_it_was() {
    needs_root!("what_has_ended_is_remembered_as_it_was");
    let mut victim = victim!("brk_up");
    let mut tracer = Tracer::record_degraded(&[victim.pid()], &[]);
    let before = now();
    victim.work();
    let (pid, map) = (victim.pid().to_string(), maps(victim.pid()));
    // What is read after the last call, which may be too late once it has ended.
    assert_sure("brk_up", victim.pid());
    victim.end();
    tracer.process().wait();
    let recording = tracer.recording().display().to_string();
    let last = run(&mut mmaptrace(&["dump", "--at", "exit", "-i", &recording, &pid]));
    assert_eq!(last.code(), Some(0), "{}", last.stderr);
    assert_eq!(difference(&map, &last.stdout), None);
    let grown = run(&mut mmaptrace(&["diff", "--from", &before, "-i", &recording]));
    assert_eq!(grown.code(), Some(0), "{}", grown.stderr);
    let is_one_image = grown.text().contains("[heap]") && grown.text().contains("grown");
    assert!(is_one_image, "{}", grown.text());
}

/// The tracer comes to it when the process is gone: what each thread did, and its end, is told all the same.
#[test]
fn threads_of_what_is_gone_are_told() {
    needs_root!("threads_of_what_is_gone_are_told");
    let mut victim = victim!("threads_come_and_go");
    let mut tracer = Tracer::attach_degraded(&[victim.pid()], &[]);
    tracer.process().signal(libc::SIGSTOP);
    victim.work();
    victim.end();
    tracer.process().signal(libc::SIGCONT);
    let trace = tracer.wait();
    assert_eq!(trace.total("lost"), 0, "{}", trace.end());
    // A hundred, and the main one; but for runs that the kernel has left out.
    let (made, exits) = (trace.of_type("fork").count(), trace.of_type("exit").collect::<Vec<_>>());
    let missing = 201_usize.saturating_sub(made + exits.len()) as u64;
    assert!(missing <= trace.left_out(), "{made} made, {} ended: {}", exits.len(), trace.stderr);
    // A thread that was waited for may end after who waited (before Linux 6.16).
    for (place, exit) in (1..).zip(&exits).filter(|_| trace.left_out() == 0) {
        assert_eq!(exit["last"], place == exits.len(), "{exit}");
    }
}

/// Of what an exec was given, as much is told in each tier.
#[test]
fn long_arguments_are_cut_as_in_the_exact_tier() {
    needs_root!("long_arguments_are_cut_as_in_the_exact_tier");
    let told = |tier: Option<&str>| {
        let scratch = Scratch::new();
        let file = scratch.join("trace");
        let mut command = mmaptrace(&["--format", "json", "-o"]);
        command.arg(&file).arg("--").arg(victim_path!()).args(["stand_still", &"x".repeat(5000)]);
        command.envs(tier.map(|tier| ("MMAPTRACE_TIER", tier)));
        // It stands still for as long as this end is open.
        let mut tracer = Process::spawn(command.stdin(Stdio::piped()).stdout(Stdio::null()));
        let exec = until("the exec", || {
            let stream = fs::read_to_string(&file).unwrap_or_default();
            let mut lines = stream.lines().filter_map(|line| serde_json::from_str(line).ok());
            lines.find(|line: &Value| line["type"] == "exec")
        });
        drop(tracer.child().stdin.take());
        assert_eq!(tracer.wait().code(), Some(0));
        exec
    };
    let (best, degraded) = (told(None), told(Some("degraded")));
    let last = degraded["argv"].as_array().and_then(|arguments| arguments.last()?.as_str());
    assert!(last.is_some_and(|last| last.starts_with("xxx")), "{degraded}");
    assert_eq!(degraded["argv"], best["argv"]);
    assert_eq!(degraded["cut"], best["cut"]);
}

/// A command and its children: new tasks, new images, ends and how they came.
#[test]
fn a_command_is_followed_to_its_end() {
    needs_root!("a_command_is_followed_to_its_end");
    if !std::path::Path::new("/bin/sh").exists() {
        return skip("a_command_is_followed_to_its_end", "there is no sh");
    }
    let scratch = Scratch::new();
    let file = scratch.join("trace");
    let mut command = mmaptrace(&["--format", "json", "-o"]);
    command.arg(&file).args(["--", "/bin/sh", "-c", "(exit 3); (kill -9 $$); :"]);
    let finished = run(command.env("MMAPTRACE_TIER", "degraded"));
    let stream = fs::read_to_string(&file).expect("the trace");
    let lines: Vec<Value> =
        stream.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count();
    assert_eq!(of("exec"), 1, "{stream}");
    assert_eq!(of("fork"), 2, "{stream}");
    assert_eq!(of("exit"), 3, "{stream}");
    assert_eq!(of("end"), 1, "{stream}");
    // Killed, as the shell was.
    assert_eq!(finished.code(), None, "{}", finished.stderr);
}

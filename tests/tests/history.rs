//! The past, asked for later: of a recording, or of a tracer that still runs.

use std::{path::Path, process::Command, time::Duration};

use mmaptrace_tests::{
    Finished, Outcome, Process, Scratch, Tracer, Victim, children, deeds::socket, difference,
    dump_as, is_emulated, maps, mmaptrace, needs_root, now, run, skip, until, victim, victim_path,
};
use serde_json::Value;

/// How often `wander` stands still.
const HALTS: usize = 100;

/// What a process's map was at a moment, by a recording.
fn recorded(recording: &Path, pid: u32, at: &str) -> Finished {
    recorded_as(recording, pid, at, &[])
}

fn recorded_as(recording: &Path, pid: u32, at: &str, options: &[&str]) -> Finished {
    let mut dump = mmaptrace(&["dump", "--at", at, &pid.to_string(), "-i"]);
    run(dump.arg(recording).args(options))
}

#[track_caller]
fn assert_was(expected: &[u8], found: &Finished, at: &str) {
    assert_eq!(found.code(), Some(0), "--at {at}: {}", found.stderr);
    assert_eq!(difference(expected, &found.stdout), None, "--at {at}");
    assert_eq!(found.stderr, "", "--at {at}");
}

/// Lets `wander` walk, and tells a moment of each of its halts and what maps said there.
fn walk(victim: &mut Victim) -> Vec<(String, Vec<u8>)> {
    let halt = |_| {
        assert_eq!(victim.work(), Outcome::Done);
        let before = maps(victim.pid());
        let at = now();
        assert_eq!(maps(victim.pid()), before, "it stands still");
        (at, before)
    };
    (0..HALTS).map(halt).collect()
}

/// By a recording, of a process that is gone.
#[test]
fn every_moment_is_what_maps_said_then() {
    needs_root!("every_moment_is_what_maps_said_then");
    let mut victim = victim!("wander");
    let mut tracer = Tracer::record(&[victim.pid()], &[]);
    let halts = walk(&mut victim);
    let pid = victim.pid();
    victim.end();
    assert_eq!(tracer.process().wait().code(), Some(0), "{}", tracer.stderr());
    for (at, expected) in &halts {
        assert_was(expected, &recorded(&tracer.recording(), pid, at), at);
    }
    let last = halts.last().map(|(_, maps)| &maps[..]).unwrap_or_default();
    assert_was(last, &recorded(&tracer.recording(), pid, "exit"), "exit");
}

/// By a tracer that runs: of a process that runs, and once it is gone.
#[test]
fn a_tracer_remembers_every_moment() {
    needs_root!("a_tracer_remembers_every_moment");
    let (mut victim, other) = (victim!("wander"), victim!("stand_still"));
    let tracer = Tracer::attach_all(&[victim.pid(), other.pid()], &[]);
    let halts = walk(&mut victim);
    let pid = victim.pid();
    for (at, expected) in halts.iter().step_by(10) {
        assert_was(expected, &dump_as(pid, &["--at", at]), at);
    }
    victim.end();
    for (at, expected) in halts.iter().skip(5).step_by(10) {
        assert_was(expected, &dump_as(pid, &["--at", at]), at);
    }
    until("its end", || dump_as(pid, &["--at", "-0s"]).stderr.contains("had ended").then_some(()));
    let last = halts.last().map(|(_, maps)| &maps[..]).unwrap_or_default();
    assert_was(last, &dump_as(pid, &["--at", "exit"]), "exit");
    tracer.finish().assert_clean();
}

/// What is lost is told when the next thing comes: until then nobody knows of it, and later it is known
/// that nobody did.
#[test]
fn a_moment_before_a_loss_was_told_is_in_doubt() {
    needs_root!("a_moment_before_a_loss_was_told_is_in_doubt");
    for recorded in [true, false] {
        let mut victim = victim!("torrent");
        let options = ["--buffer", "16K"];
        let mut tracer = if recorded {
            Tracer::record(&[victim.pid()], &options)
        } else {
            Tracer::attach(victim.pid(), &options)
        };
        let pid = victim.pid();
        let (before, was) = (now(), maps(pid));
        tracer.process().signal(libc::SIGSTOP);
        victim.work();
        let within = now();
        tracer.process().signal(libc::SIGCONT);
        until("a model that is exact again", || {
            let dump = dump_as(pid, &["-v"]);
            (!dump.stderr.contains("NOT known")).then_some(())
        });
        let after = now();
        let file = recorded.then(|| tracer.recording());
        let at = |moment: &str| match &file {
            Some(file) => recorded_as(file, pid, moment, &[]),
            None => dump_as(pid, &["--at", moment]),
        };
        if recorded {
            tracer.process().signal(libc::SIGINT);
            assert_eq!(tracer.process().wait().code(), Some(0), "{}", tracer.stderr());
        }
        assert_was(&was, &at(&before), &before);
        let lost = at(&within);
        assert_eq!(lost.code(), Some(0), "{}", lost.stderr);
        assert!(lost.stderr.contains("NOT known to be exact"), "exact: {}", lost.stderr);
        assert_was(&maps(pid), &at(&after), &after);
    }
}

/// Of a recording that was cut nobody knows what its tracer had yet to tell.
#[test]
fn the_last_moment_of_a_recording_that_was_cut_is_in_doubt() {
    needs_root!("the_last_moment_of_a_recording_that_was_cut_is_in_doubt");
    let mut victim = victim!("wander");
    let mut tracer = Tracer::record(&[victim.pid()], &[]);
    let pid = victim.pid();
    let halts = walk(&mut victim);
    // What it has is written within a second.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    tracer.process().signal(libc::SIGKILL);
    tracer.process().wait();
    let (first, last) = (&halts[0], &halts[HALTS - 1]);
    assert_was(&first.1, &recorded(&tracer.recording(), pid, &first.0), &first.0);
    let cut = recorded(&tracer.recording(), pid, "-0s");
    assert_eq!((cut.code(), difference(&last.1, &cut.stdout)), (Some(0), None), "{}", cut.stderr);
    assert!(cut.stderr.contains("the recording ends"), "exact: {}", cut.stderr);
}

/// By a tracer that records while it runs: the file is read as far as it is written.
#[test]
fn a_tracer_that_records_tells_of_the_past_as_well() {
    needs_root!("a_tracer_that_records_tells_of_the_past_as_well");
    let mut victim = victim!("munmap_middle");
    let tracer = Tracer::record(&[victim.pid()], &[]);
    let (early, before) = (now(), maps(victim.pid()));
    victim.work();
    assert_was(&before, &dump_as(victim.pid(), &["--at", &early]), &early);
    assert_was(&maps(victim.pid()), &dump_as(victim.pid(), &["--at", "-0s"]), "-0s");
    drop(tracer);
}

/// What maps has said and what it says is told by all ways to name a moment.
#[test]
fn moments_have_many_names() {
    needs_root!("moments_have_many_names");
    let mut victim = victim!("munmap_middle");
    let mut tracer = Tracer::record(&[victim.pid()], &[]);
    let before = maps(victim.pid());
    let early = now();
    victim.work();
    let (late, after) = (now(), maps(victim.pid()));
    let (pid, recording) = (victim.pid(), tracer.recording());
    tracer.process().signal(libc::SIGINT);
    assert_eq!(tracer.process().wait().code(), Some(0), "{}", tracer.stderr());
    for at in [&early, &format!("{early}999")] {
        assert_was(&before, &recorded(&recording, pid, at), at);
    }
    let seconds: u64 =
        late.split_once('.').and_then(|(whole, _)| whole.parse().ok()).expect("secs");
    let fraction = late.split_once('.').map_or("", |(_, fraction)| fraction);
    let date = |format: &str| {
        run(Command::new("date").args(["-d", &format!("@{seconds}"), format])).text()
    };
    let rfc = format!("{}.{fraction}Z", date("+%Y-%m-%dT%H:%M:%S").trim());
    let rfc = if date("+%z").trim() == "+0000" { rfc } else { late.clone() };
    let clock = format!("{}.{fraction}", date("+%H:%M:%S").trim());
    for at in ["-0s", "-1us", "#1", &late, &rfc, &clock] {
        assert_was(&after, &recorded(&recording, pid, at), at);
    }
    // Without a moment, the end.
    let end = run(mmaptrace(&["dump", &pid.to_string(), "-i"]).arg(&recording));
    assert_was(&after, &end, "the end");
}

/// A command that is gone: what it was when it began, and when it ended.
#[test]
fn exec_and_exit_are_moments() {
    needs_root!("exec_and_exit_are_moments");
    let scratch = Scratch::new();
    let recording = scratch.join("recording");
    let mut tracer = mmaptrace(&["record", "-q", "-o"]);
    tracer.arg(&recording).arg("--").arg(victim_path!()).arg("stand_still");
    let mut victim = Victim::launch(&mut tracer);
    victim.expect_ready();
    victim.work();
    let pid = children(victim.pid())[0];
    let last = maps(pid);
    assert!(victim.end().success());
    assert_was(&last, &recorded(&recording, pid, "exit"), "exit");
    let exec = recorded(&recording, pid, "exec");
    assert_eq!((exec.code(), &exec.stderr[..]), (Some(0), ""));
    let program = format!(" {}\n", victim_path!().display());
    assert!(exec.text().contains(&program), "{}", exec.text());
    let regions = |maps: &[u8]| maps.split_inclusive(|&byte| byte == b'\n').count();
    assert!(regions(&exec.stdout) < regions(&last), "it has mapped nothing yet: {}", exec.text());
    let pmap = recorded_as(&recording, pid, "exit", &["--format", "pmap"]);
    assert!(pmap.text().starts_with(&format!("{pid}:   [victim]\n")), "{}", pmap.text());
}

/// A name that a file lost is that of the moments before, not of those after.
#[test]
fn names_are_of_their_moment() {
    needs_root!("names_are_of_their_moment");
    let scratch = Scratch::new();
    let mut victim = victim!("file_unlinked", scratch.path());
    let tracer = Tracer::record(&[victim.pid()], &[]);
    let (early, before) = (now(), maps(victim.pid()));
    victim.work();
    let (late, after) = (now(), maps(victim.pid()));
    assert!(String::from_utf8_lossy(&after).contains(" (deleted)\n"));
    let (pid, recording) = (victim.pid(), tracer.recording());
    until("the new name", || (recorded(&recording, pid, "-0s").stdout == after).then_some(()));
    // When it lost its name nobody has seen: only that there was nothing between two readings that tells.
    for (at, then) in [(&early, &before), (&late, &after)] {
        let found = recorded(&recording, pid, at);
        let is_doubted = found.stderr.contains("NOT known to be exact");
        assert!(found.stdout == *then || is_doubted, "--at {at}: {}", found.text());
        assert!([&before, &after].contains(&&found.stdout), "--at {at}: {}", found.text());
    }
    drop(tracer);
}

/// A past that is bounded forgets its beginning, says so, and is right about the rest.
#[test]
fn what_is_forgotten_is_not_made_up() {
    needs_root!("what_is_forgotten_is_not_made_up");
    let mut victim = victim!("storm_mixed");
    let tracer = Tracer::attach(victim.pid(), &["--history", "64K"]);
    let begin = now();
    victim.work();
    let pid = victim.pid();
    let forgotten = dump_as(pid, &["--at", &begin]);
    assert_eq!(forgotten.code(), Some(1), "{}", forgotten.text());
    assert!(forgotten.stderr.contains("that is "), "{}", forgotten.stderr);
    assert_was(&maps(pid), &dump_as(pid, &["--at", "-0s"]), "-0s");
    tracer.finish().assert_clean();
}

#[test]
fn moments_that_are_none() {
    needs_root!("moments_that_are_none");
    let victim = victim!("stand_still");
    let tracer = Tracer::attach(victim.pid(), &["--history", "0"]);
    let pid = victim.pid();
    let nothing = dump_as(pid, &["--at", "-1s"]);
    assert_eq!(nothing.code(), Some(1));
    assert!(nothing.stderr.contains("--history 0"), "{}", nothing.stderr);
    assert_eq!(dump_as(pid, &["--at", "noon"]).code(), Some(2));
    assert_eq!(dump_as(pid, &["--at", "-1s", "--format", "pmap-x"]).code(), Some(2));
    drop(tracer);
    let mut tracer = Tracer::record(&[pid], &[]);
    tracer.process().signal(libc::SIGINT);
    tracer.process().wait();
    let recording = tracer.recording();
    let refused = |at: &str, pid: u32, why: &str| {
        let found = recorded(&recording, pid, at);
        assert_eq!((found.code(), found.stdout.len()), (Some(1), 0), "--at {at}");
        assert!(found.stderr.contains(why), "--at {at}: {}", found.stderr);
    };
    refused("-9999h", pid, "that is ");
    refused("+9999h", pid, "that is ");
    refused("#999999999", pid, "no 999999999 events");
    refused("exec", pid, "has no exec");
    refused("-0s", pid + 1, "was traced");
    refused("+0s", pid, "was traced");
    let idle = Process::quiet("sleep", &["1000"]);
    // Tracers that others run have nothing to tell of it either.
    let stranger = dump_as(idle.pid(), &["--at", "-0s"]);
    assert!(matches!(stranger.code(), Some(1 | 42)), "{}", stranger.stderr);
}

/// There the clock that programs read is not the kernel's.
#[test]
fn times_are_those_of_the_day_in_a_time_namespace() {
    const NAME: &str = "times_are_those_of_the_day_in_a_time_namespace";
    const AHEAD: [&str; 3] = ["-T", "--monotonic", "1000"];
    needs_root!(NAME);
    let is_possible = Command::new("unshare").args(AHEAD).arg("true").output();
    if !is_possible.is_ok_and(|tried| tried.status.success()) {
        return skip(NAME, "no unshare -T");
    }
    let seconds = |time: &str| time.parse::<f64>().unwrap_or_else(|e| panic!("{time}: {e}"));
    let before = seconds(&now());
    let tool = mmaptrace(&[]).get_program().to_owned();
    let traced =
        run(Command::new("unshare").args(AHEAD).arg(tool).args(["-q", "-ttt", "--", "true"]));
    let after = seconds(&now());
    let text = traced.stderr;
    let times: Vec<f64> =
        text.lines().filter_map(|line| Some(seconds(line.split(' ').next()?))).collect();
    assert!(times.len() > 5, "{text}");
    assert!(times.iter().all(|time| (before..=after).contains(time)), "{before} {after}: {text}");
}

/// Nothing comes later that the answer lacked.
#[test]
fn what_a_tracer_tells_of_a_moment_stays_so() {
    const NAME: &str = "what_a_tracer_tells_of_a_moment_stays_so";
    needs_root!(NAME);
    if is_emulated() {
        return skip(NAME, "emulated, a moment is as long as a change takes");
    }
    let mut victim = victim!("storm_without_end");
    let pid = victim.pid();
    // No moment is forgotten while this asks.
    let tracer = Tracer::attach(pid, &["--history", "256M"]);
    victim.go();
    assert_eq!(victim.line().as_deref(), Some("STORM"));
    let told = |at: &str| -> Value {
        let dump = dump_as(pid, &["--format", "json", "--at", at]);
        assert_eq!(dump.code(), Some(0), "--at {at}: {}", dump.stderr);
        serde_json::from_str(&dump.text()).expect("JSON")
    };
    // Enough of a past that it takes a while to hand it over.
    std::thread::sleep(Duration::from_secs(1));
    let before = ["-1ms", "-2ms", "-3ms"].map(|ago| [ago; 3]);
    let first: Vec<_> = before.as_flattened().iter().map(|ago| told(ago)).collect();
    for first in first.iter().filter(|dump| dump["exact"] == true) {
        let again = told(first["time"].as_str().expect("a time"));
        assert_eq!(again["time"], first["time"]);
        assert_eq!(again["regions"], first["regions"], "at {}", first["time"]);
    }
    assert!(first.iter().any(|dump| dump["exact"] == true), "{first:?}");
    drop(victim);
    tracer.finish();
}

/// The tracer itself has forgotten it, but for its past.
#[test]
fn what_ended_thousands_of_processes_ago_is_known() {
    const NAME: &str = "what_ended_thousands_of_processes_ago_is_known";
    needs_root!(NAME);
    if is_emulated() {
        return skip(NAME, "emulated, thousands of processes take too long");
    }
    let mut victim = victim!("generations");
    let mut tracer = Tracer::attach(victim.pid(), &["-f"]);
    // Of a process that none of them knows to be alive, the others of this machine could be asked.
    let socket = socket(&mut tracer);
    victim.go();
    assert_eq!(victim.line().as_deref(), Some("HALF"));
    let first = until("the first child", || {
        let stream = String::from_utf8(tracer.stream()).expect("UTF-8");
        let lines = stream.lines().filter(|line| line.contains(r#""type":"fork""#));
        lines
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find_map(|fork| fork["child"]["pid"].as_u64())
    });
    let first = first.to_string();
    for question in
        [&["who", "0x1000", "-p"][..], &["report", "-p"], &["export", "--format", "folded", "-p"]]
    {
        let answer = run(mmaptrace(question).args([&first, "--socket", &socket]));
        assert_eq!((answer.code(), &answer.stderr[..]), (Some(0), ""), "{question:?}");
    }
    let trace = tracer.finish();
    let end = trace.end();
    let remembered = end["processes"].as_array().expect("processes").len() as u64;
    let forgotten = end["forgotten"].as_u64().expect("a number");
    let made = trace.of_type("fork").count() as u64;
    assert!(forgotten > 0 && remembered + forgotten == made + 1, "{remembered} {forgotten} {made}");
}

//! `--verify`: what a difference looks like, and what it ends with.

use std::fs;
use std::process::Command;

use mmaptrace_tests::{Finished, Scratch, mmaptrace, needs_root, run, skip, victim};
use serde_json::Value;

/// A shell that lets `/proc` lie about its own regions, and ends with 7.
const LIAR: &str = "sed 's/ r--p / rwxp /' /proc/$$/maps > \"$0\" &&
    mount --bind \"$0\" /proc/$$/maps && sleep 1; exit 7";

/// The line, the count, and the exit code, which is not the command's.
#[test]
fn a_difference_is_told_and_ends_with_3() {
    const NAME: &str = "a_difference_is_told_and_ends_with_3";
    needs_root!(NAME);
    let scratch = Scratch::new();
    let (trace, lie) = (scratch.join("trace"), scratch.join("lie"));
    let tracer = mmaptrace(&["--verify=0.2", "--format", "json", "-o"]);
    // In a mount namespace of its own: others see nothing of the lie.
    let mut alone = Command::new("unshare");
    alone.arg("-m").arg(tracer.get_program()).args(tracer.get_args());
    alone.arg(&trace).args(["--", "sh", "-c", LIAR]).arg(&lie);
    if Command::new("unshare").args(["-m", "true"]).output().is_err() {
        return skip(NAME, "there is no unshare");
    }
    assert_tells_of_the_lie(&run(&mut alone));
    let stream = fs::read_to_string(&trace).expect("the trace");
    let end: Value = serde_json::from_str(stream.lines().last().expect("an end")).expect("JSON");
    assert!(end["differences"].as_u64() > Some(0), "{end}");
    assert_eq!(end["command"]["code"], 7, "{end}");
}

/// Where no comparison was due before, there is one at the end.
#[test]
fn a_difference_at_the_end_is_told() {
    const NAME: &str = "a_difference_at_the_end_is_told";
    const LIE: &str = "sed 's/ r--p / rwxp /' /proc/$1/maps > \"$0\" &&
        mount --bind \"$0\" /proc/$1/maps && shift && exec \"$@\"";
    needs_root!(NAME);
    if Command::new("unshare").args(["-m", "true"]).output().is_err() {
        return skip(NAME, "there is no unshare");
    }
    let victim = victim!("stand_still");
    let (scratch, pid) = (Scratch::new(), victim.pid().to_string());
    let tracer = mmaptrace(&["--verify=600", "-d", "0.1", "-o", "/dev/null", "-p", &pid]);
    let mut alone = Command::new("unshare");
    alone.args(["-m", "sh", "-c", LIE]).arg(scratch.join("lie")).arg(&pid);
    alone.arg(tracer.get_program()).args(tracer.get_args());
    assert_tells_of_the_lie(&run(&mut alone));
}

/// `/proc/PID/maps` is empty then.
#[test]
fn a_program_without_its_main_thread_is_compared() {
    needs_root!("a_program_without_its_main_thread_is_compared");
    let mut victim = victim!("main_thread_exits");
    victim.work();
    let pid = victim.pid().to_string();
    let options = ["--verify=0.1", "-d", "0.5", "-o", "/dev/null", "-p", &pid];
    let traced = run(&mut mmaptrace(&options));
    let (code, stderr) = (traced.code(), &traced.stderr);
    assert_eq!(code, Some(0), "{stderr}");
    let made = stderr.lines().find_map(|line| line.split_once(" comparisons with /proc"));
    let made = made.and_then(|(made, _)| made.rsplit(' ').next()?.parse::<u64>().ok());
    assert!(made > Some(0), "{stderr}");
}

/// In the degraded tier never: that is no comparison without a difference.
#[test]
fn what_was_never_compared_is_told() {
    needs_root!("what_was_never_compared_is_told");
    let victim = victim!("stand_still");
    let (scratch, pid) = (Scratch::new(), victim.pid().to_string());
    let trace = scratch.join("trace");
    let mut tracer =
        mmaptrace(&["--verify=0.1", "-d", "0.5", "--format", "json", "-p", &pid, "-o"]);
    let traced = run(tracer.arg(&trace).env("MMAPTRACE_TIER", "degraded"));
    assert_eq!(traced.code(), Some(0), "{}", traced.stderr);
    assert!(traced.stderr.contains("not compared with /proc"), "{}", traced.stderr);
    assert!(!traced.stderr.contains("differences"), "{}", traced.stderr);
    let stream = fs::read_to_string(&trace).expect("the trace");
    let end: Value = serde_json::from_str(stream.lines().last().expect("an end")).expect("JSON");
    assert!(end["type"] == "end" && end["differences"].is_null(), "{end}");
}

/// Holds that a tracer has told that /proc has other rights than the model.
fn assert_tells_of_the_lie(traced: &Finished) {
    let stderr = &traced.stderr;
    assert_eq!(traced.code(), Some(3), "{stderr}");
    let line = stderr.lines().find(|line| line.contains(" differs at commit "));
    let line = line.unwrap_or_else(|| panic!("no line tells of it: {stderr}"));
    let (kernel, model) = line.split_once(", the model '").expect("both sides");
    assert!(kernel.contains("/proc has '") && kernel.contains(" rwxp "), "{line}");
    assert!(model.contains(" r--p "), "{line}");
    assert!(stderr.contains(" differences to /proc"), "{stderr}");
}

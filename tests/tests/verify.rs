//! `--verify`: what a difference looks like, and what it ends with.

use std::fs;
use std::process::Command;

use mmaptrace_tests::{Scratch, mmaptrace, needs_root, run, skip};
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
    let traced = run(&mut alone);
    assert_eq!(traced.code(), Some(3), "{}", traced.stderr);
    let line = traced.stderr.lines().find(|line| line.contains(" differs at commit "));
    let line = line.unwrap_or_else(|| panic!("no line tells of it: {}", traced.stderr));
    let (kernel, model) = line.split_once(", the model '").expect("both sides");
    assert!(kernel.contains("/proc has '") && kernel.contains(" rwxp "), "{line}");
    assert!(model.contains(" r--p "), "{line}");
    assert!(traced.stderr.contains(" differences to /proc"), "{}", traced.stderr);
    let stream = fs::read_to_string(&trace).expect("the trace");
    let end: Value = serde_json::from_str(stream.lines().last().expect("an end")).expect("JSON");
    assert!(end["differences"].as_u64() > Some(0), "{end}");
    assert_eq!(end["command"]["code"], 7, "{end}");
}

//! A recording whose times of day are not those of the clock: everyone who shows them says so.

use std::{fs, process::Command};

use mmaptrace_recording::{End, Start, Writer};

/// What the tool says of a recording at whose end the clock was so many seconds ahead.
fn said(slip: i64, args: &[&str]) -> String {
    let start = Start { time: 1, calls: true, tier: "exact".to_owned(), ..Start::default() };
    let mut writer = Writer::new(Vec::new(), 1, &start).expect("a vector takes all");
    writer.end(&End { time: 2, slip, ..End::default() }, 0).expect("a vector takes all");
    let path = format!("{}/clock.{slip}.recording", env!("CARGO_TARGET_TMPDIR"));
    fs::write(&path, writer.out()).expect("it is written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mmaptrace"));
    let output = command.args(args).arg(&path).output().expect("it runs");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_recording_during_which_the_clock_was_set_says_so() {
    for args in [&["replay"][..], &["report", "-i"], &["dump", "1", "--at", "00:00", "-i"]] {
        let told = "times of day are 5 s behind the clock";
        assert!(said(5, args).contains(told), "{args:?}: {}", said(5, args));
        assert!(!said(0, args).contains("times of day"), "{args:?}: {}", said(0, args));
    }
    assert!(!said(5, &["replay", "-q"]).contains("times of day"));
}

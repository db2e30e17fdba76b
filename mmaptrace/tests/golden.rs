//! Recordings of each version of the format, as a tracer once wrote them: read to the same text and
//! the same map as then. What fails here and is wanted is a new version of the format
//! (`docs/recording.md`), or a new text: then `golden/make.sh` makes what is compared.

use std::{fs, path::Path, process::Command};

/// What a command of the tool prints.
fn print(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mmaptrace"));
    let output = command.args(args).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn a_recording_of_version_1_reads_as_it_did() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let expected = |name| fs::read_to_string(directory.join(name)).expect("it is in the tree");
    let recording = directory.join("1.recording").display().to_string();
    let text = print(&["replay", "-q", "-U", "-T", &recording]);
    for (line, expected) in text.lines().zip(expected("1.text").lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(text, expected("1.text"));
    let pid = text.split(['[', ' ']).nth(2).expect("the PID of the first line");
    assert_eq!(print(&["dump", "--at", "exit", "-i", &recording, pid]), expected("1.maps"));
}

//! What a machine may lack: each is one clear line, and no trace that looks like one.

use std::process::Command;

use mmaptrace_tests::{Finished, has, mmaptrace, needs_root, run, skip};

/// Runs the tool by way of another program, which must be there.
fn through(name: &str, program: &str, args: &[&str], tool: &[&str]) -> Option<Finished> {
    if Command::new(program).arg("--version").output().is_err() {
        skip(name, &format!("there is no {program}"));
        return None;
    }
    let tool = mmaptrace(tool);
    let mut command = Command::new(program);
    command.args(args).arg(tool.get_program()).args(tool.get_args());
    Some(run(&mut command))
}

fn assert_refused(finished: &Finished, words: &[&str]) {
    let stderr = &finished.stderr;
    assert_eq!(finished.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(words.iter().all(|word| stderr.contains(word)), "{words:?}: {stderr}");
}

/// Hides the kernel's types.
const WITHOUT_BTF: &[&str] =
    &["-m", "sh", "-c", "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"", "sh"];

/// Root, without what eBPF asks for.
const WITHOUT_CAPABILITIES: &[&str] = &["--bounding-set", "-bpf,-perfmon,-sys_admin"];

#[test]
fn no_btf() {
    needs_root!("no_btf");
    let pid = std::process::id().to_string();
    let Some(traced) = through("no_btf", "unshare", WITHOUT_BTF, &["-p", &pid]) else { return };
    assert_refused(&traced, &["CONFIG_DEBUG_INFO_BTF"]);
    let Some(checked) = through("no_btf", "unshare", WITHOUT_BTF, &["check"]) else { return };
    assert_eq!(checked.code(), Some(1));
    assert!(checked.text().contains("CONFIG_DEBUG_INFO_BTF"), "{}", checked.text());
}

#[test]
fn no_capability_for_ebpf() {
    const NAME: &str = "no_capability_for_ebpf";
    needs_root!("no_capability_for_ebpf");
    if !has("setpriv") {
        return skip(NAME, "there is no setpriv but busybox's");
    }
    let pid = std::process::id().to_string();
    let Some(traced) = through(NAME, "setpriv", WITHOUT_CAPABILITIES, &["-p", &pid]) else {
        return;
    };
    assert_refused(&traced, &["CAP_BPF", "CAP_PERFMON"]);
    let Some(checked) = through(NAME, "setpriv", WITHOUT_CAPABILITIES, &["check"]) else { return };
    assert_eq!(checked.code(), Some(1));
    assert!(checked.text().contains("CAP_BPF"), "{}", checked.text());
}

/// PIDs that are not the kernel's would be looked for in vain.
#[test]
fn another_pid_namespace() {
    needs_root!("another_pid_namespace");
    let args = ["--pid", "--fork", "--mount-proc"];
    let Some(traced) = through("another_pid_namespace", "unshare", &args, &["-p", "1"]) else {
        return;
    };
    assert_refused(&traced, &["PID namespace"]);
}

#[test]
fn check_says_that_all_is_there() {
    needs_root!("check_says_that_all_is_there");
    let checked = run(&mut mmaptrace(&["check"]));
    assert_eq!(checked.code(), Some(0), "{}", checked.text());
    assert!(checked.text().ends_with("tier     exact\n"), "{}", checked.text());
    assert!(checked.stderr.is_empty(), "{}", checked.stderr);
}

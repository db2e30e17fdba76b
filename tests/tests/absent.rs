//! What a machine may lack: each is one clear line, and no trace that looks like one.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use mmaptrace_tests::{
    Finished, Scratch, Victim, children, dump_as, has, mmaptrace, needs_root, run, skip, until,
};
use serde_json::Value;

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

/// Whether there is none that gives up capabilities; then says so of the test `name`.
fn lacks_setpriv(name: &str) -> bool {
    let lacks = !has("setpriv");
    if lacks {
        skip(name, "there is no setpriv but busybox's");
    }
    lacks
}

/// Whether this kernel has all that the exact tier takes.
fn is_exact_here() -> bool {
    run(&mut mmaptrace(&["check"])).text().ends_with("tier     exact\n")
}

/// A trace of a program from its beginning to its end.
const TRACE: &[&str] = &["--", "true"];

/// Holds that the program was traced, in the degraded tier for a reason with these words, or, if there
/// are none, in the exact one.
fn assert_traced(traced: &Finished, why: Option<&str>) {
    // Where the events are, for standard output is the program's.
    let stderr = &traced.stderr;
    assert_eq!(traced.code(), Some(0), "{stderr}");
    let tier = stderr.lines().find(|line| line.contains("tier degraded"));
    assert_eq!(tier.is_some(), why.is_some(), "{stderr}");
    assert!(tier.zip(why).is_none_or(|(tier, why)| tier.contains(why)), "{stderr}");
    for call in ["execve(", "brk("] {
        assert!(stderr.contains(call), "no {call}: {stderr}");
    }
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
    let Some(traced) = through("no_btf", "unshare", WITHOUT_BTF, TRACE) else { return };
    assert_traced(&traced, Some("/sys/kernel/btf"));
    let Some(checked) = through("no_btf", "unshare", WITHOUT_BTF, &["check"]) else { return };
    assert_eq!(checked.code(), Some(0), "{}", checked.stderr);
    let text = checked.text();
    assert!(text.contains("CONFIG_DEBUG_INFO_BTF"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("tier     degraded")), "{text}");
}

/// A kernel that takes some of the programs, and refuses one in the middle, or the last.
#[test]
fn a_program_is_refused() {
    const NAME: &str = "a_program_is_refused";
    needs_root!("a_program_is_refused");
    if !is_exact_here() {
        return skip(NAME, "this kernel has the degraded tier only");
    }
    for program in ["unmapped_area", "call_exit"] {
        let refused = format!("refuses the program {program}");
        assert_traced(&run(mmaptrace(TRACE).env("MMAPTRACE_REFUSE", program)), Some(&refused));
        let checked = run(mmaptrace(&["check"]).env("MMAPTRACE_REFUSE", program));
        assert_eq!(checked.code(), Some(0), "{}", checked.stderr);
        let text = checked.text();
        assert!(text.contains(&refused), "{text}");
        assert!(text.lines().any(|line| line.starts_with("tier     degraded")), "{text}");
    }
}

/// A kernel that lets nobody look into its memory. `cargo xtask vm` locks real ones down as well.
const LOCKED_DOWN: &[&str] = &[
    "MMAPTRACE_REFUSE=call_exit",
    "unshare",
    "-m",
    "sh",
    "-c",
    "mount -t tmpfs none /sys/kernel/security &&
    echo 'none integrity [confidentiality]' > /sys/kernel/security/lockdown && exec \"$@\"",
    "sh",
];

#[test]
fn the_kernel_is_locked_down() {
    const NAME: &str = "the_kernel_is_locked_down";
    needs_root!("the_kernel_is_locked_down");
    if !is_exact_here() {
        return skip(NAME, "this kernel has the degraded tier only");
    }
    let pid = std::process::id().to_string();
    let Some(traced) = through(NAME, "env", LOCKED_DOWN, &["-p", &pid]) else { return };
    assert_refused(&traced, &["locked down", "lockdown=confidentiality"]);
    let Some(checked) = through(NAME, "env", LOCKED_DOWN, &["check"]) else { return };
    assert_eq!(checked.code(), Some(1), "{}", checked.stderr);
    assert!(checked.text().contains("locked down"), "{}", checked.text());
}

/// No tracefs: nobody mounted it, or took it away.
const WITHOUT_TRACEFS: &[&str] = &[
    "-m",
    "sh",
    "-c",
    "umount -l /sys/kernel/debug /sys/kernel/tracing 2>/dev/null
    test ! -e /sys/kernel/tracing/events && exec \"$@\"",
    "sh",
];

/// The programs are attached by other means.
#[test]
fn no_tracefs() {
    needs_root!("no_tracefs");
    let exact = is_exact_here();
    // That which is best here, and the other one.
    for tier in ["", "degraded"] {
        let tier_is = format!("MMAPTRACE_TIER={tier}");
        let args = [&[&tier_is[..], "unshare"], WITHOUT_TRACEFS].concat();
        let Some(traced) = through("no_tracefs", "env", &args, TRACE) else { return };
        let degraded = tier == "degraded" || !exact;
        assert_traced(&traced, degraded.then_some(""));
    }
}

/// Root as in a container: it may not raise its own limits, and may lock next to no memory.
#[test]
fn no_right_to_more_memory() {
    needs_root!("no_right_to_more_memory");
    let limited = |args: &[&str]| {
        let mut command = mmaptrace(args);
        let limit = libc::rlimit { rlim_cur: 65536, rlim_max: 65536 };
        // SAFETY: plain calls, which may be made between fork and exec; the limit is the closure's own.
        unsafe {
            command.pre_exec(move || {
                const CAP_SYS_RESOURCE: libc::c_ulong = 24;
                let limited = libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) == 0;
                // An exec gives root no more than that.
                if limited && libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_RESOURCE, 0, 0, 0) == 0 {
                    return Ok(());
                }
                Err(std::io::Error::last_os_error())
            });
        }
        run(&mut command)
    };
    let checked = limited(&["check"]);
    // Maps count as locked memory before 5.11.
    if std::fs::read_to_string("/proc/sys/kernel/osrelease").is_ok_and(|it| it.starts_with("5.10."))
    {
        let pid = std::process::id().to_string();
        let traced = limited(&["-p", &pid, "-d", "0.1"]);
        assert_refused(&traced, &["locked memory", "CAP_SYS_RESOURCE", "--buffer"]);
        assert_eq!(checked.code(), Some(1), "{}", checked.stderr);
        assert!(checked.text().contains("locked memory"), "{}", checked.text());
    } else {
        // What there is without a limit.
        let exact = is_exact_here();
        assert_traced(&limited(TRACE), (!exact).then_some(""));
        assert_eq!(checked.code(), Some(0), "{}", checked.stderr);
        let tier = if exact { "tier     exact\n" } else { "tier     degraded" };
        assert!(checked.text().contains(tier), "{}", checked.text());
    }
}

/// A kernel without the call that pictures are asked for with: a filter says so for it.
#[test]
fn no_process_vm_readv() {
    needs_root!("no_process_vm_readv");
    // What comes first where there is more that is not there.
    let missing = if is_exact_here() { "no call process_vm_readv" } else { "this kernel has no " };
    assert_traced(&run(without_process_vm_readv(&mut mmaptrace(TRACE))), Some(missing));
    let checked = run(without_process_vm_readv(&mut mmaptrace(&["check"])));
    assert_eq!(checked.code(), Some(0), "{}", checked.stderr);
    let text = checked.text();
    assert!(text.contains(missing), "{text}");
    assert!(text.lines().any(|line| line.starts_with("tier     degraded")), "{text}");
}

fn without_process_vm_readv(command: &mut Command) -> &mut Command {
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    // Load the number of the call; if it is that one, ENOSYS; else let it pass.
    let filter = [
        step(0x20, 0, 0, 0),
        step(0x15, 0, 1, libc::SYS_process_vm_readv as u32),
        step(0x06, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        step(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    // SAFETY: a plain call, which may be made between fork and exec; the filter is the closure's.
    unsafe {
        command.pre_exec(move || {
            let mut filter = filter;
            let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
            let mode = libc::SECCOMP_MODE_FILTER;
            match libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        })
    }
}

#[test]
fn no_capability_for_ebpf() {
    const NAME: &str = "no_capability_for_ebpf";
    needs_root!("no_capability_for_ebpf");
    if lacks_setpriv(NAME) {
        return;
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

/// Nothing tells, with no call hooked, whether files got other names, and there are no pictures of another
/// user's process without the right to look at its memory.
#[test]
fn no_capability_to_look() {
    const NAME: &str = "no_capability_to_look";
    needs_root!("no_capability_to_look");
    if lacks_setpriv(NAME) {
        return;
    }
    if !is_exact_here() {
        return skip(NAME, "the degraded tier takes no pictures");
    }
    let scratch = Scratch::new();
    let mut tracer = Command::new("setpriv");
    tracer.arg("--bounding-set=-sys_ptrace").arg(mmaptrace(&[]).get_program());
    tracer.args(["--low-overhead", "-o"]).arg(scratch.join("trace"));
    tracer.args(["--", "setpriv", "--reuid=65534", "--clear-groups"]);
    tracer.args(["sh", "-c", "echo READY; read line"]).stderr(Stdio::null());
    let mut victim = Victim::launch(&mut tracer);
    victim.expect_ready();
    let pid = until("the command's PID", || children(victim.pid()).first().copied());
    let dump = dump_as(pid, &["--format", "json"]);
    assert!(dump.stderr.contains("NOT known to be exact"), "{}", dump.stderr);
    let dump: Value = serde_json::from_slice(&dump.stdout).expect("a line of JSON");
    assert_eq!((&dump["exact"], &dump["doubt"]["kind"]), (&false.into(), &"no_picture".into()));
    victim.go();
    assert_eq!(victim.end().code(), Some(0));
}

/// PIDs that are not the kernel's would be looked for in vain.
#[test]
fn another_pid_namespace() {
    const NAME: &str = "another_pid_namespace";
    needs_root!("another_pid_namespace");
    let args = ["--pid", "--fork", "--mount-proc"];
    let Some(traced) = through(NAME, "unshare", &args, &["-p", "1"]) else { return };
    assert_refused(&traced, &["PID namespace"]);
    let Some(checked) = through(NAME, "unshare", &args, &["check"]) else { return };
    assert_eq!(checked.code(), Some(1), "{}", checked.text());
    let text = checked.text();
    assert!(text.contains("PIDs in this PID namespace are not the kernel's"), "{text}");
    assert!(text.ends_with("tier     none: mmaptrace cannot trace here\n"), "{text}");
}

#[test]
fn check_says_that_all_is_there() {
    needs_root!("check_says_that_all_is_there");
    let checked = run(&mut mmaptrace(&["check"]));
    assert_eq!(checked.code(), Some(0), "{}", checked.text());
    if checked.text().contains("no tracepoint mmap_lock_released") {
        return skip("check_says_that_all_is_there", "this kernel has the degraded tier only");
    }
    assert!(checked.text().ends_with("tier     exact\n"), "{}", checked.text());
    assert!(checked.stderr.is_empty(), "{}", checked.stderr);
}

//! What goes wrong, said in one clear line with what to do, with the exit code of the contract,
//! and with nothing left behind.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use mmaptrace_tests::{
    Finished, Outcome, Process, Scratch, Tracer, Victim, assert_exact, children, dump_as,
    is_emulated, is_loaded, is_root, is_stopped, is_zombie, mmaptrace, needs_root, programs, run,
    skip, until, victim, victim_path,
};

/// Holds that it failed with this code, saying one line that holds these words.
fn assert_fails(finished: &Finished, code: i32, words: &[&str]) {
    let stderr = &finished.stderr;
    assert_eq!(finished.code(), Some(code), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("mmaptrace: "), "{stderr}");
    let lower = stderr.to_lowercase();
    assert!(words.iter().all(|word| lower.contains(word)), "{words:?}: {stderr}");
}

#[test]
fn not_root() {
    needs_root!("not_root");
    // Where nobody can reach the binary, a copy.
    let scratch = Scratch::new();
    let copy = scratch.join("mmaptrace");
    std::fs::copy(mmaptrace(&[]).get_program(), &copy).expect("a copy");
    let victim = victim!("stand_still");
    let pid = victim.pid().to_string();
    let finished = run(Command::new(&copy).args(["-p", &pid]).uid(65534).gid(65534));
    assert_fails(&finished, 1, &["root"]);
    let finished = run(Command::new(&copy).args(["--", "true"]).uid(65534).gid(65534));
    assert_fails(&finished, 125, &["root"]);
}

#[test]
fn no_such_process() {
    needs_root!("no_such_process");
    let mut gone = Process::quiet("true", &[]);
    let pid = gone.pid().to_string();
    gone.wait();
    assert_fails(&run(&mut mmaptrace(&["-p", &pid])), 1, &[&pid]);
}

/// A process that has ended and has not been waited for has no address space.
#[test]
fn a_zombie() {
    needs_root!("a_zombie");
    let zombie = Process::quiet("true", &[]);
    until("a zombie", || is_zombie(zombie.pid()).then_some(()));
    let pid = zombie.pid().to_string();
    assert_fails(&run(&mut mmaptrace(&["-p", &pid])), 1, &[&pid]);
}

#[test]
fn a_kernel_thread() {
    needs_root!("a_kernel_thread");
    let name = std::fs::read_to_string("/proc/2/comm").unwrap_or_default();
    if name != "kthreadd\n" {
        return skip("a_kernel_thread", "no kernel threads in this PID namespace");
    }
    assert_fails(&run(&mut mmaptrace(&["-p", "2"])), 1, &["kernel thread"]);
}

#[test]
fn bad_usage_is_2() {
    for args in [
        &["-p"][..],
        &["-p", "x"],
        &["-p", "0"],
        &["--no-such-option"],
        &["-p", "1", "--format", "xml"],
        &["-p", "1", "-e", "no_such_call"],
        &["-q"],
        &["dump"],
        &["dump", "x"],
    ] {
        let finished = run(&mut mmaptrace(args));
        assert_eq!(finished.code(), Some(2), "{args:?}: {}", finished.stderr);
        assert!(finished.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn a_full_disk() {
    needs_root!("a_full_disk");
    let mut victim = victim!("storm_same_addresses");
    let mut tracer = Tracer::attach_plainly(victim.pid(), &["-o", "/dev/full"]);
    victim.go();
    let status = tracer.process().wait();
    let stderr = tracer.stderr();
    let line = stderr.lines().find(|line| line.contains("/dev/full"));
    assert!(line.is_some_and(|line| line.contains("No space left")), "{stderr}");
    assert_eq!(status.code(), Some(1), "{stderr}");
    victim.outcome();
}

/// Rust has `/dev/null` in its place, to which all can be written.
#[test]
fn a_closed_standard_output() {
    needs_root!("a_closed_standard_output");
    let victim = victim!("stand_still");
    let closed = |args: &[&str]| {
        let tool = mmaptrace(args);
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" >&-", "sh"]).arg(tool.get_program());
        run(command.args(tool.get_args()))
    };
    let pid = &victim.pid().to_string()[..];
    let tracer = Tracer::attach(victim.pid(), &[]);
    for args in [&["-d", "0.1", "-p", pid][..], &["dump", pid], &["report", "-p", pid], &["check"]]
    {
        assert_fails(&closed(args), 1, &["standard output is closed"]);
    }
    tracer.finish();
    // What goes elsewhere needs none.
    let traced = closed(&["-d", "0.1", "-o", "/dev/null", "-p", pid]);
    assert_eq!(traced.code(), Some(0), "{}", traced.stderr);
    let launched = closed(&["--", "true"]);
    assert_eq!(launched.code(), Some(0), "{}", launched.stderr);
}

#[test]
fn a_process_that_is_named_twice_is_traced_once() {
    needs_root!("a_process_that_is_named_twice_is_traced_once");
    let victim = victim!("stand_still");
    let pid = &victim.pid().to_string()[..];
    let options = ["-d", "0.1", "-o", "/dev/null", "-p", pid, "-p", pid];
    let traced = run(&mut mmaptrace(&options));
    assert_eq!(traced.code(), Some(0), "{}", traced.stderr);
    let once = format!("tracing PID {pid}; ");
    assert!(traced.stderr.contains(&once), "{}", traced.stderr);
}

#[test]
fn a_tracer_does_not_trace_itself() {
    needs_root!("a_tracer_does_not_trace_itself");
    let tool = mmaptrace(&[]);
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" -d 1 -p $$"]).arg(tool.get_program());
    assert_fails(&run(&mut command), 1, &["cannot trace itself"]);
}

/// What developers ask for in the environment, with a letter too many.
#[test]
fn a_word_of_the_environment_that_is_none() {
    needs_root!("a_word_of_the_environment_that_is_none");
    for (variable, word) in [("MMAPTRACE_TIER", "degradedd"), ("MMAPTRACE_REFUSE", "call_exitt")] {
        let finished = run(mmaptrace(&["--", "true"]).env(variable, word));
        assert_fails(&finished, 125, &[&variable.to_lowercase(), word, &word[..word.len() - 1]]);
    }
}

/// A file system of 64 KiB, for as long as this lives.
struct SmallDisk(Scratch);

impl SmallDisk {
    fn new() -> Option<Self> {
        let place = Scratch::new();
        let args = ["-t", "tmpfs", "-o", "size=64k", "none"];
        let mount = Command::new("mount").args(args).arg(place.path()).status();
        mount.is_ok_and(|status| status.success()).then_some(Self(place))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_disk_that_fills_up_holds_whole_lines() {
    const NAME: &str = "a_disk_that_fills_up_holds_whole_lines";
    needs_root!("a_disk_that_fills_up_holds_whole_lines");
    let Some(disk) = SmallDisk::new() else { return skip(NAME, "no file system can be mounted") };
    let file = disk.0.join("trace");
    let mut victim = victim!("storm_same_addresses");
    let path = file.to_str().expect("a path of this test");
    let mut tracer = Tracer::attach_plainly(victim.pid(), &["-o", path]);
    victim.go();
    assert_eq!(tracer.process().wait().code(), Some(1), "{}", tracer.stderr());
    let stderr = tracer.stderr();
    assert!(stderr.contains("No space left"), "{stderr}");
    let trace = std::fs::read_to_string(&file).expect("the trace");
    assert!(trace.len() > 16384, "{} bytes", trace.len());
    assert!(trace.ends_with('\n'), "the last line is whole");
    let events = stderr.split_once("mmaptrace: after ").and_then(|it| it.1.split_once(" events: "));
    let events: usize = events.and_then(|it| it.0.parse().ok()).expect("how many had come");
    let there = trace.lines().filter(|line| line.contains(") = ")).count();
    assert!(events >= there && there > 100, "{there} calls of {events} events\n{stderr}");
    victim.outcome();
}

#[test]
fn a_file_that_cannot_be_made() {
    needs_root!("a_file_that_cannot_be_made");
    let victim = victim!("stand_still");
    let finished = run(&mut mmaptrace(&["-o", "/nonexistent/x", "-p", &victim.pid().to_string()]));
    assert_fails(&finished, 1, &["/nonexistent/x", "no such file"]);
}

/// Whatever the umask leaves: it tells what `/proc/PID/maps` tells not everybody.
#[test]
fn what_is_written_is_for_its_user_alone() {
    needs_root!("what_is_written_is_for_its_user_alone");
    let (victim, scratch) = (victim!("stand_still"), Scratch::new());
    let pid = &victim.pid().to_string()[..];
    let write = |args: &[&str], file: &Path| {
        let mut command = mmaptrace(args);
        // SAFETY: umask may be called anywhere.
        unsafe { command.pre_exec(|| Ok(_ = libc::umask(0))) };
        let finished = run(command.arg("-o").arg(file));
        assert_eq!(finished.code(), Some(0), "{args:?}: {}", finished.stderr);
        std::fs::metadata(file).expect("a file").permissions().mode() & 0o777
    };
    let (trace, recording) = (scratch.join("trace"), scratch.join("recording"));
    assert_eq!(write(&["-q", "-d", "0.1", "-p", pid], &trace), 0o600);
    assert_eq!(write(&["record", "-q", "-d", "0.1", "-p", pid], &recording), 0o600);
    // Whoever made it so meant it.
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&trace, open).expect("a file of this test");
    let recorded = recording.to_str().expect("a path of this test");
    assert_eq!(write(&["replay", recorded], &trace), 0o644);
}

/// Makes a FIFO, which nobody reads.
fn fifo(scratch: &Scratch) -> PathBuf {
    let path = scratch.join("fifo");
    let name = CString::new(path.as_os_str().as_bytes()).expect("no NUL");
    // SAFETY: the name ends with a NUL.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    path
}

/// Its other end, of which nothing is read yet. Opened without waiting for who writes.
fn reader(fifo: &Path) -> File {
    File::options().read(true).custom_flags(libc::O_NONBLOCK).open(fifo).expect("a FIFO")
}

/// It does not wait for one: while it did, no signal but SIGKILL would end it.
#[test]
fn a_fifo_that_nobody_reads() {
    needs_root!("a_fifo_that_nobody_reads");
    let (victim, scratch) = (victim!("stand_still"), Scratch::new());
    let (pid, path) = (victim.pid().to_string(), fifo(&scratch));
    let ran = scratch.join("ran");
    for (first, code) in [(&[][..], 1), (&["record"], 1), (&[], 125), (&["record"], 125)] {
        let mut command = mmaptrace(first);
        command.arg("-o").arg(&path);
        if code == 1 {
            command.args(["-p", &pid]);
        } else {
            command.args(["--", "touch"]).arg(&ran);
        }
        assert_fails(&run(&mut command), code, &["fifo", "nobody reads it"]);
    }
    assert!(!ran.exists(), "the command has run");
}

/// With a reader it gets all that a file would.
#[test]
fn a_fifo_that_is_read() {
    needs_root!("a_fifo_that_is_read");
    let scratch = Scratch::new();
    let path = fifo(&scratch);
    let mut victim = victim!("storm_same_addresses");
    let file = reader(&path);
    // Once there is one who writes, it waits for what is written.
    // SAFETY: the descriptor is open.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, 0) }, 0);
    let name = path.to_str().expect("a path of this test");
    let options = ["--format", "json", "-o", name];
    let tracer = Tracer::attach_plainly(victim.pid(), &options);
    victim.go();
    until("a pipe that is full", || {
        let mut length: libc::c_int = 0;
        // SAFETY: the descriptor is open, and the number a local.
        let asked = unsafe { libc::ioctl(file.as_raw_fd(), libc::FIONREAD, &raw mut length) };
        (asked == 0 && length > 48 << 10).then_some(())
    });
    let reader = std::thread::spawn(move || std::io::read_to_string(file).expect("text"));
    assert_eq!(victim.outcome(), Outcome::Done);
    assert_exact(victim.pid());
    tracer.finish();
    let lines = reader.join().expect("a thread that reads");
    assert!(lines.ends_with('\n') && lines.lines().count() > 10_000, "{}", lines.len());
    assert!(lines.lines().last().is_some_and(|line| line.contains(r#""type":"end""#)));
}

/// To what is recorded there nobody can go back, and who does not read it is not waited for.
#[test]
fn a_recording_to_a_fifo_that_nobody_reads() {
    needs_root!("a_recording_to_a_fifo_that_nobody_reads");
    let scratch = Scratch::new();
    let path = fifo(&scratch);
    let mut victim = victim!("storm_same_addresses");
    let pid = &victim.pid().to_string()[..];
    let file = reader(&path);
    // A page, the least there is: however few calls, not all of it finds room.
    // SAFETY: the descriptor is open.
    assert!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETPIPE_SZ, 1 << 12) } > 0);
    let name = path.to_str().expect("a path of this test");
    let mut tracer = Tracer::attach_plainly(victim.pid(), &["record", "-o", name]);
    assert_eq!(victim.work(), Outcome::Done);
    assert_fails(
        &run(&mut mmaptrace(&["report", "-p", pid])),
        1,
        &["fifo", "cannot be read again"],
    );
    assert_exact(victim.pid());
    assert_ends_unread(&mut tracer);
}

/// Interrupts a tracer whose recording nobody reads, and holds that it says so.
fn assert_ends_unread(tracer: &mut Tracer) {
    let before = tracer.stderr();
    tracer.process().signal(libc::SIGINT);
    let code = tracer.process().wait().code();
    let words = tracer.stderr();
    let words = words.strip_prefix(&before).expect("more, not other, lines");
    assert_eq!(code, Some(1), "{words}");
    assert_eq!(words.lines().count(), 1, "{words}");
    assert!(words.contains("cannot write the recording: ") && words.contains("fifo"), "{words}");
    assert!(words.contains("its reader does not read"), "{words}");
}

/// `mmaptrace -p PID | head -1`: success, and not a word.
#[test]
fn a_closed_pipe() {
    needs_root!("a_closed_pipe");
    let mut victim = victim!("storm_same_addresses");
    let mut tracer = Tracer::attach_plainly(victim.pid(), &[]);
    drop(tracer.process().child().stdout.take());
    let before = tracer.stderr();
    victim.go();
    assert_eq!(tracer.process().wait().code(), Some(0));
    let words = tracer.stderr();
    let words = words.strip_prefix(&before).expect("more, not other, lines");
    assert!(words.lines().count() <= 1 && !words.to_lowercase().contains("pipe"), "{words}");
    victim.outcome();
}

/// A reader that does not read for a while: the program waits for it, and nothing is lost.
#[test]
fn a_program_waits_for_the_reader() {
    waits_for_the_reader("a_program_waits_for_the_reader", |_| {});
}

/// Likewise where the process was killed that would let it go on if the tracer were; which is told.
#[test]
fn a_program_waits_though_nobody_watches_the_tracer() {
    const NAME: &str = "a_program_waits_though_nobody_watches_the_tracer";
    let words = waits_for_the_reader(NAME, |tracer| {
        let [guard] = children(tracer)[..] else { panic!("the tracer's children") };
        // SAFETY: the tracer has not waited for it.
        assert_eq!(unsafe { libc::kill(guard.cast_signed(), libc::SIGKILL) }, 0);
        until("a guard that has ended", || is_zombie(guard).then_some(()));
    });
    if let Some(words) = words {
        assert_eq!(words.matches("'let-go-on' was killed").count(), 1, "{words}");
    }
}

/// Traces a storm by a tracer whose lines nobody reads until the program waits. `first` is done
/// before, and gets the tracer's PID. What the tracer said; `None`: skipped.
fn waits_for_the_reader(name: &str, first: impl FnOnce(u32)) -> Option<String> {
    if !is_root() {
        skip(name, "needs root");
        return None;
    }
    if is_emulated() {
        skip(name, "emulated, a storm does not fill what may wait to be written");
        return None;
    }
    let mut victim = victim!("storm_same_addresses");
    let pid = victim.pid();
    let mut tracer = Tracer::attach_plainly(pid, &["--on-full", "wait"]);
    first(tracer.process().child().id());
    victim.go();
    until("a program that waits", || is_stopped(pid).then_some(()));
    let (_, lines) = tracer.read_late(|| _ = victim.outcome());
    let words = tracer.stderr();
    assert!(words.contains(" 0 lost, 0 healed, exact"), "{words}");
    let calls = lines.split(|&byte| byte == b'\n').filter(|line| line.ends_with(b" = 0"));
    assert!(calls.count() >= 32_000);
    Some(words)
}

/// `/proc/PID/stat` says from then on that it has ended.
#[test]
fn a_program_without_its_main_thread_waits_for_the_reader() {
    const NAME: &str = "a_program_without_its_main_thread_waits_for_the_reader";
    needs_root!("a_program_without_its_main_thread_waits_for_the_reader");
    if is_emulated() {
        return skip(NAME, "emulated, a storm does not fill what may wait to be written");
    }
    let mut victim = victim!("storm_without_its_main_thread");
    let pid = victim.pid();
    let mut tracer = Tracer::attach_plainly(pid, &["--on-full", "wait"]);
    victim.go();
    assert_eq!(victim.line().as_deref(), Some("STORM"));
    until_it_waits(pid);
    tracer.read_late(|| assert_eq!(victim.work(), Outcome::Done));
    let words = tracer.stderr();
    assert!(words.contains(" 0 lost, 0 healed, exact"), "{words}");
}

/// What is found by its name may be the tracer's reader as well, which would wait for itself.
#[test]
fn who_may_be_the_reader_does_not_wait() {
    const NAME: &str = "who_may_be_the_reader_does_not_wait";
    needs_root!("who_may_be_the_reader_does_not_wait");
    if is_emulated() {
        return skip(NAME, "emulated, a storm does not fill what may wait to be written");
    }
    let scratch = Scratch::new();
    // No other process on the machine is called so.
    let name = format!("named-{}", std::process::id() % 100_000);
    let program = scratch.join(&name);
    std::fs::copy(victim_path!(), &program).expect("a copy of the victim");
    let launch = |case: &str, group: i32| {
        let mut victim = Victim::launch(Command::new(&program).arg(case).process_group(group));
        victim.expect_ready();
        victim
    };
    // SAFETY: it has no requirements.
    let near = launch("stand_still", unsafe { libc::getpgrp() });
    let mut far = launch("storm_without_end", 0);
    let words = scratch.join("stderr");
    let mut command = mmaptrace(&["--on-full", "wait", "-n", &name]);
    command.stdout(Stdio::piped()).stderr(File::create(&words).expect("a file"));
    let mut tracer = Process::spawn(&mut command);
    let told = |what: &str| std::fs::read_to_string(&words).expect("text").contains(what);
    until("a tracer that traces", || told("mmaptrace: tracing").then_some(()));
    far.go();
    assert_eq!(far.line().as_deref(), Some("STORM"));
    until_it_waits(far.pid());
    assert!(!is_stopped(near.pid()));
    assert!(told(&format!("process {} may be who reads", near.pid())));
    drop(tracer.child().stdout.take());
    assert_eq!(tracer.wait().code(), Some(0));
    assert_eq!(far.work(), Outcome::Done);
}

/// The same; then the tracer is killed, and the program goes on without it.
#[test]
fn a_program_that_waits_outlives_the_tracer() {
    const NAME: &str = "a_program_that_waits_outlives_the_tracer";
    needs_root!("a_program_that_waits_outlives_the_tracer");
    if is_emulated() {
        return skip(NAME, "emulated, a storm does not fill what may wait to be written");
    }
    let mut victim = victim!("storm_same_addresses");
    let pid = victim.pid();
    let mut tracer = Tracer::attach_plainly(pid, &["--on-full", "wait"]);
    victim.go();
    until_it_waits(pid);
    tracer.process().signal(libc::SIGKILL);
    tracer.process().wait();
    assert_eq!(victim.outcome(), Outcome::Done);
}

/// Pictures, which the tracer takes as files get other names, take long while so much goes on.
#[test]
fn several_programs_wait_while_names_change() {
    const NAME: &str = "several_programs_wait_while_names_change";
    needs_root!("several_programs_wait_while_names_change");
    if is_emulated() {
        return skip(NAME, "emulated, storms do not fill the buffer");
    }
    let mut storms: Vec<_> = (0..6).map(|_| victim!("storm_without_end")).collect();
    let scratch = Scratch::new();
    let words = scratch.join("stderr");
    let mut command = mmaptrace(&["--on-full", "wait", "-o", "/dev/null"]);
    for storm in &storms {
        command.args(["-p", &storm.pid().to_string()]);
    }
    command.stderr(File::create(&words).expect("a file"));
    let mut tracer = Process::spawn(&mut command);
    let told = || std::fs::read_to_string(&words).expect("text");
    until("a tracer that traces", || told().contains("mmaptrace: tracing").then_some(()));
    for storm in &mut storms {
        storm.go();
        assert_eq!(storm.line().as_deref(), Some("STORM"));
    }
    let names = [scratch.join("one"), scratch.join("other")];
    std::fs::write(&names[0], "").expect("a file");
    for round in 0..60 {
        std::fs::rename(&names[round % 2], &names[(round + 1) % 2]).expect("another name");
        std::thread::sleep(Duration::from_millis(50));
    }
    for storm in &mut storms {
        assert_eq!(storm.work(), Outcome::Done);
    }
    tracer.signal(libc::SIGINT);
    assert_eq!(tracer.wait().code(), Some(0));
    assert!(told().contains(" 0 lost, 0 healed, exact"), "{}", told());
}

/// What waits for a recording that nobody reads goes on when the tracer ends.
#[test]
fn a_program_that_waits_for_a_recording_goes_on() {
    const NAME: &str = "a_program_that_waits_for_a_recording_goes_on";
    needs_root!("a_program_that_waits_for_a_recording_goes_on");
    if is_emulated() {
        return skip(NAME, "emulated, a storm does not fill what may wait to be written");
    }
    let scratch = Scratch::new();
    let path = fifo(&scratch);
    let mut victim = victim!("storm_without_end");
    let pid = victim.pid();
    let _unread = reader(&path);
    let name = path.to_str().expect("a path of this test");
    let mut tracer = Tracer::attach_plainly(pid, &["record", "--on-full", "wait", "-o", name]);
    victim.go();
    assert_eq!(victim.line().as_deref(), Some("STORM"));
    until_it_waits(pid);
    assert_ends_unread(&mut tracer);
    assert_eq!(victim.work(), Outcome::Done);
}

/// Waits until a program waits for the reader, and not for a moment only, while the tracer has a batch
/// before it.
fn until_it_waits(pid: u32) {
    until("a program that waits for the reader", || {
        (0..100)
            .all(|_| {
                std::thread::sleep(Duration::from_millis(2));
                is_stopped(pid)
            })
            .then_some(())
    });
}

/// What fails with a command that waits to be run ends all the same.
#[test]
fn a_tracer_that_fails_waits_for_no_command() {
    needs_root!("a_tracer_that_fails_waits_for_no_command");
    // A kernel thread, which has no address space.
    let finished = run(&mut mmaptrace(&["--on-full", "wait", "-p", "2", "--", "true"]));
    assert_fails(&finished, 125, &["2"]);
}

/// With a `/run` of its own it sees no tracer, whatever else runs here.
#[test]
fn dump_without_a_tracer_is_1() {
    needs_root!("dump_without_a_tracer_is_1");
    let script = "mount -t tmpfs none /run && exec \"$0\" dump 1";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(mmaptrace(&[]).get_program());
    assert_fails(&run(&mut command), 1, &["no", "tracer"]);
}

#[test]
fn dump_by_a_socket_that_is_not_there_is_1() {
    needs_root!("dump_by_a_socket_that_is_not_there_is_1");
    let finished = dump_as(1, &["--socket", "/nonexistent/socket"]);
    assert_fails(&finished, 1, &["/nonexistent/socket"]);
}

#[test]
fn dump_of_a_process_no_tracer_has_is_42() {
    needs_root!("dump_of_a_process_no_tracer_has_is_42");
    let (victim, other) = (victim!("stand_still"), victim!("stand_still"));
    let tracer = Tracer::attach(victim.pid(), &[]);
    assert_exact(victim.pid());
    let finished = dump_as(other.pid(), &[]);
    assert_fails(&finished, 42, &[&other.pid().to_string()]);
    tracer.finish();
}

/// Files under `/run/mmaptrace`, where the sockets are, that name a tracer.
fn sockets(pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir("/run/mmaptrace").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.contains(&pid.to_string())).collect()
}

#[test]
fn the_socket_is_for_root_alone_and_goes_with_the_tracer() {
    needs_root!("the_socket_is_for_root_alone_and_goes_with_the_tracer");
    let victim = victim!("stand_still");
    let mut tracer = Tracer::attach(victim.pid(), &[]);
    let pid = tracer.process().pid();
    assert_eq!(sockets(pid).len(), 1);
    let mode = std::fs::metadata("/run/mmaptrace").expect("a directory").permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    tracer.finish();
    assert!(sockets(pid).is_empty());
}

/// A tracer that was killed leaves its socket; the next dump is not led astray by it.
#[test]
fn a_killed_tracer_is_in_nobodys_way() {
    needs_root!("a_killed_tracer_is_in_nobodys_way");
    let mut victim = victim!("mmap_fixed");
    let mut killed = Tracer::attach(victim.pid(), &[]);
    killed.process().signal(libc::SIGKILL);
    killed.process().wait();
    let dump = dump_as(victim.pid(), &[]);
    assert!(matches!(dump.code(), Some(1 | 42)), "{}", dump.stderr);
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    assert_exact(victim.pid());
    tracer.finish().assert_clean();
}

#[test]
fn no_program_stays_loaded() {
    needs_root!("no_program_stays_loaded");
    let victim = victim!("stand_still");
    let mut tracer = Tracer::attach(victim.pid(), &[]);
    let programs = programs(tracer.process().pid());
    assert!(!programs.is_empty() && programs.iter().all(|&id| is_loaded(id)), "{programs:?}");
    tracer.finish();
    // The kernel frees them when nobody runs them any more, which may be a moment later.
    until("programs that are gone", || (!programs.iter().any(|&id| is_loaded(id))).then_some(()));
}

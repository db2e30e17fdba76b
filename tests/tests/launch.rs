//! `mmaptrace -- CMD`: from the command's first instruction on, its children with it, and its end
//! passed on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use mmaptrace_tests::{
    Finished, Scratch, Trace, Tracer, Victim, assert_exact, children, has, maps, mmaptrace,
    needs_root, often, run, skip, until, victim_path,
};

fn launched(command: &[&str]) -> Trace {
    let trace = Tracer::launch(&[], command).wait();
    trace.assert_clean();
    trace.assert_consistent();
    trace
}

/// Runs the tracer with a file for its lines, and its command's output left alone.
fn plainly(command: &[&str]) -> Finished {
    let scratch = Scratch::new();
    run(mmaptrace(&["-o"]).arg(scratch.join("trace")).arg("--").args(command))
}

#[test]
fn ls_works_as_without_and_is_traced() {
    needs_root!("ls_works_as_without_and_is_traced");
    if !has("ls") {
        return skip("ls_works_as_without_and_is_traced", "there is no ls but busybox's");
    }
    let traced = plainly(&["ls", "-l", "/usr"]);
    let alone = run(Command::new("ls").args(["-l", "/usr"]));
    assert_eq!(traced.code(), Some(0), "{}", traced.stderr);
    assert_eq!(traced.text(), alone.text());
    let trace = launched(&["ls", "-l", "/"]);
    let exec = trace.of_type("exec").next().expect("an exec line");
    assert!(exec["path"].as_str().is_some_and(|path| path.ends_with("/ls")), "{exec}");
    assert_eq!(exec["argv"], serde_json::json!(["ls", "-l", "/"]), "{exec}");
    assert!(trace.calls("mmap").count() > 5);
    assert!(trace.calls("brk").count() > 0);
}

/// The calls of a dynamic loader, as strace counts them: none is missed.
#[test]
fn no_call_of_the_command_is_missed() {
    needs_root!("no_call_of_the_command_is_missed");
    let names = ["mmap", "munmap", "mprotect", "brk"];
    let scratch = Scratch::new();
    let log = scratch.join("strace");
    let mut strace = Command::new("strace");
    strace.args(["-e", "trace=mmap,munmap,mprotect,brk", "-o"]).arg(&log).arg("/bin/true");
    if strace.output().is_err() {
        return skip("no_call_of_the_command_is_missed", "there is no strace");
    }
    let log = std::fs::read_to_string(log).expect("strace's log");
    let trace = launched(&["/bin/true"]);
    for name in names {
        let call = format!("{name}(");
        let expected = log.lines().filter(|line| line.starts_with(&call)).count();
        assert_eq!(trace.calls(name).count(), expected, "{name}\n{log}");
    }
}

#[test]
fn the_exit_status_is_the_commands() {
    needs_root!("the_exit_status_is_the_commands");
    let trace = launched(&["sh", "-c", "exit 7"]);
    assert_eq!(trace.status.code(), Some(7), "{}", trace.stderr);
    let exit = trace.of_type("exit").next().expect("an exit line");
    assert_eq!(exit["status"]["code"], 7, "{exit}");
}

#[test]
fn the_signal_is_the_commands() {
    needs_root!("the_signal_is_the_commands");
    let trace = launched(&["sh", "-c", "kill -TERM $$"]);
    assert_eq!(trace.status.signal(), Some(libc::SIGTERM), "{}", trace.stderr);
}

fn fails_to_run(command: &str, code: i32) {
    let finished = plainly(&[command]);
    assert_eq!(finished.code(), Some(code), "{}", finished.stderr);
    let line = finished.stderr.lines().find(|line| line.contains(command));
    assert!(line.is_some_and(|line| line.starts_with("mmaptrace: ")), "{}", finished.stderr);
}

#[test]
fn a_command_not_found_is_127() {
    needs_root!("a_command_not_found_is_127");
    fails_to_run("/nonexistent", 127);
    fails_to_run("no-such-command-anywhere", 127);
}

#[test]
fn a_command_that_cannot_run_is_126() {
    needs_root!("a_command_that_cannot_run_is_126");
    fails_to_run("/etc/passwd", 126);
}

#[test]
fn shell_children_are_followed() {
    needs_root!("shell_children_are_followed");
    if !has("bash") {
        return skip("shell_children_are_followed", "there is no bash");
    }
    let trace = launched(&["bash", "-c", "ls; (true); ls | cat"]);
    assert_eq!(trace.status.code(), Some(0), "{}", trace.stderr);
    let execs: Vec<_> = trace.of_type("exec").map(|exec| exec["argv"][0].as_str()).collect();
    assert_eq!(execs.iter().filter(|name| **name == Some("ls")).count(), 2, "{execs:?}");
    assert_eq!(execs.iter().filter(|name| **name == Some("cat")).count(), 1, "{execs:?}");
    let exits = trace.of_type("exit").count();
    assert_eq!(exits, 1 + trace.of_type("fork").count(), "each task ends");
}

/// A child of vfork changes its parent's address space until it has its own.
#[test]
fn vfork_and_exec_of_python() {
    needs_root!("vfork_and_exec_of_python");
    let script = "import subprocess\nfor i in range(5): subprocess.run(['/bin/true'], check=True)";
    if !has("python3") {
        return skip("vfork_and_exec_of_python", "there is no python3");
    }
    let trace = launched(&["python3", "-c", script]);
    assert_eq!(trace.status.code(), Some(0), "{}", trace.stderr);
    let trues = trace.of_type("exec").filter(|exec| exec["argv"][0] == "/bin/true").count();
    assert_eq!(trues, 5);
}

/// Runs a case of the victim under the tracer, from its first instruction, and compares.
fn launched_case(case: &str) {
    let scratch = Scratch::new();
    let mut command = mmaptrace(&["--format", "json", "-o"]);
    command.arg(scratch.join("trace")).arg("--").arg(victim_path!());
    let mut victim = Victim::launch(command.arg(case).arg(scratch.path()));
    victim.expect_ready();
    let pid = until("the victim's PID", || children(victim.pid()).first().copied());
    assert_exact(pid);
    victim.work();
    assert_exact(pid);
    for &child in &victim.children {
        assert_exact(child);
    }
    let status = victim.end();
    let stream = std::fs::read(scratch.join("trace")).expect("a trace");
    let trace = Trace::parse(status, &stream, String::new());
    assert_eq!(status.code(), Some(0));
    trace.assert_clean();
    trace.assert_consistent();
}

#[test]
fn exact_from_the_first_instruction() {
    needs_root!("exact_from_the_first_instruction");
    launched_case("mmap_fixed");
}

#[test]
fn exact_through_a_fork() {
    needs_root!("exact_through_a_fork");
    launched_case("fork_flags");
}

#[test]
fn exact_through_an_exec_from_a_thread() {
    needs_root!("exact_through_an_exec_from_a_thread");
    launched_case("execve_from_a_thread");
}

#[test]
fn exact_through_a_storm() {
    needs_root!("exact_through_a_storm");
    launched_case("storm_mixed");
}

/// Output through the same pipe as the command's errors, as a shell user sees it.
#[test]
fn without_o_the_lines_go_to_standard_error() {
    needs_root!("without_o_the_lines_go_to_standard_error");
    let finished = run(mmaptrace(&["--"]).args(["echo", "hello"]));
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    assert_eq!(finished.text(), "hello\n");
    assert!(finished.stderr.contains("] execve("), "{}", finished.stderr);
}

/// A file's device and inode number as maps has them, which is not what `stat` tells of each: those of a
/// mapping of our own.
fn shown(name: &str) -> (String, String) {
    let file = File::open(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (flags, none) = (libc::MAP_PRIVATE, std::ptr::null_mut());
    // SAFETY: wherever there is room, and nobody touches it.
    let at = unsafe { libc::mmap(none, 1, libc::PROT_NONE, flags, file.as_raw_fd(), 0) };
    let maps = String::from_utf8(maps(std::process::id())).expect("text");
    let line = maps.lines().find(|line| line.starts_with(&format!("{:x}-", at.addr())));
    let words: Vec<_> = line.expect("the mapping").split_ascii_whitespace().collect();
    let shown = (words[3].to_owned(), words[4].to_owned());
    // SAFETY: the mapping is nobody else's.
    unsafe { libc::munmap(at, 1) };
    shown
}

/// Processes that are gone before anybody could look at /proc: every mapping of a file has its name.
#[test]
fn what_lives_a_millisecond_has_its_names() {
    needs_root!("what_lives_a_millisecond_has_its_names");
    let times = often(1000);
    let script = format!("for i in $(seq {times}); do /bin/true; done");
    let tracer = Tracer::launch(&["-f"], &["sh", "-c", &script]);
    let trace = tracer.wait();
    trace.assert_clean();
    assert!(trace.of_type("exec").count() >= times, "{}", trace.end());
    let (mut files, mut names) = (0, BTreeMap::new());
    for effect in
        trace.of_type("commit").flat_map(|commit| commit["effects"].as_array().expect("`effects`"))
    {
        let pages = if effect["pages"].is_object() { &effect["pages"] } else { &effect["new"] };
        if pages["inode"].as_str().is_some_and(|inode| inode != "0") {
            let [name, dev, inode] = ["name", "dev", "inode"].map(|key| pages[key].as_str());
            let name = name.unwrap_or_else(|| panic!("no name: {effect}"));
            let file = names.entry(name.to_owned()).or_insert_with_key(|name| shown(name));
            assert_eq!((dev, inode), (Some(&file.0[..]), Some(&file.1[..])), "{effect}");
            files += 1;
        }
    }
    assert!(files >= 4 * times, "{files} mappings of files");
    let program = fs::canonicalize("/bin/true").expect("true");
    assert!(names.contains_key(program.to_str().expect("a path")), "{names:?}");
}

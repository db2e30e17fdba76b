//! Which processes are traced, and what is shown of them.

use std::fs;
use std::path::Path;
use std::process::Command;

use mmaptrace_tests::{
    Finished, Process, Scratch, Tracer, Victim, assert_exact, left_out, mmaptrace, needs_root, run,
    skip, until, victim, victim_path,
};

const TEXT: [&str; 2] = ["--format", "text"];

/// What is shown of a case of which the kernel left out nothing.
fn text_of(case: &str, options: &[&str]) -> String {
    until("a trace of all that happened", || {
        let mut victim = Victim::start(victim_path!(), case, &[]);
        let mut tracer = Tracer::attach(victim.pid(), &[&TEXT[..], options].concat());
        victim.work();
        tracer.process().signal(libc::SIGINT);
        assert_eq!(tracer.process().wait().code(), Some(0), "{}", tracer.stderr());
        let is_whole = left_out(&tracer.stderr()) == 0;
        is_whole.then(|| String::from_utf8(tracer.stream()).expect("text"))
    })
}

/// The first field of each line that a call starts.
fn times(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_once(" [")).map(|(time, _)| time.trim()).collect()
}

#[test]
fn times_are_told_as_asked() {
    needs_root!("times_are_told_as_asked");
    let shape = |text: &str| -> Vec<usize> {
        let times = times(text);
        assert!(!times.is_empty(), "{text}");
        times[0].split([':', '.']).map(str::len).collect()
    };
    assert_eq!(shape(&text_of("munmap_middle", &[])), [2, 2, 2, 6]);
    assert_eq!(shape(&text_of("munmap_middle", &["-t"])), [2, 2, 2]);
    assert_eq!(shape(&text_of("munmap_middle", &["-tt"])), [2, 2, 2, 6]);
    assert_eq!(shape(&text_of("munmap_middle", &["-ttt"])), [10, 6]);
    assert_eq!(shape(&text_of("munmap_middle", &["-r"])), [1, 6]);
}

#[test]
fn min_size_hides_what_is_smaller() {
    needs_root!("min_size_hides_what_is_smaller");
    let all = text_of("munmap_middle", &[]);
    assert!(all.contains(" munmap("), "{all}");
    let large = text_of("munmap_middle", &["--min-size", "1G"]);
    assert!(!large.contains(" munmap("), "{large}");
}

/// A process of this name that runs already, and one that comes later.
#[test]
fn by_name() {
    needs_root!("by_name");
    let scratch = Scratch::new();
    // No other process on the machine is called so.
    let program = scratch.join(&format!("named-{}", std::process::id() % 100_000));
    fs::copy(victim_path!(), &program).expect("a copy of the victim");
    let name = program.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
    let mut sleeper = Victim::launch(Command::new(&program).arg("stand_still"));
    sleeper.expect_ready();
    let trace = scratch.join("trace");
    let mut tracer =
        Process::spawn(mmaptrace(&["--format", "json", "-n", &name, "-o"]).arg(&trace));
    until("the running one", || dumps(sleeper.pid()).then_some(()));
    assert_exact(sleeper.pid());
    let mut later = Victim::launch(Command::new(&program).arg("stand_still"));
    later.expect_ready();
    until("the later one", || dumps(later.pid()).then_some(()));
    assert_exact(later.pid());
    tracer.signal(libc::SIGINT);
    assert_eq!(tracer.wait().code(), Some(0));
    let trace = fs::read_to_string(&trace).expect("a trace");
    assert!(trace.contains("\"type\":\"exec\"") && trace.contains("\"exact\":true"), "{trace}");
}

fn dumps(pid: u32) -> bool {
    let Finished { stdout, .. } = run(&mut mmaptrace(&["dump", &pid.to_string()]));
    !stdout.is_empty()
}

/// The processes of a cgroup and of one below it, and no others.
#[test]
fn by_cgroup() {
    const NAME: &str = "by_cgroup";
    needs_root!("by_cgroup");
    let Some(root) = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .find(|root| Path::new(root).join("cgroup.controllers").exists())
    else {
        return skip(NAME, "no cgroup of version 2 is mounted");
    };
    let group = Path::new(root).join(format!("mmaptrace-test-{}", std::process::id()));
    let below = group.join("below");
    if fs::create_dir_all(&below).is_err() {
        return skip(NAME, "no cgroup can be made");
    }
    let inside = Process::quiet("sleep", &["100"]);
    let outside = Process::quiet("sleep", &["100"]);
    let moved = fs::write(below.join("cgroup.procs"), inside.pid().to_string());
    moved.expect("a process moves into a cgroup");
    let mut tracer = Process::spawn(mmaptrace(&["-q", "-o", "/dev/null", "--cgroup"]).arg(&group));
    until("the one inside", || dumps(inside.pid()).then_some(()));
    assert_exact(inside.pid());
    assert!(!dumps(outside.pid()));
    tracer.signal(libc::SIGINT);
    assert_eq!(tracer.wait().code(), Some(0));
    // A tracer that is in it itself does not trace itself, nor is it to wait for itself.
    let within = |options: &str| {
        let enter = format!("echo $$ > {}/cgroup.procs", below.display());
        let trace = format!("exec \"$0\" -q -o /dev/null --cgroup {} {options}", group.display());
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{enter}; {trace}")).arg(mmaptrace(&[]).get_program());
        shell
    };
    let mut tracer = Process::spawn(&mut within(""));
    until("the one inside", || dumps(inside.pid()).then_some(()));
    assert!(!dumps(tracer.pid()));
    tracer.signal(libc::SIGINT);
    assert_eq!(tracer.wait().code(), Some(0));
    let refused = run(&mut within("--on-full wait"));
    assert_eq!(refused.code(), Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("would wait as well"), "{}", refused.stderr);
    drop(inside);
    until("an empty cgroup", || fs::remove_dir(&below).ok());
    fs::remove_dir(&group).expect("an empty cgroup");
}

/// Every process of the machine, those that come later too.
#[test]
fn all_processes() {
    needs_root!("all_processes");
    let victim = victim!("mmap_anonymous");
    let mut tracer = Process::spawn(&mut mmaptrace(&["-q", "-a", "-o", "/dev/null"]));
    until("one that ran", || dumps(victim.pid()).then_some(()));
    assert_exact(victim.pid());
    let later = Process::quiet("sleep", &["100"]);
    until("one that came", || dumps(later.pid()).then_some(()));
    assert_exact(later.pid());
    tracer.signal(libc::SIGINT);
    assert_eq!(tracer.wait().code(), Some(0));
}

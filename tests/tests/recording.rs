//! Recordings: what they show later is what was shown live, byte for byte, and whatever becomes of
//! the recorder or of the file, what precedes that is read.

use std::{
    fs::{self, File},
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
    process::Command,
};

use mmaptrace_tests::{
    Finished, Outcome, Scratch, Tracer, Victim, difference, mmaptrace, needs_root, often, run,
    skip, until, victim, victim_path,
};

/// Shows a recording.
fn replay(recording: &Path, options: &[&str]) -> Finished {
    run(mmaptrace(&["replay"]).args(options).arg(recording))
}

#[track_caller]
fn assert_replays(recording: &Path, options: &[&str], live: &[u8]) {
    let replayed = replay(recording, options);
    assert_eq!(replayed.code(), Some(0), "{options:?}: {}", replayed.stderr);
    assert!(live.split_inclusive(|&byte| byte == b'\n').count() > 1, "{options:?}: too little");
    assert_eq!(difference(live, &replayed.stdout), None, "{options:?}");
}

/// Records a case with these options of the tracer and of viewing, and holds that the recording
/// shows what was shown.
fn record_and_replay(case: &str, tracing: &[&str], viewing: &[&str]) {
    let scratch = Scratch::new();
    let mut victim = Victim::start(victim_path!(), case, &[scratch.path()]);
    let options = [tracing, viewing, &["--print"]].concat();
    let mut tracer = Tracer::record(&[victim.pid()], &options);
    assert_eq!(victim.work(), Outcome::Done);
    tracer.process().signal(libc::SIGUSR1);
    tracer.process().signal(libc::SIGINT);
    assert_eq!(tracer.process().wait().code(), Some(0), "{}", tracer.stderr());
    assert_replays(&tracer.recording(), viewing, &tracer.stream());
    // The summaries as well.
    let last = |stderr: &str| stderr.lines().last().unwrap_or_default().to_owned();
    let replayed = replay(&tracer.recording(), viewing);
    assert_eq!(last(&replayed.stderr), last(&tracer.stderr()));
}

/// One test for each way of viewing: a case, the tracer's options, and those of viewing.
macro_rules! views {
    ($($name:ident: $case:literal, $tracing:expr, $viewing:expr;)*) => {$(
        #[test]
        fn $name() {
            needs_root!(stringify!($name));
            record_and_replay($case, &$tracing, &$viewing);
        }
    )*};
}

views! {
    text: "storm_mixed", [], [];
    json: "storm_mixed", [], ["--format", "json"];
    seconds: "mmap_fixed", [], ["-t"];
    epoch: "mmap_fixed", [], ["-ttt"];
    relative: "storm_one_arena", [], ["-r"];
    only_some_calls: "storm_mixed", [], ["-e", "munmap,mprotect"];
    only_large_effects: "storm_mixed", [], ["--min-size", "64K"];
    both_in_json: "storm_mixed", [], ["--format", "json", "-e", "mmap", "--min-size", "64K"];
    children: "fork_flags", ["-f"], [];
    stacks_in_text: "stacks_known", ["-U", "-K"], [];
    stacks_in_json: "stacks_known", ["-U", "-K"], ["--format", "json"];
    durations: "storm_one_arena", ["-T"], [];
    without_calls: "storm_mixed", ["--low-overhead"], [];
    losses: "storm_mixed", ["--buffer", "16K"], ["--format", "json"];
    hostile_names: "hostile_name", [], [];
    unlinked_files: "file_unlinked", [], ["--format", "json"];
}

/// What only the passing of time brings out: a call that has done something and not returned.
#[test]
fn a_call_that_takes_long() {
    needs_root!("a_call_that_takes_long");
    let mut victim = victim!("mmap_takes_long");
    let mut tracer = Tracer::record(&[victim.pid()], &["--print"]);
    victim.work();
    tracer.process().signal(libc::SIGINT);
    assert_eq!(tracer.process().wait().code(), Some(0), "{}", tracer.stderr());
    let live = tracer.stream();
    assert!(String::from_utf8_lossy(&live).contains("<unfinished ...>"), "it took no time");
    assert_replays(&tracer.recording(), &[], &live);
}

/// A command, its children, and what they say themselves; its status is passed on.
#[test]
fn a_command() {
    needs_root!("a_command");
    let scratch = Scratch::new();
    let (recording, live) = (scratch.join("recording"), scratch.join("live"));
    let script = "ls / > /dev/null; /bin/true; exit 7";
    let mut tracer = mmaptrace(&["record", "-q", "--print", "--format", "json", "-o"]);
    tracer.arg(&recording).args(["--", "sh", "-c", script]);
    let status = tracer.stderr(File::create(&live).expect("a file")).status().expect("it runs");
    assert_eq!(status.code(), Some(7));
    let live = fs::read(&live).expect("what was shown");
    assert_replays(&recording, &["--format", "json"], &live);
    // To a file, and without a summary.
    let copy = scratch.join("copy");
    let args = ["-q", "--format", "json", "-o", &copy.display().to_string()];
    let quiet = replay(&recording, &args);
    assert_eq!((&quiet.stdout[..], &quiet.stderr[..]), (&b""[..], ""));
    assert_eq!(difference(&live, &fs::read(&copy).expect("the copy")), None);
}

/// Of what was recorded beside the events, what is asked for is shown.
#[test]
fn parts_of_what_was_recorded() {
    needs_root!("parts_of_what_was_recorded");
    let mut victim = victim!("stacks_known");
    let mut tracer = Tracer::record(&[victim.pid()], &["-U", "-K", "-T"]);
    victim.work();
    tracer.process().signal(libc::SIGINT);
    assert_eq!(tracer.process().wait().code(), Some(0), "{}", tracer.stderr());
    let recording = tracer.recording();
    let shown = |options: &[&str]| {
        let replayed = replay(&recording, &[&["--format", "json"], options].concat());
        assert_eq!(replayed.code(), Some(0), "{}", replayed.stderr);
        let text = replayed.text();
        ["\"user\":{", "\"kernel\":{", "\"duration\":"].map(|part| text.contains(part))
    };
    assert_eq!(shown(&[]), [true, true, true]);
    assert_eq!(shown(&["-U"]), [true, false, false]);
    assert_eq!(shown(&["-K"]), [false, true, false]);
    assert_eq!(shown(&["-T", "-U"]), [true, false, true]);
}

/// Nobody is to think that what was asked for was done.
#[test]
fn ways_of_showing_are_refused_where_nothing_is_shown() {
    for option in
        [&["--format", "json"][..], &["-e", "mmap"], &["--min-size", "1M"], &["-t"], &["-r"]]
    {
        let mut record = mmaptrace(&["record", "-o", "/dev/null"]);
        let refused = run(record.args(option).args(["--", "true"]));
        assert_eq!(refused.code(), Some(2), "{option:?}");
        assert!(refused.stderr.contains("--print"), "{}", refused.stderr);
    }
}

/// An event costs few bytes, of a program that does little but map.
#[test]
fn an_event_is_few_bytes() {
    needs_root!("an_event_is_few_bytes");
    let mut victim = victim!("storm_mixed");
    let mut tracer = Tracer::record(&[victim.pid()], &[]);
    victim.work();
    tracer.process().signal(libc::SIGINT);
    assert_eq!(tracer.process().wait().code(), Some(0), "{}", tracer.stderr());
    let bytes = fs::metadata(tracer.recording()).expect("it is there").len();
    let replayed = replay(&tracer.recording(), &["--format", "json"]).text();
    let end = replayed.lines().last().and_then(|line| serde_json::from_str(line).ok());
    let end: serde_json::Value = end.expect("a last line");
    let events = end["events"].as_u64().expect("a count");
    assert!(
        events > often(10_000) as u64 && bytes < 16 * events,
        "{bytes} bytes for {events} events"
    );
}

/// What a tracer that is killed has written is a recording: of all that was shown but the last.
#[test]
fn a_recorder_that_is_killed() {
    needs_root!("a_recorder_that_is_killed");
    let mut victim = victim!("wander");
    let mut tracer = Tracer::record(&[victim.pid()], &["--print", "--format", "json"]);
    victim.work();
    let shown = || {
        let replayed = replay(&tracer.recording(), &["--format", "json"]);
        assert_eq!(replayed.code(), Some(1), "it is cut");
        assert!(replayed.stderr.contains("it is cut at byte "), "{}", replayed.stderr);
        replayed.stdout
    };
    // What is a second old, or was followed by nothing, is in the file before anybody is killed.
    let first = tracer.stream();
    until("the first walk", || shown().starts_with(&first).then_some(()));
    for _ in 0..50 {
        victim.work();
    }
    let before = tracer.stream();
    tracer.process().signal(libc::SIGKILL);
    tracer.process().wait();
    let replayed = replay(&tracer.recording(), &["--format", "json"]);
    assert_eq!(replayed.code(), Some(1));
    assert!(replayed.stderr.contains("it is cut at byte "), "{}", replayed.stderr);
    let live = tracer.stream();
    assert!(live.starts_with(&before) && replayed.stdout.starts_with(&first));
    let (short, long) = if live.len() < replayed.stdout.len() {
        (&live, &replayed.stdout)
    } else {
        (&replayed.stdout, &live)
    };
    assert!(long.starts_with(short), "one is the beginning of the other");
    // It is untouched by the end of its tracer.
    assert_eq!(victim.work(), Outcome::Done);
}

/// A recording, with what it shows.
fn recording(scratch: &Scratch) -> (std::path::PathBuf, Vec<u8>) {
    let recording = scratch.join("recording");
    let mut tracer = mmaptrace(&["record", "-q", "-o"]);
    tracer.arg(&recording).arg("--").arg(victim_path!()).arg("storm_mixed");
    let mut victim = Victim::launch(&mut tracer);
    victim.expect_ready();
    victim.work();
    assert!(victim.end().success());
    let shown = replay(&recording, &[]).stdout;
    (recording, shown)
}

/// Any byte that is not what was written is found, and what precedes it is shown.
#[test]
fn a_bit_that_is_flipped() {
    needs_root!("a_bit_that_is_flipped");
    let scratch = Scratch::new();
    let (recording, shown) = recording(&scratch);
    let bytes = fs::read(&recording).expect("it is there");
    let mut most = 0;
    let parts = often(40);
    for part in 0..parts {
        let at = part * (bytes.len() - 1) / (parts - 1);
        let mut file = File::options().write(true).open(&recording).expect("it is there");
        let mut put = |byte| {
            file.seek(SeekFrom::Start(at as u64)).expect("within");
            file.write_all(&[byte]).expect("room");
        };
        put(bytes[at] ^ 1 << (part * 3 % 8));
        let damaged = replay(&recording, &[]);
        put(bytes[at]);
        assert_eq!(damaged.code(), Some(1), "byte {at}: {}", damaged.stderr);
        let told = ["it is damaged at byte ", "it is no recording", "it is a recording of version"];
        assert!(told.iter().any(|told| damaged.stderr.contains(told)), "{}", damaged.stderr);
        assert!(shown.starts_with(&damaged.stdout), "byte {at}");
        most = most.max(damaged.stdout.len());
    }
    assert!(most > shown.len() / 2, "what precedes damage at the end is shown");
}

/// Cut anywhere: what precedes the cut is shown, and more with every byte.
#[test]
fn a_file_that_is_cut() {
    needs_root!("a_file_that_is_cut");
    let scratch = Scratch::new();
    let (recording, shown) = recording(&scratch);
    let length = fs::metadata(&recording).expect("it is there").len();
    let mut before = shown.len();
    let parts = often(20) as u64;
    for part in (0..parts).rev() {
        let file = File::options().write(true).open(&recording).expect("it is there");
        file.set_len(length * part / parts).expect("shorter");
        let cut = replay(&recording, &[]);
        assert_eq!(cut.code(), Some(1), "{}", cut.stderr);
        let told = ["it is cut at byte ", "it is no recording"];
        assert!(told.iter().any(|told| cut.stderr.contains(told)), "{}", cut.stderr);
        assert!(shown.starts_with(&cut.stdout) && cut.stdout.len() <= before);
        before = cut.stdout.len();
    }
    assert_eq!(before, 0, "nothing is made of nothing");
}

#[test]
fn what_is_no_recording() {
    let scratch = Scratch::new();
    let text = scratch.join("text");
    fs::write(&text, "no recording, but long enough to be one of those that there are\n")
        .expect("a file");
    for (path, why) in [
        (text.as_path(), "it is no recording of mmaptrace"),
        (Path::new("/dev/null"), "it is no recording of mmaptrace"),
        (scratch.path(), "s a directory"),
        (&scratch.join("nothing"), "No such file"),
    ] {
        let refused = replay(path, &[]);
        assert_eq!((refused.code(), refused.stdout.len()), (Some(1), 0), "{}", path.display());
        assert!(refused.stderr.contains(why), "{}: {}", path.display(), refused.stderr);
        assert!(refused.stderr.contains(&path.display().to_string()), "{}", refused.stderr);
    }
    let nowhere = run(&mut mmaptrace(&["record", "-o", "/nowhere/file", "--", "true"]));
    assert_ne!(nowhere.code(), Some(0));
}

/// A file system without room: the tracer says so and ends, and what had room is a recording.
#[test]
fn a_full_disk() {
    needs_root!("a_full_disk");
    let full = run(&mut mmaptrace(&["record", "-o", "/dev/full", "--", "true"]));
    assert_eq!(full.code(), Some(125), "{}", full.stderr);
    assert!(full.stderr.contains("No space left on device"), "{}", full.stderr);
    let scratch = Scratch::new();
    let Some(small) = SmallDisk::mount(scratch.path()) else {
        return skip("a_full_disk", "no tmpfs can be mounted");
    };
    let mut victim = victim!("flood");
    let mut tracer = mmaptrace(&["record", "-q", "-p", &victim.pid().to_string(), "-o"]);
    let recording = small.0.join("recording");
    victim.go();
    let full = run(tracer.arg(&recording));
    assert_eq!(full.code(), Some(1), "{}", full.stderr);
    assert!(full.stderr.contains("No space left on device"), "{}", full.stderr);
    let replayed = replay(&recording, &[]);
    assert_eq!(replayed.code(), Some(1), "it is cut");
    assert!(replayed.stderr.contains("it is cut at byte "), "{}", replayed.stderr);
    assert!(replayed.stdout.len() > 1 << 16, "what had room is shown");
    victim.process().signal(libc::SIGKILL);
}

/// A file system of 16 KiB.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(path: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=16k", "small"]).arg(path);
        (run(&mut mount).code() == Some(0)).then(|| Self(path.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(&self.0));
    }
}

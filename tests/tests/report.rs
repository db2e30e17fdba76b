//! Reports of leaks, of memory that was writable and executable, and of differences are what the
//! program wrote down of them; and what nothing answers is said.

use mmaptrace_tests::deeds::{Deed, Recorded, ask, deeds, interrupt, lines, of_type, socket};
use mmaptrace_tests::{
    Outcome, Scratch, Tracer, mmaptrace, needs_root, now, run, skip, until, victim,
};

const PAGE: u64 = 4096;

/// With stacks it is one place in the program; without, what a thread of a name does.
#[test]
fn a_leak_is_the_first_line_of_the_report() {
    needs_root!("a_leak_is_the_first_line_of_the_report");
    for options in [&["-U"][..], &[]] {
        let mut recorded = Recorded::start(|log| victim!("deeds_leak", log), options);
        let pid = recorded.victim.pid().to_string();
        let mut live = Tracer::attach(recorded.victim.pid(), options);
        recorded.victim.work();
        let deeds = deeds(&recorded.scratch);
        assert_leak(&deeds, &["-p", &pid, "--socket", &socket(&mut live)], options);
        live.finish().assert_clean();
        let file = recorded.file();
        let _scratch = recorded.end();
        assert_leak(&deeds, &["-i", &file], options);
        let text = ask(&["report", "-i", &file]).text();
        let first = text.lines().nth(1).expect("a line after that of the heads");
        assert!(first.trim_start().starts_with("18.7M     300 "), "{text}");
        assert!(first.contains(" leaker: mmap rw-p anonymous"), "{text}");
        let folded = ask(&["report", "--folded", "-i", &file]).text();
        let first = folded.lines().next().expect("a line");
        assert!(first.ends_with(" 19660800"), "{folded}");
        let frames = "stacks_outer;stacks_middle;stacks_inner;stacks_leaf;";
        assert_eq!(first.contains(frames), !options.is_empty(), "{folded}");
    }
}

fn assert_leak(deeds: &[Deed], source: &[&str], options: &[&str]) {
    let report = lines(&[&["report"], source].concat());
    let sites = of_type(&report, "site");
    let leak = sites[0];
    assert_eq!((&leak["comm"], &leak["call"]), (&"leaker".into(), &"mmap".into()), "{leak}");
    assert_eq!((&leak["held"], &leak["regions"]), (&(300 << 16).into(), &300.into()), "{leak}");
    assert_eq!((&leak["peak"], &leak["mapped"]), (&leak["held"], &leak["regions"]), "{leak}");
    assert!(leak["lifetime"].is_null(), "{leak}");
    let churn = sites.iter().find(|site| site["churn"] == 100 * 2000 * PAGE);
    let churn = churn.expect("the churn, among the sites");
    assert_eq!((&churn["held"], &churn["regions"]), (&0.into(), &0.into()), "{churn}");
    assert_eq!((&churn["peak"], &churn["mapped"]), (&(2000 * PAGE).into(), &100.into()));
    assert!(churn["lifetime"]["mean"].as_u64() > Some(0), "{churn}");
    let most = sites.iter().max_by_key(|site| site["splits"].as_u64()).expect("sites");
    assert_eq!((&most["comm"], &most["call"]), (&"churner".into(), &"mprotect".into()));
    let [population] = of_type(&report, "population")[..] else { panic!("{report:?}") };
    assert!(population["regions"].as_u64() > Some(100), "{population}");
    if !options.is_empty() {
        let map = deeds.iter().find(|deed| deed.nr == libc::SYS_mmap).expect("a deed");
        for (site, depth) in [(leak, 4), (churn, 3), (most, 2)] {
            Deed { depth, ..map.clone() }.assert_stack(&site["stack"]);
        }
    }
}

/// Live, and from a recording.
#[test]
fn all_that_was_writable_and_executable_is_reported() {
    needs_root!("all_that_was_writable_and_executable_is_reported");
    let mut recorded = Recorded::start(|log| victim!("deeds_exposed", log), &["-U"]);
    let pid = recorded.victim.pid().to_string();
    let mut live = Tracer::attach(recorded.victim.pid(), &["-U"]);
    if let Outcome::Unsupported { call, errno } = recorded.victim.work() {
        return skip("deeds_exposed", &format!("UNSUPPORTED {call} {errno}"));
    }
    let deeds = deeds(&recorded.scratch);
    assert_exposed(&deeds, &["-p", &pid, "--socket", &socket(&mut live)]);
    live.finish().assert_clean();
    let file = recorded.file();
    let _scratch = recorded.end();
    assert_exposed(&deeds, &["-i", &file]);
    let text = ask(&["report", "--wx", "-i", &file]).text();
    for told in [": writable and executable at once\n", ": executable, then writable\n"] {
        assert!(text.contains(told), "{text}");
    }
    assert!(text.contains(" (READ_IMPLIES_EXEC)\n"), "{text}");
}

fn assert_exposed(deeds: &[Deed], source: &[&str]) {
    let report = lines(&[&["report", "--wx"], source].concat());
    let found = of_type(&report, "exposed");
    // By the number of the deed: how, and what made it the one and the other.
    let expected = [
        ("both", false, 0, 0),
        ("written_first", false, 1, 2),
        ("written_first", false, 3, 4),
        ("executed_first", false, 5, 6),
        ("both", true, 9, 9),
        ("implied", true, 10, 10),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, (how, implied, first, second)) in found.into_iter().zip(expected) {
        assert_eq!((&found["how"], &found["implied"]), (&how.into(), &implied.into()), "{found}");
        for (name, index) in [("first", first), ("second", second)] {
            let deed = &deeds[index];
            assert!(deed.is(&found[name]), "{deed:?}: {found}");
            deed.assert_stack(&found[name]["stack"]);
        }
        assert_eq!(found["region"]["size"], PAGE, "{found}");
    }
    let [shared] = of_type(&report, "shared")[..] else { panic!("{report:?}") };
    assert!(deeds[7].is(&shared["writable"]) && deeds[8].is(&shared["executable"]), "{shared}");
}

#[test]
fn what_was_never_writable_and_executable_is_not_reported() {
    needs_root!("what_was_never_writable_and_executable_is_not_reported");
    let mut recorded = Recorded::start(|log| victim!("deeds_leak", log), &[]);
    recorded.victim.work();
    let file = recorded.file();
    let _scratch = recorded.end();
    assert!(lines(&["report", "--wx", "-i", &file]).is_empty());
}

/// Between two moments, between a recording and another, and between a recording and now; and as a
/// running tracer remembers.
#[test]
fn a_difference_is_what_the_program_did_in_between() {
    needs_root!("a_difference_is_what_the_program_did_in_between");
    let mut recorded = Recorded::start(|log| victim!("deeds_between", log), &[]);
    let pid = recorded.victim.pid().to_string();
    let live = Tracer::attach(recorded.victim.pid(), &[]);
    let file = recorded.file();
    let before = now();
    recorded.victim.work();
    interrupt(recorded.recorder);
    let other = Scratch::new();
    let other_file = other.join("recording").to_str().expect("a path").to_owned();
    let args = ["record", "-o", &other_file];
    interrupt(Tracer::attach_plainly(recorded.victim.pid(), &args));
    let assert_difference = |source: &[&str]| {
        let lines = lines(&[&["diff", "--from", &before], source].concat());
        let [diff] = &lines[..] else { panic!("one line: {lines:?}") };
        let total = |name: &str| {
            let total = &diff["totals"][name];
            (total["regions"].as_u64(), total["bytes"].as_u64().map(|bytes| bytes / PAGE))
        };
        assert_eq!(total("added"), (Some(1), Some(5)), "{diff}");
        assert_eq!(total("removed"), (Some(1), Some(2)), "{diff}");
        assert_eq!(total("grown"), (Some(1), Some(6)), "{diff}");
        assert_eq!(total("protected"), (Some(1), Some(1)), "{diff}");
        for name in ["shrunk", "renamed", "replaced", "flagged"] {
            assert_eq!(total(name), (Some(0), Some(0)), "{name}: {diff}");
        }
        assert_eq!(
            diff["to"]["bytes"].as_u64(),
            diff["from"]["bytes"].as_u64().map(|it| it + 9 * PAGE)
        );
        // An edge on each side of the page with another protection.
        assert_eq!(diff["effects"].as_array().map(Vec::len), Some(6), "{diff}");
    };
    assert_difference(&["-i", &file]);
    assert_difference(&["-i", &file, "--to", "now"]);
    assert_difference(&["-i", &file, "--to", "now", "-p", &pid]);
    assert_difference(&["-i", &file, "-i", &other_file]);
    assert_difference(&["-p", &pid]);
    live.finish().assert_clean();
    let text = ask(&["diff", "--from", &before, "-i", &file]).text();
    let totals = "1 added (20K), 1 removed (8K), 1 grown (24K), 1 re-protected (4K)";
    assert!(text.lines().any(|line| line == totals), "{text}");
    let same = ask(&["diff", "--from", &before, "--to", &before, "-i", &file]);
    assert!(same.text().contains("no difference"), "{}", same.text());
}

/// Nothing is left of either at the end: the last map that there was is meant.
#[test]
fn recordings_of_programs_that_ended_are_compared() {
    needs_root!("recordings_of_programs_that_ended_are_compared");
    let scratch = Scratch::new();
    let file = |name: &str| scratch.join(name).to_str().expect("a path").to_owned();
    for (name, command) in [("one", "true"), ("two", "true"), ("many", "/bin/true; exit")] {
        let mut args = vec!["record", "-q", "-o"];
        let file = file(name);
        args.extend([&file, "--", "sh", "-c", command]);
        assert_eq!(run(&mut mmaptrace(&args)).code(), Some(0));
    }
    let (one, two, many) = (file("one"), file("two"), file("many"));
    let text = ask(&["diff", "-i", &one, "-i", &two]).text();
    assert!(text.contains(" sh ") && text.contains(" regions, "), "{text}");
    let text = ask(&["diff", "-i", &one, "--from", "exec"]).text();
    assert!(text.contains(" sh ") && text.contains(" added ("), "{text}");
    let several = run(&mut mmaptrace(&["diff", "-i", &one, "-i", &many]));
    assert_eq!(several.code(), Some(1));
    assert!(
        several.stderr.contains("say which process, with -p: there were "),
        "{}",
        several.stderr
    );
}

#[test]
fn questions_that_nothing_answers_say_why() {
    needs_root!("questions_that_nothing_answers_say_why");
    let mut recorded = Recorded::start(|log| victim!("deeds_leak", log), &[]);
    recorded.victim.work();
    let file = recorded.file();
    let _scratch = recorded.end();
    for (args, code, why) in [
        (&["who", "10000", "-p", "1", "-i", &file][..], 1, "process 1 was not traced"),
        (&["who", "10000", "--at", "exit", "-p", "1", "-i", &file], 1, "has no exit"),
        (&["who", "zero", "-i", &file], 2, "hexadecimal"),
        (&["who", "--core", "/proc/self/exe", "-i", &file], 1, "no core file"),
        (&["diff", "-i", &file], 2, "--from"),
        (&["report", "--at", "00:00", "-i", &file], 1, "is from "),
        (&["report", "-p", "1", "-i", &file], 1, "process 1 was not traced"),
        (&["report", "-i", "/nonexistent"], 1, "/nonexistent"),
        (&["report", "--socket", "/nonexistent/socket"], 1, "/nonexistent/socket"),
    ] {
        let answer = run(&mut mmaptrace(args));
        assert_eq!(answer.code(), Some(code), "{args:?}: {}", answer.stderr);
        assert!(answer.stderr.contains(why), "{args:?}: {}", answer.stderr);
        assert_eq!(answer.text(), "", "{args:?}");
    }
}

/// A recording that is cut is answered by what there is, and it is said.
#[test]
fn a_past_that_is_cut_is_told_as_far_as_it_goes() {
    needs_root!("a_past_that_is_cut_is_told_as_far_as_it_goes");
    let mut recorded = Recorded::start(|log| victim!("deeds_leak", log), &[]);
    recorded.victim.work();
    let file = recorded.file();
    let scratch = recorded.end();
    let bytes = std::fs::read(&file).expect("the recording");
    let cut = scratch.join("cut");
    std::fs::write(&cut, &bytes[..bytes.len() - 1]).expect("a file");
    let report = run(mmaptrace(&["report", "-i"]).arg(&cut));
    assert_eq!(report.code(), Some(1), "{}", report.stderr);
    assert!(report.text().contains(" regions, at most "), "{}", report.text());
    assert!(report.stderr.contains("the events end early"), "{}", report.stderr);
}

/// A tracer that remembers little says since when.
#[test]
fn what_is_forgotten_is_said() {
    needs_root!("what_is_forgotten_is_said");
    let mut victim = victim!("flood");
    let mut tracer = Tracer::attach(victim.pid(), &["--history", "4K"]);
    victim.go();
    assert_eq!(victim.line().as_deref(), Some("FLOOD"));
    let socket = socket(&mut tracer);
    // More happens all the time, until it is more than what is remembered.
    until("an answer that says so", || {
        let report = run(&mut mmaptrace(&["report", "--wx", "--socket", &socket]));
        let said = report.stderr.contains(" is forgotten (--history)");
        said.then(|| assert_eq!(report.code(), Some(0), "{}", report.stderr))
    });
    victim.work();
    tracer.finish().assert_clean();
}

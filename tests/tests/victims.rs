//! The victims themselves, without a tracer: each case does here what it says it does, so that a
//! failing test of the tracer is about the tracer. And what is said of the tests elsewhere.

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::Command;

use mmaptrace_common::syscalls::{Report, TABLE};
use mmaptrace_tests::{Scratch, Victim, run, victim_path};

/// Cases that do not talk as the others do: images another case runs, and those that never are done.
const APART: &[&str] = &[
    "after_execve",
    "after_execve_again",
    "after_execve_on_and_on",
    "after_vfork",
    "climb",
    "deeds_crash",
    "file_mapped_again_after_many",
    "flood",
    "fuse_answers_late",
    "generations",
    "generations_for_long",
    "mmap_takes_for_ever",
    "storm_without_end",
    "storm_without_its_main_thread",
    "vfork_and_leave",
];

fn cases() -> Vec<String> {
    let list = run(Command::new(victim_path!()).arg("cases"));
    assert_eq!(list.code(), Some(0), "{}", list.stderr);
    list.text().lines().map(str::to_owned).collect()
}

#[test]
fn each_case_has_a_name_of_its_own() {
    let cases = cases();
    let names: BTreeSet<_> = cases.iter().collect();
    assert_eq!(names.len(), cases.len());
    assert!(APART.iter().all(|name| cases.iter().any(|case| case == name)));
}

/// The tests that trace.
const TESTS: &[&str] = &[
    include_str!("absent.rs"),
    include_str!("attach.rs"),
    include_str!("blame.rs"),
    include_str!("calls.rs"),
    include_str!("contention.rs"),
    include_str!("degraded.rs"),
    include_str!("dump.rs"),
    include_str!("effects_without_calls.rs"),
    include_str!("errors.rs"),
    include_str!("faults.rs"),
    include_str!("export.rs"),
    include_str!("history.rs"),
    include_str!("launch.rs"),
    include_str!("memory.rs"),
    include_str!("names.rs"),
    include_str!("page.rs"),
    include_str!("recording.rs"),
    include_str!("report.rs"),
    include_str!("stacks.rs"),
    include_str!("tasks.rs"),
    include_str!("text.rs"),
    include_str!("verify.rs"),
];

/// Tests of the model, which is told of what no kernel does when asked.
const TESTS_OF_THE_MODEL: &[&str] = &[
    include_str!("../../mmaptrace-model/tests/lifecycle.rs"),
    include_str!("../../mmaptrace-model/tests/space.rs"),
];

#[test]
fn each_case_is_traced_by_a_test() {
    for case in cases().iter().filter(|case| !case.starts_with("after_")) {
        let (listed, started) = (format!("    {case}: ["), format!("(\"{case}\""));
        let traced = TESTS.iter().any(|test| test.contains(&listed) || test.contains(&started));
        assert!(traced, "nobody traces {case}");
    }
}

#[test]
fn each_call_of_the_table_is_expected_by_a_test() {
    let reported = TABLE.iter().filter(|row| row.report != Report::Never);
    for name in reported.map(|row| format!("\"{}\"", row.name)) {
        let listed = |line: &str| line.trim_end().ends_with("];") && line.contains(&name);
        let expected = TESTS.iter().flat_map(|test| test.lines()).any(listed);
        assert!(expected, "nobody expects {name}");
    }
}

#[test]
fn each_test_that_is_documented_is_there() {
    let text = include_str!("../../docs/exactness.md");
    let (before, tables) = text.split_once("\n## Faults\n").expect("the tables");
    let columns = tables.lines().filter_map(|row| row.strip_prefix('|')?.split('|').nth(1));
    // And of what was found before, that which a test holds now.
    let held = before.split("Held now by ").skip(1).filter_map(|rest| rest.split(" |").next());
    let quoted = |text: &'static str| text.split('`').skip(1).step_by(2);
    let held: Vec<_> = held.flat_map(quoted).collect();
    assert!(held.len() >= 3, "{held:?}");
    let is_name =
        |name: &&str| name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
    let names: Vec<_> = columns.flat_map(quoted).chain(held).filter(is_name).collect();
    assert!(names.len() > 80, "{names:?}");
    // Elsewhere than where it was built there may be none of these.
    let lists = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    for list in quoted(text).filter_map(|name| name.strip_suffix(".calls")) {
        let there = !lists.exists() || lists.join(list).with_extension("calls").exists();
        assert!(there, "no list {list}");
    }
    for name in names {
        let (listed, written) = (format!("    {name}: ["), format!("fn {name}()"));
        let mut tests = TESTS.iter().chain(TESTS_OF_THE_MODEL);
        let there = tests.any(|test| test.contains(&listed) || test.contains(&written));
        assert!(there, "no test {name}");
    }
}

#[test]
fn each_case_runs_to_its_end() {
    let cases = cases();
    let failed: Vec<_> = cases
        .iter()
        .filter(|case| !APART.contains(&case.as_str()))
        .filter(|case| catch_unwind(|| runs(case)).is_err())
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
}

fn runs(case: &str) {
    let scratch = Scratch::new();
    let mut victim = Victim::launch(Command::new(victim_path!()).arg(case).arg(scratch.path()));
    // A case may find out what this kernel, or this user, lacks before it is ready. The test that
    // traces it says so.
    match victim.line().as_deref() {
        Some("READY") => drop(victim.work()),
        Some(line) if line.starts_with("UNSUPPORTED ") => {}
        other => panic!("{case}: {other:?}"),
    }
}

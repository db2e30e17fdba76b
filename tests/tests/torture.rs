//! Short tortures: every call of the table, with all that may be an argument, from one thread and
//! from many, with children and new images in between; and again all that was ever found by the
//! long ones (`cargo xtask torture`). And what the long ones do with what they find.

use std::process::Command;

use mmaptrace_tests::{
    Scratch, is_emulated, needs_root, skip,
    torture::{Counts, Manner, PRETENDED, Script, Setting, regressions, run, run_pretending},
    torture_path,
};

/// Calls of all threads together between two comparisons.
fn calls() -> u64 {
    if is_emulated() { 1000 } else { 4000 }
}

/// Seeds that are tried, until one does not kill the program that makes its calls.
const ATTEMPTS: u64 = 3;

/// Runs a seed, and holds that there is no difference.
fn torture(seed: u64, threads: u64, manner: Manner) -> Counts {
    let (calls, phases, images) = (calls() / threads, 3, 2);
    let of = |seed| {
        let setting = Setting { seed, threads, calls, phases, images, ..Setting::default() };
        run(torture_path!(), &setting, manner)
            .unwrap_or_else(|found| panic!("seed {seed}, {threads} threads: {found}"))
    };
    let mut counts = (0..ATTEMPTS).map(|attempt| of(seed + 100 * attempt));
    counts.find(|counts| counts.died == 0).expect("a program that its calls do not kill")
}

/// One test for each number of threads.
macro_rules! tortures {
    ($($(#[$attribute:meta])* $name:ident: $seed:literal, $threads:literal, $manner:ident;)*) => {$(
        $(#[$attribute])*
        #[test]
        fn $name() {
            needs_root!(stringify!($name));
            let counts = torture($seed, $threads, Manner::$manner);
            let is_whole = counts.calls > 4 * calls() && counts.comparisons >= 6;
            assert!(is_whole, "{counts}");
        }
    )*};
}

tortures! {
    torture_by_1_thread: 1, 1, Whole;
    torture_by_2_threads: 2, 2, Whole;
    torture_by_8_threads: 3, 8, Whole;
    torture_by_64_threads: 4, 64, Whole;
    torture_with_low_overhead: 5, 4, LowOverhead;
    torture_of_the_degraded_tier: 6, 4, Degraded;
}

/// Each list of calls that once ended in a difference.
#[test]
fn regressions_of_tortures() {
    needs_root!("regressions_of_tortures");
    let entries = regressions().read_dir().expect("the lists");
    for path in entries.flatten().map(|entry| entry.path()) {
        let text = std::fs::read_to_string(&path).expect("a list of calls");
        let script = Script::parse(&text, |_| true);
        let script = script.unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let setting = script.setting(path.display().to_string());
        for manner in [Manner::Whole, Manner::LowOverhead, Manner::Degraded] {
            let counts = run(torture_path!(), &setting, manner)
                .unwrap_or_else(|found| panic!("{}, {manner:?}: {found}", path.display()));
            let is_whole = counts.died == 0 && counts.comparisons >= setting.phases;
            assert!(is_whole, "{}, {manner:?}: {counts}", path.display());
        }
    }
}

/// A difference, were it one, is hunted down to the call that it takes, which is written to a file
/// that differs when it is run.
#[test]
fn what_differs_becomes_the_shortest_list() {
    const NAME: &str = "what_differs_becomes_the_shortest_list";
    const CALL: &str = "remap_file_pages";
    needs_root!(NAME);
    if is_emulated() {
        return skip(NAME, "emulated, it takes too long");
    }
    let scratch = Scratch::new();
    let lists = scratch.join("lists");
    std::fs::create_dir(&lists).expect("a directory");
    let hunt = Command::new(env!("CARGO_BIN_EXE_hunt"))
        .args(["1", "0", "1"])
        .env("MMAPTRACE_REGRESSIONS", &lists)
        .env("TMPDIR", scratch.path())
        .env(PRETENDED, CALL)
        .output()
        .expect("a hunt");
    let said = String::from_utf8_lossy(&hunt.stdout);
    assert_eq!(hunt.status.code(), Some(1), "{said}");
    let list = lists.join("seed-1.calls");
    let text = std::fs::read_to_string(&list).unwrap_or_else(|error| panic!("{error}: {said}"));
    let script = Script::parse(&text, |_| true).expect("a list of calls");
    let [(_, op)] = script.calls() else { panic!("more than one call: {text}") };
    assert_eq!(op.name, CALL, "{text}");
    let setting = script.setting(list.display().to_string());
    let again = |pretended| run_pretending(torture_path!(), &setting, Manner::Whole, pretended);
    let found = again(Some(CALL)).expect_err("it differs");
    assert!(!found.recording.is_empty(), "{found}");
    again(None).expect("it differs for what is pretended only");
}

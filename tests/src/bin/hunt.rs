//! Runs the torture program under the tracer until the time is up or a difference is found, and
//! then looks for the shortest list of calls that ends in one: `cargo xtask torture`.
#![expect(clippy::print_stdout, reason = "made for a person to read")]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use mmaptrace_tests::{
    Scratch,
    torture::{Counts, Difference, Generator, Manner, Op, Setting, run, shrink},
};

/// Numbers of threads that take turns.
const THREADS: &[u64] = &[1, 2, 4, 1, 8, 16, 1, 32, 64];
/// Calls between two comparisons, of all threads together.
const CALLS: u64 = 4000;
/// How often a run with more than one thread is repeated to see whether it differs again.
const AGAIN: usize = 5;
/// How long it looks for a shorter list.
const PATIENCE: Duration = Duration::from_mins(15);

fn main() -> ExitCode {
    let args: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let [seed, minutes, threads] = args[..] else {
        println!("usage: hunt SEED MINUTES THREADS (0: 1 to 64 by turns)");
        return ExitCode::from(2);
    };
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let mut total = Counts::default();
    let mut rounds = 0;
    while rounds == 0 || Instant::now() < end {
        let turn = THREADS[rounds as usize % THREADS.len()];
        let threads = if threads == 0 { turn } else { threads };
        let setting = Setting {
            seed: seed.wrapping_add(rounds),
            threads,
            calls: CALLS / threads,
            phases: 10,
            images: 3,
            ..Setting::default()
        };
        let manner = Manner::of(setting.seed);
        match run(&program(), &setting, manner) {
            Ok(counts) => total += counts,
            Err(difference) => {
                println!("DIFFERENCE: seed {}, {threads} threads: {difference}", setting.seed);
                report(&setting, manner, &difference);
                println!("before that: {rounds} runs, {total}");
                return ExitCode::FAILURE;
            }
        }
        rounds += 1;
        println!("seed {}, {threads} threads; so far {rounds} runs, {total}", setting.seed);
    }
    ExitCode::SUCCESS
}

/// Says how the difference is had again, and writes the shortest list of calls that has it.
fn report(setting: &Setting, manner: Manner, difference: &Difference) {
    let (environment, Setting { seed, threads, .. }) = (manner.environment(), setting);
    println!("again: {environment}cargo xtask torture --seed {seed} --threads {threads}");
    let recording = std::env::temp_dir().join(format!("mmaptrace-torture-{}.rec", setting.seed));
    match fs::write(&recording, &difference.recording) {
        Ok(()) => println!("to look at it: mmaptrace replay {}", recording.display()),
        Err(error) => println!("{}: {error}", recording.display()),
    }
    if setting.threads > 1 {
        let differs = |setting: &Setting| run(&program(), setting, manner).is_err();
        let again = (0..AGAIN).filter(|_| differs(setting)).count();
        println!(
            "the same calls differ in {again} of {AGAIN} more runs. What threads do at a time \
             cannot be shrunk by leaving out calls, for each run is another"
        );
        return;
    }
    let calls = calls(setting, difference);
    let scratch = Scratch::new();
    let file = scratch.join("calls");
    if !differs(&calls, &file, manner) {
        println!("these {} calls in one phase do not differ: it takes the phases", calls.len());
        return;
    }
    let start = Instant::now();
    let shortest =
        shrink(calls, |calls| start.elapsed() < PATIENCE && differs(calls, &file, manner));
    let text = text(&shortest);
    let path = regressions().join(format!("seed-{}.calls", setting.seed));
    let head = format!("# Found by seed {}: {}\n", setting.seed, first_line(difference));
    match fs::write(&path, head + &text) {
        Ok(()) => println!("{} calls are left, in {}:\n{text}", shortest.len(), path.display()),
        Err(error) => println!("{}: {error}; the calls:\n{text}", path.display()),
    }
}

fn first_line(difference: &Difference) -> &str {
    difference.what.lines().next().unwrap_or_default()
}

/// The calls that one thread made up to a difference.
fn calls(setting: &Setting, difference: &Difference) -> Vec<Op> {
    let phase = |phase| {
        let calls = Generator::new(setting.seed, difference.image, phase, 0).enumerate();
        calls.take_while(|(at, op)| (*at as u64) < setting.calls || op.child).map(|(_, op)| op)
    };
    (0..=difference.phase).flat_map(phase).collect()
}

/// As a file has them.
fn text(calls: &[Op]) -> String {
    calls.iter().fold(String::new(), |text, op| text + &op.to_string() + "\n")
}

/// Whether these calls, made by one thread in one phase, end in a difference.
fn differs(calls: &[Op], file: &Path, manner: Manner) -> bool {
    if fs::write(file, text(calls)).is_err() {
        return false;
    }
    let setting = Setting {
        script: Some(file.display().to_string()),
        threads: 1,
        calls: calls.len() as u64,
        phases: 1,
        images: 1,
        ..Setting::default()
    };
    // A list that kills the program is no shorter form of one that does not.
    catch_unwind(AssertUnwindSafe(|| run(&program(), &setting, manner).is_err())).unwrap_or(false)
}

/// The torture program, which is built beside this one.
fn program() -> PathBuf {
    let this = std::env::current_exe().expect("the path of this program");
    this.with_file_name("torture")
}

/// Where lists of calls are kept that a test makes again.
fn regressions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions")
}

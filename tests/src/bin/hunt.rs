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
    Scratch, mmaptrace, run as execute,
    torture::{Counts, Difference, Manner, Script, Setting, regressions, run, shrink},
};

/// Numbers of threads that take turns.
const THREADS: &[u64] = &[1, 2, 4, 1, 8, 16, 1, 32, 64];
/// Calls between two comparisons, of all threads together.
const CALLS: u64 = 4000;
/// How often a run is repeated to see whether it differs again.
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
        match catch_unwind(AssertUnwindSafe(|| run(&program(), &setting, manner))) {
            Err(_) => {
                println!("FAILED: the tracer, or the program, as told above");
                say_again(&setting, manner);
                return ExitCode::FAILURE;
            }
            Ok(Ok(counts)) => total += counts,
            Ok(Err(difference)) => {
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

/// Says how a run is had again.
fn say_again(setting: &Setting, manner: Manner) {
    let (environment, Setting { seed, threads, .. }) = (manner.environment(), setting);
    println!("again: {environment}cargo xtask torture --seed {seed} --threads {threads}");
}

/// Says how the difference is had again, and writes the shortest list of calls that has it; or all of
/// them where they do not have it again.
fn report(setting: &Setting, manner: Manner, difference: &Difference) {
    say_again(setting, manner);
    let recording = std::env::temp_dir().join(format!("mmaptrace-torture-{}.rec", setting.seed));
    match fs::write(&recording, &difference.recording) {
        Ok(()) => println!("to look at it: mmaptrace replay {}", recording.display()),
        Err(error) => println!("{}: {error}", recording.display()),
    }
    say_what_came_before(&recording);
    let script = Script::up_to(setting, difference.image, difference.phase);
    let scratch = Scratch::new();
    let file = scratch.join("calls");
    let again = (0..AGAIN).filter(|_| differs(&script, &file, manner).is_some()).count();
    println!(
        "the {} calls up to there differ in {again} of {AGAIN} more runs",
        script.calls().len()
    );
    // What threads and children do at a time is another race in each run: a list is taken not to
    // differ if it has not although it should have, as often as not, three times.
    let tries = match again {
        0 => {
            println!("nothing can be left out of what does not differ; the recording tells more");
            // For people, and not among the tests, which it would not fail.
            let all = recording.with_extension("calls");
            return match fs::write(&all, script.to_string()) {
                Ok(()) => println!("all of the calls: {}", all.display()),
                Err(error) => println!("{}: {error}", all.display()),
            };
        }
        AGAIN => 1,
        _ => (3 * AGAIN).div_ceil(again),
    };
    let start = Instant::now();
    let mut what = first_line(&difference.what).to_owned();
    let differs = |calls: &[_]| {
        let script = Script::new(calls.to_vec());
        let mut runs = (0..tries).take_while(|_| start.elapsed() < PATIENCE);
        let found = runs.find_map(|_| differs(&script, &file, manner));
        if let Some(found) = &found {
            println!("{} calls differ", calls.len());
            first_line(found).clone_into(&mut what);
        }
        found.is_some()
    };
    let shortest = Script::new(shrink(script.calls().to_vec(), differs));
    let path = regressions().join(format!("seed-{}.calls", setting.seed));
    let head = format!("# Found by seed {}: {what}\n", setting.seed);
    let left = shortest.calls().len();
    match fs::write(&path, format!("{head}{shortest}")) {
        Ok(()) => println!("{left} calls are left, in {}:\n{shortest}", path.display()),
        Err(error) => println!("{}: {error}; the calls:\n{shortest}", path.display()),
    }
}

/// The last lines up to a doubt, or to the end: of a machine that is gone then nothing else is left.
fn say_what_came_before(recording: &Path) {
    const LINES: usize = 60;
    let stream = execute(mmaptrace(&["replay", "--format", "json"]).arg(recording)).text();
    let mut lines = Vec::new();
    for line in stream.lines() {
        lines.push(line);
        if line.contains(r#""type":"doubt""#) {
            break;
        }
    }
    for line in lines.iter().skip(lines.len().saturating_sub(LINES)) {
        println!("  {line}");
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The difference in which a run of a script ends, if it does.
fn differs(script: &Script, file: &Path, manner: Manner) -> Option<String> {
    fs::write(file, script.to_string()).ok()?;
    let setting = script.setting(file.display().to_string());
    // A list that kills the program is no shorter form of one that does not.
    let result = catch_unwind(AssertUnwindSafe(|| run(&program(), &setting, manner)));
    result.ok()?.err().map(|difference| difference.what)
}

/// The torture program, which is built beside this one.
fn program() -> PathBuf {
    let this = std::env::current_exe().expect("the path of this program");
    this.with_file_name("torture")
}

//! The whole machine traced, while it does nothing but change address spaces.

use std::{process::Command, thread, time::Duration};

use anyhow::{Context as _, Result, anyhow};

use super::{
    Bench,
    command::{Run, run},
    report::Section,
};

/// stress-ng's stressors, and how many of each: as many as two processors can run at once.
const STRESSORS: [(&str, &[&str]); 5] = [
    ("vm", &["--vm", "2", "--vm-bytes", "16M"]),
    ("mmap", &["--mmap", "2", "--mmap-bytes", "16M"]),
    ("malloc", &["--malloc", "2"]),
    ("mremap", &["--mremap", "2", "--mremap-bytes", "4M"]),
    ("fork", &["--fork", "2"]),
];

/// One section: what was seen of each stressor, and what was lost.
pub(super) fn sections(bench: &Bench) -> Result<Vec<Section>> {
    let seconds = if bench.quick { 2 } else { 10 };
    let mut section = Section::new(
        "the whole machine",
        format!(
            "`mmaptrace -a -o /dev/null` beside two of a stressor of stress-ng for {seconds} s, on the same processors; \
             bogo operations against those without a tracer."
        ),
        ["", "events a second", "lost", "bogo operations"],
    );
    for (name, arguments) in STRESSORS {
        eprintln!("the whole machine: {name}");
        let alone = stress(arguments, seconds)?;
        let (traced, tracer) = beside(bench, arguments, seconds)?;
        let (events, lost) = last_words(&tracer.err)?;
        section.row([
            format!("`{}`", arguments.join(" ")),
            format!("{:.0}", events as f64 / f64::from(seconds)),
            lost.to_string(),
            format!("{:.2}", traced / alone),
        ]);
    }
    Ok(vec![section])
}

/// What stress-ng did while all was traced, and how the tracer went.
fn beside(bench: &Bench, arguments: &[&str], seconds: u32) -> Result<(f64, Run)> {
    /// To attach to all there is, and to see the last of it end.
    const MORE: u32 = 3;
    let mut tool = Command::new(&bench.tool);
    tool.args(["-a", "-o", "/dev/null", "-d", &(seconds + 2 * MORE).to_string()]);
    thread::scope(|scope| {
        let tracer = scope.spawn(|| run(&mut tool));
        thread::sleep(Duration::from_secs(MORE.into()));
        let traced = stress(arguments, seconds)?;
        let tracer = tracer.join().map_err(|_| anyhow!("the thread panicked"))?;
        Ok((traced, tracer?))
    })
}

/// Bogo operations a second that stress-ng did.
fn stress(arguments: &[&str], seconds: u32) -> Result<f64> {
    let timeout = format!("{seconds}s");
    let out =
        run(Command::new("stress-ng").args(arguments).args(["-t", &timeout, "--metrics-brief"]))?;
    let said = out.out + &out.err;
    // stress-ng: info:  [PID] STRESSOR OPERATIONS REAL USER SYSTEM RATE RATE
    let rate = |line: &str| {
        let figures: Vec<f64> =
            line.split_whitespace().rev().map_while(|word| word.parse().ok()).collect();
        (figures.len() == 6).then(|| figures[1])
    };
    said.lines().find_map(rate).context("stress-ng did not say what it did")
}

/// Events and losses, as the tool's last words have them.
fn last_words(said: &str) -> Result<(u64, u64)> {
    let two = |line: &str| {
        let (events, rest) = line.strip_prefix("mmaptrace: ")?.split_once(" events, ")?;
        Some((events.parse().ok()?, rest.split_once(" lost")?.0.parse().ok()?))
    };
    said.lines().rev().find_map(two).context("the tool did not say how many events it saw")
}

//! Real programs under the tool, held against /proc all the while.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{document, package, run, workspace::root};

/// A program: its name in the table, the command or file that must be there and its package, and what a
/// shell runs; before [`THREADS`], if it ends with a newline.
type Program = (&'static str, &'static str, &'static str, &'static str);

const THREADS: &str = "python3 -c \"import threading, time
end = time.monotonic() + 3
def work():
  while time.monotonic() < end: b = [bytearray(n * 49999 % 400000) for n in range(9)]
ts = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in ts]; [t.join() for t in ts]\"";

#[rustfmt::skip]
const PROGRAMS: &[Program] = &[
    ("stress-ng's memory stressors", "stress-ng", "stress-ng",
        "stress-ng --vm 1 --vm-bytes 32M --mmap 1 --mremap 1 --madvise 1 --brk 1 --mlock 1 --shm 1 \
         --stack 1 --timeout 5s"),
    ("a JVM with G1", "javac", "default-jdk-headless", "java -XX:+UseG1GC -Xmx128m Churn.java"),
    ("a JVM with ZGC", "javac", "default-jdk-headless", "java -XX:+UseZGC -Xmx256m Churn.java"),
    ("node", "node", "nodejs",
        "node -e 'for (let i = 0, end = Date.now() + 3000; Date.now() < end; i++) {
           globalThis.x = Buffer.alloc(1 << (i % 22)) }'"),
    ("python with threads", "python3", "python3", "export MALLOC_MMAP_THRESHOLD_=65536;\n"),
    ("PostgreSQL under pgbench", "pgbench", "postgresql",
        "PATH=$PATH:$(ls -d /usr/lib/postgresql/*/bin | tail -1); chmod 777 .
         as() { su -s /bin/sh postgres -c \"PATH=$PATH; $1\"; }
         as 'initdb -D data' && as \"pg_ctl -D data -o '-k $PWD -p 5544' -w start\" &&
         as \"pgbench -h $PWD -p 5544 -i postgres && pgbench -h $PWD -p 5544 -c 4 -T 5 postgres\"
         status=$?; as 'pg_ctl -D data -m fast stop'; exit $status"),
    ("Chromium, headless, opening a page", "chromium", "chromium",
        "chromium --headless --no-sandbox --disable-gpu --user-data-dir=profile \
         --dump-dom 'data:text/html,<h1>page</h1>'"),
    ("gdb, debugging a program", "gdb", "gdb", "gdb -nx -batch -ex 'set breakpoint pending on' -ex 'break malloc' -ex run -ex 'ignore 1 20' \
         -ex continue -ex 'call ((void*(*)(unsigned long))malloc)(1000000)' -ex delete -ex 'stepi 2000' \
         -ex continue /bin/ls"),
    ("a program under qemu-user", "qemu-x86_64", "qemu-user",
        "export MALLOC_MMAP_THRESHOLD_=65536; qemu-x86_64 /usr/bin/python3 -c \"import time
end = time.monotonic() + 5
while time.monotonic() < end: b = [bytearray(n * 997 % 400000) for n in range(99)]\""),
    // Libraries that are small and that python has not open.
    ("dlopen and dlclose in a loop", "python3", "python3",
        "python3 -c \"import ctypes, _ctypes, time
end = time.monotonic() + 3; i = 0
while time.monotonic() < end: i += 1; _ctypes.dlclose(ctypes.CDLL('libresolv.so.2' if i % 2 else 'libBrokenLocale.so.1')._handle)\""),
    ("jemalloc", "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2", "libjemalloc2",
        "export PYTHONMALLOC=malloc LD_PRELOAD=/usr/lib/x86_64-linux-gnu/libjemalloc.so.2;\n"),
    ("glibc's arenas", "python3", "python3", "export PYTHONMALLOC=malloc;\n"),
];

const CHURN: &str = "public class Churn { public static void main(String[] a) throws Exception {
    Thread[] all = new Thread[4];
    for (int t = 0; t < 4; t++) { all[t] = new Thread(() -> { byte[][] kept = new byte[64][];
        for (int i = 0; i < 60000; i++) kept[i % 64] = new byte[i % 200000]; }); all[t].start(); }
    for (Thread t : all) t.join(); } }";

/// Runs them all, prints a row for each, and writes the table into `docs/exactness.md`.
///
/// # Errors
/// When the tool cannot be built, or the document not be written.
pub(crate) fn programs() -> Result<()> {
    let tool = run::build(true)?;
    let mut table = "| program | calls | events | lost | healed | comparisons | differences |\n\
         |---|---|---|---|---|---|---|\n"
        .to_owned();
    let mut unclean = Vec::new();
    for &(name, needed, package, script) in PROGRAMS {
        let row = if package::have(needed, package) {
            let script =
                if script.ends_with('\n') { script.to_owned() + THREADS } else { script.into() };
            let (row, is_clean) = trace(&tool, &script)?;
            if !is_clean {
                unclean.push(name);
            }
            row
        } else {
            format!("there is no {needed} (package {package}) | | | | |")
        };
        println!("{name}: {row}");
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| {name} | {row} |");
    }
    document::write(&root().join("docs/exactness.md"), "programs", &table)?;
    let unclean = unclean.join(", ");
    ensure!(unclean.is_empty(), "lost, healed, different, never compared or failed: {unclean}");
    Ok(())
}

/// Traces one, and returns the figures of its row, and whether they are as they should be.
fn trace(tool: &Path, script: &str) -> Result<(String, bool)> {
    let place = std::env::temp_dir().join(format!("mmaptrace-programs-{}", std::process::id()));
    fs::create_dir_all(&place)?;
    fs::write(place.join("Churn.java"), CHURN)?;
    let script = format!("{{ {script}\n}} > /dev/null");
    let mut command = Command::new(tool);
    command.args(["record", "--verify=0.05", "--buffer", "256M", "-o", "recording"]);
    command.args(["--", "sh", "-c", &script]).current_dir(&place).stdin(Stdio::null());
    let output = command.output().context("cannot run the tool")?;
    let calls = calls(tool, &place.join("recording"));
    let _ = fs::remove_dir_all(&place);
    let calls = calls.context("cannot read the recording")?;
    ensure!(calls > 0, "no call was told: {}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("mmaptrace: ")).collect();
    let before = |what: &str| {
        let line = said.iter().rev().find(|line| line.contains(what))?;
        let words = line.split(what).next()?;
        words.rsplit(' ').next()?.parse::<u64>().ok()
    };
    let show = |what: &str| before(what).map_or("?".to_owned(), |number| number.to_string());
    let differences = said.iter().filter(|line| line.contains(" differs at commit ")).count();
    let figures = ["events", "lost", "healed", "comparisons"].map(|what| show(&format!(" {what}")));
    let is_clean = differences == 0
        && output.status.success()
        // What was never compared cannot have differed.
        && before(" comparisons").is_some_and(|comparisons| comparisons > 0)
        && ["lost", "healed"].iter().all(|what| before(&format!(" {what}")) == Some(0));
    let mut row = format!("{calls} | {} | {differences}", figures.join(" | "));
    if !output.status.success() {
        let _ = write!(row, " ({})", output.status);
    }
    Ok((row, is_clean))
}

/// How many calls a recording tells of.
fn calls(tool: &Path, recording: &Path) -> Result<u64> {
    let mut replay = Command::new(tool);
    replay.args(["replay", "-q", "--format", "json"]).arg(recording).stdout(Stdio::piped());
    let mut replay = replay.spawn()?;
    let stream = BufReader::new(replay.stdout.take().context("its output is a pipe")?);
    let is_call = |line: Vec<u8>| line.starts_with(br#"{"type":"call","#);
    let calls = stream.split(b'\n').map(|line| Ok(u64::from(is_call(line?)))).sum();
    ensure!(replay.wait()?.success(), "the recording cannot be replayed");
    calls
}

//! Real programs under the tool, held against /proc all the while.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::{document, package, run, workspace::root};

/// A program: its name in the table, the command that must be there and its package, and what a
/// shell runs.
type Program = (&'static str, &'static str, &'static str, &'static str);

const THREADS: &str = "python3 -c \"import threading
def work():
  for i in range(2000): b = [bytearray(n * 997 % 400000) for n in range(9)]
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
        "node -e 'for (let i = 0; i < 3000; i++) { globalThis.x = Buffer.alloc(1 << (i % 22)) }'"),
    ("python with threads", "python3", "python3", THREADS),
    ("PostgreSQL under pgbench", "pgbench", "postgresql",
        "PATH=$PATH:$(ls -d /usr/lib/postgresql/*/bin | tail -1); chmod 777 .
         as() { su -s /bin/sh postgres -c \"PATH=$PATH; $1\"; }
         as 'initdb -D data' && as \"pg_ctl -D data -o '-k $PWD -p 5544' -w start\" &&
         as \"pgbench -h $PWD -p 5544 -i postgres && pgbench -h $PWD -p 5544 -c 4 -T 5 postgres\"
         status=$?; as 'pg_ctl -D data -m fast stop'; exit $status"),
    ("Chromium, headless, opening a page", "chromium", "chromium",
        "chromium --headless --no-sandbox --disable-gpu --user-data-dir=profile \
         --dump-dom 'data:text/html,<h1>page</h1>'"),
    ("gdb, debugging a program", "gdb", "gdb", "gdb -nx -batch -ex 'break main' -ex run /bin/ls"),
    ("a program under qemu-user", "qemu-x86_64", "qemu-user",
        "export MALLOC_MMAP_THRESHOLD_=65536; qemu-x86_64 /usr/bin/python3 -c \"import time
end = time.monotonic() + 5
while time.monotonic() < end: b = [bytearray(n * 997 % 400000) for n in range(99)]\""),
    ("dlopen and dlclose in a loop", "python3", "python3",
        "python3 -c \"import ctypes, _ctypes
for i in range(2000): _ctypes.dlclose(ctypes.CDLL('libm.so.6' if i % 2 else 'libz.so.1')._handle)\""),
    ("jemalloc", "python3", "libjemalloc2",
        "export LD_PRELOAD=/usr/lib/x86_64-linux-gnu/libjemalloc.so.2 PYTHONMALLOC=malloc; test -e $LD_PRELOAD &&\n"),
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
    let mut table =
        "| program | events | lost | healed | comparisons | differences |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for &(name, needed, package, script) in PROGRAMS {
        let row = if package::have(needed, package) {
            let script =
                if script.ends_with('\n') { script.to_owned() + THREADS } else { script.into() };
            trace(&tool, &script)?
        } else {
            format!("there is no {needed} (package {package}) | | | |")
        };
        println!("{name}: {row}");
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| {name} | {row} |");
    }
    document::write(&root().join("docs/exactness.md"), "programs", &table)
}

/// Traces one, and returns the figures of its row.
fn trace(tool: &Path, script: &str) -> Result<String> {
    let place = std::env::temp_dir().join(format!("mmaptrace-programs-{}", std::process::id()));
    fs::create_dir_all(&place)?;
    fs::write(place.join("Churn.java"), CHURN)?;
    let mut command = Command::new(tool);
    command.args(["--verify=0.05", "--buffer", "256M", "-o", "/dev/null"]);
    command.args(["--", "sh", "-c", script]);
    let output = command.current_dir(&place).stdin(Stdio::null()).output();
    let _ = fs::remove_dir_all(&place);
    let output = output.context("cannot run the tool")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("mmaptrace: ")).collect();
    let before = |what: &str| {
        let line = said.iter().rev().find(|line| line.contains(what))?;
        let words = line.split(what).next()?;
        words.rsplit(' ').next()?.parse::<u64>().ok()
    };
    let show = |what: &str| before(what).map_or("?".to_owned(), |number| number.to_string());
    let differences = said.iter().filter(|line| line.contains(" differs at commit ")).count();
    let mut row = ["events", "lost", "healed", "comparisons"]
        .map(|what| show(&format!(" {what}")))
        .join(" | ");
    let _ = write!(row, " | {differences}");
    if !output.status.success() {
        let _ = write!(row, " ({})", output.status);
    }
    Ok(row)
}

//! Checks everything, from formatting to tracing real programs, and counts.

use std::{
    env::consts::ARCH,
    fs,
    io::{self, BufReader},
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
};

use anyhow::{Context as _, Result};

use crate::{
    budget, docs,
    ebpf::{self, EbpfCrate},
    run,
    tally::Tally,
    toolchain::Survey,
    vm::{self, Selection},
    workspace::{cargo, is_root, root, succeed, target_dir},
};

/// Runs every check, prints what came of it as the last line, and fails if one failed or none ran.
///
/// # Errors
/// When a command cannot even be started.
pub(crate) fn test(no_root: bool) -> Result<ExitCode> {
    let mut checks = Checks::default();
    checks.tool("format", "fmt", &["--all", "--check"]);
    checks.tool("lints", "clippy", &["--workspace", "--all-targets", "--", "--deny", "warnings"]);
    checks.ebpf_lints()?;
    checks.documentation();
    checks.tests(
        "tests without root",
        cargo(&["test", "--workspace", "--exclude", "mmaptrace-tests", "--no-fail-fast"]),
    )?;
    let tool = checks.that("release build", || run::build(true));
    match &tool {
        Some(tool) => _ = checks.that("README", || docs::docs(tool, true)),
        None => checks.leave_out("README", "no release build"),
    }
    checks.that("instructions", || budget::budget(false));
    checks.fuzz_seeds()?;
    match &tool {
        Some(tool) if !no_root => checks.tests("tests that trace", tracing_tests(tool)?)?,
        Some(_) => checks.leave_out("tests that trace", "--no-root"),
        None => checks.leave_out("tests that trace", "no release build"),
    }
    if no_root {
        checks.leave_out(OTHER_KERNELS, "--no-root");
    } else {
        checks.other_kernels();
    }
    Ok(checks.finish())
}

const OTHER_KERNELS: &str = "tests on other kernels";
/// Of those that `cargo xtask vm` knows the oldest and the newest of the exact tier.
const KERNELS: [&str; 2] = ["6.1", "newest"];
/// What hangs on the kernel most, in a few minutes: each test takes seconds in emulation.
const FILES: [&str; 11] = [
    "absent",
    "calls",
    "contention",
    "effects_without_calls",
    "faults",
    "launch",
    "names",
    "tasks",
    "torture",
    "verify",
    vm::LOCKDOWN,
];
/// And on the oldest: the degraded tier may miss calls on the newest (docs/kernels.md).
const ON_THE_OLDEST: &[(&str, &str)] = &[("6.1", "degraded")];

/// The tests that run `tool` on real programs, as root, one at a time.
fn tracing_tests(tool: &Path) -> Result<Command> {
    let mut command = cargo(&["test", "--package", "mmaptrace-tests", "--no-fail-fast"]);
    command.args(["--", "--test-threads=1"]);
    command.env("MMAPTRACE_BIN", tool);
    if !is_root() {
        // Cargo stays with the user, so that root owns nothing in the target directory.
        let runner = format!("CARGO_TARGET_{}_RUNNER", host()?.to_uppercase().replace('-', "_"));
        command.env(runner, "sudo --preserve-env");
    }
    Ok(command)
}

/// The target triple of this machine.
fn host() -> Result<String> {
    let rustc = Command::new("rustc").arg("-vV").output().context("cannot run rustc")?;
    let about = String::from_utf8_lossy(&rustc.stdout);
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not tell its host")
}

#[derive(Debug, Default)]
struct Checks {
    tally: Tally,
    failed: Vec<&'static str>,
}

impl Checks {
    /// Runs a cargo command that a bare toolchain may lack.
    fn tool(&mut self, name: &'static str, command: &str, arguments: &[&str]) {
        let version = cargo(&[command, "--version"]).stderr(Stdio::null()).output();
        if version.is_ok_and(|output| output.status.success()) {
            self.that(name, || succeed(cargo(&[command]).args(arguments)));
        } else {
            self.leave_out(name, &format!("no cargo {command}; rustup component add it"));
        }
    }

    /// The eBPF programs are compiled for their own target only, so the other lints miss them.
    fn ebpf_lints(&mut self) -> Result<()> {
        const NAME: &str = "lints of the eBPF programs";
        let survey = Survey::take();
        let mut pairs = survey.pairs();
        let clippy = pairs.find(|(toolchain, _)| toolchain.program("cargo-clippy").is_file());
        let Some((toolchain, linker)) = clippy else {
            self.leave_out(NAME, "no cargo clippy beside the compiler for eBPF");
            return Ok(());
        };
        let ebpf = EbpfCrate {
            manifest: &root().join(ebpf::NAME).join("Cargo.toml"),
            target_dir: &target_dir()?.join("ebpf"),
            arch: ARCH,
            is_big_endian: cfg!(target_endian = "big"),
        };
        let mut command = ebpf.cargo(["cargo-clippy", "clippy"], toolchain, linker);
        self.that(NAME, || succeed(command.args(["--", "--deny", "warnings"])));
        Ok(())
    }

    /// Gives each target of fuzzing what it starts from; nothing is made at random.
    fn fuzz_seeds(&mut self) -> Result<()> {
        const NAME: &str = "seeds of fuzzing";
        if Command::new("c++").arg("--version").stdout(Stdio::null()).status().is_err() {
            self.leave_out(NAME, "no C++ compiler, which libFuzzer takes");
            return Ok(());
        }
        let (place, built) = (root().join("fuzz"), target_dir()?.join("fuzz"));
        self.that(NAME, || {
            let manifest = place.join("Cargo.toml").into_os_string();
            let mut build = cargo(&["build", "--manifest-path"]);
            build.arg(manifest).env("CARGO_TARGET_DIR", &built);
            // As cargo-fuzz has it: some of what is fuzzed is for nobody else.
            succeed(build.env("RUSTFLAGS", "--cfg fuzzing"))?;
            for seeds in fs::read_dir(place.join("seeds"))? {
                let seeds = seeds?;
                let files = fs::read_dir(seeds.path())?.map(|file| Ok(file?.path()));
                let files = files.collect::<io::Result<Vec<_>>>()?;
                let mut target = Command::new(built.join("debug").join(seeds.file_name()));
                // Without a file it would make some, without an end, but for this.
                succeed(target.arg("-runs=1").args(files).stderr(Stdio::null()))?;
            }
            Ok(())
        });
        Ok(())
    }

    /// Builds the documentation: a link that leads nowhere fails.
    fn documentation(&mut self) {
        let mut doc =
            cargo(&["doc", "--workspace", "--lib", "--no-deps", "--document-private-items"]);
        self.that("documentation", || succeed(doc.env("RUSTDOCFLAGS", "--deny warnings")));
    }

    /// Runs a check that passes or fails as a whole; None if it failed.
    fn that<T>(&mut self, name: &'static str, check: impl FnOnce() -> Result<T>) -> Option<T> {
        announce(name);
        let result = check();
        if let Err(error) = &result {
            eprintln!("{error:#}");
        }
        self.record(name, if result.is_ok() { Tally::PASSED } else { Tally::FAILED });
        result.ok()
    }

    /// Runs a command that runs many tests and prints how each came out.
    fn tests(&mut self, name: &'static str, mut command: Command) -> Result<()> {
        announce(name);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run cargo")?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (out, err) = out.zip(err).context("cargo without its output")?;
        let (printed, complained) = thread::scope(|scope| {
            let complaints = scope.spawn(|| Tally::of(BufReader::new(err), io::stderr()));
            (Tally::of(BufReader::new(out), io::stdout()), complaints.join())
        });
        let mut tally = printed?;
        tally += complained.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        if !child.wait()?.success() && !tally.has_failures() {
            // It did not compile, or a test took its whole process down.
            tally += Tally::FAILED;
        }
        self.record(name, tally);
        Ok(())
    }

    /// Boots other kernels and runs there the tests that trace.
    fn other_kernels(&mut self) {
        if !Path::new("/etc/debian_version").exists() {
            return self.leave_out(OTHER_KERNELS, "the kernels are Debian's, and this is not");
        }
        announce(OTHER_KERNELS);
        let selection = Selection {
            kernels: KERNELS.map(str::to_owned).into(),
            torture: None,
            files: FILES.map(str::to_owned).into(),
            more: ON_THE_OLDEST,
            filter: None,
        };
        let tally = vm::vm(&selection).unwrap_or_else(|error| {
            eprintln!("{error:#}");
            Tally::FAILED
        });
        self.record(OTHER_KERNELS, tally);
    }

    fn leave_out(&mut self, name: &str, why: &str) {
        println!("SKIP {name}: {why}");
        self.tally += Tally::LEFT_OUT;
    }

    fn record(&mut self, name: &'static str, tally: Tally) {
        self.tally += tally;
        if tally.has_failures() {
            self.failed.push(name);
        }
    }

    fn finish(self) -> ExitCode {
        println!();
        for name in &self.failed {
            println!("FAILED: {name}");
        }
        println!("{}", self.tally);
        self.tally.verdict()
    }
}

fn announce(name: &str) {
    println!("\n=== {name} ===");
}

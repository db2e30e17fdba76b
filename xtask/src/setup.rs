//! Installs what the build of the eBPF object needs and this machine lacks.

use std::{
    fmt,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    toolchain::{SETUP_LLVM, Survey, cache_dir},
    workspace::{cargo, is_root, succeed},
};

/// Debian's newest Rust, which it keeps for building browsers, with the sources of `core`.
const COMPILER_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "rust-web-clippy"];
/// What `bpf-linker` links with.
const LINKER_PACKAGES: [&str; 5] =
    ["llvm-22-dev", "libpolly-22-dev", "libzstd-dev", "zlib1g-dev", "libxml2-dev"];
const LINKER_VERSION: &str = "0.13.0";

const ELSEWHERE: &str = "\
the packages are known for Debian only; install these by hand:
  - a Rust with the sources of its library, either of
      rustup toolchain install nightly --component rust-src
      the distribution's rustc, cargo and rust-src, all in /usr
  - a bpf-linker with an LLVM as new as that Rust's, on PATH:
      https://github.com/aya-rs/bpf-linker#installation";

/// Sets up: fast, and without a change, on a machine that has everything.
///
/// # Errors
/// When something cannot be installed, or may not be; the message says what to do by hand.
pub(crate) fn setup() -> Result<()> {
    let survey = Survey::take();
    if let Some((toolchain, linker)) = survey.pairs().next() {
        eprintln!("setup: nothing to install: {toolchain} with {linker}");
        return Ok(());
    }
    eprint!("setup: this machine cannot build the eBPF object yet:\n{survey}");
    ensure!(Path::new("/etc/debian_version").exists(), ELSEWHERE);

    let steps = plan(&survey)?;
    eprintln!("setup: {}", if is_root() { "running" } else { "not root; run these:" });
    for step in &steps {
        eprintln!("  {step}");
    }
    ensure!(is_root(), "run the commands above, then this again");
    for mut step in steps {
        eprintln!("setup: {step}");
        succeed(&mut step.command).context(ELSEWHERE)?;
    }
    let survey = Survey::take();
    match survey.pairs().next() {
        Some((toolchain, linker)) => eprintln!("setup: done: {toolchain} with {linker}"),
        None => bail!("all is installed, and still not enough:\n{survey}{ELSEWHERE}"),
    }
    Ok(())
}

/// A command, and whether it needs root's rights.
struct Step {
    command: Command,
    as_root: bool,
}

/// What to run to get all that `survey` lacks.
fn plan(survey: &Survey) -> Result<Vec<Step>> {
    let mut packages = Vec::new();
    // A newer LLVM writes what the linker from here cannot read.
    if !survey.toolchains.iter().any(|toolchain| toolchain.llvm <= SETUP_LLVM) {
        packages.extend(COMPILER_PACKAGES);
    }
    let root = cache_dir().context("neither XDG_CACHE_HOME nor a home directory to install to")?;
    let linker = root.join("bin/bpf-linker");
    let has_linker = survey.linkers.iter().any(|found| found.path == linker);
    if !has_linker {
        packages.extend(LINKER_PACKAGES);
    }

    let mut update = Command::new("apt-get");
    update.arg("update");
    let mut install = Command::new("apt-get");
    // Debian's own rustc and rustup packages conflict with these: then fail, and remove nothing.
    install.args(["install", "--yes", "--no-install-recommends", "--no-remove"]).args(packages);
    let mut steps = vec![Step::as_root(update), Step::as_root(install)];
    if !has_linker {
        let mut build = cargo(&["install", "bpf-linker", "--version", LINKER_VERSION, "--locked"]);
        build
            .args(["--no-default-features", "--features", "llvm-22", "--root"])
            .arg(root)
            .env("LLVM_PREFIX", "/usr/lib/llvm-22");
        steps.push(Step { command: build, as_root: false });
    }
    Ok(steps)
}

impl Step {
    fn as_root(mut command: Command) -> Self {
        command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        Self { command, as_root: true }
    }
}

impl fmt::Display for Step {
    /// As one would type it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.as_root && !is_root() {
            f.write_str("sudo ")?;
        }
        for (name, value) in self.command.get_envs() {
            write!(f, "{}={} ", name.display(), value.unwrap_or_default().display())?;
        }
        let program = Path::new(self.command.get_program());
        write!(f, "{}", program.file_name().unwrap_or(program.as_os_str()).display())?;
        self.command.get_args().try_for_each(|argument| write!(f, " {}", argument.display()))
    }
}

//! Finds a compiler and a linker for the eBPF object.
//!
//! `build.rs` and `cargo xtask setup` share this file, so that what the one asks for is what the
//! other provides.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
};

/// The LLVM that setup builds its linker with: the one of Debian's compiler.
pub(crate) const SETUP_LLVM: u32 = 22;

/// The oldest compiler that the workspace takes, as `major.minor`.
const MINIMUM_RUST: &str = env!("CARGO_PKG_RUST_VERSION");

/// A compiler that can build for eBPF: it has the sources of `core`, which rustup ships compiled
/// for other targets only.
#[derive(Debug)]
pub(crate) struct Toolchain {
    /// How a person would name it.
    origin: &'static str,
    /// What `rustc --print sysroot` says: `bin/rustc`, `bin/cargo` and `lib/rustlib` are in it.
    sysroot: PathBuf,
    /// Version of rustc, as in `1.96.0`.
    release: String,
    /// Major version of the LLVM that it writes bitcode with.
    pub(crate) llvm: u32,
}

/// A `bpf-linker` that runs.
#[derive(Debug)]
pub(crate) struct Linker {
    /// The program.
    pub(crate) path: PathBuf,
    /// The newest LLVM whose bitcode it reads, where that is known.
    newest_llvm: Option<u32>,
}

/// Something that was looked for in vain.
#[derive(Debug)]
struct Unusable {
    what: &'static str,
    reason: String,
}

/// What this machine has.
#[derive(Debug)]
pub(crate) struct Survey {
    /// In the order in which to try them.
    pub(crate) toolchains: Vec<Toolchain>,
    /// Setup's own first: it is known to read what the system's Rust writes.
    pub(crate) linkers: Vec<Linker>,
    unusable: Vec<Unusable>,
}

impl Survey {
    /// Looks at this machine. Nothing is built or changed.
    pub(crate) fn take() -> Self {
        let mut survey = Self { toolchains: vec![], linkers: vec![], unusable: vec![] };
        let in_use = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let nightly = sysroot(Command::new("rustup").args(["run", "nightly", "rustc"]));
        survey.toolchain("rustup's nightly", nightly);
        survey.toolchain("the toolchain in use", sysroot(&mut Command::new(in_use)));
        survey.toolchain("the system's Rust", Ok("/usr".into()));
        survey.find_linkers();
        survey
    }

    /// Every toolchain that has a linker, with it.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&Toolchain, &Linker)> {
        self.toolchains.iter().filter_map(|toolchain| {
            let reads = |linker: &&Linker| linker.newest_llvm.is_none_or(|v| toolchain.llvm <= v);
            self.linkers.iter().find(reads).map(|linker| (toolchain, linker))
        })
    }

    fn toolchain(&mut self, origin: &'static str, sysroot: Result<PathBuf, String>) {
        match sysroot.and_then(|sysroot| Toolchain::at(origin, sysroot)) {
            Ok(found) if self.toolchains.iter().any(|known| known.sysroot == found.sysroot) => {}
            Ok(found) => self.toolchains.push(found),
            Err(reason) => self.unusable.push(Unusable { what: origin, reason }),
        }
    }

    fn find_linkers(&mut self) {
        let on_path = env::var_os("PATH").unwrap_or_default();
        let elsewhere = env::split_paths(&on_path)
            .chain(directory("CARGO_HOME", ".cargo").map(|home| home.join("bin")))
            .map(|directory| (directory, None));
        let cached = cache_dir().map(|cache| (cache.join("bin"), Some(SETUP_LLVM)));
        for (directory, newest_llvm) in cached.into_iter().chain(elsewhere) {
            let path = directory.join("bpf-linker");
            if !path.is_file() || self.linkers.iter().any(|known| known.path == path) {
                continue;
            }
            match output(Command::new(&path).arg("--version")) {
                Ok(_) => self.linkers.push(Linker { path, newest_llvm }),
                Err(reason) => self.unusable.push(Unusable { what: "bpf-linker", reason }),
            }
        }
        if self.linkers.is_empty() {
            let reason = "not on PATH, in CARGO_HOME/bin, or where setup puts it".to_owned();
            self.unusable.push(Unusable { what: "bpf-linker", reason });
        }
    }
}

impl fmt::Display for Survey {
    /// A list, one line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for toolchain in &self.toolchains {
            writeln!(f, "  - {toolchain}: would do, with a linker for it")?;
        }
        for linker in &self.linkers {
            writeln!(f, "  - {linker}: would do, with a compiler for it")?;
        }
        for Unusable { what, reason } in &self.unusable {
            writeln!(f, "  - {what}: {reason}")?;
        }
        Ok(())
    }
}

impl Toolchain {
    /// The program `name` of this toolchain, never a wrapper that would choose another.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.sysroot.join("bin").join(name)
    }

    fn at(origin: &'static str, sysroot: PathBuf) -> Result<Self, String> {
        for program in ["bin/rustc", "bin/cargo"].map(|program| sysroot.join(program)) {
            if !program.is_file() {
                return Err(format!("there is no {}", program.display()));
            }
        }
        if !sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file() {
            return Err(format!("no sources of core (rust-src) in {}", sysroot.display()));
        }
        let about = output(Command::new(sysroot.join("bin/rustc")).arg("-vV"))?;
        let field = |name| about.lines().find_map(|line| line.strip_prefix(name));
        let release = field("release: ").ok_or("rustc does not tell its version")?.to_owned();
        let llvm = field("LLVM version: ").ok_or("rustc does not tell its LLVM")?;
        if numbers(&release) < numbers(MINIMUM_RUST) {
            return Err(format!("rustc is {release}, {MINIMUM_RUST} or later is needed"));
        }
        Ok(Self { origin, release, llvm: numbers(llvm).0, sysroot })
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, sysroot, release, llvm } = self;
        write!(f, "{origin} ({}, rustc {release}, LLVM {llvm})", sysroot.display())
    }
}

impl fmt::Display for Linker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)?;
        self.newest_llvm.map_or(Ok(()), |llvm| write!(f, " (up to LLVM {llvm})"))
    }
}

/// Where setup keeps the programs that it builds, in `bin`. None for a user without a home.
pub(crate) fn cache_dir() -> Option<PathBuf> {
    directory("XDG_CACHE_HOME", ".cache").map(|cache| cache.join("mmaptrace"))
}

/// The absolute path in `variable`, else `fallback` in the user's home.
fn directory(variable: &str, fallback: &str) -> Option<PathBuf> {
    let explicit = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    explicit.or_else(|| env::home_dir().map(|home| home.join(fallback)))
}

fn sysroot(rustc: &mut Command) -> Result<PathBuf, String> {
    Ok(Path::new(output(rustc.args(["--print", "sysroot"]))?.trim_end()).to_path_buf())
}

/// Standard output of a command that succeeds.
fn output(command: &mut Command) -> Result<String, String> {
    let program = Path::new(command.get_program()).display().to_string();
    let output = command.output().map_err(|error| format!("{program} does not run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
    Err(format!("{program} fails: {}", said.trim().trim_start_matches("error: ")))
}

/// Major and minor version, for comparing.
fn numbers(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

//! Provides the eBPF objects that the library embeds, in `$OUT_DIR`: ready ones, of the directory
//! that `MMAPTRACE_EBPF_OBJECTS` names, else built from the crate beside this.

#[path = "build/ebpf.rs"]
mod ebpf;
#[path = "build/toolchain.rs"]
mod toolchain;

use std::{
    env,
    ffi::OsString,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use ebpf::EbpfCrate;
use toolchain::{Linker, Survey, Toolchain};

const READY: &str = "MMAPTRACE_EBPF_OBJECTS";
/// The objects, one for each tier.
const OBJECTS: [&str; 2] = [ebpf::NAME, "mmaptrace-ebpf-degraded"];

/// Relative to this package, where cargo starts a build script.
const MANIFEST: &str = "../mmaptrace-ebpf/Cargo.toml";
const INPUTS: [&str; 8] = [
    "build.rs",
    "build",
    MANIFEST,
    "../mmaptrace-ebpf/src",
    "../mmaptrace-common/Cargo.toml",
    "../mmaptrace-common/src",
    "../Cargo.toml",
    "../Cargo.lock",
];

const ADVICE: &str = "\
Any one of these helps:
    cargo xtask setup
        on Debian: installs what is missing; elsewhere: says what to install
    rustup toolchain install nightly --component rust-src
        and a bpf-linker on PATH (https://github.com/aya-rs/bpf-linker#installation)
    MMAPTRACE_EBPF_OBJECTS=/path/to/directory cargo build
        with objects that were built elsewhere from the same sources";

fn main() {
    println!("cargo::rerun-if-env-changed={READY}");
    if let Err(report) = provide(Path::new(&variable("OUT_DIR"))) {
        for line in report.lines() {
            println!("cargo::error={line}");
        }
    }
}

/// Puts the objects into `out`, or says all that was tried.
fn provide(out: &Path) -> Result<(), String> {
    if let Some(ready) = env::var_os(READY) {
        let ready = Path::new(&ready);
        for object in OBJECTS {
            println!("cargo::rerun-if-changed={}", ready.join(object).display());
        }
        return copy(ready, out).map_err(|error| format!("{READY}: {error}"));
    }
    if env::var_os("DOCS_RS").is_some() {
        // Documentation is built with stable Rust alone, and never runs the objects.
        let empty = |object: &str| fs::write(out.join(object), []);
        return OBJECTS.into_iter().try_for_each(empty).map_err(|error| error.to_string());
    }
    if !Path::new(MANIFEST).exists() {
        return Err(format!("{MANIFEST} is not there: build in the repository, or set {READY}"));
    }
    for input in INPUTS {
        println!("cargo::rerun-if-changed={input}");
    }
    let survey = Survey::take();
    // The linker may be too old for what the first compiler writes: then the next one may do.
    let mut report = String::new();
    for (toolchain, linker) in survey.pairs() {
        match build(toolchain, linker) {
            Ok(built) => return copy(&built, out),
            Err(said) => {
                let _ = writeln!(report, "with {toolchain} and {linker}:\n{said}");
            }
        }
    }
    if report.is_empty() {
        Err(format!("nothing here can build the eBPF objects; looked at:\n{survey}{ADVICE}"))
    } else {
        Err(format!("the eBPF objects do not build\n{report}"))
    }
}

/// Builds the objects, and returns where they are, or what the compiler said.
fn build(toolchain: &Toolchain, linker: &Linker) -> Result<PathBuf, String> {
    let target_dir = target_dir();
    let arch = variable("CARGO_CFG_TARGET_ARCH");
    let ebpf = EbpfCrate {
        manifest: Path::new(MANIFEST),
        target_dir: &target_dir,
        arch: &arch.to_string_lossy(),
        is_big_endian: variable("CARGO_CFG_TARGET_ENDIAN") == "big",
    };
    let mut cargo = ebpf.cargo(["cargo", "build"], toolchain, linker);
    let output = cargo.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(said.into_owned());
    }
    for line in said.lines() {
        println!("cargo::warning={line}");
    }
    Ok(target_dir.join(ebpf.target()).join("release"))
}

/// A directory that debug builds, release builds and lints share, and `cargo clean` removes: in
/// the outer target directory, which cargo marks with a tag, else in `OUT_DIR`.
fn target_dir() -> PathBuf {
    let out = PathBuf::from(variable("OUT_DIR"));
    let outer = out.ancestors().take(6).find(|directory| directory.join("CACHEDIR.TAG").is_file());
    outer.unwrap_or(&out).join("ebpf")
}

/// Copies the objects from one directory to another.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    OBJECTS.into_iter().try_for_each(|object| {
        let from = from.join(object);
        let copied = fs::copy(&from, to.join(object));
        copied.map(drop).map_err(|error| format!("cannot copy {}: {error}", from.display()))
    })
}

/// A variable that cargo sets for every build script.
fn variable(name: &str) -> OsString {
    env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: this is for cargo to run"))
}

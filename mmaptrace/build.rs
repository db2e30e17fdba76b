//! Provides the eBPF object that the library embeds, as `$OUT_DIR/mmaptrace-ebpf`: a ready one
//! that `MMAPTRACE_EBPF_OBJECT` names, else one built from the crate beside this.

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

const READY: &str = "MMAPTRACE_EBPF_OBJECT";

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
    MMAPTRACE_EBPF_OBJECT=/path/to/mmaptrace-ebpf cargo build
        with an object that was built elsewhere from the same sources";

fn main() {
    println!("cargo::rerun-if-env-changed={READY}");
    let object = PathBuf::from(variable("OUT_DIR")).join(ebpf::NAME);
    if let Err(report) = provide(&object) {
        for line in report.lines() {
            println!("cargo::error={line}");
        }
    }
}

/// Puts the object at `object`, or says all that was tried.
fn provide(object: &Path) -> Result<(), String> {
    if let Some(ready) = env::var_os(READY) {
        let ready = Path::new(&ready);
        println!("cargo::rerun-if-changed={}", ready.display());
        return copy(ready, object).map_err(|error| format!("{READY}: {error}"));
    }
    if env::var_os("DOCS_RS").is_some() {
        // Documentation is built with stable Rust alone, and never runs the object.
        return fs::write(object, []).map_err(|error| error.to_string());
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
            Ok(built) => return copy(&built, object),
            Err(said) => {
                let _ = writeln!(report, "with {toolchain} and {linker}:\n{said}");
            }
        }
    }
    if report.is_empty() {
        Err(format!("nothing here can build the eBPF object; looked at:\n{survey}{ADVICE}"))
    } else {
        Err(format!("the eBPF object does not build\n{report}"))
    }
}

/// Builds the object, and returns where it is, or what the compiler said.
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
    Ok(target_dir.join(ebpf.target()).join("release").join(ebpf::NAME))
}

/// A directory that debug builds, release builds and lints share, and `cargo clean` removes: in
/// the outer target directory, which cargo marks with a tag, else in `OUT_DIR`.
fn target_dir() -> PathBuf {
    let out = PathBuf::from(variable("OUT_DIR"));
    let outer = out.ancestors().take(6).find(|directory| directory.join("CACHEDIR.TAG").is_file());
    outer.unwrap_or(&out).join("ebpf")
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to).map(drop).map_err(|error| format!("cannot copy {}: {error}", from.display()))
}

/// A variable that cargo sets for every build script.
fn variable(name: &str) -> OsString {
    env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: this is for cargo to run"))
}

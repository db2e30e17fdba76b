//! Runs cargo on the eBPF crate: an inner cargo, because that crate needs flags, a profile and a
//! compiler that differ from those of the program around it.

use std::{env, ffi::OsStr, path::Path, process::Command};

use crate::toolchain::{Linker, Toolchain};

/// The crate.
pub(crate) const NAME: &str = "mmaptrace-ebpf";

/// What to work on, and for which machine.
#[derive(Debug)]
pub(crate) struct EbpfCrate<'a> {
    pub(crate) manifest: &'a Path,
    /// For the inner cargo alone, because an outer one holds the lock of its own.
    pub(crate) target_dir: &'a Path,
    /// Architecture of the machine that loads the object, as rustc calls it.
    pub(crate) arch: &'a str,
    /// Byte order of that machine.
    pub(crate) is_big_endian: bool,
}

impl EbpfCrate<'_> {
    /// The command `program subcommand`, such as `cargo build` or `cargo-clippy clippy`.
    pub(crate) fn cargo(
        &self,
        [program, subcommand]: [&str; 2],
        toolchain: &Toolchain,
        linker: &Linker,
    ) -> Command {
        let mut cargo = Command::new(toolchain.program(program));
        for (name, _) in env::vars_os().filter(|(name, _)| !is_inherited(name)) {
            cargo.env_remove(name);
        }
        cargo
            .env("CARGO", toolchain.program("cargo"))
            .env("RUSTC", toolchain.program("rustc"))
            // Lets a stable compiler build `core`.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", self.flags().join("\x1f"))
            // The linker optimizes the object as a whole.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
            .env(self.linker_variable(), &linker.path)
            .args([subcommand, "--quiet", "--locked", "--release", "-Zbuild-std=core"])
            .args(["--bins", "--target", self.target(), "--manifest-path"])
            .arg(self.manifest)
            .arg("--target-dir")
            .arg(self.target_dir);
        cargo
    }

    /// The target triple that the object is for.
    pub(crate) fn target(&self) -> &'static str {
        if self.is_big_endian { "bpfeb-unknown-none" } else { "bpfel-unknown-none" }
    }

    fn linker_variable(&self) -> String {
        format!("CARGO_TARGET_{}_LINKER", self.target().to_uppercase().replace('-', "_"))
    }

    fn flags(&self) -> [String; 4] {
        let arch = format!("--cfg=bpf_target_arch=\"{}\"", self.arch);
        // The kernel needs type information (BTF), which the linker makes from debug information.
        let btf = "-Clink-arg=--btf".into();
        // Else the linker has memory cleared by a loop over its bytes.
        let words = "-Clink-arg=--disable-expand-memcpy-in-order".into();
        [arch, "-Cdebuginfo=2".into(), btf, words]
    }
}

/// Whether the inner cargo may see this variable.
///
/// Of those that steer cargo and rustc, only the ones that say where crates come from, and how
/// many jobs may run: the others choose compilers, flags and wrappers for the outer build.
fn is_inherited(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let steers = ["CARGO", "RUST"].iter().any(|prefix| name.starts_with(prefix));
    let passes = ["CARGO_HOME", "CARGO_MAKEFLAGS", "CARGO_NET", "CARGO_HTTP", "CARGO_REGISTR"];
    !steers || passes.iter().any(|prefix| name.starts_with(prefix))
}

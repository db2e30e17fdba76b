//! The eBPF programs of the degraded tier, for kernels that the others are not for: they are loaded
//! by Linux 5.10, with or without its types. They tell which calls were made and which tasks came
//! and went; the regions are read in `/proc`, by the tracer.
//!
//! An object of its own, for one program that the kernel refuses is its whole object refused.
//!
//! The records are those of the other object, of which they know less: no address space
//! (`Header::mm` is 0), no name and arguments of an exec, no status of an exit.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        clippy::inline_always,
        reason = "a function of its own is verified on its own, without what its caller knows"
    )
)]

#[cfg(target_arch = "bpf")]
#[expect(dead_code, reason = "the rest is read through types")]
#[path = "../kernel.rs"]
mod kernel;
#[cfg(target_arch = "bpf")]
#[path = "../kfunc.rs"]
mod kfunc;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
#[path = "../object.rs"]
mod object;
#[cfg(target_arch = "bpf")]
mod programs;
#[cfg(target_arch = "bpf")]
#[path = "../report.rs"]
mod report;
#[cfg(target_arch = "bpf")]
#[path = "../ring.rs"]
mod ring;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

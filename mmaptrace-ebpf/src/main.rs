//! The eBPF programs of mmaptrace.
//!
//! - [`programs::release_2`]: under the mmap lock, when it is released: what the regions now are.
//! - [`programs::unmapped_area`]: where the kernel found room for a mapping, a moment before.
//! - [`programs::call_exit`]: what calls returned.
//! - [`programs::task_fork`], [`programs::task_exec`], [`programs::task_exit`]: the lifecycle.
//!
//! On the host this crate is an empty program, so that `cargo build --workspace` passes over it.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        clippy::inline_always,
        reason = "a function of its own is verified on its own, without what its caller knows"
    )
)]

#[cfg(target_arch = "bpf")]
mod alone;
#[cfg(target_arch = "bpf")]
mod claim;
#[cfg(target_arch = "bpf")]
mod commit;
#[cfg(target_arch = "bpf")]
mod emit;
#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod kfunc;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod name;
#[cfg(target_arch = "bpf")]
mod object;
#[cfg(target_arch = "bpf")]
mod programs;
#[cfg(target_arch = "bpf")]
mod range;
#[cfg(target_arch = "bpf")]
mod records;
#[cfg(target_arch = "bpf")]
mod report;
#[cfg(target_arch = "bpf")]
mod ring;
#[cfg(target_arch = "bpf")]
mod space;
#[cfg(target_arch = "bpf")]
mod stack;
#[cfg(target_arch = "bpf")]
mod walk;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

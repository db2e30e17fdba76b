//! Functions of the kernel that the programs call. Their numbers are those of the running kernel's
//! types; the programs are built with a placeholder for each call, which the loader replaces.

/// `BPF_JMP | BPF_CALL` with `BPF_PSEUDO_KFUNC_CALL`; the number of the function is the upper half.
const CALL: u64 = 0x2085;
/// `BPF_JMP | BPF_JA` to the next instruction: no operation.
pub const NOTHING: u64 = 0x05;

/// Placeholder of `bpf_preempt_disable`.
pub const PREEMPT_DISABLE: u64 = call(0x7fff_5001);
/// Placeholder of `bpf_preempt_enable`.
pub const PREEMPT_ENABLE: u64 = call(0x7fff_5002);
/// Placeholder of `bpf_local_irq_save`.
pub const IRQ_SAVE: u64 = call(0x7fff_5003);
/// Placeholder of `bpf_local_irq_restore`.
pub const IRQ_RESTORE: u64 = call(0x7fff_5004);
/// Placeholder of `bpf_rdonly_cast`.
pub const RDONLY_CAST: u64 = call(0x7fff_5005);

/// The instruction that calls the function whose type has this id.
pub const fn call(id: u32) -> u64 {
    (id as u64) << 32 | CALL
}

//! How often a test does what it does often.

/// Whether each instruction is emulated, as `MMAPTRACE_EMULATED` says: there a test is to find what is
/// wrong on that kernel at all, not what goes wrong once in many times.
pub fn is_emulated() -> bool {
    std::env::var_os("MMAPTRACE_EMULATED").is_some()
}

/// `times`, or a tenth of it where that [takes too long](is_emulated).
pub fn often(times: usize) -> usize {
    if is_emulated() { times.div_ceil(10) } else { times }
}

//! How often a test does what it does often.

/// `times`, or a tenth of it where `MMAPTRACE_EMULATED` says that each instruction is emulated: there a
/// test is to find what is wrong on that kernel at all, not what goes wrong once in many times.
pub fn often(times: usize) -> usize {
    if std::env::var_os("MMAPTRACE_EMULATED").is_some() { times.div_ceil(10) } else { times }
}

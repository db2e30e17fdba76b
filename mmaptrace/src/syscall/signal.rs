//! Names of signals, as on x86: `arch/x86/include/uapi/asm/signal.h`.

use std::fmt::{self, Display, Formatter};

#[rustfmt::skip]
const NAMES: [&str; 32] = [
    "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU",
    "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// A signal's number, shown by its name.
pub(crate) struct Name(pub(crate) u32);

impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            number @ 1..=31 => write!(f, "SIG{}", NAMES[number as usize]),
            32 => f.write_str("SIGRTMIN"),
            number @ 33..=64 => write!(f, "SIGRT_{}", number - 32),
            number => write!(f, "{number}"),
        }
    }
}

//! System calls as text, the way strace 6 writes them: `mmap(NULL, 4096, PROT_READ, ...)` and
//! `-1 ENOMEM (Cannot allocate memory)`.
//!
//! The one table of `mmaptrace_common::syscalls` says which arguments a call has and of what kind;
//! the files beside this one hold the names of each family of flags.

mod bits;
mod errno;
mod ioctl;
mod memory;
mod names;
mod policy;
mod prctl;
mod process;
pub(crate) mod signal;

use std::{
    borrow::Cow,
    fmt::{self, Display, Formatter},
    mem,
};

use mmaptrace_common::syscalls::{Arg, Syscall as Row, lookup};
use mmaptrace_model::event::Syscall;

use crate::{digits::Digits, escape::Quoted};
use bits::{Address, Bits, Hex, Value};
use errno::Failure;

/// Takes one argument after the other.
pub(crate) type Show<'a> = dyn FnMut(&dyn Display) -> fmt::Result + 'a;

/// The name of a call: of the table, of the architecture's other calls, or `syscall_0x1ff`.
pub fn name(call: &Syscall) -> Cow<'static, str> {
    let known = match lookup(call.nr, call.compat) {
        Some(row) => Some(row.name),
        None if call.compat => None,
        None => names::name(call.nr),
    };
    known.map_or_else(|| Cow::Owned(format!("syscall_{:#x}", call.nr)), Cow::Borrowed)
}

/// The arguments of a call, each as text. `path` is the file name sent beside it, or empty.
pub fn arguments(call: &Syscall, path: &[u8]) -> Vec<String> {
    let mut all = Vec::with_capacity(6);
    let shown = each(call, path, &mut |argument| {
        all.push(argument.to_string());
        Ok(())
    });
    debug_assert!(shown.is_ok(), "a string takes all that is written");
    all
}

/// A call, name and arguments: `munmap(0x7f84c36bd000, 47879)`.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The call.
    pub call: &'a Syscall,
    /// The file name sent beside it, or empty; any bytes.
    pub path: &'a [u8],
    /// Whether to leave it open, as a call that has not returned yet: `munmap(0x1000, 4096`.
    pub open: bool,
}

impl Display for Call<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&name(self.call))?;
        f.write_str("(")?;
        let mut separator = "";
        each(self.call, self.path, &mut |argument| {
            f.write_str(mem::replace(&mut separator, ", "))?;
            argument.fmt(f)
        })?;
        f.write_str(if self.open { "" } else { ")" })
    }
}

/// What a call returned: `0x7f84c36bd000`, `0`, `-1 ENOMEM (Cannot allocate memory)`.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    /// The call.
    pub call: &'a Syscall,
    /// Its value, or `-errno`.
    pub result: i64,
}

impl Outcome<'_> {
    /// The value alone, as C sees it: `-1` for a failure, `?` for a call that starts again.
    pub fn value(&self) -> impl Display {
        match errno::failure(self.result) {
            Some(Failure::Error(..) | Failure::Unknown(_)) => Returned::Decimal(-1),
            Some(Failure::Restart(..)) => Returned::Nothing,
            None => self.success(),
        }
    }

    /// The name of the error, if it is one: `ENOMEM`, `ERESTARTSYS`, or `524` for one without a
    /// name.
    pub fn error(&self) -> Option<Cow<'static, str>> {
        Some(match errno::failure(self.result)? {
            Failure::Error(name, _) | Failure::Restart(name, _) => Cow::Borrowed(name),
            Failure::Unknown(number) => Cow::Owned(number.to_string()),
        })
    }

    fn success(&self) -> Returned {
        let result = self.result as u64;
        match lookup(self.call.nr, self.call.compat) {
            Some(row) if row.args.first() == Some(&Arg::Personality) => {
                Returned::Personality(result)
            }
            Some(row) if ADDRESSES.contains(&row.name) => Returned::Hex(result),
            Some(_) | None => Returned::Decimal(self.result),
        }
    }
}

impl Display for Outcome<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match errno::failure(self.result) {
            Some(Failure::Error(name, text)) => write!(f, "-1 {name} ({text})"),
            Some(Failure::Unknown(number)) => write!(f, "-1 (errno {number})"),
            Some(Failure::Restart(name, text)) => write!(f, "? {name} ({text})"),
            None => match self.success() {
                Returned::Personality(value) => {
                    write!(f, "{} ({})", Hex(value), process::Personality(value))
                }
                plain @ (Returned::Hex(_) | Returned::Decimal(_) | Returned::Nothing) => {
                    plain.fmt(f)
                }
            },
        }
    }
}

/// The calls whose value is an address.
const ADDRESSES: [&str; 7] =
    ["mmap", "mmap2", "old_mmap", "mremap", "brk", "shmat", "map_shadow_stack"];

/// A value that a call returned.
enum Returned {
    /// None: it starts again.
    Nothing,
    Hex(u64),
    Decimal(i64),
    Personality(u64),
}

impl Display for Returned {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Nothing => f.write_str("?"),
            Self::Hex(value) | Self::Personality(value) => Hex(value).fmt(f),
            Self::Decimal(value) => value.fmt(f),
        }
    }
}

/// Shows each argument in turn. `path` is the file name sent beside it, or empty.
///
/// # Errors
/// What `show` says.
pub(crate) fn each(call: &Syscall, path: &[u8], show: &mut Show<'_>) -> fmt::Result {
    let mut args = call.args;
    if call.compat {
        for arg in &mut args {
            *arg &= 0xffff_ffff;
        }
    }
    let Some(row) = lookup(call.nr, call.compat) else {
        return args.iter().try_for_each(|&value| show(&Hex(value)));
    };
    match row.args {
        [Arg::Prctl, ..] => prctl::prctl(&args, show),
        [Arg::ArchPrctl, ..] => prctl::arch_prctl(&args, show),
        [Arg::Clone, ..] => process::clone(&args, call.compat, show),
        _ => {
            for (&kind, &value) in row.args.iter().zip(&args) {
                argument(row, kind, value, path, show)?;
                if kind == Arg::Mremap && value & memory::MREMAP_FIXED == 0 {
                    break;
                }
            }
            Ok(())
        }
    }
}

/// Shows one argument of a call whose arguments do not hang on each other.
fn argument(row: &Row, kind: Arg, value: u64, path: &[u8], show: &mut Show<'_>) -> fmt::Result {
    let mut bits = |names, unknown| show(&Bits { value, names, unknown });
    match kind {
        Arg::Prot => bits(memory::PROT, "PROT_???"),
        Arg::Mremap => bits(memory::MREMAP, "MREMAP_???"),
        Arg::Mlock2 => bits(memory::MLOCK, "MLOCK_???"),
        Arg::Mlockall => bits(memory::MCL, "MCL_???"),
        Arg::Shm => bits(memory::SHM, "SHM_???"),
        Arg::ShadowStack => bits(memory::SHADOW_STACK, "SHADOW_STACK_???"),
        Arg::PolicyFlags => bits(policy::MOVE, "MPOL_???"),
        // execveat's, the one call with flags beside a path.
        Arg::Hex if row.args.contains(&Arg::Path) => bits(process::AT, "AT_???"),
        Arg::Map => show(&memory::Map(value)),
        Arg::Advice => show(&Value {
            // An int: the rest of the register is not looked at.
            of: value & 0xffff_ffff,
            names: memory::MADV,
            unknown: "MADV_???",
        }),
        Arg::Policy => show(&policy::Policy(value)),
        Arg::Addr => show(&Address(value)),
        Arg::Size => show(&Digits::decimal::<1>(value).as_str()),
        Arg::PageOffset => show(&Hex(value.wrapping_mul(mmaptrace_model::region::PAGE))),
        Arg::Int => show(&(value as i32)),
        Arg::Fd => match value as i32 {
            process::AT_FDCWD if row.args.contains(&Arg::Path) => show(&"AT_FDCWD"),
            fd => show(&fd),
        },
        Arg::Ioctl => show(&ioctl::Request(value)),
        Arg::Personality => show(&process::Personality(value)),
        Arg::Ipc => show(&Value { of: value & 0xffff, names: process::IPC, unknown: "IPC_???" }),
        Arg::Path if path.is_empty() => show(&Address(value)),
        Arg::Path => show(&Quoted(path)),
        // The last four belong to calls that are shown as a whole.
        Arg::Hex | Arg::Offset | Arg::Prctl | Arg::PrctlArg | Arg::ArchPrctl | Arg::Clone => {
            show(&Hex(value))
        }
    }
}

#[cfg(test)]
mod tests;

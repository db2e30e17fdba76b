//! Sites, and what they come to.

use std::num::NonZeroU64;

use crate::{
    event::{Cause, Syscall},
    history::Deed,
    region::{Backing, Flags, Region},
};

/// Where memory was asked for: a place in the program; or, where there are no stacks, a kind of call
/// by the threads of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// The process of the acting thread.
    pub pid: u32,
    /// The name of the thread, NUL-padded, any bytes; at a place in the program the first that came
    /// by.
    pub comm: [u8; 16],
    /// What it did, all arguments of calls 0; likewise the first.
    pub cause: Cause,
    /// The pages it was asked for, as they were at first; `None` where there was only a split.
    pub pages: Option<Kind>,
    /// The key of the stack.
    pub stack: Option<NonZeroU64>,
}

/// What makes two sites one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Stack { pid: u32, user: NonZeroU64 },
    Call { pid: u32, comm: [u8; 16], cause: Cause, pages: Option<Kind> },
}

/// What kind of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// `VM_READ`, `VM_WRITE`, `VM_EXEC` and `VM_MAYSHARE`.
    pub flags: Flags,
    /// Whether they are of a file.
    pub file: bool,
}

impl Site {
    /// The site of a deed, and what it mapped there.
    pub(super) fn of(deed: &Deed, pages: Option<&Region>) -> Self {
        let cause = match deed.cause {
            Cause::Call(call) => Cause::Call(bare(call)),
            Cause::Growth(call) => Cause::Growth(call.map(bare)),
            Cause::Remote(call) => Cause::Remote(call.map(bare)),
            Cause::Fault
            | Cause::Kernel
            | Cause::Worker
            | Cause::Seed
            | Cause::Fork
            | Cause::Exec => deed.cause,
        };
        let Deed { task, stacks, .. } = deed;
        Self {
            pid: task.pid,
            comm: task.comm,
            cause,
            pages: pages.map(Kind::of),
            stack: stacks.user,
        }
    }

    pub(super) const fn key(&self) -> Key {
        let Self { pid, comm, cause, pages, stack } = *self;
        match stack {
            Some(user) => Key::Stack { pid, user },
            None => Key::Call { pid, comm, cause, pages },
        }
    }

    /// Whether it is that of a new image: nobody asks for that twice.
    pub(super) const fn is_image(&self) -> bool {
        self.stack.is_none() && matches!(self.cause, Cause::Exec | Cause::Seed | Cause::Fork)
    }
}

impl Kind {
    fn of(region: &Region) -> Self {
        let told = Flags::READ.0 | Flags::WRITE.0 | Flags::EXEC.0 | Flags::MAYSHARE.0;
        let file = match region.backing {
            Backing::File { .. } => true,
            Backing::Anonymous
            | Backing::Special { .. }
            | Backing::Named { .. }
            | Backing::NamedShared { .. } => false,
        };
        Self { flags: Flags(region.flags.0 & told), file }
    }
}

const fn bare(call: Syscall) -> Syscall {
    Syscall { args: [0; 6], ..call }
}

/// What a site comes to. Sizes are in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Mapped and not unmapped, with any access allowed.
    pub held: u64,
    /// Mapped and not unmapped, with none (`PROT_NONE`): addresses and no memory.
    pub reserved: u64,
    /// The most that was held at once.
    pub peak: u64,
    /// Mapped in total.
    pub churn: u64,
    /// How many times pages were mapped.
    pub mapped: u64,
    /// How many of those are all unmapped again.
    pub unmapped: u64,
    /// How long those lasted.
    pub lifetimes: Lifetimes,
    /// How many times a region was cut in two there.
    pub splits: u64,
}

impl Figures {
    /// How many times pages were mapped that are not all unmapped again.
    pub const fn left(&self) -> u64 {
        self.mapped - self.unmapped
    }
}

/// How long things lasted, in ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetimes {
    /// The shortest; 0 if there were none.
    pub min: u64,
    /// The longest.
    pub max: u64,
    sum: u128,
    count: u64,
}

impl Lifetimes {
    /// The mean; `None` if there were none.
    pub fn mean(&self) -> Option<u64> {
        let mean = self.sum.checked_div(self.count.into())?;
        u64::try_from(mean).ok()
    }

    pub(super) fn add(&mut self, lifetime: u64) {
        self.min = if self.count == 0 { lifetime } else { self.min.min(lifetime) };
        self.max = self.max.max(lifetime);
        self.sum += u128::from(lifetime);
        self.count += 1;
    }
}

/// How many regions a space has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Population {
    /// Now, or when it ended.
    pub now: u64,
    /// At most.
    pub peak: u64,
    /// The process, by the name it had first: PID, and name, NUL-padded, any bytes.
    pub owner: Option<(u32, [u8; 16])>,
}

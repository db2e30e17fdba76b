//! Causes and doubts in words.

use std::fmt::{self, Display, Formatter};

use mmaptrace_model::{
    event::{Cause, Doubt, Task},
    history::Deed,
};

use crate::{
    escape::{Escaped, comm},
    syscall,
};

/// What follows a noun after so many.
pub(super) const fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Why a model is in doubt: `3 records lost`.
#[derive(Clone, Copy, Debug)]
pub struct Why(pub Doubt);

impl Display for Why {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Doubt::Unseeded => f.write_str("not read yet"),
            Doubt::Lost(count) => write!(f, "{count} record{} lost", plural(count)),
            Doubt::Hole(count) => write!(f, "{count} commit{} missing", plural(count)),
            Doubt::Truncated => f.write_str("more changed than the kernel side could read"),
            Doubt::Contradiction { at } => write!(f, "a record contradicts the model at {at:x}"),
            Doubt::Count { kernel, model } => {
                write!(f, "the kernel counts {kernel} region{}, the model {model}", plural(kernel))
            }
            Doubt::Pages { kernel, model } => {
                write!(f, "the kernel counts {kernel} page{}, the model {model}", plural(kernel))
            }
            Doubt::Malformed => f.write_str("a malformed record"),
            Doubt::Cut => f.write_str("what came next is not known: the recording ends"),
            Doubt::NoPicture => f.write_str(
                "a picture of it was needed and not to be had: files may have new names, or it may \
                 have another address space",
            ),
            Doubt::Name { at } => {
                write!(f, "the name of what is mapped at {at:x} is not known, or not all of it")
            }
            Doubt::Unlocked => f.write_str("read without the kernel's lock (degraded tier)"),
        }
    }
}

/// The cause of a commit that no call of its own thread explains: `(stack growth in read)`.
pub(crate) struct Because<'a> {
    pub(crate) cause: &'a Cause,
    pub(crate) task: &'a Task,
}

impl Display for Because<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Task { pid, comm: name, .. } = self.task;
        let name = Escaped(comm(name));
        match self.cause {
            Cause::Call(call) => write!(f, "(in {})", syscall::name(call)),
            Cause::Fault => f.write_str("(page fault)"),
            Cause::Growth(Some(call)) => write!(f, "(stack growth in {})", syscall::name(call)),
            Cause::Growth(None) => f.write_str("(stack growth)"),
            Cause::Kernel => write!(f, "(kernel thread {name})"),
            Cause::Worker => f.write_str("(io_uring worker)"),
            Cause::Remote(Some(call)) => {
                write!(f, "(by {pid} {name}: {})", syscall::Call { call, path: b"", open: false })
            }
            Cause::Remote(None) => write!(f, "(by {pid} {name})"),
            Cause::Seed => f.write_str("(read again)"),
            Cause::Fork => f.write_str("(fork)"),
            Cause::Exec => f.write_str("(exec)"),
        }
    }
}

/// What was done: a call with its arguments, or another cause in words.
pub(crate) struct Action<'a>(pub(crate) &'a Deed);

impl Display for Action<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Deed { cause, task, .. } = self.0;
        match cause {
            Cause::Call(call) => syscall::Call { call, path: b"", open: false }.fmt(f),
            Cause::Fault
            | Cause::Growth(_)
            | Cause::Kernel
            | Cause::Worker
            | Cause::Remote(_)
            | Cause::Seed
            | Cause::Fork
            | Cause::Exec => Because { cause, task }.fmt(f),
        }
    }
}

/// The cause in a word, for the line of an effect that stands alone.
pub(crate) fn tag(cause: &Cause) -> std::borrow::Cow<'static, str> {
    match cause {
        Cause::Call(call) => syscall::name(call),
        Cause::Fault => "fault".into(),
        Cause::Growth(_) => "growth".into(),
        Cause::Kernel => "kernel".into(),
        Cause::Worker => "io_uring".into(),
        Cause::Remote(_) => "remote".into(),
        Cause::Seed => "reread".into(),
        Cause::Fork => "fork".into(),
        Cause::Exec => "execve".into(),
    }
}

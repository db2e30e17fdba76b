//! What exporters say of pages, and of what changed them.

use std::fmt::{self, Display, Formatter};

use mmaptrace_model::{Region, event::Cause, history::Deed};

use super::lives::Piece;
use crate::{
    sink::{escape::Escaped, size::Size, text::why::Because},
    syscall::Call,
};

/// A call with its arguments, or another cause in words: `(stack growth in read)`.
pub(super) struct Done<'a>(pub(super) &'a Deed);

impl Display for Done<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Deed { cause, task, .. } = self.0;
        match cause {
            Cause::Call(call) => Call { call, path: b"", open: false }.fmt(f),
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

/// Pages, and what they are like: `7f84c36bd000-7f84c36c1000 rw-p 16K [heap]`.
pub(super) struct Pages<'a>(pub(super) &'a Piece);

impl Display for Pages<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Piece { region, name, .. } = self.0;
        let (start, end, size) = (region.start, region.end, Size(region.size()));
        write!(f, "{start:x}-{end:x} {} {size}", permissions(region))?;
        if name.is_empty() { Ok(()) } else { write!(f, " {}", Escaped(name)) }
    }
}

/// As in `/proc/PID/maps`: `rw-p`.
pub(super) fn permissions(region: &Region) -> String {
    region.flags.permissions().map(char::from).iter().collect()
}

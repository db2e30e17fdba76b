//! What exporters say of pages and stacks.

use std::fmt::{self, Display, Formatter};

use super::lives::Piece;
use crate::{
    escape::Escaped,
    sink::{maps::permissions, size::Size, text::Function},
    symbols::{Backtrace, NamedFrame},
};

/// Pages, and what they are like: `7f84c36bd000-7f84c36c1000 rw-p 16K [heap]`.
pub(super) struct Pages<'a>(pub(super) &'a Piece);

impl Display for Pages<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Piece { region, name, .. } = self.0;
        let (start, end, size) = (region.start, region.end, Size(region.size()));
        write!(f, "{start:x}-{end:x} {} {size}", permissions(region.flags))?;
        if name.is_empty() { Ok(()) } else { write!(f, " {}", Escaped(name)) }
    }
}

/// The frames of a stack, the innermost first; none without.
pub(super) fn frames(stack: Option<&Backtrace>) -> &[NamedFrame] {
    stack.map_or(&[], |stack| &stack.frames)
}

/// The same in words.
pub(super) fn names(stack: Option<&Backtrace>) -> impl DoubleEndedIterator<Item = String> {
    frames(stack).iter().map(|frame| Function(frame).to_string())
}

//! The stacks of an event, a line a frame, as strace's `-k` writes them.
//!
//! ```text
//! > [kernel](do_mmap+0x3d5) [0xffffffff811b2c45]
//! > /usr/lib/x86_64-linux-gnu/libc.so.6(mmap64+0x13) [0x1019b3]
//! > /usr/bin/worker(grow+0x2a) [0x115a] at src/worker.c:17
//! > anon 7f84c36c7000-7f84c36cb000 [0x7f84c36c7023]
//! > (stack cut short: no frame pointers?)
//! ```

use std::{
    fmt::{self, Display, Formatter},
    os::unix::ffi::OsStrExt as _,
};

use mmaptrace_model::{
    event::{SpaceId, Stacks},
    stack::Place,
};

use super::{effects::push, style::Palette};
use crate::{
    escape::Escaped,
    sink::View,
    symbols::{Cut, NamedFrame},
};

/// Appends a line for each frame, the kernel's first.
pub(super) fn push_lines(
    out: &mut String,
    stacks: Stacks,
    space: SpaceId,
    view: &dyn View,
    palette: Palette,
) {
    let style = palette.note;
    for key in [stacks.kernel, stacks.user].into_iter().flatten() {
        match view.stack(space, key) {
            Some(stack) => {
                for frame in &stack.frames {
                    push(out, format_args!("{style}> {}{style:#}\n", Shown(frame)));
                }
                if let Some(cut) = stack.cut {
                    push(out, format_args!("{style}> ({}){style:#}\n", why_cut(cut)));
                }
            }
            None => push(out, format_args!("{style}> (stack lost){style:#}\n")),
        }
    }
}

/// What is said of a stack that is cut short.
pub(crate) const fn why_cut(cut: Cut) -> &'static str {
    match cut {
        Cut::Depth => "stack cut short: too deep",
        Cut::FramePointer => "stack cut short: no frame pointers?",
    }
}

/// The function of a frame; else its place in its file, `libc.so.6+0x1128c0`; else its address.
pub(crate) struct Function<'a>(pub(crate) &'a NamedFrame);

impl Display for Function<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let NamedFrame { frame, symbol, .. } = self.0;
        match (symbol, &frame.place) {
            (Some(symbol), _) => Escaped(symbol.name.as_bytes()).fmt(f),
            (None, Place::File { path: name, offset, .. } | Place::Special { name, offset }) => {
                write!(f, "{}+{offset:#x}", Escaped(base(name)))
            }
            (None, Place::Kernel | Place::Anonymous { .. } | Place::Unmapped) => {
                write!(f, "{:#x}", frame.address)
            }
        }
    }
}

/// The last part of a path.
pub(crate) fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

struct Shown<'a>(&'a NamedFrame);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let NamedFrame { frame, symbol, .. } = self.0;
        let at = match &frame.place {
            Place::Kernel => {
                f.write_str("[kernel]")?;
                frame.address
            }
            Place::File { path, offset, .. } if !path.is_empty() => {
                write!(f, "{}", Escaped(path))?;
                *offset
            }
            Place::Special { name, offset } => {
                write!(f, "{}", Escaped(name))?;
                *offset
            }
            Place::Anonymous { start, end } => {
                write!(f, "anon {start:x}-{end:x}")?;
                frame.address
            }
            Place::File { .. } | Place::Unmapped => {
                f.write_str("?")?;
                frame.address
            }
        };
        if let Some(symbol) = symbol {
            write!(f, "({}+{:#x})", Escaped(symbol.name.as_bytes()), symbol.offset)?;
        }
        write!(f, " [{at:#x}]")?;
        if let Some((file, line)) = symbol.as_ref().and_then(|symbol| symbol.line.as_ref()) {
            write!(f, " at {}:{line}", Escaped(file.as_os_str().as_bytes()))?;
        }
        Ok(())
    }
}

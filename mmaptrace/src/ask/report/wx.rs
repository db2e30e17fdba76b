//! What was writable and executable: regions that came to it by the same two calls from the same
//! places are told together.
//!
//! ```text
//! 4711 jit: writable, then executable
//!     7f84c36bd000-7f84c36be000 r-xp 4K  10:01:25.576651, 3 times
//!     7f84c36c0000-7f84c36c1000 r-xp 4K  10:01:25.576702
//!   writable by 4711/4713 jit: mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0)
//!     jit_new_page (jit.c:31)
//!   executable by 4711/4713 jit: mprotect(0x7f84c36bd000, 4096, PROT_READ|PROT_EXEC)
//!     jit_seal (jit.c:40)
//! ```

use std::{
    collections::HashMap,
    io::{self, Write},
    num::NonZeroU64,
};

use mmaptrace_model::{
    event::Cause,
    history::{Exposed, Exposure, How, Shared, Since},
};

use crate::{
    ask::words::{About, Did, Pages, Stack},
    escape::{Escaped, comm},
    sink::{Telling, text::tag},
};

/// Writes all that was found, of each kind at most `top` regions.
///
/// # Errors
/// What the writer says.
pub(super) fn write(
    out: &mut dyn Write,
    exposure: &Exposure,
    telling: Telling<'_>,
    top: usize,
) -> io::Result<()> {
    if exposure.found().is_empty() && exposure.files().is_empty() {
        return writeln!(out, "nothing was writable and executable while it was traced");
    }
    for kind in kinds(exposure.found()) {
        write_kind(out, &kind, telling, top)?;
    }
    exposure.files().iter().try_for_each(|shared| write_shared(out, shared, telling))
}

/// Where a deed was done, as far as that makes a kind.
#[derive(PartialEq, Eq, Hash)]
enum Place {
    Earlier,
    Stack(NonZeroU64),
    Call([u8; 16], String),
}

impl Place {
    fn of(since: &Since) -> Self {
        match since.as_deref() {
            None => Self::Earlier,
            Some(deed) => match deed.stacks.user {
                Some(key) => Self::Stack(key),
                None => Self::Call(deed.task.comm, tag(&deed.cause).into_owned()),
            },
        }
    }
}

/// What came to it the same way, in the order in which it happened first.
fn kinds(found: &[Exposed]) -> Vec<Vec<&Exposed>> {
    let mut index = HashMap::new();
    let mut kinds: Vec<Vec<&Exposed>> = Vec::new();
    for exposed in found {
        let Exposed { space, how, implied, first, second, .. } = exposed;
        let key = (*space, *how, *implied, Place::of(first), Place::of(second));
        let at = *index.entry(key).or_insert(kinds.len());
        match kinds.get_mut(at) {
            Some(kind) => kind.push(exposed),
            None => kinds.push(vec![exposed]),
        }
    }
    kinds
}

fn write_kind(
    out: &mut dyn Write,
    kind: &[&Exposed],
    telling: Telling<'_>,
    top: usize,
) -> io::Result<()> {
    let Some(Exposed { owner, how, first, second, implied, .. }) = kind.first() else {
        return Ok(());
    };
    match owner {
        Some((pid, name)) => write!(out, "{pid} {}: ", Escaped(comm(name)))?,
        None => write!(out, "?: ")?,
    }
    let (what, [one, other]) = match how {
        How::Both if first == second => ("writable and executable at once", ["", "made so"]),
        How::Both => ("writable and executable at once", ["one of them", "both"]),
        How::WrittenFirst => ("writable, then executable", ["writable", "executable"]),
        How::ExecutedFirst => ("executable, then writable", ["executable", "writable"]),
        How::Implied => ("executable without being asked for", ["", "made so"]),
    };
    write!(out, "{what}")?;
    if *implied {
        write!(out, " (READ_IMPLIES_EXEC)")?;
    }
    writeln!(out)?;
    for Exposed { pages, name, second, times, .. } in kind.iter().take(top) {
        write!(out, "    {}", Pages(pages))?;
        if let Some(name) = name {
            write!(out, " {}", Escaped(name))?;
        }
        if let Some(deed) = second {
            write!(out, "  {}", telling.clock.of_day(deed.time))?;
        }
        if *times > 1 {
            write!(out, ", {times} times")?;
        }
        writeln!(out)?;
    }
    if kind.len() > top {
        let others = kind[top..].iter();
        let (count, size) = (others.len(), others.map(|it| it.pages.size()).sum());
        writeln!(out, "    and {count} others, {} together, which --top 0 tells", About(size))?;
    }
    if first != second {
        since(out, one, first, telling)?;
    }
    since(out, other, second, telling)
}

fn write_shared(out: &mut dyn Write, shared: &Shared, telling: Telling<'_>) -> io::Result<()> {
    let Shared { name, ino, part: (start, end), writable, executable, .. } = shared;
    match name {
        Some(name) => write!(out, "{}", Escaped(name))?,
        None => write!(out, "a file")?,
    }
    let size = About(end - start);
    writeln!(out, " (inode {ino}): {size} from {start:#x} on, writable here and executable there")?;
    since(out, "writable", writable, telling)?;
    since(out, "executable", executable, telling)
}

fn since(out: &mut dyn Write, what: &str, since: &Since, telling: Telling<'_>) -> io::Result<()> {
    let Some(deed) = since else {
        return writeln!(out, "  {what} before tracing began");
    };
    match deed.cause {
        Cause::Exec => writeln!(out, "  {what} as {} was run", Escaped(comm(&deed.task.comm)))?,
        Cause::Call(_)
        | Cause::Fault
        | Cause::Growth(_)
        | Cause::Kernel
        | Cause::Worker
        | Cause::Remote(_)
        | Cause::Seed
        | Cause::Fork => writeln!(out, "  {what} by {}", Did(deed))?,
    }
    write!(out, "{}", Stack { stack: telling.stacks.of(deed), indent: 6 })
}

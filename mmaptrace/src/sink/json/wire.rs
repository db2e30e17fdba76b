//! What a JSON line is made of. Kept apart from the model's own types, so that these can change and
//! the lines stay; `docs/json.md` describes each field.

use std::{borrow::Cow, mem, str};

use mmaptrace_model::{Effect as Done, Flags, event};

use super::{
    convert,
    value::{Fields, Flat, Maybe, Plain, Shown, Value, array, key, object, tagged},
};
use crate::{
    digits::Digits,
    sink::{Filter, View, clock::Epoch, maps, vmflags},
    syscall,
};

/// A number that may not fit a double: an address, an offset, a register.
#[derive(Clone, Copy)]
pub(super) struct Hex(pub(super) u64);

impl Value for Hex {
    fn write(&self, out: &mut Vec<u8>) {
        quote(Digits::prefixed_hex(self.0), out);
    }
}

fn quote(digits: Digits, out: &mut Vec<u8>) {
    out.push(b'"');
    digits.push_to(out);
    out.push(b'"');
}

impl Value for Epoch {
    fn write(&self, out: &mut Vec<u8>) {
        let (seconds, nanos) = self.parts();
        out.push(b'"');
        Digits::decimal::<1>(seconds).push_to(out);
        out.push(b'.');
        Digits::decimal::<9>(nanos.into()).push_to(out);
        out.push(b'"');
    }
}

/// Another such number, in decimal digits.
pub(super) struct Decimal(pub(super) u64);

impl Value for Decimal {
    fn write(&self, out: &mut Vec<u8>) {
        quote(Digits::decimal::<1>(self.0), out);
    }
}

/// Bytes in hexadecimal, two digits each.
pub(super) struct Bytes<'a>(pub(super) Cow<'a, [u8]>);

impl Value for Bytes<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        for byte in &*self.0 {
            out.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[digit as usize]));
        }
        out.push(b'"');
    }
}

/// The arguments of a call, each as it prints.
pub(super) struct Arguments<'a> {
    pub(super) call: &'a event::Syscall,
    pub(super) path: &'a [u8],
}

impl Value for Arguments<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        let mut first = true;
        let shown = syscall::each(self.call, self.path, &mut |argument| {
            if !mem::take(&mut first) {
                out.push(b',');
            }
            Shown(argument).write(out);
            Ok(())
        });
        debug_assert!(shown.is_ok(), "a vector takes all that is written");
        out.push(b']');
    }
}

/// What a call returned, as C sees it.
pub(super) struct Returned<'a>(pub(super) syscall::Outcome<'a>);

impl Value for Returned<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        Shown(self.0.value()).write(out);
    }
}

/// The letters of flags.
pub(super) struct Letters(pub(super) Flags);

impl Value for Letters {
    fn write(&self, out: &mut Vec<u8>) {
        array(vmflags::letters(self.0).map(Pair), out);
    }
}

/// Two letters.
struct Pair<'a>(&'a [u8; 2]);

impl Value for Pair<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let &[first, second] = self.0;
        out.extend_from_slice(&[b'"', first, second, b'"']);
    }
}

/// `rw-p`
pub(super) struct Permissions(pub(super) Flags);

impl Value for Permissions {
    fn write(&self, out: &mut Vec<u8>) {
        Plain(str::from_utf8(&self.0.permissions()).unwrap_or_default()).write(out);
    }
}

/// `fe:01`
pub(super) struct Device(pub(super) u32);

impl Value for Device {
    fn write(&self, out: &mut Vec<u8>) {
        match maps::device(self.0) {
            (0, 0) => Plain("00:00").write(out),
            (major, minor) => Shown(format_args!("{major:02x}:{minor:02x}")).write(out),
        }
    }
}

/// The effects of a commit that are to be shown.
pub(super) struct Effects<'a> {
    pub(super) all: &'a [Done],
    pub(super) filter: &'a Filter,
    pub(super) space: event::SpaceId,
    pub(super) view: &'a dyn View,
}

impl Value for Effects<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let shown = self.all.iter().filter(|effect| self.filter.effect(effect));
        array(shown.map(|effect| convert::effect(effect, self.space, self.view)), out);
    }
}

tagged! {
    /// One line.
    pub(super) enum Line<'a> by "type" {
        Start = "start" { time: Epoch, version: &'a str, kernel: &'a str, tier: &'a str },
        Commit = "commit" (it: Commit<'a>),
        Call = "call" (it: Call<'a>),
        Exec = "exec" (it: Exec<'a>),
        Fork = "fork" (it: Fork<'a>),
        Exit = "exit" (it: Exit<'a>),
        EndSpace = "end_space" { time: Epoch, space: u64, process: Option<u32> },
        Doubt = "doubt" { time: Epoch, space: u64, process: Option<u32>, after: u64, why: Doubt },
        Healed = "healed" { time: Epoch, space: u64, process: Option<u32>, id: u64, differences: u64, lost: u64 },
        Crowded = "crowded" { time: Epoch, space: u64, process: Option<u32>, regions: u64, limit: u64 },
        Lost = "lost" { time: Epoch, records: u64 },
        Malformed = "malformed" { kind: u16, len: usize },
        Dump = "dump" (it: Dump<'a>),
        End = "end" (it: End<'a>),
    }
}

object! {
    pub(super) struct Task<'a> {
        pub(super) pid: u32,
        pub(super) tid: u32,
        pub(super) comm: Cow<'a, str>,
        pub(super) comm_bytes: Maybe<Bytes<'a>>,
    }

    pub(super) struct Syscall<'a> {
        pub(super) name: Cow<'static, str>,
        pub(super) abi: Plain<'static>,
        pub(super) nr: i32,
        pub(super) args: Arguments<'a>,
        pub(super) raw: [Hex; 6],
    }

    pub(super) struct Commit<'a> {
        pub(super) time: Epoch,
        pub(super) space: u64,
        pub(super) process: Option<u32>,
        pub(super) task: Flat<Task<'a>>,
        pub(super) id: u64,
        pub(super) cause: Plain<'static>,
        pub(super) call: Option<Syscall<'a>>,
        pub(super) effects: Effects<'a>,
        pub(super) brk: Option<Move>,
        pub(super) exact: bool,
        pub(super) stack: Maybe<Stacks>,
    }

    /// The stacks of an event. Owned: they are shared with others.
    pub(super) struct Stacks {
        pub(super) user: Option<Stack>,
        pub(super) kernel: Option<Stack>,
    }

    pub(super) struct Stack {
        pub(super) frames: Vec<Frame>,
        pub(super) cut: Option<&'static str>,
    }

    pub(super) struct Frame {
        pub(super) address: Hex,
        pub(super) place = "in": &'static str,
        pub(super) path: Option<String>,
        pub(super) path_bytes: Maybe<Bytes<'static>>,
        pub(super) offset: Option<Hex>,
        pub(super) build_id: Option<Bytes<'static>>,
        pub(super) symbol: Option<String>,
        pub(super) symbol_offset: Option<Hex>,
        pub(super) source: Option<Source>,
    }

    pub(super) struct Source {
        pub(super) path: String,
        pub(super) line: u32,
    }

    pub(super) struct Move {
        pub(super) from: Hex,
        pub(super) to: Hex,
    }

    pub(super) struct Range {
        pub(super) start: Hex,
        pub(super) end: Hex,
    }

    pub(super) struct Region<'a> {
        pub(super) start: Hex,
        pub(super) end: Hex,
        pub(super) size: u64,
        pub(super) perms: Permissions,
        pub(super) flags: Letters,
        pub(super) offset: Hex,
        pub(super) dev: Device,
        pub(super) inode: Decimal,
        pub(super) name: Option<Cow<'a, str>>,
        pub(super) name_bytes: Maybe<Bytes<'a>>,
        pub(super) name_unknown: Maybe<bool>,
    }
}

tagged! {
    pub(super) enum Effect<'a> by "kind" {
        Added = "added" { pages: Region<'a>, within: Range },
        Removed = "removed" { pages: Region<'a>, within: Range },
        Replaced = "replaced" { old: Region<'a>, new: Region<'a> },
        Changed = "changed" { old: Region<'a>, new: Region<'a>, was_within: Range, within: Range },
        Split = "split" { at: Hex, was: Range },
        Merged = "merged" { at: Hex, into: Range },
    }
}

object! {
    #[expect(clippy::struct_field_names, reason = "the field's name is the wire's")]
    pub(super) struct Call<'a> {
        pub(super) time: Epoch,
        pub(super) space: u64,
        pub(super) task: Flat<Task<'a>>,
        pub(super) call: Syscall<'a>,
        pub(super) result: Returned<'a>,
        pub(super) error: Option<Cow<'static, str>>,
        pub(super) commits: &'a [u64],
        pub(super) duration: Maybe<u64>,
        pub(super) stack: Maybe<Stacks>,
    }

    pub(super) struct Exec<'a> {
        pub(super) time: Epoch,
        pub(super) space: u64,
        pub(super) task: Flat<Task<'a>>,
        pub(super) old_tid: Option<u32>,
        pub(super) image: Flat<Image<'a>>,
        pub(super) cut: bool,
    }

    pub(super) struct Image<'a> {
        pub(super) path: Cow<'a, str>,
        pub(super) path_bytes: Maybe<Bytes<'a>>,
        pub(super) argv: Vec<Cow<'a, str>>,
        pub(super) argv_bytes: Maybe<Vec<Bytes<'a>>>,
    }

    pub(super) struct Fork<'a> {
        pub(super) time: Epoch,
        pub(super) space: u64,
        pub(super) task: Flat<Task<'a>>,
        pub(super) child: Task<'a>,
        pub(super) shared: bool,
    }

    pub(super) struct Exit<'a> {
        pub(super) time: Epoch,
        pub(super) task: Flat<Task<'a>>,
        pub(super) status: Option<Status>,
        pub(super) last: bool,
        pub(super) commits: &'a [u64],
    }

    pub(super) struct Status {
        pub(super) code: Option<u32>,
        pub(super) signal: Option<String>,
        pub(super) core: bool,
    }
}

tagged! {
    pub(super) enum Doubt by "kind" {
        Unseeded = "unseeded",
        Lost = "lost" { records: u64 },
        Hole = "hole" { commits: u64 },
        Truncated = "truncated",
        Contradiction = "contradiction" { at: Hex },
        Count = "count" { kernel: u64, model: u64 },
        Pages = "pages" { kernel: u64, model: u64 },
        Malformed = "malformed",
        Unlocked = "unlocked",
        Cut = "cut",
        NoPicture = "no_picture",
        Name = "name" { at: Hex },
    }
}

object! {
    pub(super) struct Dump<'a> {
        pub(super) time: Epoch,
        pub(super) pid: u32,
        pub(super) commit: u64,
        pub(super) exact: bool,
        pub(super) doubt: Option<Doubt>,
        pub(super) vsyscall: bool,
        pub(super) regions: Vec<Region<'a>>,
    }

    pub(super) struct End<'a> {
        pub(super) time: Epoch,
        pub(super) events: u64,
        pub(super) lost: u64,
        pub(super) healed: u64,
        pub(super) exact: bool,
        pub(super) regions: u64,
        pub(super) differences: Option<u64>,
        pub(super) command: Option<Status>,
        pub(super) processes: Vec<Process<'a>>,
        pub(super) forgotten: u64,
    }

    pub(super) struct Process<'a> {
        pub(super) pid: u32,
        pub(super) comm: Cow<'a, str>,
        pub(super) comm_bytes: Maybe<Bytes<'a>>,
        pub(super) events: u64,
        pub(super) lost: u64,
        pub(super) healed: u64,
        pub(super) exact: bool,
        pub(super) regions: u64,
        pub(super) status: Option<Status>,
    }
}

//! What a JSON line is made of. Kept apart from the model's own types, so that these can change and
//! the lines stay; `docs/json.md` describes each field.

use std::{borrow::Cow, fmt, str};

use mmaptrace_model::{Effect as Done, Flags, event};
use serde::{
    Serialize, Serializer,
    ser::{Error as _, SerializeSeq as _},
};

use super::convert;
use crate::{
    digits::Digits,
    sink::{Filter, View, maps, vmflags},
    syscall,
};

/// A number that may not fit a double: an address, an offset, a register.
#[derive(Clone, Copy)]
pub(super) struct Hex(pub(super) u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Digits::prefixed_hex(self.0).as_str())
    }
}

/// A string that goes out as it prints.
pub(super) struct Shown<T>(pub(super) T);

impl<T: std::fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Bytes in hexadecimal, two digits each.
pub(super) struct Bytes<'a>(pub(super) Cow<'a, [u8]>);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(self.0.len() * 2);
        for byte in &*self.0 {
            text.extend(
                [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[digit as usize])),
            );
        }
        serializer.serialize_str(&text)
    }
}

/// The arguments of a call, each as it prints.
pub(super) struct Arguments<'a> {
    pub(super) call: &'a event::Syscall,
    pub(super) path: &'a [u8],
}

impl Serialize for Arguments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_seq(None)?;
        let mut failure = None;
        let shown = syscall::each(self.call, self.path, &mut |argument| {
            all.serialize_element(&Shown(argument)).map_err(|error| {
                failure = Some(error);
                fmt::Error
            })
        });
        match (shown, failure) {
            (Ok(()), _) => all.end(),
            (Err(_), Some(error)) => Err(error),
            (Err(error), None) => Err(S::Error::custom(error)),
        }
    }
}

/// What a call returned, as C sees it.
pub(super) struct Returned<'a>(pub(super) syscall::Outcome<'a>);

impl Serialize for Returned<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.value())
    }
}

/// The letters of flags.
pub(super) struct Letters(pub(super) Flags);

impl Serialize for Letters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(vmflags::letters(self.0))
    }
}

/// `rw-p`
pub(super) struct Permissions(pub(super) Flags);

impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let letters = self.0.permissions();
        serializer.serialize_str(str::from_utf8(&letters).unwrap_or_default())
    }
}

/// `fe:01`
pub(super) struct Device(pub(super) u32);

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match maps::device(self.0) {
            (0, 0) => serializer.serialize_str("00:00"),
            (major, minor) => serializer.collect_str(&format_args!("{major:02x}:{minor:02x}")),
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

impl Serialize for Effects<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shown = self.all.iter().filter(|effect| self.filter.effect(effect));
        serializer.collect_seq(shown.map(|effect| convert::effect(effect, self.space, self.view)))
    }
}

/// One line.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Line<'a> {
    Start { time: Time, version: &'a str, kernel: &'a str, tier: &'a str },
    Commit(Commit<'a>),
    Call(Call<'a>),
    Exec(Exec<'a>),
    Fork(Fork<'a>),
    Exit(Exit<'a>),
    EndSpace { time: Time, space: u64, process: Option<u32> },
    Doubt { time: Time, space: u64, process: Option<u32>, after: u64, why: Doubt },
    Healed { time: Time, space: u64, process: Option<u32>, id: u64, differences: u64 },
    Crowded { time: Time, space: u64, process: Option<u32>, regions: u64, limit: u64 },
    Malformed { kind: u16, len: usize },
    Dump(Dump<'a>),
    End(End<'a>),
}

pub(super) type Time = Shown<super::super::clock::Epoch>;

#[derive(Serialize)]
pub(super) struct Task<'a> {
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) comm: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) comm_bytes: Option<Bytes<'a>>,
}

#[derive(Serialize)]
pub(super) struct Syscall<'a> {
    pub(super) name: Cow<'static, str>,
    pub(super) abi: &'static str,
    pub(super) nr: i32,
    pub(super) args: Arguments<'a>,
    pub(super) raw: [Hex; 6],
}

#[derive(Serialize)]
pub(super) struct Commit<'a> {
    pub(super) time: Time,
    pub(super) space: u64,
    pub(super) process: Option<u32>,
    #[serde(flatten)]
    pub(super) task: Task<'a>,
    pub(super) id: u64,
    pub(super) cause: &'static str,
    pub(super) call: Option<Syscall<'a>>,
    pub(super) effects: Effects<'a>,
    pub(super) brk: Option<Move>,
    pub(super) exact: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stack: Option<Stacks>,
}

/// The stacks of an event. Owned: they are shared with others.
#[derive(Serialize)]
pub(super) struct Stacks {
    pub(super) user: Option<Stack>,
    pub(super) kernel: Option<Stack>,
}

#[derive(Serialize)]
pub(super) struct Stack {
    pub(super) frames: Vec<Frame>,
    pub(super) cut: Option<&'static str>,
}

#[derive(Serialize)]
pub(super) struct Frame {
    pub(super) address: Hex,
    #[serde(rename = "in")]
    pub(super) place: &'static str,
    pub(super) path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path_bytes: Option<Bytes<'static>>,
    pub(super) offset: Option<Hex>,
    pub(super) build_id: Option<Bytes<'static>>,
    pub(super) symbol: Option<String>,
    pub(super) symbol_offset: Option<Hex>,
    pub(super) source: Option<Source>,
}

#[derive(Serialize)]
pub(super) struct Source {
    pub(super) path: String,
    pub(super) line: u32,
}

#[derive(Serialize)]
pub(super) struct Move {
    pub(super) from: Hex,
    pub(super) to: Hex,
}

#[derive(Serialize)]
pub(super) struct Range {
    pub(super) start: Hex,
    pub(super) end: Hex,
}

#[derive(Serialize)]
pub(super) struct Region<'a> {
    pub(super) start: Hex,
    pub(super) end: Hex,
    pub(super) size: u64,
    pub(super) perms: Permissions,
    pub(super) flags: Letters,
    pub(super) offset: Hex,
    pub(super) dev: Device,
    pub(super) inode: Shown<Digits>,
    pub(super) name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name_bytes: Option<Bytes<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) name_unknown: bool,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Effect<'a> {
    Added { pages: Region<'a>, within: Range },
    Removed { pages: Region<'a>, within: Range },
    Replaced { old: Region<'a>, new: Region<'a> },
    Changed { old: Region<'a>, new: Region<'a>, was_within: Range, within: Range },
    Split { at: Hex, was: Range },
    Merged { at: Hex, into: Range },
}

#[expect(clippy::struct_field_names, reason = "the field's name is the wire's")]
#[derive(Serialize)]
pub(super) struct Call<'a> {
    pub(super) time: Time,
    pub(super) space: u64,
    #[serde(flatten)]
    pub(super) task: Task<'a>,
    pub(super) call: Syscall<'a>,
    pub(super) result: Returned<'a>,
    pub(super) error: Option<Cow<'static, str>>,
    pub(super) commits: &'a [u64],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stack: Option<Stacks>,
}

#[derive(Serialize)]
pub(super) struct Exec<'a> {
    pub(super) time: Time,
    pub(super) space: u64,
    #[serde(flatten)]
    pub(super) task: Task<'a>,
    pub(super) old_tid: Option<u32>,
    #[serde(flatten)]
    pub(super) image: Image<'a>,
    pub(super) cut: bool,
}

#[derive(Serialize)]
pub(super) struct Image<'a> {
    pub(super) path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path_bytes: Option<Bytes<'a>>,
    pub(super) argv: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) argv_bytes: Option<Vec<Bytes<'a>>>,
}

#[derive(Serialize)]
pub(super) struct Fork<'a> {
    pub(super) time: Time,
    pub(super) space: u64,
    #[serde(flatten)]
    pub(super) task: Task<'a>,
    pub(super) child: Task<'a>,
    pub(super) shared: bool,
}

#[derive(Serialize)]
pub(super) struct Exit<'a> {
    pub(super) time: Time,
    #[serde(flatten)]
    pub(super) task: Task<'a>,
    pub(super) status: Option<Status>,
    pub(super) last: bool,
    pub(super) commits: &'a [u64],
}

#[derive(Serialize)]
pub(super) struct Status {
    pub(super) code: Option<u32>,
    pub(super) signal: Option<String>,
    pub(super) core: bool,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Doubt {
    Unseeded,
    Lost { records: u64 },
    Hole { commits: u64 },
    Truncated,
    Contradiction { at: Hex },
    Count { kernel: u64, model: u64 },
    Pages { kernel: u64, model: u64 },
    Malformed,
    Unlocked,
}

#[derive(Serialize)]
pub(super) struct Dump<'a> {
    pub(super) time: Time,
    pub(super) pid: u32,
    pub(super) commit: u64,
    pub(super) exact: bool,
    pub(super) doubt: Option<Doubt>,
    pub(super) vsyscall: bool,
    pub(super) regions: Vec<Region<'a>>,
}

#[derive(Serialize)]
pub(super) struct End<'a> {
    pub(super) time: Time,
    pub(super) events: u64,
    pub(super) lost: u64,
    pub(super) healed: u64,
    pub(super) exact: bool,
    pub(super) regions: u64,
    pub(super) differences: Option<u64>,
    pub(super) command: Option<Status>,
    pub(super) processes: Vec<Process<'a>>,
}

#[derive(Serialize)]
pub(super) struct Process<'a> {
    pub(super) pid: u32,
    pub(super) comm: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) comm_bytes: Option<Bytes<'a>>,
    pub(super) events: u64,
    pub(super) lost: u64,
    pub(super) healed: u64,
    pub(super) exact: bool,
    pub(super) regions: u64,
    pub(super) status: Option<Status>,
}

//! From the model's types to those of the wire.

use std::{borrow::Cow, num::NonZeroU64, sync::Arc};

use mmaptrace_common::syscalls::X32_BIT;
use mmaptrace_model::{Effect, Region, RegionName, event, process::Process, stack::Place};

use super::{
    value::{Maybe, Plain},
    wire::{self, Bytes, Decimal, Hex},
};
use crate::{
    escape::comm,
    sink::{Summary, View, clock::Epoch, maps, summary::Ended},
    symbols::{Backtrace, Cut, NamedFrame},
    syscall,
};

/// Text, and its bytes if the text does not say them all.
pub(super) fn text(bytes: &[u8]) -> (Cow<'_, str>, Option<Bytes<'_>>) {
    let text = String::from_utf8_lossy(bytes);
    let lossy = text.as_bytes() != bytes;
    (text, lossy.then_some(Bytes(Cow::Borrowed(bytes))))
}

pub(super) fn image<'a>(path: &'a [u8], argv: &'a [Arc<[u8]>]) -> wire::Image<'a> {
    let (path, path_bytes) = text(path);
    let (argv_text, lossy): (_, Vec<_>) = argv
        .iter()
        .map(|argument| text(argument))
        .map(|(text, bytes)| (text, bytes.is_some()))
        .unzip();
    let argv_bytes = lossy
        .contains(&true)
        .then(|| argv.iter().map(|argument| Bytes(Cow::Borrowed(&**argument))).collect());
    wire::Image {
        path,
        path_bytes: Maybe(path_bytes),
        argv: argv_text,
        argv_bytes: Maybe(argv_bytes),
    }
}

pub(super) fn task(task: &event::Task) -> wire::Task<'_> {
    let (name, comm_bytes) = text(comm(&task.comm));
    wire::Task { pid: task.pid, tid: task.tid, comm: name, comm_bytes: Maybe(comm_bytes) }
}

pub(super) fn syscall<'a>(call: &'a event::Syscall, path: &'a [u8]) -> wire::Syscall<'a> {
    wire::Syscall {
        name: syscall::name(call),
        abi: match call.compat {
            true => Plain("ia32"),
            false if call.nr & X32_BIT != 0 => Plain("x32"),
            false => Plain("x86_64"),
        },
        nr: call.nr,
        args: wire::Arguments { call, path },
        raw: call.args.map(Hex),
    }
}

pub(super) fn cause(cause: &event::Cause) -> (Plain<'static>, Option<wire::Syscall<'_>>) {
    use event::Cause;
    let (name, call) = match cause {
        Cause::Call(call) => ("call", Some(call)),
        Cause::Fault => ("fault", None),
        Cause::Growth(call) => ("growth", call.as_ref()),
        Cause::Kernel => ("kernel", None),
        Cause::Worker => ("worker", None),
        Cause::Remote(call) => ("remote", call.as_ref()),
        Cause::Seed => ("seed", None),
        Cause::Fork => ("fork", None),
        Cause::Exec => ("exec", None),
    };
    (Plain(name), call.map(|call| syscall(call, b"")))
}

/// The stacks of an event of a space; `None` if there are none.
pub(super) fn stacks(
    keys: event::Stacks,
    space: event::SpaceId,
    view: &dyn View,
) -> Option<wire::Stacks> {
    let of = |key: Option<NonZeroU64>| {
        key.map(|key| match view.stack(space, key) {
            Some(known) => stack(&known),
            None => LOST,
        })
    };
    (keys != event::Stacks::default())
        .then(|| wire::Stacks { user: of(keys.user), kernel: of(keys.kernel) })
}

/// A stack of user space, if one was taken; it may not be known.
pub(super) fn user_stack(
    key: Option<NonZeroU64>,
    known: Option<&Backtrace>,
) -> Option<wire::Stack> {
    key.map(|_| known.map_or(LOST, stack))
}

const LOST: wire::Stack = wire::Stack { frames: Vec::new(), cut: Some("lost") };

fn stack(stack: &Backtrace) -> wire::Stack {
    wire::Stack {
        frames: stack.frames.iter().map(frame).collect(),
        cut: stack.cut.map(|cut| match cut {
            Cut::Depth => "depth",
            Cut::FramePointer => "frame_pointer",
        }),
    }
}

fn frame(named: &NamedFrame) -> wire::Frame {
    let owned = |bytes: &[u8]| {
        let (text, bytes) = text(bytes);
        (Some(text.into_owned()), bytes.map(|bytes| Bytes(Cow::Owned(bytes.0.into_owned()))))
    };
    let NamedFrame { frame, symbol, build_id } = named;
    let (place, (path, path_bytes), offset) = match &frame.place {
        Place::Kernel => ("kernel", (None, None), None),
        Place::File { path, offset, .. } if path.is_empty() => {
            ("file", (None, None), Some(*offset))
        }
        Place::File { path, offset, .. } => ("file", owned(path), Some(*offset)),
        Place::Special { name, offset } => ("special", owned(name), Some(*offset)),
        Place::Anonymous { .. } => ("anonymous", (None, None), None),
        Place::Unmapped => ("unmapped", (None, None), None),
    };
    let line = symbol.as_ref().and_then(|symbol| symbol.line.as_ref());
    wire::Frame {
        address: Hex(frame.address),
        place,
        path,
        path_bytes: Maybe(path_bytes),
        offset: offset.map(Hex),
        build_id: build_id.as_ref().map(|id| Bytes(Cow::Owned(id.to_vec()))),
        symbol: symbol.as_ref().map(|symbol| symbol.name.clone()),
        symbol_offset: symbol.as_ref().map(|symbol| Hex(symbol.offset)),
        source: line.map(|(path, line)| wire::Source {
            path: path.to_string_lossy().into_owned(),
            line: *line,
        }),
    }
}

const fn range((start, end): (u64, u64)) -> wire::Range {
    wire::Range { start: Hex(start), end: Hex(end) }
}

/// A region; of a name that was put together for the line, the text is owned.
pub(super) fn region<'a>(region: &Region, name: RegionName<'a>) -> wire::Region<'a> {
    let (dev, inode) = region.inode();
    let (shown, name_bytes) = match name {
        RegionName::None | RegionName::Unknown => (None, None),
        RegionName::Heap => (Some(Cow::Borrowed("[heap]")), None),
        RegionName::Stack => (Some(Cow::Borrowed("[stack]")), None),
        RegionName::Path(bytes) | RegionName::Special(bytes) => {
            let (text, bytes) = text(bytes);
            (Some(text), bytes)
        }
        RegionName::Anon(_) | RegionName::AnonShmem(_) => {
            let mut bytes = Vec::new();
            maps::push_name(&mut bytes, name);
            match String::from_utf8(bytes) {
                Ok(text) => (Some(Cow::Owned(text)), None),
                Err(error) => {
                    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                    (Some(Cow::Owned(text)), Some(Bytes(Cow::Owned(error.into_bytes()))))
                }
            }
        }
    };
    wire::Region {
        start: Hex(region.start),
        end: Hex(region.end),
        size: region.size(),
        perms: wire::Permissions(region.flags),
        flags: wire::Letters(region.flags),
        offset: Hex(region.offset()),
        dev: wire::Device(dev),
        inode: Decimal(inode),
        name: shown,
        name_bytes: Maybe(name_bytes),
        name_unknown: Maybe((name == RegionName::Unknown).then_some(true)),
    }
}

pub(super) fn effect<'a>(
    effect: &Effect,
    space: event::SpaceId,
    view: &'a dyn View,
) -> wire::Effect<'a> {
    // A part has the name of the whole: [heap] and [stack] hang on where a region starts and ends.
    let part = |pages: &Region, (start, end): (u64, u64)| {
        region(pages, view.name(space, &Region { start, end, ..*pages }))
    };
    let whole = |pages: &Region| region(pages, view.name(space, pages));
    match effect {
        Effect::Added { pages, within } => {
            wire::Effect::Added { pages: part(pages, *within), within: range(*within) }
        }
        Effect::Removed { pages, within } => {
            wire::Effect::Removed { pages: part(pages, *within), within: range(*within) }
        }
        Effect::Replaced { old, new } => {
            wire::Effect::Replaced { old: whole(old), new: whole(new) }
        }
        Effect::Changed { old, new, was_within, within } => wire::Effect::Changed {
            old: part(old, *was_within),
            new: part(new, *within),
            was_within: range(*was_within),
            within: range(*within),
        },
        Effect::Split { at, was } => wire::Effect::Split { at: Hex(*at), was: range(*was) },
        Effect::Merged { at, into } => wire::Effect::Merged { at: Hex(*at), into: range(*into) },
    }
}

pub(super) const fn doubt(doubt: event::Doubt) -> wire::Doubt {
    use event::Doubt;
    match doubt {
        Doubt::Unseeded => wire::Doubt::Unseeded,
        Doubt::Lost(records) => wire::Doubt::Lost { records },
        Doubt::Hole(commits) => wire::Doubt::Hole { commits },
        Doubt::Truncated => wire::Doubt::Truncated,
        Doubt::Contradiction { at } => wire::Doubt::Contradiction { at: Hex(at) },
        Doubt::Count { kernel, model } => wire::Doubt::Count { kernel, model },
        Doubt::Pages { kernel, model } => wire::Doubt::Pages { kernel, model },
        Doubt::Malformed => wire::Doubt::Malformed,
        Doubt::Unlocked => wire::Doubt::Unlocked,
        Doubt::Cut => wire::Doubt::Cut,
        Doubt::NoPicture => wire::Doubt::NoPicture,
        Doubt::Name { at } => wire::Doubt::Name { at: Hex(at) },
    }
}

pub(super) fn status(status: u32) -> wire::Status {
    let ended = Ended(Some(status));
    let (signal, core) = ended.signal().unzip();
    wire::Status { code: ended.code(), signal, core: core.unwrap_or(false) }
}

pub(super) fn end(summary: &Summary, time: Epoch) -> wire::End<'_> {
    wire::End {
        time,
        events: summary.events,
        lost: summary.lost,
        healed: summary.healed,
        exact: summary.exact,
        regions: summary.regions(),
        differences: summary.differences,
        command: summary.command.map(status),
        processes: summary.processes.iter().map(process).collect(),
        forgotten: summary.forgotten.processes,
    }
}

fn process(of: &Process) -> wire::Process<'_> {
    let (name, comm_bytes) = text(comm(&of.comm));
    wire::Process {
        pid: of.pid,
        comm: name,
        comm_bytes: Maybe(comm_bytes),
        events: of.events,
        lost: of.lost,
        healed: of.healed,
        exact: of.exact,
        regions: of.regions,
        status: of.status.map(status),
    }
}

//! What the tests of the sinks share: regions and names from a few words.

use std::{collections::HashMap, num::NonZeroU64, sync::Arc};

use mmaptrace_model::{
    Backing, Event, Flags, Region, RegionName,
    event::{Cause, Effects, SpaceId, Stacks, Syscall, Task},
    stack::{Frame, Place},
};

use super::View;
use crate::symbols::{Backtrace, Cut, NamedFrame, Symbol};

pub(crate) const SPACE: SpaceId = SpaceId(1);
pub(crate) const TASK: Task = task(4711, 4713, *b"worker\0\0\0\0\0\0\0\0\0\0");
pub(crate) const MUNMAP: Syscall =
    Syscall { nr: 11, compat: false, args: [0x3000, 0x1000, 0, 0, 0, 0] };

pub(crate) const fn task(pid: u32, tid: u32, comm: [u8; 16]) -> Task {
    Task { pid, tid, comm }
}

pub(crate) fn flags(permissions: &str) -> Flags {
    let mut flags = Flags(0x70);
    for character in permissions.chars() {
        flags.0 |= match character {
            'r' => Flags::READ.0,
            'w' => Flags::WRITE.0,
            'x' => Flags::EXEC.0,
            's' => Flags::MAYSHARE.0,
            _ => 0,
        };
    }
    flags
}

/// An anonymous region.
pub(crate) fn region(start: u64, end: u64, permissions: &str) -> Region {
    Region {
        start,
        end,
        flags: flags(permissions),
        pgoff: start >> 12,
        backing: Backing::Anonymous,
    }
}

/// A region of the file `/usr/bin/sleep`.
pub(crate) fn file(start: u64, end: u64, permissions: &str, offset: u64) -> Region {
    let backing = Backing::File { dev: 0xfe << 20, ino: 247_774, path: 1 };
    Region { start, end, flags: flags(permissions), pgoff: offset >> 12, backing }
}

pub(crate) fn commit(id: u64, cause: Cause, effects: impl Into<Effects>) -> Event {
    Event::Commit {
        time: id,
        space: SPACE,
        task: TASK,
        id,
        cause,
        effects: effects.into(),
        brk: None,
        exact: true,
        stacks: Stacks::default(),
    }
}

/// One frame of each kind.
pub(crate) fn backtrace() -> Backtrace {
    let frame = |address, place, symbol: Option<(&str, u64)>| NamedFrame {
        frame: Frame { address, place },
        symbol: symbol.map(|(name, offset)| {
            let line = (offset == 0x2a).then(|| ("src/work\ner.c".into(), 17));
            Arc::new(Symbol { name: name.to_owned(), offset, line })
        }),
        build_id: (address == 0x2015a).then(|| [0xab, 0x1f].into()),
    };
    let file =
        |path: &[u8]| Place::File { key: 1, path: path.into(), offset: 0x115a, dev: 1, ino: 2 };
    let special = Place::Special { name: b"[vdso]".as_slice().into(), offset: 0x7 };
    let frames = vec![
        frame(0xffff_ffff_811b_2c45, Place::Kernel, Some(("do_mmap", 0x3d5))),
        frame(0x2015a, file(b"/usr/bin/sleep"), Some(("gr\x1bow", 0x2a))),
        frame(0x3015a, file(b"/tmp/\xff"), None),
        frame(0x4015a, file(b""), None),
        frame(0x5007, special, None),
        frame(0x6015, Place::Anonymous { start: 0x6000, end: 0x7000 }, None),
        frame(0x8015, Place::Unmapped, None),
    ];
    Backtrace { frames, cut: Some(Cut::FramePointer) }
}

/// A model with one space: its heap is from 1 to 2 GiB, its stack from 3 to 4.
#[derive(Debug, Default)]
pub(crate) struct Fake(pub(crate) HashMap<u64, &'static [u8]>);

impl Fake {
    pub(crate) fn new() -> Self {
        Self(HashMap::from([(1, b"/usr/bin/sleep".as_slice())]))
    }
}

impl View for Fake {
    fn name(&self, _: SpaceId, region: &Region) -> RegionName<'_> {
        let text = |key| self.0.get(&key).copied();
        match region.backing {
            Backing::Anonymous => match region.start >> 30 {
                1 => RegionName::Heap,
                3 => RegionName::Stack,
                _ => RegionName::None,
            },
            Backing::File { path, .. } => text(path).map_or(RegionName::Unknown, RegionName::Path),
            Backing::Special { name } => {
                text(name).map_or(RegionName::Unknown, RegionName::Special)
            }
            Backing::Named { name } => text(name).map_or(RegionName::Unknown, RegionName::Anon),
            Backing::NamedShared { name, .. } => {
                text(name).map_or(RegionName::Unknown, RegionName::AnonShmem)
            }
        }
    }

    fn owner(&self, space: SpaceId) -> Option<Task> {
        (space == SPACE).then_some(TASK)
    }

    fn stack(&self, _: SpaceId, key: NonZeroU64) -> Option<Arc<Backtrace>> {
        (key.get() == 1).then(|| Arc::new(backtrace()))
    }
}

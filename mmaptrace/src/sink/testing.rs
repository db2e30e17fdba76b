//! What the tests of the sinks share: regions and names from a few words, and from
//! `/proc/PID/maps`.

use std::{collections::HashMap, str};

use mmaptrace_model::{
    Backing, Event, Flags, Region, RegionName,
    event::{Cause, Effects, SpaceId, Stacks, Syscall, Task},
};

use super::View;

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
}

/// A file of maps, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) regions: Vec<(Region, Vec<u8>)>,
    pub(crate) vsyscall: bool,
}

impl Parsed {
    pub(crate) fn from_maps(maps: &[u8]) -> Self {
        let mut parsed = Self::default();
        for line in maps.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let mut words = line.splitn(6, |&byte| byte == b' ');
            let mut word = || str::from_utf8(words.next().expect("a word")).expect("ASCII");
            let (start, end) = word().split_once('-').expect("a range");
            let [start, end] = [start, end].map(hex);
            let flags = flags(word());
            let offset = hex(word());
            let (major, minor) = word().split_once(':').expect("a device");
            let dev = (hex(major) << 20 | hex(minor)) as u32;
            let ino = word().parse().expect("an inode");
            let name = words.next().expect("the space after the inode").trim_ascii_start();
            if name == b"[vsyscall]" {
                parsed.vsyscall = true;
                continue;
            }
            let backing = if ino == 0 && dev == 0 {
                Backing::Anonymous
            } else {
                Backing::File { dev, ino, path: 0 }
            };
            let region = Region { start, end, flags, pgoff: offset >> 12, backing };
            parsed.regions.push((region, name.to_vec()));
        }
        parsed
    }

    pub(crate) fn regions(&self) -> impl Iterator<Item = (Region, RegionName<'_>)> {
        self.regions.iter().map(|(region, name)| {
            let name = match (name.as_slice(), region.backing) {
                (b"", _) => RegionName::None,
                (b"[heap]", _) => RegionName::Heap,
                (b"[stack]", _) => RegionName::Stack,
                (path, Backing::File { .. }) => RegionName::Path(path),
                (name, _) => RegionName::Special(name),
            };
            (*region, name)
        })
    }
}

fn hex(word: &str) -> u64 {
    u64::from_str_radix(word, 16).expect("hexadecimal")
}

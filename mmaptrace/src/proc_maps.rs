//! `/proc/PID/maps`, taken apart: what a region is, as far as it says so.

use std::str;

use mmaptrace_model::{Backing, Flags, Region, RegionName, region::PAGE};

use crate::sink::maps::VSYSCALL;

/// What it says.
#[derive(Debug, Default)]
pub struct ProcMaps {
    /// The regions, and what the last column has of each. Of flags there are those of the second
    /// column only.
    pub regions: Vec<(Region, Vec<u8>)>,
    /// The `[vsyscall]` page, if it has that, which is no region.
    pub vsyscall: Option<Region>,
}

impl ProcMaps {
    /// Takes it apart; `None`: it is something else.
    pub fn parse(maps: &[u8]) -> Option<Self> {
        let mut parsed = Self::default();
        for line in maps.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let (region, name) = line_of(line)?;
            if name == VSYSCALL {
                parsed.vsyscall = Some(region);
            } else {
                parsed.regions.push((region, name.to_vec()));
            }
        }
        Some(parsed)
    }

    /// The regions with their names.
    pub fn regions(&self) -> impl Iterator<Item = (Region, RegionName<'_>)> {
        Self::named(&self.regions)
    }

    /// Some of the regions, with their names.
    pub fn named(some: &[(Region, Vec<u8>)]) -> impl Iterator<Item = (Region, RegionName<'_>)> {
        some.iter().map(|(region, name)| (*region, name_of(region, name)))
    }
}

fn line_of(line: &[u8]) -> Option<(Region, &[u8])> {
    let mut words = line.splitn(6, |&byte| byte == b' ');
    let mut word = || str::from_utf8(words.next()?).ok();
    let (start, end) = word()?.split_once('-')?;
    let (start, end) = (hex(start)?, hex(end)?);
    if start >= end || !start.is_multiple_of(PAGE) || !end.is_multiple_of(PAGE) {
        return None;
    }
    let flags = flags(word()?);
    let offset = hex(word()?)?;
    let (major, minor) = word()?.split_once(':')?;
    let dev = u32::try_from(hex(major)? << 20 | hex(minor)?).ok()?;
    let ino = word()?.parse().ok()?;
    let name = words.next()?.trim_ascii_start();
    let backing = if ino == 0 && dev == 0 {
        match name {
            name if bracketed(name, b"[anon:").is_some() => Backing::Named { name: 0 },
            b"" | b"[heap]" | b"[stack]" => Backing::Anonymous,
            _ => Backing::Special { name: 0 },
        }
    } else if bracketed(name, b"[anon_shmem:").is_some() {
        Backing::NamedShared { dev, ino, name: 0 }
    } else {
        Backing::File { dev, ino, path: 0 }
    };
    Some((Region { start, end, flags, pgoff: offset / PAGE, backing }, name))
}

fn name_of<'a>(region: &Region, name: &'a [u8]) -> RegionName<'a> {
    match (name, region.backing) {
        (b"", _) => RegionName::None,
        (b"[heap]", _) => RegionName::Heap,
        (b"[stack]", _) => RegionName::Stack,
        (name, Backing::Named { .. }) => {
            RegionName::Anon(bracketed(name, b"[anon:").unwrap_or(name))
        }
        (name, Backing::NamedShared { .. }) => {
            RegionName::AnonShmem(bracketed(name, b"[anon_shmem:").unwrap_or(name))
        }
        (path, Backing::File { .. }) => RegionName::Path(path),
        (name, Backing::Anonymous | Backing::Special { .. }) => RegionName::Special(name),
    }
}

/// What stands between a head and the bracket at the end.
fn bracketed<'a>(name: &'a [u8], head: &[u8]) -> Option<&'a [u8]> {
    name.strip_prefix(head)?.strip_suffix(b"]")
}

fn flags(permissions: &str) -> Flags {
    let bit = |letter| match letter {
        'r' => Flags::READ.0,
        'w' => Flags::WRITE.0,
        'x' => Flags::EXEC.0,
        's' => Flags::MAYSHARE.0,
        _ => 0,
    };
    Flags(permissions.chars().map(bit).fold(0, |all, bit| all | bit))
}

fn hex(word: &str) -> Option<u64> {
    u64::from_str_radix(word, 16).ok()
}

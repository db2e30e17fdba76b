//! What the kernel says: a child's maps, as records.

use std::collections::HashMap;

use mmaptrace_common::record::{self, backing, flag, kind};
use mmaptrace_model::{Region, region::PAGE};

use crate::support::{Words, header, words};

/// A line of maps, as record and as what it is to be.
pub(crate) struct Line {
    pub(crate) raw: record::Region,
    pub(crate) name: String,
}

/// The bits of the letters of smaps' `VmFlags`, as far as they can come up here.
const LETTERS: [(&str, u64); 22] = [
    ("rd", 0x1),
    ("wr", 0x2),
    ("ex", 0x4),
    ("sh", 0x8),
    ("mr", 0x10),
    ("mw", 0x20),
    ("me", 0x40),
    ("ms", 0x80),
    ("gd", 0x100),
    ("pf", 0x400),
    ("lo", 0x2000),
    ("io", 0x4000),
    ("sr", 0x8000),
    ("rr", 0x1_0000),
    ("dc", 0x2_0000),
    ("de", 0x4_0000),
    ("lf", 0x8_0000),
    ("ac", 0x10_0000),
    ("nr", 0x20_0000),
    ("wf", 0x200_0000),
    ("dd", 0x400_0000),
    ("mm", 0x1000_0000),
];

/// The keys that names were sent with.
#[derive(Default)]
pub(crate) struct Keys(HashMap<String, u64>);

impl Keys {
    /// The regions of `smaps`. To `names` go the records of names that are new.
    pub(crate) fn lines(&mut self, smaps: &str, names: &mut Vec<Words>) -> Vec<Line> {
        let mut lines = Vec::new();
        for text in smaps.lines() {
            if let Some(letters) = text.strip_prefix("VmFlags:") {
                let line: &mut Line = lines.last_mut().expect("after its first line");
                let bit = |letters| LETTERS.iter().find(|(known, _)| *known == letters);
                line.raw.flags =
                    letters.split_whitespace().filter_map(bit).map(|(_, bit)| bit).sum();
            } else if let Some(line) = self.line(text, names) {
                lines.push(line);
            }
        }
        // The gate area is no region.
        lines.retain(|line| line.name != "[vsyscall]");
        lines
    }

    fn line(&mut self, text: &str, names: &mut Vec<Words>) -> Option<Line> {
        let mut words = text.splitn(6, ' ');
        let (start, end) = words.next()?.split_once('-')?;
        let hex = |digits| u64::from_str_radix(digits, 16).ok();
        let (start, end) = (hex(start)?, hex(end)?);
        let offset = hex(words.nth(1)?)?;
        let (major, minor) = words.next()?.split_once(':')?;
        let dev = ((hex(major)? << 20) | hex(minor)?) as u32;
        let ino = words.next()?.parse().ok()?;
        let name = words.next().unwrap_or("").trim_start().to_owned();
        let (backing, pgoff) = match () {
            () if ino != 0 => (backing::FILE, offset / PAGE),
            () if name.starts_with("[v") => (backing::SPECIAL, 0),
            // Which offset anonymous memory has is not told; this is the one it is made with.
            () => (backing::ANON, start / PAGE),
        };
        let key = if backing == backing::ANON { 0 } else { self.key(&name, ino, names) };
        let flags = 0;
        let raw = record::Region { start, end, flags, pgoff, ino, name: key, dev, backing };
        Some(Line { raw, name })
    }

    /// The key of a name, which is sent if it is new.
    fn key(&mut self, name: &str, ino: u64, names: &mut Vec<Words>) -> u64 {
        if let Some(&key) = self.0.get(name) {
            return key;
        }
        let key = 1 + self.0.len() as u64;
        self.0.insert(name.to_owned(), key);
        let record = if name.starts_with('[') {
            let len = name.len() as u32;
            let header = header(kind::NAME, 0);
            words(&record::Name { header, key, len, pad: 0 }, name.as_bytes())
        } else {
            let path = name.strip_suffix(" (deleted)").unwrap_or(name);
            let flags = match name {
                _ if path == name => 0,
                _ if name.starts_with("/memfd:") || name.starts_with("/dev/zero") => {
                    flag::SYNTHETIC
                }
                _ => flag::DELETED,
            };
            let parts: Vec<u8> = if flags == flag::SYNTHETIC {
                [&path.as_bytes()[1..], b"\0"].concat()
            } else {
                path[1..].rsplit('/').flat_map(|part| [part.as_bytes(), b"\0"].concat()).collect()
            };
            let header = header(kind::PATH, flags);
            let len = parts.len() as u32;
            words(&record::Path { header, key, ino, magic: 0x0102_1994, len, pad: 0 }, &parts)
        };
        names.push(record);
        key
    }
}

/// Their records.
pub(crate) fn raws(lines: &[Line]) -> Vec<record::Region> {
    lines.iter().map(|line| line.raw).collect()
}

/// What a record becomes.
pub(crate) fn parse(raw: &record::Region) -> Region {
    Region::try_from(raw).expect("the kernel's")
}

/// A page more on each side, and then to the edges of the regions and holes there.
pub(crate) fn widen((lo, hi): (u64, u64), lines: &[Line]) -> (u64, u64) {
    let (mut lo, mut hi) = (lo.saturating_sub(PAGE), hi.saturating_add(PAGE));
    if hi > u64::MAX - PAGE {
        return (0, u64::MAX - 4095);
    }
    for Line { raw, .. } in lines {
        if raw.start < hi && raw.end > lo {
            (lo, hi) = (lo.min(raw.start), hi.max(raw.end));
        }
    }
    (lo, hi)
}

/// Ranges that overlap, as one; those that adjoin stay apart.
pub(crate) fn join(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (lo, hi) in ranges {
        match joined.last_mut() {
            Some(last) if lo < last.1 => last.1 = last.1.max(hi),
            Some(_) | None => joined.push((lo, hi)),
        }
    }
    joined
}

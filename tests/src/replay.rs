//! Applies the effects that a trace tells, commit by commit, to what is known of each address
//! space, and finds what contradicts it.
//!
//! Of a space that was there before the tracer nothing is known at first; of one that an exec
//! made, that it was empty.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

/// What a page is, as far as effects tell: permissions and flags, file, and where the file starts.
#[derive(Clone, Debug, PartialEq)]
struct Page {
    perms: String,
    /// `VmFlags` of smaps; `None` where they are not known.
    flags: Option<Value>,
    /// Device, inode, and the address of the file's first byte; `None` without a file.
    file: Option<(String, String, u64)>,
}

impl Page {
    /// Of a region of the stream.
    fn told(region: &Value) -> Self {
        let text = |name: &str| region[name].as_str().expect("text in a region").to_owned();
        let delta = address(&region["start"]).wrapping_sub(address(&region["offset"]));
        let file = (text("inode") != "0").then(|| (text("dev"), text("inode"), delta));
        Self { perms: text("perms"), flags: Some(region["flags"].clone()), file }
    }

    fn agrees(&self, other: &Self) -> bool {
        let flags = self.flags.is_none() || other.flags.is_none() || self.flags == other.flags;
        flags && self.perms == other.perms && self.file == other.file
    }
}

/// What is known of a range of addresses.
type Known = (u64, u64, Option<Page>);

/// One address space: `None` is unmapped.
#[derive(Debug, Default)]
struct Space {
    /// By start; they do not overlap.
    ranges: BTreeMap<u64, (u64, Option<Page>)>,
}

impl Space {
    /// Takes out what is known of a range.
    fn take(&mut self, (start, end): (u64, u64)) -> Vec<Known> {
        let first = self.ranges.range(..start).next_back().map(|(&at, _)| at);
        let from = first.unwrap_or(start);
        let touched: Vec<_> = self.ranges.range(from..end).map(|(&at, _)| at).collect();
        let mut taken = Vec::new();
        for at in touched {
            let Some((until, page)) = self.ranges.remove(&at) else { continue };
            if at < start {
                self.ranges.insert(at, (until.min(start), page.clone()));
            }
            if until > end {
                self.ranges.insert(end, (until, page.clone()));
            }
            if at.max(start) < until.min(end) {
                taken.push((at.max(start), until.min(end), page));
            }
        }
        taken
    }

    /// Puts something in the place of what was there, which has to be `old`.
    fn swap(
        &mut self,
        range: (u64, u64),
        old: Option<&Page>,
        new: Option<Page>,
    ) -> Result<(), String> {
        for (start, end, known) in self.take(range) {
            let agrees = match (&known, old) {
                (None, None) => true,
                (Some(known), Some(old)) => known.agrees(old),
                (Some(_), None) | (None, Some(_)) => false,
            };
            if !agrees {
                return Err(format!("{start:#x}-{end:#x} was {known:?}, and is told as {old:?}"));
            }
        }
        self.ranges.insert(range.0, (range.1, new));
        Ok(())
    }

    fn apply(&mut self, effect: &Value) -> Result<(), String> {
        let side = |name: &str| (range(&effect[name]), Page::told(&effect[name]));
        match effect["kind"].as_str().expect("a kind") {
            "added" => {
                let (at, pages) = side("pages");
                inside(at, range(&effect["within"]))?;
                self.swap(at, None, Some(pages))
            }
            "removed" => {
                let (at, pages) = side("pages");
                inside(at, range(&effect["within"]))?;
                self.swap(at, Some(&pages), None)
            }
            kind @ ("replaced" | "changed") => {
                let ((at, old), (same, new)) = (side("old"), side("new"));
                if at != same || kind == "changed" && old.file != new.file {
                    return Err("its two sides are of different pages".to_owned());
                }
                self.swap(at, Some(&old), Some(new))
            }
            "split" => {
                inside((address(&effect["at"]), address(&effect["at"])), range(&effect["was"]))
            }
            "merged" => {
                inside((address(&effect["at"]), address(&effect["at"])), range(&effect["into"]))
            }
            kind => Err(format!("an effect of kind {kind}")),
        }
    }
}

/// An address of the stream.
///
/// # Panics
/// If it is none.
pub fn address(value: &Value) -> u64 {
    let text = value.as_str().and_then(|text| text.strip_prefix("0x")).expect("an address");
    u64::from_str_radix(text, 16).expect("an address")
}

fn range(value: &Value) -> (u64, u64) {
    (address(&value["start"]), address(&value["end"]))
}

fn inside(inner: (u64, u64), outer: (u64, u64)) -> Result<(), String> {
    let inside = outer.0 <= inner.0 && inner.1 <= outer.1;
    inside.then_some(()).ok_or_else(|| format!("{inner:x?} is not within {outer:x?}"))
}

/// The address spaces of a trace, as its effects tell them.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    spaces: HashMap<u64, Space>,
    /// The last space of each process.
    of: HashMap<u64, u64>,
}

impl Replay {
    /// Applies the commits among these lines, in their order.
    ///
    /// # Errors
    /// The first commit that contradicts what those before it told, and how.
    pub(crate) fn of(lines: &[Value]) -> Result<Self, String> {
        let mut replay = Self::default();
        for line in lines.iter().filter(|line| line["type"] == "commit") {
            let id = line["space"].as_u64().expect("a space");
            let space = replay.spaces.entry(id).or_default();
            if line["cause"] == "exec" && space.ranges.is_empty() {
                space.ranges.insert(0, (u64::MAX, None));
            }
            if let Some(process) = line["process"].as_u64() {
                replay.of.insert(process, id);
            }
            for effect in line["effects"].as_array().expect("effects") {
                space.apply(effect).map_err(|why| format!("{why}:\n{effect}\nof {line}"))?;
            }
        }
        Ok(replay)
    }

    /// Holds that it is what a process's maps say, as far as is told. For once.
    ///
    /// # Panics
    /// If it is not.
    pub(crate) fn assert_leads_to(&mut self, pid: u32, maps: &[u8]) {
        if let Err(why) = self.compare(pid, &String::from_utf8_lossy(maps)) {
            panic!("the effects do not lead to the maps of {pid}: {why}");
        }
    }

    /// Compares what is known of a process's space with its `/proc/PID/maps`, once.
    ///
    /// # Errors
    /// The first range that differs.
    fn compare(&mut self, pid: u32, maps: &str) -> Result<(), String> {
        let Some(id) = self.of.get(&u64::from(pid)) else { return Ok(()) };
        let space = self.spaces.get_mut(id).expect("a space of a commit");
        let mut last = 0;
        for line in maps.lines().filter(|line| !line.ends_with("[vsyscall]")) {
            let (at, page) = parse(line).ok_or_else(|| format!("a line of maps: {line}"))?;
            space.swap((last, at.0), None, None)?;
            space.swap(at, Some(&page), None)?;
            last = at.1;
        }
        space.swap((last, u64::MAX), None, None)
    }
}

fn parse(line: &str) -> Option<((u64, u64), Page)> {
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let words: Vec<_> = line.splitn(6, ' ').collect();
    let (start, end) = words[0].split_once('-')?;
    let (start, end) = (hex(start)?, hex(end)?);
    let file = (words[4] != "0").then_some((words[3], words[4], hex(words[2])?));
    let file = file.map(|(dev, ino, offset)| (dev.into(), ino.into(), start.wrapping_sub(offset)));
    Some(((start, end), Page { perms: words[1].into(), flags: None, file }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Replay;

    fn region(start: &str, end: &str, perms: &str) -> Value {
        json!({ "start": start, "end": end, "perms": perms, "flags": [], "offset": "0x0",
            "dev": "00:00", "inode": "0" })
    }

    fn commit(effects: &[Value]) -> Value {
        json!({ "type": "commit", "space": 1, "process": 7, "cause": "call", "effects": effects })
    }

    fn added(start: &str, end: &str) -> Value {
        json!({ "kind": "added", "pages": region(start, end, "rw-p"),
            "within": { "start": start, "end": end } })
    }

    fn removed(start: &str, end: &str, perms: &str) -> Value {
        json!({ "kind": "removed", "pages": region(start, end, perms),
            "within": { "start": start, "end": end } })
    }

    #[test]
    fn what_fits_is_taken_and_compared() {
        let lines = [
            commit(&[added("0x1000", "0x5000")]),
            commit(&[removed("0x2000", "0x3000", "rw-p")]),
            commit(&[removed("0x9000", "0xa000", "r--p")]),
        ];
        let maps =
            "00001000-00002000 rw-p 00000000 00:00 0 \n00003000-00005000 rw-p 00000000 00:00 0 ";
        assert_eq!(Replay::of(&lines).and_then(|mut replay| replay.compare(7, maps)), Ok(()));
        for wrong in
            [maps.replace("00002000", "00003000"), maps.replace("rw-p", "r--p"), String::new()]
        {
            let mut replay = Replay::of(&lines).expect("it fits");
            assert!(replay.compare(7, &wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_fit_is_found() {
        let before = commit(&[added("0x1000", "0x5000")]);
        for wrong in [
            added("0x4000", "0x6000"),
            removed("0x1000", "0x2000", "r--p"),
            json!({ "kind": "split", "at": "0x9000",
                "was": { "start": "0x1000", "end": "0x5000" } }),
        ] {
            let lines = [before.clone(), commit(std::slice::from_ref(&wrong))];
            assert!(Replay::of(&lines).is_err(), "{wrong}");
        }
        let lines = [before, commit(&[removed("0x1000", "0x5000", "rw-p")])];
        let twice = [lines[0].clone(), lines[1].clone(), lines[1].clone()];
        assert!(Replay::of(&twice).is_err());
    }
}

//! What a tracer wrote, and what its tests hold of every trace.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitStatus;

use serde_json::Value;

use crate::{compare::shares_memory, is_degraded, replay::Replay};

/// All that is left of a tracer that has ended.
#[derive(Debug)]
pub struct Trace {
    /// How it ended.
    pub status: ExitStatus,
    /// The JSON stream, line by line.
    pub lines: Vec<Value>,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Trace {
    /// Reads the JSON stream of a tracer that has ended.
    ///
    /// # Panics
    /// If a line is not whole, or no JSON object with a `type`.
    pub fn parse(status: ExitStatus, stream: &[u8], stderr: String) -> Self {
        let text = std::str::from_utf8(stream).expect("JSON is UTF-8");
        assert!(text.is_empty() || text.ends_with('\n'), "half a line at the end: {stderr}");
        let parse = |line| -> Value {
            let value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            assert!(type_of(&value).is_some(), "no `type`: {line}");
            value
        };
        Self { status, lines: text.lines().map(parse).collect(), stderr }
    }

    /// Runs of the tracer's programs that it says the kernel has left out, of whatever process: so
    /// many calls may be missing.
    pub fn left_out(&self) -> u64 {
        left_out(&self.stderr)
    }

    /// The last line, the totals.
    ///
    /// # Panics
    /// If it is not of type `end`, or not the only one.
    pub fn end(&self) -> &Value {
        let end = self.lines.last().unwrap_or_else(|| panic!("an empty stream: {}", self.stderr));
        assert_eq!(type_of(end), Some("end"), "the last line: {end}");
        assert_eq!(self.of_type("end").count(), 1, "more than one `end`");
        end
    }

    /// A number of the totals.
    ///
    /// # Panics
    /// If there is no such number.
    pub fn total(&self, name: &str) -> u64 {
        number(self.end(), name)
    }

    /// The totals of a process.
    ///
    /// # Panics
    /// If there are none.
    pub fn process(&self, pid: u32) -> &Value {
        let all = self.end()["processes"].as_array().expect("`processes`");
        let found = all.iter().find(|process| process["pid"] == pid);
        found.unwrap_or_else(|| panic!("no totals of {pid}: {}", self.end()))
    }

    /// The lines of a type.
    pub fn of_type(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.lines.iter().filter(move |line| type_of(line) == Some(name))
    }

    /// The calls of a name.
    pub fn calls(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.of_type("call").filter(move |call| call["call"]["name"] == name)
    }

    /// Holds that something was lost; that each loss is counted, at its place in the order of commits;
    /// and that the model was healed after it and says so.
    ///
    /// # Panics
    /// If not.
    pub fn assert_lost_and_healed(&self) {
        let end = self.end();
        assert!(self.total("lost") > 0 && self.total("healed") > 0, "{end}");
        assert_eq!(end["exact"], true, "{end}");
        let mut told = 0;
        let healed: Vec<_> = self.of_type("healed").collect();
        // By space: the last exact commit, since which one it is in doubt, and whether that must end now.
        let mut spaces: BTreeMap<u64, (u64, Option<u64>, bool)> = BTreeMap::new();
        for line in &self.lines {
            let Some(space) = line["space"].as_u64() else { continue };
            let (last, doubted, heals) = spaces.entry(space).or_default();
            let was_healing = std::mem::take(heals);
            assert!(!was_healing || line["type"] == "healed", "exact, and in doubt: {line}");
            match line["type"].as_str() {
                Some("doubt") => {
                    let why = &line["why"];
                    assert!(matches!(why["kind"].as_str(), Some("lost" | "hole")), "{line}");
                    told += why["records"].as_u64().unwrap_or(0);
                    let after = line["after"].as_u64().expect("a commit");
                    assert!(after >= *last && doubted.is_none(), "after {last}: {line}");
                    *doubted = Some(after);
                }
                Some("commit") => {
                    let id = line["id"].as_u64().expect("an id");
                    let place = doubted.is_none_or(|after| after <= id);
                    assert!(place, "a doubt since {doubted:?}, and then {line}");
                    if line["exact"] == true {
                        (*last, *heals) = (id, doubted.is_some());
                    }
                }
                Some("healed") => assert!(doubted.take().is_some(), "{line}"),
                _ => {}
            }
        }
        assert!(told > 0, "{end}");
        let of_spaces = healed.iter().filter_map(|line| line["lost"].as_u64()).sum::<u64>();
        assert_eq!(
            (of_spaces + self.lost_of_none(), healed.len() as u64),
            (self.total("lost"), self.total("healed")),
            "{end}"
        );
    }

    /// How many records were lost of no space that is there.
    pub fn lost_of_none(&self) -> u64 {
        self.of_type("lost").filter_map(|line| line["records"].as_u64()).sum()
    }

    /// The lines that tell of a process, of its descendants, and of what others did to them.
    pub(crate) fn family(&self, pid: u32) -> Vec<&Value> {
        let mut family = BTreeSet::from([u64::from(pid)]);
        let tells = |line: &&Value| {
            let is_of = |key: &str| line[key].as_u64().is_some_and(|pid| family.contains(&pid));
            let tells = is_of("pid") || is_of("process");
            if tells {
                family.extend(line["child"]["pid"].as_u64());
            }
            tells
        };
        self.lines.iter().filter(tells).collect()
    }

    /// Holds that nothing was lost, nothing had to be read again, and that the tracer says that
    /// its picture is exact, of every process as of all. In the degraded tier that is promised of no
    /// process that has ended, nor of one that shares its memory.
    ///
    /// # Panics
    /// If not, with what the tracer said of it.
    pub fn assert_clean(&self) {
        let end = self.end();
        let processes = end["processes"].as_array().expect("`processes`");
        let pids: Vec<_> = processes.iter().map(|process| number(process, "pid") as u32).collect();
        let has_ended =
            |pid: u32| self.of_type("exit").any(|exit| exit["last"] == true && exit["pid"] == pid);
        let mut unsure = pids.clone();
        unsure.retain(|&pid| is_degraded() && (has_ended(pid) || shares_memory(pid, &pids)));
        for totals in processes.iter().chain([end]) {
            let mut of = pids.iter().filter(|&&pid| totals.get("pid").is_none_or(|it| *it == pid));
            let is_of_those = of.any(|pid| unsure.contains(pid));
            let clean = number(totals, "lost") == 0
                && number(totals, "healed") == 0
                && (totals["exact"] == true || is_of_those);
            assert!(clean, "not clean: {totals}\n{}\n{}", self.doubts(), self.stderr);
        }
    }

    /// Holds that no commit contradicts those before it: what is added was not mapped, what is
    /// removed or changed was, as it is told.
    ///
    /// # Panics
    /// If one does.
    pub fn assert_consistent(&self) {
        self.replay();
    }

    /// What the commits together lead to.
    ///
    /// # Panics
    /// If one contradicts those before it.
    pub(crate) fn replay(&self) -> Replay {
        Replay::of(&self.lines).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Holds that the effects together lead to what a process's maps say now, as far as they tell.
    ///
    /// # Panics
    /// If they do not.
    pub fn assert_leads_to(&self, pid: u32, maps: &[u8]) {
        self.replay().assert_leads_to(pid, maps);
    }

    /// What the tracer said of its doubts.
    pub(crate) fn doubts(&self) -> String {
        let doubts = self
            .lines
            .iter()
            .filter(|line| matches!(type_of(line), Some("doubt" | "healed" | "malformed")));
        doubts.take(10).map(Value::to_string).collect::<Vec<_>>().join("\n")
    }
}

/// The `type` of a line.
fn type_of(line: &Value) -> Option<&str> {
    line.get("type")?.as_str()
}

/// A number of an object.
fn number(object: &Value, name: &str) -> u64 {
    object[name].as_u64().unwrap_or_else(|| panic!("no number `{name}`: {object}"))
}

/// [`Trace::left_out`] of what a tracer has written to standard error.
pub fn left_out(stderr: &str) -> u64 {
    let count = stderr.split_once("the kernel left out ").map(|(_, rest)| rest);
    count.and_then(|it| it.split(' ').next()?.parse().ok()).unwrap_or(0)
}

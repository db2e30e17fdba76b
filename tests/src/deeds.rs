//! What programs write down of what they did to their address spaces (the victim's cases `deeds_*`),
//! and what a tracer or a recording says of it when asked.

use std::path::Path;

use serde_json::Value;

use crate::{Finished, Scratch, Tracer, Victim, mmaptrace, run};

/// The functions of the victim, the innermost first.
const CHAIN: [&str; 4] = ["stacks_leaf", "stacks_inner", "stacks_middle", "stacks_outer"];

/// What the victim wrote down of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// The thread.
    pub tid: u64,
    /// How many of the functions that the test knows led to it.
    pub depth: usize,
    /// Its number.
    pub nr: i64,
    /// Its arguments, 0 where it has none.
    pub args: [u64; 6],
    /// What it returned; an error is some negative number.
    pub result: i64,
}

impl Deed {
    fn parse(line: &str) -> Self {
        let words: Vec<_> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().expect("a number");
        Self {
            tid: number(0),
            depth: number(1) as usize,
            nr: number(2) as i64,
            args: std::array::from_fn(|at| number(3 + at)),
            result: words[9].parse().expect("a number"),
        }
    }

    /// Whether a line of JSON is of this deed.
    ///
    /// # Panics
    /// If it tells no call.
    pub fn is(&self, line: &Value) -> bool {
        let raw: Vec<_> = self.args.iter().map(|arg| format!("{arg:#x}")).collect();
        let call = &line["call"];
        // Of six registers those that the call has.
        let count = call["args"].as_array().expect("arguments").len();
        let same = (0..count).all(|at| call["raw"][at] == raw[at].as_str());
        same && line["tid"] == self.tid && call["nr"] == self.nr
    }

    /// Holds that a stack is that of this deed.
    ///
    /// # Panics
    /// If it is not.
    pub fn assert_stack(&self, stack: &Value) {
        let frames = stack["frames"].as_array().expect("frames");
        let names: Vec<_> =
            frames.iter().map(|frame| frame["symbol"].as_str().unwrap_or("?")).collect();
        assert_eq!(names[..self.depth], CHAIN[..self.depth], "{self:?}: {stack}");
        assert!(!CHAIN.contains(&names[self.depth]), "{self:?}: {stack}");
    }
}

/// What a victim wrote down in its directory.
///
/// # Panics
/// If it wrote nothing, or something else.
pub fn deeds(scratch: &Scratch) -> Vec<Deed> {
    let log = std::fs::read_to_string(scratch.join("log")).expect("the victim's log");
    log.lines().map(Deed::parse).collect()
}

/// Asks, and gets an answer.
///
/// # Panics
/// If there is none.
pub fn ask(args: &[&str]) -> Finished {
    let answer = run(&mut mmaptrace(args));
    assert_eq!(answer.code(), Some(0), "{args:?}: {}", answer.stderr);
    answer
}

/// The answer as JSON.
///
/// # Panics
/// If there is none.
pub fn lines(args: &[&str]) -> Vec<Value> {
    let answer = ask(&[args, &["--format", "json"]].concat()).text();
    answer.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The lines of a type.
pub fn of_type<'a>(lines: &'a [Value], name: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == name).collect()
}

/// Where a running tracer is asked.
pub fn socket(tracer: &mut Tracer) -> String {
    format!("/run/mmaptrace/{}.sock", tracer.process().pid())
}

/// A victim whose past is recorded.
#[derive(Debug)]
pub struct Recorded {
    /// The victim.
    pub victim: Victim,
    /// Its directory, which has the recording as well.
    pub scratch: Scratch,
    /// Who records.
    pub recorder: Tracer,
}

impl Recorded {
    /// Of a victim that gets the directory for its log.
    ///
    /// # Panics
    /// If it cannot be recorded.
    pub fn start(victim: impl Fn(&Path) -> Victim, options: &[&str]) -> Self {
        let scratch = Scratch::new();
        let victim = victim(scratch.path());
        let file = scratch.join("recording");
        let file = file.to_str().expect("a path");
        let args = [&["record", "-o", file], options].concat();
        let recorder = Tracer::attach_plainly(victim.pid(), &args);
        Self { victim, scratch, recorder }
    }

    /// The recording.
    ///
    /// # Panics
    /// If its path is no UTF-8.
    pub fn file(&self) -> String {
        self.scratch.join("recording").to_str().expect("a path").to_owned()
    }

    /// Ends both.
    ///
    /// # Panics
    /// If they do not end well.
    pub fn end(mut self) -> Scratch {
        self.victim.end();
        assert_eq!(self.recorder.process().wait().code(), Some(0), "{}", self.recorder.stderr());
        self.scratch
    }
}

/// Ends a recorder, while what it records goes on.
///
/// # Panics
/// If it does not end well.
pub fn interrupt(mut recorder: Tracer) {
    recorder.process().signal(libc::SIGINT);
    assert_eq!(recorder.process().wait().code(), Some(0), "{}", recorder.stderr());
}

//! A list of calls in a file, a line each, and where in a run they are made:
//!
//! ```text
//! # For people.
//! mmap 0x20003000 0x4000 0x3 0x32 106 0x0 -> s2
//! thread 1
//! mprotect 0x20004000 0x1000 0x1
//! phase
//! munmap 0x20003000 0x1000
//! image
//! fork
//! > stay
//! ```
//!
//! What follows `thread 1` is made by the second thread, at the same time as what the others make.
//! What follows `phase` is made after the program has stood still again, what follows `image` in the
//! next image; both by the first thread, until another is named.

use std::fmt;

use super::{Generator, Op, Setting};

/// Where in a run a call is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The image, from 0.
    pub image: u64,
    /// The phase of the image, from 0.
    pub phase: u64,
    /// The thread, from 0.
    pub thread: u64,
}

/// Calls and where they are made, in that order; those of one place in the order of the calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script(Vec<(At, Op)>);

impl Script {
    /// Of calls in order. Images and phases in which none is made are left out.
    ///
    /// # Panics
    /// If they are not in order.
    pub fn new(mut calls: Vec<(At, Op)>) -> Self {
        assert!(calls.is_sorted_by_key(|call| call.0), "calls in order");
        let mut before = calls.first().map_or_else(At::default, |call| call.0);
        let mut here = At::default();
        for (at, _) in &mut calls {
            if at.image != before.image {
                here = At { image: here.image + 1, ..At::default() };
            } else if at.phase != before.phase {
                here.phase += 1;
            }
            here.thread = at.thread;
            before = std::mem::replace(at, here);
        }
        Self(calls)
    }

    /// The script in a file, or what is `wanted` of it. Empty lines are for people too.
    ///
    /// # Errors
    /// What is wrong with which line. What is not wanted is not looked at.
    pub fn parse(text: &str, wanted: impl Fn(At) -> bool) -> Result<Self, String> {
        let mut at = At::default();
        let mut calls = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.is_empty() || line.starts_with('#') {
            } else if line == "image" {
                at = At { image: at.image + 1, ..At::default() };
            } else if line == "phase" {
                at = At { phase: at.phase + 1, thread: 0, ..at };
            } else if let Some(thread) = line.strip_prefix("thread ") {
                let thread = thread.parse().map_err(|_| format!("line {number}: no thread"))?;
                if thread < at.thread {
                    return Err(format!("line {number}: threads go upwards"));
                }
                at.thread = thread;
            } else if wanted(at) {
                calls.push((at, line.parse().map_err(|why| format!("line {number}: {why}"))?));
            }
        }
        Ok(Self(calls))
    }

    /// The calls of a run up to the end of a phase, of a file or of a seed.
    ///
    /// # Panics
    /// If the file cannot be read.
    pub fn up_to(setting: &Setting, image: u64, phase: u64) -> Self {
        let is_made = |at: At| (at.image, at.phase) <= (image, phase);
        if let Some(path) = &setting.script {
            let text = std::fs::read_to_string(path).expect("a file of calls");
            return Self::parse(&text, is_made).expect("calls");
        }
        let phases = (0..=image).flat_map(|image| (0..setting.phases).map(move |p| (image, p)));
        let places = phases.flat_map(|(image, phase)| {
            (0..setting.threads).map(move |thread| At { image, phase, thread })
        });
        let calls = places.filter(|at| is_made(*at)).flat_map(|at| {
            let calls = Generator::new(setting.seed, at.image, at.phase, at.thread).enumerate();
            let made = calls.take_while(|(index, op)| (*index as u64) < setting.calls || op.child);
            made.map(move |(_, op)| (at, op))
        });
        Self::new(calls.collect())
    }

    /// All calls.
    pub fn calls(&self) -> &[(At, Op)] {
        &self.0
    }

    /// Those of one thread in one phase.
    pub fn made(&self, at: At) -> &[(At, Op)] {
        let from = self.0.partition_point(|call| call.0 < at);
        let to = self.0.partition_point(|call| call.0 <= at);
        &self.0[from..to]
    }

    /// The run that makes all of it, from the file at `path`.
    pub fn setting(&self, path: String) -> Setting {
        let most = |of: fn(&At) -> u64| self.0.iter().map(|(at, _)| of(at)).max().unwrap_or(0);
        let lengths = self.0.chunk_by(|one, next| one.0 == next.0).map(<[_]>::len);
        Setting {
            script: Some(path),
            threads: most(|at| at.thread) + 1,
            calls: lengths.max().unwrap_or(0) as u64,
            phases: most(|at| at.phase) + 1,
            images: most(|at| at.image) + 1,
            ..Setting::default()
        }
    }
}

/// As a file has it.
impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut here = At::default();
        for &(at, op) in &self.0 {
            while here.image < at.image {
                here = At { image: here.image + 1, ..At::default() };
                f.write_str("image\n")?;
            }
            while here.phase < at.phase {
                here = At { phase: here.phase + 1, thread: 0, ..here };
                f.write_str("phase\n")?;
            }
            if here.thread < at.thread {
                here = at;
                writeln!(f, "thread {}", at.thread)?;
            }
            writeln!(f, "{op}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{At, Script};

    const TEXT: &str = "fork\n> stay\nthread 2\nmunmap 0x1000 0x1000\nphase\nbrk 0x1\nimage\n\
                        thread 1\ntouch 0x1000\nphase\ntouch 0x2000\n";

    fn at(image: u64, phase: u64, thread: u64) -> At {
        At { image, phase, thread }
    }

    #[test]
    fn what_is_written_is_read() {
        let script = Script::parse(TEXT, |_| true).expect("a script");
        assert_eq!(script.to_string(), TEXT);
        let places: Vec<_> = script.calls().iter().map(|call| call.0).collect();
        let first = at(0, 0, 0);
        assert_eq!(places, [first, first, at(0, 0, 2), at(0, 1, 0), at(1, 0, 1), at(1, 1, 0)]);
        assert_eq!(script.made(first).len(), 2);
        assert_eq!(script.made(at(0, 0, 1)), []);
        assert_eq!(script.made(at(1, 1, 0))[0].1.to_string(), "touch 0x2000");
        let setting = script.setting("path".into());
        let numbers = (setting.threads, setting.calls, setting.phases, setting.images);
        assert_eq!(numbers, (3, 2, 2, 2));
    }

    #[test]
    fn what_is_empty_is_left_out() {
        let script = Script::parse(TEXT, |_| true).expect("a script");
        let rest = Script::new(script.calls()[3..].to_vec());
        assert_eq!(
            rest.to_string(),
            "brk 0x1\nimage\nthread 1\ntouch 0x1000\nphase\ntouch 0x2000\n"
        );
        let last = Script::new(script.calls()[5..].to_vec());
        assert_eq!(last.to_string(), "touch 0x2000\n");
    }

    #[test]
    fn what_is_not_wanted_is_not_read() {
        let script =
            Script::parse("nothing\nimage\nbrk 0x1\n", |at| at.image == 1).expect("a script");
        assert_eq!(script.calls().len(), 1);
        let error = Script::parse("brk 0x1\n\nnothing\n", |_| true).expect_err("no call");
        assert_eq!(error, "line 3: no such call: nothing");
        assert!(Script::parse("thread 2\nbrk 0x1\nthread 1\n", |_| true).is_err());
    }
}

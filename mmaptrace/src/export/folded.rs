//! Folded stacks: one line a site, `process;thread;frames...;call BYTES`, as `flamegraph.pl`,
//! inferno and speedscope read them.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use mmaptrace_model::{Event, Model};

use super::{
    About, Export, Metric,
    sites::{Site, Sites},
    words::names,
};
use crate::{
    escape::{Escaped, comm},
    symbols::Backtraces,
};

/// Writes folded stacks of what sites come to in one metric.
#[derive(Debug)]
pub(super) struct Folded<W> {
    out: W,
    metric: Metric,
    sites: Sites,
    stacks: Backtraces,
}

impl<W: Write> Folded<W> {
    pub(super) fn new(out: W, about: About, metric: Metric) -> Self {
        Self { out, metric, sites: Sites::new(&about), stacks: Backtraces::default() }
    }
}

impl<W: Write> Export for Folded<W> {
    fn event(&mut self, event: &Event, model: &Model) -> io::Result<()> {
        self.stacks.event(event, model);
        self.sites.event(event, model);
        Ok(())
    }

    fn finish(mut self: Box<Self>, _: &[String]) -> io::Result<()> {
        let (sites, _) = self.sites.finish();
        // Places that differ in addresses alone are one.
        let mut lines = BTreeMap::<String, u64>::new();
        for (site, totals) in sites {
            *lines.entry(line(&site, &self.stacks).join(";")).or_default() += match self.metric {
                Metric::Live => totals.live,
                Metric::Mapped => totals.mapped,
                Metric::Calls => totals.calls,
            };
        }
        for (line, value) in lines.iter().filter(|(_, value)| **value > 0) {
            writeln!(self.out, "{line} {value}")?;
        }
        self.out.flush()
    }
}

/// The frames of a site, outermost first.
fn line(site: &Site, stacks: &Backtraces) -> Vec<String> {
    let (pid, process) = &site.process;
    let mut frames = vec![task(process, *pid)];
    frames.extend(site.thread.as_ref().map(|(tid, thread)| task(thread, *tid)));
    frames.extend(names(stacks.first(site.stack)).rev());
    frames.push(site.call.to_string());
    frames.iter().map(|frame| one(frame)).collect()
}

/// A frame that stays one: a semicolon is written in octal, as any other character is that would do
/// harm.
fn one(frame: &str) -> String {
    frame.replace(';', r"\073")
}

/// A task's frame: `worker (4711)`.
fn task(name: &[u8; 16], id: u32) -> String {
    format!("{} ({id})", Escaped(comm(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{Format, testing};

    #[test]
    fn a_story_by_each_metric() {
        let folded = |metric| String::from_utf8(testing::export(Format::Folded(metric)));
        let [live, mapped, calls] = [Metric::Live, Metric::Mapped, Metric::Calls].map(folded);
        let task = r#"=e\073"<b>\012,x\377 (100)"#;
        let line = |call, value: u64| format!("{task};{task};{call} {value}\n");
        assert_eq!(live, Ok(line("execve", 0x23000) + &line("mmap", 0x2000)));
        assert_eq!(mapped, Ok(line("execve", 0x23000) + &line("mmap", 0x4000)));
        let all = [("execve", 1), ("mmap", 1), ("mprotect", 1), ("munmap", 1)];
        assert_eq!(calls, Ok(all.map(|(call, count)| line(call, count)).concat()));
    }

    #[test]
    fn a_name_stays_one_frame_of_one_line() {
        let site = Site {
            process: (7, *b"a;b 12\n\0\0\0\0\0\0\0\0\0"),
            thread: None,
            call: "before".into(),
            stack: None,
        };
        assert_eq!(line(&site, &Backtraces::default()).join(";"), r"a\073b 12\012 (7);before");
    }
}

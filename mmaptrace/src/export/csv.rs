//! CSV, as RFC 4180 has it: one line an effect, and one for each call and event without.
//!
//! Lines are in the order of what they tell. Those of a call lack its result until it returns, and what
//! comes after them waits for it.

mod cells;

use std::{
    collections::{HashMap, VecDeque},
    io::{self, Write},
};

use csv::{StringRecord, Terminator, Writer, WriterBuilder};
use mmaptrace_model::{
    Event, HeapRule, Model, Region,
    event::{Cause, Syscall, Task},
};

use self::cells::{What, arguments, name, or_empty, text, what};
use super::{About, Export};
use crate::{
    escape::comm,
    sink::{
        Clock,
        summary::Ended,
        text::why::{Why, tag},
    },
    syscall::{self, Outcome},
};

/// The first line. The result is last, since it is known last.
const COLUMNS: [&str; 17] = [
    "time",
    "process",
    "pid",
    "tid",
    "comm",
    "call",
    "arguments",
    "effect",
    "start",
    "end",
    "size",
    "perms",
    "name",
    "was_perms",
    "was_name",
    "commit",
    "result",
];

/// What the writer says that the table is written to: whose reader has left, say.
fn unwrap(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        kind => io::Error::other(format!("{kind:?}")),
    }
}

/// Lines that wait for the results of those before them. Then the first is written without.
const PATIENCE: usize = 1 << 16;

/// Writes a table of effects.
#[derive(Debug)]
pub(super) struct Csv<W: Write> {
    out: Writer<W>,
    clock: Clock,
    heap: HeapRule,
    titled: bool,
    /// Lines that are not written yet, each with whether it has its result.
    lines: VecDeque<(StringRecord, bool)>,
    /// The number of the first of them.
    first: usize,
    /// By thread, the call that it is in, and the numbers of its lines, which lack their result.
    waiting: HashMap<u32, (Syscall, Vec<usize>)>,
}

/// The columns of who and why.
struct Head<'a> {
    time: u64,
    process: Option<u32>,
    task: Option<&'a Task>,
    call: &'a str,
    arguments: &'a str,
    commit: Option<u64>,
}

impl<W: Write> Csv<W> {
    pub(super) fn new(out: W, about: About) -> Self {
        let out = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(out);
        let About { clock, heap, .. } = about;
        let (lines, waiting) = (VecDeque::new(), HashMap::new());
        Self { out, clock, heap, titled: false, lines, first: 0, waiting }
    }

    /// Gives the lines of a thread's call its result; nothing, if it never returned.
    fn returned(&mut self, tid: u32, result: &str) -> io::Result<()> {
        let Some((_, numbers)) = self.waiting.remove(&tid) else { return Ok(()) };
        for number in numbers {
            let index = number.checked_sub(self.first);
            if let Some((line, complete)) = index.and_then(|index| self.lines.get_mut(index)) {
                line.push_field(result);
                *complete = true;
            }
        }
        self.write()
    }

    /// Takes a line, and tells its number.
    fn push(&mut self, line: StringRecord, complete: bool) -> usize {
        self.lines.push_back((line, complete));
        self.first + self.lines.len() - 1
    }

    /// Writes what waits for nothing.
    fn write(&mut self) -> io::Result<()> {
        while let Some((_, complete)) = self.lines.front()
            && (*complete || self.lines.len() > PATIENCE)
            && let Some((mut line, complete)) = self.lines.pop_front()
        {
            self.first += 1;
            if !complete {
                line.push_field("");
            }
            self.out.write_record(&line).map_err(unwrap)?;
        }
        Ok(())
    }

    /// A line but for its result.
    fn line(&self, head: &Head<'_>, effect: &str, what: &What) -> StringRecord {
        let mut line = StringRecord::with_capacity(256, COLUMNS.len());
        line.push_field(&self.clock.epoch(head.time).to_string());
        line.push_field(&or_empty(head.process));
        line.push_field(&or_empty(head.task.map(|task| task.pid)));
        line.push_field(&or_empty(head.task.map(|task| task.tid)));
        line.push_field(&or_empty(head.task.map(|task| text(comm(&task.comm)))));
        line.push_field(head.call);
        line.push_field(head.arguments);
        line.push_field(effect);
        line.extend(what);
        line.push_field(&or_empty(head.commit));
        line
    }

    /// Writes the line of an event that has no effect on regions.
    fn plain(&mut self, head: &Head<'_>, result: &str) -> io::Result<()> {
        let mut line = self.line(head, "", &What::default());
        line.push_field(result);
        self.push(line, true);
        self.write()
    }

    /// Takes the lines of a commit, which lack their result if it is a call's.
    fn commit(&mut self, cause: &Cause, task: &Task, lines: Vec<StringRecord>) -> io::Result<()> {
        let goes_on = |(of, _): &(Syscall, _)| *cause == Cause::Call(*of);
        if !self.waiting.get(&task.tid).is_some_and(goes_on) {
            self.returned(task.tid, "")?;
        }
        if let Cause::Call(call) = cause {
            let numbers: Vec<_> = lines.into_iter().map(|line| self.push(line, false)).collect();
            let waiting = self.waiting.entry(task.tid);
            waiting.or_insert_with(|| (*call, Vec::new())).1.extend(numbers);
        } else {
            for mut line in lines {
                line.push_field("");
                self.push(line, true);
            }
        }
        self.write()
    }
}

impl<W: Write> Export for Csv<W> {
    fn event(&mut self, event: &Event, model: &Model) -> io::Result<()> {
        if !self.titled {
            self.titled = true;
            self.out.write_record(COLUMNS).map_err(unwrap)?;
        }
        let process = |space| model.process_of(space).map(|process| process.pid);
        let bare = |time, process, task, call| Head {
            time,
            process,
            task,
            call,
            arguments: "",
            commit: None,
        };
        match event {
            Event::Commit { time, space, task, id, cause, effects, .. } => {
                let arguments = match cause {
                    Cause::Call(call) | Cause::Remote(Some(call)) => arguments(call, b""),
                    Cause::Fault
                    | Cause::Growth(_)
                    | Cause::Kernel
                    | Cause::Worker
                    | Cause::Remote(None)
                    | Cause::Seed
                    | Cause::Fork
                    | Cause::Exec => String::new(),
                };
                let head = Head {
                    time: *time,
                    process: process(*space),
                    task: Some(task),
                    call: &tag(cause),
                    arguments: &arguments,
                    commit: Some(*id),
                };
                let names = |region: &Region| name(region, *space, model, self.heap);
                let lines = effects.iter().map(|effect| {
                    let (effect, what) = what(effect, names);
                    self.line(&head, effect, &what)
                });
                let lines: Vec<_> = lines.collect();
                if lines.is_empty() { Ok(()) } else { self.commit(cause, task, lines) }
            }
            Event::Call { time, space, task, call, result, text, .. } => {
                let result = Outcome { call, result: *result }.to_string();
                if self.waiting.get(&task.tid).is_some_and(|(of, _)| of == call) {
                    self.returned(task.tid, &result)?;
                    return Ok(());
                }
                self.returned(task.tid, "")?;
                let (name, arguments) = (syscall::name(call), arguments(call, text));
                let head = Head {
                    arguments: &arguments,
                    ..bare(*time, process(*space), Some(task), &name)
                };
                self.plain(&head, &result)
            }
            Event::Exec { time, space, task, path, .. } => {
                self.returned(task.tid, "")?;
                let path = text(path);
                let head =
                    Head { arguments: &path, ..bare(*time, process(*space), Some(task), "exec") };
                self.plain(&head, "")
            }
            Event::Fork { time, task, child, .. } => {
                let head = bare(*time, Some(task.pid), Some(task), "fork");
                self.plain(&head, &child.tid.to_string())
            }
            Event::Exit { time, task, status, .. } => {
                self.returned(task.tid, "")?;
                let head = bare(*time, Some(task.pid), Some(task), "exit");
                self.plain(&head, &Ended(*status).to_string())
            }
            Event::Doubt { time, space, why, .. } => {
                let head = bare(*time, process(*space), None, "doubt");
                self.plain(&head, &Why(*why).to_string())
            }
            Event::Healed { time, space, id, .. } => {
                let head =
                    Head { commit: Some(*id), ..bare(*time, process(*space), None, "healed") };
                self.plain(&head, "")
            }
            Event::Lost { time, records } => {
                let head = bare(*time, None, None, "lost");
                self.plain(&head, &records.to_string())
            }
            // An end of a space has no place in a table of effects, and a record that cannot be
            // read no time.
            Event::End { .. } | Event::Malformed { .. } => Ok(()),
        }
    }

    fn finish(mut self: Box<Self>, _: &[String]) -> io::Result<()> {
        let mut tids: Vec<_> = self.waiting.keys().copied().collect();
        tids.sort_unstable();
        for tid in tids {
            self.returned(tid, "")?;
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use mmaptrace_common::record::Header;
    use zerocopy::IntoBytes as _;

    use super::COLUMNS;
    use crate::export::{Format, testing};

    #[test]
    fn every_effect_is_a_line_and_its_call_has_a_result() {
        let table = testing::export(Format::Csv);
        let mut reader = csv::Reader::from_reader(&table[..]);
        assert_eq!(reader.headers().expect("a first line"), &COLUMNS[..]);
        let lines: Vec<Vec<String>> = reader
            .records()
            .map(|line| line.expect("as many columns").iter().map(str::to_owned).collect())
            .collect();
        // Call, effect, size, perms, was_perms, commit, result.
        let shown = lines.iter().map(|line| {
            let columns = [5, 7, 10, 11, 13, 15, 16].map(|column| line[column].as_str());
            columns.join(" ").trim_end().to_owned()
        });
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [
                "exec",
                "execve added 8192 r-xp  4",
                "execve added 135168 rw-p  4",
                "mmap added 16384 rw-p  6 0x7f0000000000",
                "mprotect changed 4096 r--p rw-p 8 0",
                "mprotect split    8 0",
                "mprotect split    8 0",
                "munmap removed 4096 r--p  10 0",
                "munmap removed 4096 rw-p  10 0",
                "mmap      -1 ENOMEM (Cannot allocate memory)",
                "exit      exited with 3",
            ]
        );
        let name = r#"/tmp/</script>;a\012\342\200\250,"=\377"#;
        assert_eq!((&*lines[1][12], &*lines[1][4]), (name, r#"\075e;"<b>\012,x\377"#));
        assert!(table.ends_with(b"\r\n") && !table.windows(2).any(|pair| pair == b"\n\n"));
    }

    /// The second of two threads returns first.
    #[test]
    fn lines_are_in_the_order_of_their_commits() {
        const TID: usize = offset_of!(Header, tid);
        let mut steps = testing::story();
        for step in &mut steps[5..7] {
            step.as_mut_bytes()[TID..TID + 4].copy_from_slice(&101_u32.to_ne_bytes());
        }
        let returned = steps.remove(6);
        steps.insert(8, returned);
        let table = testing::export_steps(Format::Csv, &steps);
        let mut reader = csv::Reader::from_reader(&table[..]);
        let lines = reader.records().map(|line| line.expect("as many columns"));
        // Thread, commit, result.
        let shown: Vec<_> = lines.map(|line| [3, 15, 16].map(|at| line[at].to_owned())).collect();
        let of = |tid: &str, commit: &str| [tid, commit, "0"].map(str::to_owned);
        let expected =
            [of("101", "8"), of("101", "8"), of("101", "8"), of("100", "10"), of("100", "10")];
        assert!(shown.windows(5).any(|lines| lines == expected), "{shown:?}");
    }
}

//! A page with a timeline: one file, which needs no network and no server.
//!
//! The page is the files of `html/`, the data a gzip'd JSON object in base64, which no name in it
//! can break out of. The page's policy lets run what is in those files, and nothing else.

mod columns;
mod page;
mod summary;

use std::{
    collections::HashMap,
    io::{self, Write},
};

use mmaptrace_model::{
    Event, Model,
    event::{SpaceId, Task},
    history::Deed,
};

use self::columns::{Data, DeedRow, Mark, MarkKind, Past, Space, Texts};
use super::{
    About, Export,
    kind::Kind,
    lives::{self, Change, Lives, Owner},
    words::names,
};
use crate::{
    escape::{Escaped, comm},
    sink::{
        Clock,
        summary::Ended,
        text::why::{Action, Why},
    },
    symbols::Backtraces,
    syscall::{Call, Outcome},
};

/// Gathers what the page shows, and writes it at the end.
#[derive(Debug)]
pub(super) struct Html<W> {
    out: W,
    clock: Clock,
    lives: Lives,
    data: Data,
    gathered: Gathered,
    now: u64,
}

/// What rows of the data refer to, by what they refer to it for.
#[derive(Debug, Default)]
struct Gathered {
    /// When the first event was: ns of `CLOCK_MONOTONIC`. The page counts from it.
    begin: Option<u64>,
    spaces: HashMap<SpaceId, usize>,
    tasks: HashMap<Task, usize>,
    deeds: HashMap<(SpaceId, u64), usize>,
    backtraces: Backtraces,
    stacks: HashMap<Vec<String>, usize>,
    texts: Texts,
}

impl<W: Write> Html<W> {
    pub(super) fn new(out: W, about: About) -> Self {
        let (data, gathered) = (Data::default(), Gathered::default());
        Self { out, clock: about.clock, lives: Lives::new(&about), data, gathered, now: 0 }
    }

    /// Notes the call or the end of a task, that no change of pages tells of.
    fn mark(&mut self, kind: MarkKind, space: Option<SpaceId>, task: Option<&Task>, text: &str) {
        let owner = space.and_then(|space| self.lives.owner(space));
        let mark = Mark {
            time: self.gathered.since(self.now),
            kind,
            space: owner.map(|owner| self.gathered.space(&owner, &mut self.data)),
            task: task.map(|task| self.gathered.task(task, &mut self.data)),
            text: self.gathered.texts.get(text.as_bytes()),
        };
        self.data.marks.push(mark);
    }
}

impl Gathered {
    fn since(&self, time: u64) -> u64 {
        time.saturating_sub(self.begin.unwrap_or(time))
    }

    fn space(&mut self, owner: &Owner, data: &mut Data) -> usize {
        *self.spaces.entry(owner.space).or_insert_with(|| {
            data.spaces.push(Space::new(owner.pid, Escaped(comm(&owner.comm)).to_string()));
            data.spaces.len() - 1
        })
    }

    fn task(&mut self, task: &Task, data: &mut Data) -> usize {
        *self.tasks.entry(*task).or_insert_with(|| {
            let name = Escaped(comm(&task.comm)).to_string();
            data.tasks.push((task.pid, task.tid, name));
            data.tasks.len() - 1
        })
    }

    /// The row of a deed.
    fn deed(&self, deed: Option<&Deed>) -> Option<usize> {
        deed.and_then(|deed| self.deeds.get(&(deed.space, deed.id))).copied()
    }

    fn stack(&mut self, deed: &Deed, data: &mut Data) -> Option<usize> {
        let frames: Vec<_> = names(self.backtraces.of(deed)).collect();
        if frames.is_empty() {
            return None;
        }
        let next = data.stacks.len();
        let row = *self.stacks.entry(frames).or_insert_with_key(|frames| {
            data.stacks.push(frames.clone());
            next
        });
        Some(row)
    }

    fn past(&mut self, past: &lives::Past<'_>, data: &mut Data) {
        let space = self.space(&past.owner, data);
        let piece = past.piece;
        let region = &piece.region;
        data.pasts.push(&Past {
            space,
            start: region.start,
            end: region.end,
            since: self.since(piece.since),
            until: self.since(past.until),
            kind: piece.kind,
            flags: region.flags,
            name: self.texts.get(&piece.name),
            mapped: self.deed(piece.mapped.as_deref()),
            made: self.deed(piece.made.as_deref()),
            by: self.deed(past.by.map(|by| &**by)),
            fate: past.fate as u8,
        });
    }
}

impl<W: Write> Export for Html<W> {
    fn event(&mut self, event: &Event, model: &Model) -> io::Result<()> {
        self.now = self.now.max(lives::time(event).unwrap_or(self.now));
        self.gathered.begin = self.gathered.begin.or_else(|| lives::time(event));
        let Self { lives, data, gathered, .. } = self;
        gathered.backtraces.event(event, model);
        // What it ends refers to its row, which is written after.
        if let Some(deed) = lives::change(event) {
            gathered.deeds.insert((deed.space, deed.id), data.deeds.len());
        }
        let change = lives.event(event, model, &mut |past| gathered.past(past, data));
        match event {
            Event::Commit { space, .. } => {
                if let (Some(Change { deed, .. }), Some(owner)) = (change, lives.owner(*space)) {
                    let row = gathered.space(&owner, data);
                    let task = gathered.task(&deed.task, data);
                    let text = gathered.texts.get(Action(&deed).to_string().as_bytes());
                    let stack = gathered.stack(&deed, data);
                    let sizes = lives.sizes(*space);
                    let regions = model.space(*space).map_or(0, |space| space.map().len());
                    data.spaces[row].see(&sizes, regions);
                    data.deeds.push(&DeedRow {
                        space: row,
                        time: gathered.since(deed.time),
                        task,
                        text,
                        commit: deed.id,
                        size: sizes.iter().sum(),
                        regions,
                        stack,
                    });
                }
            }
            Event::Call { space, task, call, result, text, .. } => {
                let outcome = Outcome { call, result: *result };
                if outcome.error().is_some() {
                    let call = Call { call, path: text, open: false };
                    let text = format!("{call} = {outcome}");
                    self.mark(MarkKind::Failure, Some(*space), Some(task), &text);
                }
            }
            Event::Exec { space, task, path, .. } => {
                let text = format!("runs {}", Escaped(path));
                self.mark(MarkKind::Task, Some(*space), Some(task), &text);
            }
            Event::Fork { space, task, child, .. } => {
                let what = if child.pid == task.pid { "thread" } else { "process" };
                let text = format!("new {what} {}", child.tid);
                self.mark(MarkKind::Task, Some(*space), Some(task), &text);
            }
            Event::Exit { task, status, .. } => {
                let space = model.space_of(task.pid).map(mmaptrace_model::Space::id);
                self.mark(MarkKind::Task, space, Some(task), &Ended(*status).to_string());
            }
            Event::Doubt { space, why, .. } => {
                let text = format!("model in doubt: {}", Why(*why));
                self.mark(MarkKind::Doubt, Some(*space), None, &text);
            }
            Event::Healed { space, differences, .. } => {
                let text = format!("model read again: {differences} differences");
                self.mark(MarkKind::Doubt, Some(*space), None, &text);
            }
            Event::Lost { records, .. } => {
                self.mark(MarkKind::Doubt, None, None, &format!("records lost: {records}"));
            }
            Event::Malformed { .. } => {
                self.mark(MarkKind::Doubt, None, None, "a record could not be read");
            }
            Event::End { .. } => {}
        }
        Ok(())
    }

    fn finish(self: Box<Self>, faults: &[String]) -> io::Result<()> {
        let Self { mut out, clock, lives, mut data, mut gathered, now } = *self;
        lives.finish(now, &mut |past| gathered.past(past, &mut data));
        data.version = env!("CARGO_PKG_VERSION");
        data.begin = clock.epoch(gathered.begin.unwrap_or(now)).to_string();
        data.utc_offset = clock.utc_offset;
        data.duration = gathered.since(now);
        data.kinds = Kind::ALL.map(Kind::name);
        data.faults = faults.to_vec();
        data.texts = gathered.texts.into_all();
        page::write(&mut out, &data)?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
    use flate2::read::GzDecoder;

    use super::page::hash;
    use crate::export::{Format, testing};

    /// What lies between two texts.
    fn between<'a>(page: &'a str, open: &str, close: &str) -> &'a str {
        let (_, rest) = page.split_once(open).expect(open);
        rest.split_once(close).expect(close).0
    }

    fn page() -> String {
        String::from_utf8(testing::export(Format::Html)).expect("UTF-8")
    }

    #[test]
    fn the_data_tells_the_story() {
        let page = page();
        let base64 = between(&page, "type=\"application/octet-stream\">", "</script>");
        let mut json = String::new();
        let gzip = BASE64.decode(base64).expect("base64");
        GzDecoder::new(&gzip[..]).read_to_string(&mut json).expect("gzip");
        let data: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(data["duration"], 70);
        assert_eq!(data["spaces"][0]["changes"], 4);
        assert_eq!(data["deeds"]["commit"], serde_json::json!([4, 2, 2, 2]));
        assert_eq!(data["pasts"]["mapped"], serde_json::json!([1, 1, 1, 0, 1, 1, 0]));
        assert_eq!(data["pasts"]["made"], serde_json::json!([1, 2, 1, 0, 1, 1, 0]));
        assert_eq!(data["pasts"]["by"], serde_json::json!([2, 3, 3, -1, -1, -1, -1]));
        let name = r#"/tmp/</script>;a\012\342\200\250,"=\377"#;
        assert!(data["texts"].as_array().is_some_and(|all| all.iter().any(|it| it == name)));
    }

    #[test]
    fn no_name_breaks_out_and_the_policy_lets_in_nothing_else() {
        let page = page();
        assert_eq!(page.matches("<script").count(), 2);
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(!page.contains("<b>") && !page.contains("/tmp/"));
        assert!(!page.contains("@{"), "all places are filled");
        let script = between(&page, "<script>", "</script>");
        let style = between(&page, "<style>", "</style>");
        let policy = between(&page, "Content-Security-Policy\" content=\"", "\"");
        assert!(policy.starts_with("default-src 'none'; "));
        assert!(policy.contains(&format!("script-src {};", hash(script))));
        assert!(policy.contains(&format!("style-src {};", hash(style))));
        for address in ["http:", "https:", "url(", "@import", "src="] {
            assert!(!page.contains(address), "{address}");
        }
    }

    #[test]
    fn without_scripts_there_is_a_table() {
        let page = page();
        let table = between(&page, "<noscript>", "</noscript>");
        assert!(
            table.contains("<td>100 =e;&quot;&lt;b&gt;\\012,x\\377<td>4<td>5<td>156K"),
            "{table}"
        );
    }
}

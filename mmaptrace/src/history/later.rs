//! What came after a moment, and what it says of that: that something was lost shows when the next
//! record comes, and that may be long after.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::Arc,
};

use anyhow::Result;
use mmaptrace_common::record::{Exit, flag};
use mmaptrace_model::{
    Backing, Event, Model, Space,
    decode::{Record, decode},
    event::{Cause, Doubt, SpaceId},
    model::Totals,
};
use mmaptrace_recording::{End, Error, Item};

use crate::{kernel::Tier, sink::summary};

use super::{Past, Point, Step, Then, take};

/// What all has come to.
pub(super) struct Last {
    totals: Totals,
    /// What was known beside the model; `None`: the recording was cut.
    end: Option<End>,
}

impl Last {
    /// Why not all that was lost before a moment, at which these were the totals, is known to have been
    /// known by then; in words.
    pub(super) fn fault_at(&self, then: &Totals) -> Option<String> {
        let Some(end) = &self.end else {
            return Some(
                "not known to be exact: the recording was cut, and nobody tells what was lost"
                    .to_owned(),
            );
        };
        let lost = end.lost.max(self.totals.lost).saturating_sub(then.lost);
        match () {
            () if self.is_quiet_since(then) && self.knows_all_losses() => None,
            () if lost > 0 => Some(format!(
                "not known to be exact: later it came out that {lost} more records were lost"
            )),
            () => Some("not known to be exact: later the model was in doubt".to_owned()),
        }
    }

    /// Whether nothing was doubted or lost since these were the totals.
    fn is_quiet_since(&self, then: &Totals) -> bool {
        let found = |it: &Totals| it.found.saturating_sub(it.explained);
        let all = |it: &Totals| [it.doubts, found(it), it.lost, it.malformed];
        all(then) == all(&self.totals)
    }

    /// Whether the model knows whose all losses were, and where all processes are.
    fn knows_all_losses(&self) -> bool {
        self.end.as_ref().is_some_and(|end| summary::knows_all_losses(&self.totals, end))
    }

    /// Why a map is not known to be exact of which nothing came any more, if it is not.
    fn doubt(&self) -> Option<Doubt> {
        let Some(end) = &self.end else { return Some(Doubt::Cut) };
        match end.lost.saturating_sub(self.totals.lost) {
            0 if self.knows_all_losses() => None,
            0 => Some(Doubt::NoPicture),
            lost => Some(Doubt::Lost(lost)),
        }
    }
}

impl Past {
    /// Why the map that a process had at a point is not known to be exact, if it is not: `model` is what
    /// was known then.
    ///
    /// # Errors
    /// The past cannot be read.
    pub fn doubt_at(&mut self, point: Point, model: &Model, pid: u32) -> Result<Option<Doubt>> {
        let Some(space) = model.space_of(pid) else { return Ok(None) };
        if let Some(doubt) = space.doubt_of_dump(model.names()) {
            return Ok(Some(doubt));
        }
        // In the degraded tier what was read once is sure until anything happens, which nobody may tell.
        if self.start().tier != Tier::Exact.name() && !self.is_now(point, pid) {
            return Ok(Some(Doubt::Unlocked));
        }
        // Without calls nobody sees a file's new name before the next picture, and that of a file server never;
        // of now one was just taken.
        let is_passing = space.has_passing_names(model.names());
        if (is_passing || !self.start().calls && has_files(space)) && !self.is_now(point, pid) {
            return Ok(Some(Doubt::NoPicture));
        }
        if !self.is_now(point, pid) && self.may_be_renamed(point, &Names::of(space, model))? {
            return Ok(Some(Doubt::NoPicture));
        }
        let last = self.last()?;
        if last.is_quiet_since(&model.totals()) && last.knows_all_losses() {
            return Ok(None);
        }
        let subject = Subject { pid, space: space.id() };
        Ok(match self.read_on(point, subject)? {
            Verdict::Exact => None,
            Verdict::Doubtful(why) => Some(why),
            Verdict::Open => last.doubt(),
        })
    }

    /// Whether a point is now, for which its tracer was asked for this process.
    fn is_now(&self, point: Point, pid: u32) -> bool {
        let Some(now) = self.now.as_ref().filter(|now| now.pid == Some(pid)) else { return false };
        matches!(point, Point::Time(time) if time >= now.known.time)
    }

    /// Whether files of a space may have had other names at a point than these: the next reading of all its
    /// regions finds others, and no commit says before that nobody has changed any. Where there is neither it
    /// tells that one was needed and not to be had; or the past was cut, and somebody has changed some.
    fn may_be_renamed(&mut self, point: Point, names: &Names) -> Result<bool> {
        if names.files.is_empty() {
            return Ok(false);
        }
        let is_cut = self.end().is_none();
        let (mut verdict, mut is_doubtful) = (None, false);
        self.read_after(point, |later, model| {
            verdict = match later {
                Later::Item(item) => {
                    let renames = renames_of(item);
                    is_doubtful |= is_cut && renames.is_some_and(|it| it > names.renames);
                    (renames == Some(names.renames)).then_some(false)
                }
                Later::Events(_) => {
                    let space = model.space(names.space);
                    let doubt = space.and_then(Space::doubt_of_picture);
                    is_doubtful |= doubt == Some(Doubt::NoPicture);
                    names.differ(model)
                }
            };
            if verdict.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(verdict.unwrap_or(is_doubtful))
    }

    /// What all comes to; or what it had come to when a running tracer told what it knows.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn last(&mut self) -> Result<Last> {
        let until = self.now.as_ref().map_or(u64::MAX, |now| now.known.time);
        let (Then { model, .. }, _) = self.read_to(Point::Time(until))?;
        Ok(Last { totals: model.totals(), end: self.end().cloned() })
    }

    /// Reads what comes after a point until that says what to think of a process's map there.
    fn read_on(&mut self, point: Point, subject: Subject) -> Result<Verdict> {
        let mut seen = Seen::default();
        let short = self.read_after(point, |later, model| {
            let events = match later {
                Later::Item(item) => {
                    if ends_in(model, item, subject) {
                        seen.meet(subject.space, subject.space, false);
                    }
                    return ControlFlow::Continue(());
                }
                Later::Events(events) => events,
            };
            for event in events {
                seen.take(event, subject);
            }
            match seen.verdict() {
                Verdict::Open if !seen.is_over() => ControlFlow::Continue(()),
                Verdict::Open | Verdict::Exact | Verdict::Doubtful(_) => ControlFlow::Break(()),
            }
        })?;
        Ok(match (seen.verdict(), short) {
            (Verdict::Open, _) if seen.elsewhere.is_some() => Verdict::Doubtful(Doubt::NoPicture),
            // What would have told, maybe, cannot be read.
            (Verdict::Open, Some(_)) => Verdict::Doubtful(Doubt::Cut),
            (verdict, _) => verdict,
        })
    }

    /// Reads what comes after a point until it is told to break; why what there is ends early, if it does.
    fn read_after(
        &mut self,
        point: Point,
        mut see: impl FnMut(Later<'_>, &Model) -> ControlFlow<()>,
    ) -> Result<Option<Error>> {
        self.go_to(&point)?;
        let (mut model, mut events, mut is_later) = (Model::default(), Vec::new(), false);
        self.steps(|step| {
            let item = match step {
                Step::Model(known) => {
                    model = *known;
                    return Ok(ControlFlow::Continue(()));
                }
                Step::Item(item) => item,
            };
            is_later |= point.is_before(&model, &item);
            if is_later && see(Later::Item(&item), &model).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            events.clear();
            take(&mut model, item, &mut events);
            Ok(if is_later {
                see(Later::Events(&events), &model)
            } else {
                ControlFlow::Continue(())
            })
        })
    }
}

/// What comes after a point.
enum Later<'a> {
    /// An item, with the model before it.
    Item(&'a Item<'a>),
    /// What came of it, with the model after it.
    Events(&'a [Event]),
}

/// What the files of a space are called, as far as its model knows.
struct Names {
    space: SpaceId,
    /// How many calls had changed names of any files, by whomever, when all of its regions were last read.
    renames: u64,
    /// By device and inode number; one may have several.
    files: BTreeMap<(u32, u64), BTreeSet<Name>>,
}

/// `None`: it is not known.
type Name = Option<Arc<[u8]>>;

impl Names {
    fn of(space: &Space, model: &Model) -> Self {
        let mut files = BTreeMap::<_, BTreeSet<_>>::new();
        for region in space.map().iter() {
            if let Backing::File { dev, ino, path } = region.backing {
                files.entry((dev, ino)).or_default().insert(model.names().get(path).cloned());
            }
        }
        Self { space: space.id(), renames: space.renames(), files }
    }

    /// Whether one that is mapped still is called otherwise, if all regions were read since; or the space has
    /// ended.
    fn differ(&self, model: &Model) -> Option<bool> {
        let Some(space) = model.space(self.space) else { return Some(false) };
        let now = (space.renames() != self.renames).then(|| Self::of(space, model))?;
        Some(
            self.files
                .iter()
                .any(|(file, names)| now.files.get(file).is_some_and(|now| !names.is_subset(now))),
        )
    }
}

/// How many calls had changed names of any files, by whomever: each commit, of whichever space, tells.
fn renames_of(item: &Item<'_>) -> Option<u64> {
    let Item::Record(bytes) = item else { return None };
    match decode(bytes) {
        Ok(Record::Commit(commit, _)) => Some(commit.renames),
        Ok(_) | Err(_) => None,
    }
}

/// A process, and the space that it was known to be in.
#[derive(Clone, Copy)]
struct Subject {
    pid: u32,
    space: SpaceId,
}

/// What to think of a map.
enum Verdict {
    Exact,
    Doubtful(Doubt),
    /// Nothing said so yet.
    Open,
}

/// What came of a process after a point.
#[derive(Default)]
struct Seen {
    doubt: Option<Doubt>,
    /// A commit or the end of its space came, which would have told a loss.
    has_no_gap: bool,
    /// It was found at work in its space.
    is_there: bool,
    /// It was found in another first, and no record tells how it came there.
    elsewhere: Option<SpaceId>,
    /// It has another image since, or has ended, and says no more of the space.
    has_left: bool,
}

impl Seen {
    fn take(&mut self, event: &Event, subject: Subject) {
        let Subject { pid, space } = subject;
        match event {
            Event::Doubt { space: of, why, .. } if *of == space && !self.has_no_gap => {
                self.doubt.get_or_insert(*why);
            }
            Event::Commit { space: of, task, cause, exact, .. } => {
                // Where one is missing before it, what is to check that may come with the next.
                self.has_no_gap |= *of == space && *exact;
                let is_own =
                    matches!(cause, Cause::Call(_) | Cause::Fault | Cause::Growth(_) | Cause::Seed);
                if is_own && task.pid == pid {
                    self.meet(*of, space, *cause == Cause::Seed);
                }
            }
            Event::Call { space: of, task, .. } if task.pid == pid => self.meet(*of, space, false),
            Event::End { space: of, .. } if *of == space => self.has_no_gap = true,
            Event::Exec { task, space: of, .. } if task.pid == pid => {
                // A picture was of the image in the making.
                self.elsewhere = self.elsewhere.filter(|it| it != of);
                self.has_left = true;
            }
            // Another has its PID: its end was lost.
            Event::Fork { child, .. } if child.pid == pid && child.tid == pid => self.end(None),
            Event::Exit { task, last: true, status, .. } if task.pid == pid => self.end(*status),
            Event::Call { .. }
            | Event::Exec { .. }
            | Event::Fork { .. }
            | Event::Exit { .. }
            | Event::End { .. }
            | Event::Doubt { .. }
            | Event::Healed { .. }
            | Event::Lost { .. }
            | Event::Malformed { .. } => {}
        }
    }

    /// The process was met, in its space or in another: the exec that took it there was lost, before the
    /// point maybe; or is told of after a picture.
    fn meet(&mut self, of: SpaceId, space: SpaceId, by_picture: bool) {
        if of == space {
            self.is_there |= !self.has_left;
        } else if !self.is_there && !self.has_left {
            self.elsewhere = self.elsewhere.or(Some(of));
            if !by_picture {
                self.doubt = self.doubt.or(Some(Doubt::NoPicture));
            }
        }
    }

    /// The process has ended; without a status nobody knows when.
    fn end(&mut self, status: Option<u32>) {
        if status.is_none() && !self.is_there && !self.has_left {
            self.doubt.get_or_insert(Doubt::NoPicture);
        }
        self.has_left = true;
    }

    /// Whether nothing more comes that says what to think.
    const fn is_over(&self) -> bool {
        self.has_left && self.has_no_gap
    }

    fn verdict(&self) -> Verdict {
        match self.doubt {
            Some(why) => Verdict::Doubtful(why),
            None if self.has_no_gap && self.is_there => Verdict::Exact,
            None => Verdict::Open,
        }
    }
}

/// Whether the process ends by this item, in the space that it was known to be in. Where the kernel has taken
/// that from it by then the record does not say.
fn ends_in(model: &Model, item: &Item<'_>, subject: Subject) -> bool {
    let Item::Record(bytes) = item else { return false };
    let Ok(Record::Exit(Exit { header, .. })) = decode(bytes) else { return false };
    let space = model.space(subject.space);
    header.pid == subject.pid
        && header.flags & flag::GROUP != 0
        && space.is_some_and(|it| it.mm() == header.mm && it.generation() == header.generation)
}

fn has_files(space: &Space) -> bool {
    space.map().iter().any(|region| matches!(region.backing, Backing::File { .. }))
}

#[cfg(test)]
mod tests {
    use mmaptrace_model::event::{Commits, Effects, Stacks, Task};

    use super::*;

    const SUBJECT: Subject = Subject { pid: 100, space: SpaceId(1) };

    fn commit(pid: u32, space: u64, cause: Cause) -> Event {
        let task = Task { pid, tid: pid, comm: [0; 16] };
        let (effects, stacks) = (Effects::new(), Stacks::default());
        let space = SpaceId(space);
        Event::Commit {
            time: 1,
            space,
            task,
            id: 2,
            cause,
            effects,
            brk: None,
            exact: true,
            stacks,
        }
    }

    fn exit(status: Option<u32>) -> Event {
        let task = Task { pid: 100, tid: 100, comm: [0; 16] };
        Event::Exit { time: 1, task, status, last: true, commits: Commits::new() }
    }

    /// What is thought after these events, in a word, and whether more is of no use.
    fn seen(events: &[&Event]) -> (&'static str, bool) {
        let mut seen = Seen::default();
        for event in events {
            seen.take(event, SUBJECT);
        }
        let verdict = match seen.verdict() {
            Verdict::Exact => "exact",
            Verdict::Doubtful(_) => "in doubt",
            Verdict::Open if seen.elsewhere.is_some() => "elsewhere",
            Verdict::Open => "open",
        };
        (verdict, seen.is_over())
    }

    #[test]
    fn a_map_is_exact_if_its_process_is_met_in_it_without_a_gap() {
        let doubt = Event::Doubt { time: 1, space: SpaceId(1), after: 1, why: Doubt::Lost(1) };
        let [own, others] = [100, 200].map(|pid| commit(pid, 1, Cause::Fault));
        assert_eq!(seen(&[&own]), ("exact", false));
        assert_eq!(seen(&[&doubt, &own]), ("in doubt", false));
        assert_eq!(seen(&[&own, &doubt]).0, "exact");
        assert_eq!(seen(&[&others]), ("open", false));
        assert_eq!(seen(&[&others, &own]).0, "exact");
        // It has left, and nobody said when.
        assert_eq!(seen(&[&commit(100, 2, Cause::Seed)]).0, "elsewhere");
        assert_eq!(seen(&[&commit(100, 2, Cause::Fault)]).0, "in doubt");
        let task = Task { pid: 100, tid: 100, comm: [0; 16] };
        let (path, argv) = (Arc::default(), Vec::new());
        let image =
            Event::Exec { time: 1, space: SpaceId(2), task, old_tid: None, path, argv, cut: false };
        assert_eq!(seen(&[&commit(100, 2, Cause::Seed), &image]).0, "open");
        // What it does to another's is no matter.
        assert_eq!(seen(&[&commit(100, 2, Cause::Remote(None))]).0, "open");
    }

    /// What is to check it comes right behind.
    #[test]
    fn a_commit_that_is_not_exact_confirms_nothing() {
        let mut unchecked = commit(100, 1, Cause::Fault);
        if let Event::Commit { exact, .. } = &mut unchecked {
            *exact = false;
        }
        let why = Doubt::Contradiction { at: 1 };
        let doubt = Event::Doubt { time: 1, space: SpaceId(1), after: 1, why };
        assert_eq!(seen(&[&unchecked]).0, "open");
        assert_eq!(seen(&[&unchecked, &doubt]).0, "in doubt");
        assert_eq!(seen(&[&unchecked, &commit(100, 1, Cause::Fault), &doubt]).0, "exact");
    }

    #[test]
    fn what_has_ended_is_over() {
        let end = Event::End { time: 1, space: SpaceId(1) };
        assert_eq!(seen(&[&end]), ("open", false));
        assert_eq!(seen(&[&end, &exit(Some(0))]), ("open", true));
        assert_eq!(seen(&[&end, &exit(None)]), ("in doubt", true));
        // Another with its PID.
        assert_eq!(seen(&[&exit(Some(0)), &commit(100, 2, Cause::Fault)]), ("open", false));
    }

    #[test]
    fn nothing_is_known_of_the_end_of_what_was_cut() {
        let last = |end| Last { totals: Totals::default(), end };
        assert_eq!(last(None).doubt(), Some(Doubt::Cut));
        assert_eq!(last(Some(End::default())).doubt(), None);
        assert_eq!(last(Some(End { lost: 3, ..End::default() })).doubt(), Some(Doubt::Lost(3)));
        let unseen = End { unseen: true, ..End::default() };
        assert_eq!(last(Some(unseen)).doubt(), Some(Doubt::NoPicture));
    }
}

//! What came after a moment, and what it says of that: that something was lost shows when the next
//! record comes, and that may be long after.

use std::ops::ControlFlow;

use anyhow::Result;
use mmaptrace_model::{
    Backing, Event, Model, Space,
    event::{Cause, Doubt, SpaceId},
    model::Totals,
};
use mmaptrace_recording::End;

use super::{Past, Step, moment::Point, take};

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
        (then.doubts, then.lost, then.malformed)
            == (self.totals.doubts, self.totals.lost, self.totals.malformed)
    }

    /// Whether the model knows whose all losses were, and where all processes are.
    fn knows_all_losses(&self) -> bool {
        self.end
            .as_ref()
            .is_some_and(|end| end.lost <= self.totals.lost && end.unfollowed == 0 && !end.unseen)
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
    pub(super) fn doubt_at(
        &mut self,
        point: Point,
        model: &Model,
        pid: u32,
    ) -> Result<Option<Doubt>> {
        let Some(space) = model.space_of(pid) else { return Ok(None) };
        if let Some(doubt) = space.doubt_of_dump(model.names()) {
            return Ok(Some(doubt));
        }
        // Without calls nobody sees a file's new name before the next picture; of now one was just taken.
        if !self.start().calls && has_files(space) && !self.is_now(point)? {
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

    fn is_now(&mut self, point: Point) -> Result<bool> {
        let until = self.until()?;
        Ok(self.now.is_some() && matches!(point, Point::Time(time) if time >= until))
    }

    /// What all comes to.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn last(&mut self) -> Result<Last> {
        match self.reader.last_segment()? {
            Some(segment) => self.reader.go_to_segment(&segment),
            None => self.reader.rewind(),
        }
        let (mut model, mut events) = (Model::default(), Vec::new());
        self.steps(|step| {
            match step {
                Step::Model(known) => model = *known,
                Step::Item(item) => {
                    events.clear();
                    take(&mut model, item, &mut events);
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Last { totals: model.totals(), end: self.end().cloned() })
    }

    /// Reads what comes after a point until that says what to think of a process's map there.
    fn read_on(&mut self, point: Point, subject: Subject) -> Result<Verdict> {
        self.go_to(&point)?;
        let (mut model, mut events) = (Model::default(), Vec::new());
        let (mut is_later, mut seen) = (false, Seen::default());
        self.steps(|step| {
            let item = match step {
                Step::Model(known) => {
                    model = *known;
                    return Ok(ControlFlow::Continue(()));
                }
                Step::Item(item) => item,
            };
            is_later |= point.is_before(&model, &item);
            events.clear();
            take(&mut model, item, &mut events);
            for event in events.iter().filter(|_| is_later) {
                seen.take(event, subject);
            }
            Ok(match seen.verdict() {
                Verdict::Open => ControlFlow::Continue(()),
                Verdict::Exact | Verdict::Doubtful(_) => ControlFlow::Break(()),
            })
        })?;
        Ok(seen.verdict())
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
    /// It has another image since, and says no more of the one before.
    has_left: bool,
}

impl Seen {
    fn take(&mut self, event: &Event, subject: Subject) {
        let Subject { pid, space } = subject;
        match event {
            Event::Doubt { space: of, why, .. } if *of == space && !self.has_no_gap => {
                self.doubt.get_or_insert(*why);
            }
            Event::Commit { space: of, task, cause, .. } => {
                self.has_no_gap |= *of == space;
                let is_own =
                    matches!(cause, Cause::Call(_) | Cause::Fault | Cause::Growth(_) | Cause::Seed);
                if is_own && task.pid == pid {
                    self.meet(*of == space);
                }
            }
            Event::Call { space: of, task, .. } if task.pid == pid => self.meet(*of == space),
            Event::End { space: of, .. } if *of == space => self.has_no_gap = true,
            Event::Exec { task, .. } if task.pid == pid => self.has_left = true,
            Event::Call { .. }
            | Event::Exec { .. }
            | Event::Fork { .. }
            | Event::Exit { .. }
            | Event::End { .. }
            | Event::Doubt { .. }
            | Event::Healed { .. }
            | Event::Malformed { .. } => {}
        }
    }

    /// The process was met, in its space or in another.
    fn meet(&mut self, is_there: bool) {
        match (self.is_there || self.has_left, is_there) {
            (false, true) => self.is_there = true,
            // The exec that took it there was lost, before the point maybe.
            (false, false) => self.doubt = self.doubt.or(Some(Doubt::NoPicture)),
            (true, _) => {}
        }
    }

    fn verdict(&self) -> Verdict {
        match self.doubt {
            Some(why) => Verdict::Doubtful(why),
            None if self.has_no_gap && self.is_there => Verdict::Exact,
            None => Verdict::Open,
        }
    }
}

fn has_files(space: &Space) -> bool {
    space.map().iter().any(|region| matches!(region.backing, Backing::File { .. }))
}

//! The model of one moment.

use std::{fmt, ops::ControlFlow};

use anyhow::{Result, bail};
use mmaptrace_model::{Event, Model, Space, event::Cause};
use mmaptrace_recording::{Error, Item, Segment};

use super::{
    Past, Step,
    moment::{Moment, Point, ends, time_of},
    take,
};

/// What was then.
#[derive(Debug)]
pub struct Then {
    /// The model.
    pub model: Model,
    /// When: ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// Where that is.
    pub point: Point,
}

impl Past {
    /// Sees what came later of a process, and doubts its map where that says that it may not have been
    /// exact.
    ///
    /// # Errors
    /// The past cannot be read.
    pub fn confirm(&mut self, then: &mut Then, pid: u32) -> Result<()> {
        let why = self.doubt_at(then.point, &then.model, pid)?;
        if let (Some(why), Some(space)) = (why, then.model.space_of(pid)) {
            then.model.suspect(space.id(), why);
        }
        Ok(())
    }

    /// The model of a moment; `pid` is whose, where it is one of a process.
    ///
    /// # Errors
    /// The past has no such moment, or cannot be read up to it.
    pub fn at(&mut self, moment: &Moment, pid: u32) -> Result<Then> {
        match moment {
            Moment::Exec => self.at_last(Turn::Exec, pid),
            Moment::Exit => self.at_last(Turn::Exit, pid),
            Moment::Epoch(_)
            | Moment::OfDay(_)
            | Moment::BeforeEnd(_)
            | Moment::AfterStart(_)
            | Moment::Event(_) => {
                let point = self.point(moment)?;
                self.at_point(point)
            }
        }
    }

    fn at_point(&mut self, point: Point) -> Result<Then> {
        let (mut then, short) = self.read_to(point)?;
        let all = then.model.totals().events;
        match (point, short) {
            (Point::Events(events) | Point::End { events, .. }, _) if all >= events => {}
            // What precedes the cut was read, and has all that `point` finds.
            (Point::Time(time), None | Some(Error::Cut { .. })) => then.time = time,
            (Point::Events(events) | Point::End { events, .. }, None) => {
                bail!("there are no {events} events in {}, but {all}", self.name)
            }
            (_, Some(error)) => bail!("{}: {error}", self.name),
        }
        Ok(then)
    }

    /// The model at a point, or where the past ends before it, and why it is shorter than it was, if it is.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn read_to(&mut self, point: Point) -> Result<(Then, Option<Error>)> {
        self.go_to(&point)?;
        let mut then = Then { model: Model::default(), time: self.start().time, point };
        let mut events = Vec::new();
        let short = self.steps(|step| {
            match step {
                Step::Model(model) => then.model = *model,
                Step::Item(item) if point.is_before(&then.model, &item) => {
                    return Ok(ControlFlow::Break(()));
                }
                Step::Item(item) => then.take(item, &mut events),
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((then, short))
    }

    /// The last such turn of a process.
    fn at_last(&mut self, turn: Turn, pid: u32) -> Result<Then> {
        let mut next = self.reader.last_segment()?;
        while let Some(segment) = next {
            next = self.reader.segment_before(&segment)?;
            if turn.may_be_in(&segment) {
                // What belongs to it may have come right before the keyframe.
                let from = next.unwrap_or(segment);
                if let Some(then) = self.last_between(&from, segment.until, turn, pid)? {
                    return Ok(then);
                }
            }
        }
        bail!("process {pid} has no {turn} in {}", self.name)
    }

    fn last_between(
        &mut self,
        from: &Segment,
        until: u64,
        turn: Turn,
        pid: u32,
    ) -> Result<Option<Then>> {
        self.reader.go_to_segment(from);
        let (time, point) = (self.start().time, Point::Events(0));
        let mut now = Then { model: Model::default(), time, point };
        let mut found = None;
        let mut events = Vec::new();
        self.steps(|step| {
            let item = match step {
                Step::Model(model) => {
                    now.model = *model;
                    return Ok(ControlFlow::Continue(()));
                }
                Step::Item(item) => item,
            };
            if time_of(&item).is_some_and(|time| time > until) {
                return Ok(ControlFlow::Break(()));
            }
            if turn == Turn::Exit && ends(&now.model, &item, pid) {
                found = Some((now.model.to_keyframe(), now.time));
            }
            now.take(item, &mut events);
            if turn == Turn::Exec && has_image(&now.model, &events, pid) {
                found = Some((now.model.to_keyframe(), now.time));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let then = |(model, time): (Vec<u8>, u64)| -> Result<Then> {
            let model = Model::from_keyframe(&model)?;
            let events = model.totals().events;
            let point = match turn {
                Turn::Exec => Point::Events(events),
                Turn::Exit => Point::End { events, pid },
            };
            Ok(Then { model, time, point })
        };
        found.map(then).transpose()
    }
}

impl Then {
    /// Why a process that lives has no map, in words; `None`: there is none of that PID.
    pub fn homeless(model: &Model, pid: u32) -> Option<String> {
        model.process(pid).map(|_| {
            format!(
                "process {pid} was in no address space then that is known: it was about to end \
                 or to run a new image, or records were lost"
            )
        })
    }

    fn take(&mut self, item: Item<'_>, events: &mut Vec<Event>) {
        events.clear();
        self.time = time_of(&item).unwrap_or(self.time);
        take(&mut self.model, item, events);
    }
}

/// A turn in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It has the image that it runs from now on.
    Exec,
    /// Its address space is about to end.
    Exit,
}

impl Turn {
    const fn may_be_in(self, segment: &Segment) -> bool {
        match self {
            Self::Exec => segment.has_exec,
            Self::Exit => segment.has_exit,
        }
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exec => "exec",
            Self::Exit => "exit",
        })
    }
}

/// Whether a process has got a new image by these events.
fn has_image(model: &Model, events: &[Event], pid: u32) -> bool {
    let own = model.space_of(pid).map(Space::id);
    events.iter().any(|event| {
        matches!(event, Event::Commit { space, cause: Cause::Exec, .. } if Some(*space) == own)
    })
}

//! What nobody tells after a loss: that something was lost, where nothing more is sent, and that
//! something has begun or ended, where the record of that was lost.

use std::{collections::BTreeSet, fs, mem, process};

use anyhow::{Context as _, Result};
use aya::maps::MapError;
use mmaptrace_common::record::{Exit, Header, flag, kind};
use mmaptrace_model::Space;
use zerocopy::IntoBytes as _;

use super::{
    engine::{Engine, MAPS, MAX_PATIENCE, SHARE},
    intake::Intake,
};
use crate::{kernel::Tally, machine::now};

/// How long a run that the kernel left out may go unseen while nothing comes, in ns.
const LEFT_OUT: u64 = 100_000_000;

/// To look for what new losses have left undone takes no more than one part in so many of the time.
const NEW_SHARE: u64 = 10;
/// For so long pictures of all are taken at a time, in ns.
const TURN: u64 = 1_000_000;

/// What was lost so far, and seen to.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Records that were lost when it was last looked for what has begun or ended, as the kernel's side
    /// counts them, and runs of programs that it left out.
    looked_at: u64,
    /// When to look again if more is lost by then, and if not, for what was about to end when it was last
    /// looked for: ns of `CLOCK_MONOTONIC`.
    look_at: (u64, u64),
    /// As many were missing when all that lived was last known to be where it was known to be.
    placed: u64,
    /// As many when it was begun to take pictures of all, of which these are left, and these were not to be
    /// had.
    placing: u64,
    unplaced: BTreeSet<u32>,
    refused: BTreeSet<u32>,
    /// When to go on with that, or to begin anew, likewise.
    place_at: u64,
    /// Runs that the kernel left out.
    pub(super) left_out: u64,
    /// When to count them again, likewise.
    count_at: u64,
    /// Since when children are followed, if they are, as `/proc/PID/stat` has times: ticks since the
    /// machine was booted.
    pub(super) children_since: Option<u64>,
}

impl Losses {
    /// Whether pictures of all are being taken.
    pub(super) fn are_being_placed(&self) -> bool {
        !self.unplaced.is_empty()
    }
}

impl Engine {
    /// Looks for what losses have left untold, if there are new ones or it is long since: losses, where
    /// nothing more is sent, and what has begun or ended.
    pub(super) fn look_for_losses(&mut self) -> Result<()> {
        let began = now();
        let count = self.missing()?;
        let (if_more, else_at) = self.losses.look_at;
        if began < if count == self.losses.looked_at { else_at } else { if_more } {
            return Ok(());
        }
        if count > 0 || self.intake.model().processes().any(|process| process.space.is_none()) {
            self.end_what_has_ended()?;
            for pid in self.behind() {
                self.tell_of_losses(pid)?;
            }
            // Of what has not ended something else is missing.
            let mut pids = self.without_a_space();
            if count != self.losses.looked_at {
                pids.extend(self.unheard_of()?);
            }
            self.pictures_while_there_is_room(pids)?;
            self.intake.alive.retain(|&pid| !is_gone(pid));
        }
        self.losses.looked_at = count;
        let (ended, took) = (now(), now() - began);
        self.losses.look_at = (ended + NEW_SHARE * took, ended + MAX_PATIENCE.max(SHARE * took));
        Ok(())
    }

    /// Records that were lost so far, and runs that the kernel left out.
    fn missing(&self) -> Result<u64> {
        Ok(self.source.shared().faults().context(MAPS)?.lost + self.losses.left_out)
    }

    /// Whether it is sure that all processes are where they are known to be: none can have left its space
    /// by an exec of which nothing came. That space may go on, for others are in it that nobody follows.
    pub(super) fn all_are_placed(&self) -> Result<bool> {
        let faults = self.source.shared().faults().context(MAPS)?;
        Ok(self.missing()? == self.losses.placed && faults.unfollowed == 0)
    }

    /// After losses takes pictures of all, some at a time, and not all the time: what was lost may be of a
    /// space that nobody knows, which one of them has entered.
    pub(super) fn place_at_times(&mut self) -> Result<()> {
        let began = now();
        if began < self.losses.place_at {
            return Ok(());
        }
        self.place(TURN)?;
        let (ended, took) = (now(), now() - began);
        let pause = if self.losses.unplaced.is_empty() { MAX_PATIENCE } else { 0 };
        self.losses.place_at = ended + pause.max(NEW_SHARE * took);
        Ok(())
    }

    /// The same without a pause, for so many ns.
    pub(super) fn place(&mut self, patience: u64) -> Result<()> {
        let began = now();
        if self.losses.unplaced.is_empty() {
            let missing = self.missing()?;
            // Before it was looked for what has begun it is not known who lives.
            if missing == self.losses.placed || missing != self.losses.looked_at {
                return Ok(());
            }
            let refused = mem::take(&mut self.losses.refused);
            self.losses.unplaced =
                if missing == self.losses.placing { refused } else { self.intake.alive.clone() };
            self.losses.placing = missing;
        }
        while now() - began < patience
            && let Some(pid) = self.losses.unplaced.pop_first()
        {
            if !self.picture(pid)? {
                self.losses.refused.insert(pid);
            }
        }
        if self.losses.unplaced.is_empty() && self.losses.refused.is_empty() {
            self.losses.placed = self.losses.placing;
            self.tell_of_the_rest()?;
        }
        Ok(())
    }

    /// Tells the model of losses in no space that is there, where pictures of all have told of theirs.
    fn tell_of_the_rest(&mut self) -> Result<()> {
        self.catch_up()?;
        if self.missing()? != self.losses.placed {
            return Ok(());
        }
        let lost = self.source.shared().faults().context(MAPS)?.lost;
        let rest = lost.saturating_sub(self.intake.model().totals().lost);
        if rest > 0 {
            let lost = u32::try_from(rest).unwrap_or(u32::MAX);
            self.intake.record(Header { lost, ..bare(kind::LOSS, 0) }.as_bytes())?;
        }
        Ok(())
    }

    /// Asks for a picture of a process and takes it. Whether it came.
    pub(super) fn take_picture(&mut self, pid: u32) -> Result<bool> {
        self.intake.pictured = None;
        // One that was to be had may be lost on its way.
        self.picture(pid)?;
        Ok(self.intake.pictured == Some(pid))
    }

    /// The processes of which it is not known where they run: they are about to end, or their end or an
    /// exec was lost.
    fn without_a_space(&self) -> BTreeSet<u32> {
        let homeless = self.intake.model().processes().filter(|process| process.space.is_none());
        homeless.map(|process| process.pid).collect()
    }

    /// A process of each space of which losses are known here and not to the model.
    fn behind(&self) -> Vec<u32> {
        let model = self.intake.model();
        let behind = model.spaces().filter(|space| self.is_behind(space));
        behind.filter_map(|space| Some(model.process_of(space.id())?.pid)).collect()
    }

    /// The processes that the kernel's side follows, and those that it keeps for their last threads.
    pub(super) fn followed(&self) -> Result<(BTreeSet<u32>, Vec<u32>)> {
        let (followed, ended) = self.source.shared().followed().context(MAPS)?;
        Ok((followed.into_iter().filter(|&pid| !is_gone(pid)).collect(), ended))
    }

    /// The processes that are followed and of which nothing was told.
    fn unheard_of(&mut self) -> Result<BTreeSet<u32>> {
        let (mut followed, mut ended) = self.followed()?;
        // The record of how one began may be the one that was lost, whatever came since; or that of its end.
        let Intake { alive, ended: known, .. } = &mut self.intake;
        ended.extend(alive.iter().filter(|pid| !followed.contains(pid)));
        ended.retain(|pid| known.iter().all(|(_, known)| known != pid));
        known.extend(ended.into_iter().map(|pid| (now(), pid)));
        alive.extend(&followed);
        // What was on its way.
        self.catch_up()?;
        followed.retain(|&pid| self.intake.model().process(pid).is_none());
        Ok(followed)
    }

    /// Looks for gaps, if it was not just done.
    pub(super) fn look_for_gaps_at_times(&mut self) -> Result<()> {
        if now() < self.losses.count_at {
            return Ok(());
        }
        self.look_for_gaps()
    }

    /// Of a run that the kernel left out no record tells, nor whose it was: then asks for pictures of
    /// all, in which a commit that is missing shows, or the new image of an exec, and looks for what has
    /// begun or ended.
    pub(super) fn look_for_gaps(&mut self) -> Result<()> {
        let began = now();
        let left_out = self.source.left_out();
        if left_out != self.losses.left_out {
            self.losses.left_out = left_out;
            self.source.doubt_names().context(MAPS)?;
            if let Some(since) = self.losses.children_since {
                self.follow_untold(since)?;
            }
            self.look_for_losses()?;
        }
        let took = now() - began;
        self.losses.count_at = began + LEFT_OUT.max(SHARE * took);
        Ok(())
    }

    /// Follows the processes that those followed have made since then, and that are not known: what they
    /// did so far nobody tells.
    fn follow_untold(&mut self, since: u64) -> Result<()> {
        // The record of a fork may be on its way.
        let running: Vec<_> = procfs::process::all_processes().into_iter().flatten().collect();
        self.catch_up()?;
        let running = running.into_iter().flatten().filter_map(|process| process.stat().ok());
        let mut new: Vec<_> = running.filter(|it| it.starttime > since).collect();
        // Parents before their children.
        new.sort_unstable_by_key(|it| it.starttime);
        for stat in new {
            let is_known = |pid: i32| self.intake.model().process(pid.cast_unsigned()).is_some();
            let is_other = stat.pid.cast_unsigned() != process::id() && !is_known(stat.pid);
            if is_other && is_known(stat.ppid) {
                // Where there is no picture of it, it ends.
                let _ = self.follow(stat.pid.cast_unsigned())?;
            }
        }
        Ok(())
    }

    /// Whether records of a space were lost of which the model has not been told.
    pub(super) fn is_behind(&self, space: &Space) -> bool {
        self.loss_of(space).is_some()
    }

    /// The record that tells of losses of which none has told.
    fn loss_of(&self, space: &Space) -> Option<Header> {
        let Tally { lost, generation } = self.source.tally(space.mm()).ok()?;
        let is_behind = generation == space.generation() && space.untold(lost) > 0;
        is_behind.then(|| Header { lost, generation, ..bare(kind::LOSS, space.mm()) })
    }

    /// Tells the model of losses in a process's space of which no record has.
    pub(super) fn tell_of_losses(&mut self, pid: u32) -> Result<()> {
        let loss = self.intake.model().space_of(pid).and_then(|space| self.loss_of(space));
        let Some(header) = loss else { return Ok(()) };
        self.intake.record(Header { pid, tid: pid, ..header }.as_bytes())
    }

    /// Tells the model that no picture of a process was to be had, though one was needed.
    pub(super) fn tell_of_no_picture(&mut self, pid: u32) -> Result<()> {
        let Some(space) = self.intake.model().space_of(pid) else { return Ok(()) };
        let (lost, generation) = (space.lost() as u32, space.generation());
        let header = Header {
            flags: flag::NO_PICTURE,
            pid,
            tid: pid,
            lost,
            generation,
            ..bare(kind::LOSS, space.mm())
        };
        self.intake.record(header.as_bytes())
    }

    /// Makes the records of ends that were lost: of processes that are not there any more, however
    /// they ended, and of address spaces that the kernel's side has let go.
    fn end_what_has_ended(&mut self) -> Result<()> {
        let model = self.intake.model();
        let processes: Vec<_> = model
            .processes()
            .map(|process| (process.pid, process.space))
            .filter(|&(pid, _)| is_gone(pid))
            .collect();
        let spaces: Vec<_> = model
            .spaces()
            .filter(|space| match self.source.tally(space.mm()) {
                Ok(there) => there.generation != space.generation(),
                // What cannot be read tells nothing.
                Err(error) => matches!(error, MapError::KeyNotFound),
            })
            .map(|space| (space.id(), space.mm()))
            .collect();
        // Of what had ended by then all has come that comes.
        self.catch_up()?;
        let any = self.source.shared().faults().context(MAPS)?.lost > 0;
        for &(id, mm) in &spaces {
            // Its end was lost itself; of what else was there is no count any more.
            if let (true, Some(space)) = (any, self.intake.model().space(id)) {
                let (generation, lost) = (space.generation(), space.lost() as u32 + 1);
                let header = Header { lost, generation, ..bare(kind::LOSS, mm) };
                self.intake.record(header.as_bytes())?;
            }
        }
        for (pid, space) in processes {
            if self.intake.model().process(pid).is_some_and(|process| process.space == space) {
                self.make_exit(pid)?;
                // The hook that would have was left out, maybe. The next process of this id is another.
                if is_gone(pid) {
                    self.source.shared_mut().unfollow(pid);
                }
            }
        }
        for (id, mm) in spaces {
            if self.intake.model().space(id).is_some() {
                self.intake.record(bare(kind::END, mm).as_bytes())?;
            }
        }
        Ok(())
    }

    /// Makes the record of the end of a process that the kernel's side has seen some time ago, if it was
    /// lost. `false`: it has not come to its end yet.
    pub(super) fn tell_of_end(&mut self, pid: u32) -> Result<bool> {
        let is_told = !self.intake.alive.contains(&pid);
        if is_told || self.source.shared().follows(pid).context(MAPS)? {
            return Ok(true);
        }
        let has_ended = has_ended(pid);
        if has_ended {
            self.make_exit(pid)?;
        }
        Ok(has_ended)
    }

    /// Makes the record of the end of a process.
    fn make_exit(&mut self, pid: u32) -> Result<()> {
        let model = self.intake.model();
        let space = model.process(pid).and_then(|process| model.space(process.space?));
        let (mm, size, tid) = (space.map_or(0, Space::mm), size_of::<Exit>() as u32, pid);
        let (kind, flags) = (kind::EXIT, flag::GROUP | flag::UNTOLD);
        let header = Header { kind, flags, size, time: now(), mm, pid, tid, ..Header::default() };
        self.intake.record(Exit { header, ..Exit::default() }.as_bytes())
    }
}

/// A record that is a header and nothing more.
fn bare(kind: u16, mm: u64) -> Header {
    let size = size_of::<Header>() as u32;
    Header { kind, size, time: now(), mm, ..Header::default() }
}

/// Whether a process has ended, and was or is to be waited for; also if threads of it run on.
fn has_ended(pid: u32) -> bool {
    let stat = procfs::process::Process::new(pid.cast_signed()).and_then(|it| it.stat());
    stat.map_or_else(|_| is_gone(pid), |stat| matches!(stat.state, 'Z' | 'X'))
}

/// Whether there is no such process.
fn is_gone(pid: u32) -> bool {
    !fs::exists(format!("/proc/{pid}")).unwrap_or(true)
}

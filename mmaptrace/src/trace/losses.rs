//! What nobody tells after a loss: that something was lost, where nothing more is sent, and that
//! something has begun or ended, where the record of that was lost.

use std::{fs, process};

use anyhow::{Context as _, Result};
use mmaptrace_common::record::{Exit, Header, flag, kind};
use mmaptrace_model::Space;
use zerocopy::IntoBytes as _;

use super::engine::{Engine, MAPS, MAX_PATIENCE, SHARE};
use crate::machine::now;

/// How long a run that the kernel left out may go unseen while nothing comes, in ns.
const LEFT_OUT: u64 = 100_000_000;

/// What was lost so far, and seen to.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Of which it was looked for what has ended: records of all, as the kernel's side counts them, and
    /// runs of programs that it left out.
    seen_to: u64,
    /// When to look again, for what was about to end when it was last looked for: ns of
    /// `CLOCK_MONOTONIC`.
    look_at: u64,
    /// Runs that the kernel left out.
    pub(super) left_out: u64,
    /// When to count them again, likewise.
    count_at: u64,
    /// Since when children are followed, if they are, as `/proc/PID/stat` has times: ticks since the
    /// machine was booted.
    pub(super) children_since: Option<u64>,
}

impl Engine {
    /// Sees to losses. Where nothing more is sent, a picture is asked for, whose record tells the
    /// model of them.
    pub(super) fn look_for_losses(&mut self) -> Result<()> {
        let count = self.source.shared().faults().context(MAPS)?.lost + self.losses.left_out;
        if count == 0 || (count == self.losses.seen_to && now() < self.losses.look_at) {
            return Ok(());
        }
        self.losses.seen_to = count;
        self.losses.look_at = now() + MAX_PATIENCE;
        self.end_what_has_ended()?;
        let model = self.intake.model();
        let behind: Vec<_> = model
            .processes()
            .filter_map(|process| Some((process.pid, model.space(process.space?)?)))
            .filter(|(_, space)| self.is_behind(space))
            .map(|(pid, _)| pid)
            .collect();
        self.pictures_while_there_is_room(behind)?;
        self.intake.alive.retain(|&pid| !is_gone(pid));
        Ok(())
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
            // Also of those that share a space, as far as is known: one may have left it by an exec.
            let pids: Vec<_> = self.intake.model().processes().map(|it| it.pid).collect();
            self.pictures(pids)?;
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
        self.source.lost(space.mm()) > space.lost()
    }

    /// Tells the model of losses in a process's space of which no record has.
    pub(super) fn tell_of_losses(&mut self, pid: u32) -> Result<()> {
        let Some(space) = self.intake.model().space_of(pid).filter(|it| self.is_behind(it)) else {
            return Ok(());
        };
        let (mm, lost) = (space.mm(), self.source.lost(space.mm()));
        let (kind, size) = (kind::LOSS, size_of::<Header>() as u32);
        let header = Header { kind, flags: 0, size, time: now(), mm, pid, tid: pid, lost };
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
            .map(|space| (space.id(), space.mm()))
            .filter(|&(_, mm)| !self.source.follows(mm))
            .collect();
        // Of what had ended by then all has come that comes.
        self.catch_up()?;
        for (pid, space) in processes {
            let model = self.intake.model();
            if model.process(pid).is_some_and(|process| process.space == space) {
                let mm = space.and_then(|id| model.space(id)).map_or(0, Space::mm);
                let (kind, flags) = (kind::EXIT, flag::GROUP | flag::UNTOLD);
                let size = size_of::<Exit>() as u32;
                let header = Header { kind, flags, size, time: now(), mm, pid, tid: pid, lost: 0 };
                self.intake.record(Exit { header, ..Exit::default() }.as_bytes())?;
                // The hook that would have was left out, maybe. The next process of this id is another.
                if is_gone(pid) {
                    self.source.shared_mut().unfollow(pid);
                }
            }
        }
        for (id, mm) in spaces {
            if self.intake.model().space(id).is_some() {
                let (kind, size) = (kind::END, size_of::<Header>() as u32);
                let header = Header { kind, size, time: now(), mm, ..Header::default() };
                self.intake.record(header.as_bytes())?;
            }
        }
        Ok(())
    }
}

/// Whether there is no such process.
fn is_gone(pid: u32) -> bool {
    !fs::exists(format!("/proc/{pid}")).unwrap_or(true)
}

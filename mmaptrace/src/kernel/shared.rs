//! The maps that the programs of every tier have.

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, MapError},
};
use mmaptrace_common::control;

use super::{
    load::{LoadError, map},
    maps::{Control, Faults, Process},
    ring::Ring,
};

/// What this side and the programs share, whichever they are.
pub struct Shared {
    /// The records.
    pub ring: Ring,
    pub(super) control: Array<MapData, Control>,
    faults: Array<MapData, Faults>,
    processes: HashMap<MapData, u32, Process>,
}

impl Shared {
    /// Those of programs whose ring has so many bytes.
    pub(super) fn of(ebpf: &mut Ebpf, ring: u32) -> Result<Self, LoadError> {
        Ok(Self {
            ring: Ring::of(ebpf, ring)?,
            control: map(ebpf, "CONTROL")?,
            faults: map(ebpf, "FAULTS")?,
            processes: map(ebpf, "PROCESSES")?,
        })
    }

    /// Follows a process by its PID: what it execs, and its children if so set.
    ///
    /// # Errors
    /// The map is full.
    pub fn follow(&mut self, pid: u32) -> Result<(), MapError> {
        // What is counted of one that the programs follow already goes on.
        if self.follows(pid)? { Ok(()) } else { self.processes.insert(pid, Process::default(), 0) }
    }

    /// Ends what [`Shared::follow`] began.
    pub fn unfollow(&mut self, pid: u32) {
        // If it is not there it is not followed.
        let _ = self.processes.remove(&pid);
    }

    /// Tells the programs that the reader sleeps until it is woken (`true`), or comes by on its
    /// own.
    ///
    /// # Errors
    /// The map cannot be accessed.
    pub fn set_idle(&mut self, idle: bool) -> Result<(), MapError> {
        self.ring.settle();
        self.update(|control| control.idle = u32::from(idle))
    }

    /// Whether a process is followed, and has not told that it has ended.
    ///
    /// # Errors
    /// The map cannot be accessed.
    pub fn follows(&self, pid: u32) -> Result<bool, MapError> {
        match self.processes.get(&pid, 0) {
            Ok(process) => Ok(process.0.ended == 0),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The processes that are followed, and those that have ended and are kept for their last threads.
    ///
    /// # Errors
    /// The map cannot be accessed.
    pub fn followed(&self) -> Result<(Vec<u32>, Vec<u32>), MapError> {
        let (mut followed, mut ended) = (Vec::new(), Vec::new());
        for process in &self.processes {
            let (pid, process) = process?;
            if process.0.ended == 0 { followed.push(pid) } else { ended.push(pid) }
        }
        Ok((followed, ended))
    }

    /// What went wrong that no record tells.
    ///
    /// # Errors
    /// The map cannot be accessed.
    pub fn faults(&self) -> Result<control::Faults, MapError> {
        Ok(self.faults.get(&0, 0)?.0)
    }

    /// Records of a followed process that found no room, where the programs count them so.
    pub(super) fn lost_of(&self, pid: u32) -> u32 {
        self.processes.get(&pid, 0).map_or(0, |process| process.0.lost as u32)
    }

    /// Reads, changes and writes the settings. The programs change `idle` as well: overwriting it
    /// with an older value costs a wake-up.
    pub(super) fn update(
        &mut self,
        change: impl FnOnce(&mut control::Control),
    ) -> Result<(), MapError> {
        let mut control = self.control.get(&0, 0)?;
        change(&mut control.0);
        self.control.set(0, control, 0)
    }
}

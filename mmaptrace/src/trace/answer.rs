//! What the engine says to those who ask at its socket.

use std::{io, os::unix::ffi::OsStringExt as _};

use anyhow::Result;
use mmaptrace_model::Space;

use super::{
    engine::{ATTEMPTS, Engine, LAST_WRITE},
    recorder::Past,
};
use crate::{
    control::{DumpFormat, Reply, Request},
    dump::{self, Residence, Subject},
    machine::now,
    sink::text::Why,
};

const UNREAD: &str = "it is traced, but no picture of it has come yet; ask again, or give the tracer a \
                      larger buffer: --buffer";
const MOVED: &str = "regions changed while /proc/PID/smaps was read; figures of some are missing";

impl Engine {
    /// Answers a client.
    pub(super) fn answer(&mut self, request: Request) -> Result<(Reply, Vec<u8>)> {
        match request {
            Request::Dump { pid, format } => self.answer_dump(pid, format),
            Request::History { pid } => self.answer_history(pid),
        }
    }

    fn answer_dump(&mut self, pid: u32, format: DumpFormat) -> Result<(Reply, Vec<u8>)> {
        // They are in the program's memory: to read them may make a stack grow, before the map is looked at.
        let command = match format {
            DumpFormat::Pmap | DumpFormat::PmapX => dump::command_line(pid),
            DumpFormat::Maps | DumpFormat::Json => Vec::new(),
        };
        self.refresh(pid)?;
        let residence = match format {
            DumpFormat::PmapX => self.residence(pid)?,
            DumpFormat::Maps | DumpFormat::Pmap | DumpFormat::Json => None,
        };
        let Some(space) = self.intake.model().space_of(pid) else {
            return Ok((self.absence(pid), Vec::new()));
        };
        let moved = residence.as_ref().is_some_and(|it| !it.covers(space.map()));
        let residence = residence.unwrap_or_default();
        let body = match self.print(pid, space, format, &command, &residence) {
            Ok(body) => body,
            Err(error) => return Ok((Reply::Error { why: error.to_string() }, Vec::new())),
        };
        let why = match space.doubt_of_dump(self.intake.model().names()) {
            Some(doubt) => Some(Why(doubt).to_string()),
            None => moved.then(|| MOVED.to_owned()),
        };
        let (length, commit) = (body.len() as u64, space.commit());
        let reply = Reply::Dump { length, commit, exact: why.is_none(), why };
        Ok((reply, body))
    }

    /// What is said of a process of which nothing is known.
    fn absence(&self, pid: u32) -> Reply {
        if self.intake.alive.contains(&pid) {
            Reply::Error { why: UNREAD.to_owned() }
        } else {
            Reply::NoSuchProcess
        }
    }

    fn answer_history(&mut self, pid: Option<u32>) -> Result<(Reply, Vec<u8>)> {
        self.catch_up()?;
        let mut processes = self.intake.model().process_totals();
        let unknown = pid.filter(|&pid| !processes.any(|process| process.pid == pid));
        drop(processes);
        if let Some(pid) = unknown {
            return Ok((self.absence(pid), Vec::new()));
        }
        // What no record tells is to be known there as it is here.
        match pid.filter(|&pid| self.intake.model().space_of(pid).is_some()) {
            Some(pid) => self.refresh(pid)?,
            None => self.look_for_gaps()?,
        }
        let known = self.totals_now()?;
        Ok(match self.intake.past(LAST_WRITE)? {
            None => (Reply::NoHistory, Vec::new()),
            Some(Past::File(path)) => {
                let path = path.into_os_string().into_vec();
                (Reply::Recording { path, known }, Vec::new())
            }
            Some(Past::Withheld(why)) => (Reply::Error { why }, Vec::new()),
            Some(Past::Bytes(bytes)) => {
                (Reply::History { length: bytes.len() as u64, known }, bytes)
            }
        })
    }

    /// How much of a process's regions is in memory, of such as the model has, unless they change
    /// faster than they can be read; `None`: it cannot be read, or has no regions left.
    fn residence(&mut self, pid: u32) -> Result<Option<Residence>> {
        let mut residence = None;
        for _ in 0..ATTEMPTS {
            residence = Residence::of(pid).ok();
            self.refresh(pid)?;
            let map = self.intake.model().space_of(pid).map(Space::map);
            if residence.as_ref().zip(map).is_none_or(|(residence, map)| residence.covers(map)) {
                break;
            }
        }
        Ok(residence)
    }

    /// The map of a space, in the format asked for; the command line and the figures are for those that have
    /// them.
    pub(super) fn print(
        &self,
        pid: u32,
        space: &Space,
        format: DumpFormat,
        command: &[u8],
        residence: &Residence,
    ) -> io::Result<Vec<u8>> {
        let (time, clock) = (now(), self.clock);
        let subject = Subject { pid, space, time, clock, command, residence };
        dump::print(self.intake.mirror(), &subject, format)
    }
}

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

const UNREADABLE: &str = "/proc/PID/smaps cannot be read, whose figures are missing";

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
            DumpFormat::Pmap | DumpFormat::PmapX => self.read(pid, move || dump::command_line(pid)),
            DumpFormat::Maps | DumpFormat::Json => Ok(Vec::new()),
        };
        self.refresh(pid)?;
        let (residence, missing) = match format {
            DumpFormat::PmapX => self.residence(pid)?,
            DumpFormat::Maps | DumpFormat::Pmap | DumpFormat::Json => (Residence::default(), None),
        };
        let Some(space) = self.intake.model().space_of(pid) else {
            return Ok((self.absence(pid), Vec::new()));
        };
        let locked = command.as_ref().err().map(ToString::to_string);
        let command = command.unwrap_or_else(|_| dump::name(pid));
        let body = match self.print(pid, space, format, &command, &residence) {
            Ok(body) => body,
            Err(error) => return Ok((Reply::Error { why: error.to_string() }, Vec::new())),
        };
        let doubt = space.doubt_of_dump(self.intake.model().names());
        let why = locked.or_else(|| doubt.map(|doubt| Why(doubt).to_string())).or(missing);
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

    /// How much of a process's regions is in memory, of such as the model has; and if that is not known of
    /// all, why.
    fn residence(&mut self, pid: u32) -> Result<(Residence, Option<String>)> {
        let mut last = Residence::default();
        for _ in 0..ATTEMPTS {
            let read = self.read(pid, move || Residence::of(pid));
            self.refresh(pid)?;
            last = match read {
                Ok(Ok(residence)) => residence,
                Ok(Err(error)) => return Ok((last, Some(format!("{UNREADABLE}: {error}")))),
                Err(error) => return Ok((last, Some(error.to_string()))),
            };
            let map = self.intake.model().space_of(pid).map(Space::map);
            if map.is_none_or(|map| last.covers(map)) {
                return Ok((last, None));
            }
        }
        // They change faster than they can be read.
        Ok((last, Some(MOVED.to_owned())))
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

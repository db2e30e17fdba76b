//! What the programs of the degraded tier tell, made into what the exact tier would have told.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
    os::unix::ffi::OsStringExt as _,
};

use mmaptrace_common::{
    record::{self, Commit, Exec, Exit, Header, TEXT_MAX, cause, flag, kind},
    syscalls::{Range, Report, lookup},
};
use mmaptrace_model::{
    decode::{Record, decode},
    region::PAGE,
};
use zerocopy::IntoBytes as _;

use super::{Degraded, Picture, Shared};
use crate::machine::{self, now};

/// The readings of a batch, one for each process.
#[derive(Default)]
struct Readings {
    /// Taken when first needed; `None`: it cannot be read any more.
    taken: HashMap<u32, Option<Picture>>,
    /// Where in the batch a process has its last exec.
    execs: HashMap<u32, usize>,
    /// Where in the batch the record at hand is.
    at: usize,
    /// Processes whose whole address space was told: nothing else is known of it.
    told: HashSet<u32>,
    /// What each process had lost when that was first asked.
    lost: HashMap<u32, u32>,
}

impl Readings {
    fn of_batch(batch: &[Vec<u64>]) -> Self {
        let mut readings = Self::default();
        for (at, record) in batch.iter().enumerate() {
            if let Ok(Record::Exec(exec, ..)) = decode(record.as_bytes()) {
                readings.execs.insert(exec.header.pid, at);
            }
        }
        readings
    }

    /// What a process looks like, after all of the batch; `None`: it has another image by then, or
    /// has ended.
    fn of(&mut self, pid: u32) -> Option<&Picture> {
        if self.execs.get(&pid).is_some_and(|&exec| exec > self.at) {
            return None;
        }
        self.taken.entry(pid).or_insert_with(|| Picture::take(pid).ok()).as_ref()
    }

    fn lost(&mut self, pid: u32, shared: &Shared) -> u32 {
        *self.lost.entry(pid).or_insert_with(|| shared.lost_of(pid))
    }
}

impl Degraded {
    /// Takes records of the ring that were written before now.
    pub(super) fn interpret(&mut self, batch: &[Vec<u64>]) {
        let mut readings = Readings::of_batch(batch);
        for (at, record) in batch.iter().enumerate() {
            readings.at = at;
            let Ok(record) = decode(record.as_bytes()) else { continue };
            if let Some(process) = self.processes.get_mut(&record.header().pid) {
                process.records += 1;
            }
            match record {
                Record::Call(call, _) => self.call(*call, &mut readings),
                Record::Fork(fork) => self.fork(*fork, &mut readings),
                Record::Exec(exec, ..) => self.exec(*exec, &mut readings),
                Record::Exit(exit) => self.exit(*exit),
                // Not of these programs.
                Record::Commit(..)
                | Record::Path(..)
                | Record::Name(..)
                | Record::End(_)
                | Record::Stack(..)
                | Record::BuildId(..)
                | Record::Loss(_) => {}
            }
        }
    }

    /// A call that returned, and before it what is now where it worked.
    fn call(&mut self, mut call: record::Call, readings: &mut Readings) {
        let pid = call.header.pid;
        let lost = readings.lost(pid, &self.shared);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        (call.header.mm, call.header.lost) = (process.mm, lost);
        if let Some(touched) = touched(&call)
            && (matches!(touched, Touched::Range(..)) || readings.told.insert(pid))
            && let Some(picture) = readings.of(pid)
        {
            process.id += 2;
            let (flags, (lo, hi)) = match touched {
                Touched::All => (flag::WHOLE, (0, 0)),
                Touched::Range(lo, hi) => (0, (lo, hi)),
            };
            let flags = flags | flag::UNLOCKED | (call.header.flags & flag::COMPAT);
            let commit = Commit {
                header: Header { flags, ..call.header },
                id: process.id,
                lo,
                hi,
                cause: cause::CALL,
                nr: call.nr,
                args: call.args,
                comm: call.comm,
                ..Commit::default()
            };
            self.queue.push_commit(commit, picture, process.seen(picture));
        }
        self.queue.push(&call, &[]);
    }

    fn fork(&mut self, mut fork: record::Fork, readings: &mut Readings) {
        let (pid, child) = (fork.header.pid, fork.child_pid);
        if fork.header.flags & flag::SHARED_MM != 0 {
            let Some(process) = self.processes.get_mut(&pid) else { return };
            process.threads.insert(fork.child_tid);
            fork.header.mm = process.mm;
            self.queue.push(&fork, &[]);
            return;
        }
        // The end of a process that had its PID may have come after it was made.
        let _ = self.shared.follow(child);
        fork.header.mm = self.enter(child, BTreeSet::from([fork.child_tid]));
        self.queue.push(&fork, &[]);
        let header = Header { pid: child, tid: fork.child_tid, ..fork.header };
        self.begin(header, cause::FORK, fork.comm, readings);
    }

    /// The new image is read; name and arguments, too, if it is still there.
    fn exec(&mut self, mut exec: Exec, readings: &mut Readings) {
        let pid = exec.header.pid;
        let old = self.processes.get(&pid).map(|process| process.mm);
        exec.header.mm = self.enter(pid, BTreeSet::from([exec.header.tid]));
        exec.header.lost = readings.lost(pid, &self.shared);
        let path = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let mut text = path.into_os_string().into_vec();
        let mut arguments = machine::arguments(pid, TEXT_MAX).unwrap_or_default();
        for part in [&mut text, &mut arguments] {
            if part.len() >= TEXT_MAX || part.is_empty() {
                exec.header.flags |= flag::CUT;
            }
            // As much as the exact tier tells, which has a NUL after it.
            part.truncate(TEXT_MAX - 1);
        }
        (exec.path_len, exec.argv_len) = (text.len() as u32, arguments.len() as u32);
        text.append(&mut arguments);
        self.queue.push(&exec, &text);
        self.begin(exec.header, cause::EXEC, exec.comm, readings);
        if let Some(mm) = old {
            self.end(Header { mm, ..exec.header });
        }
    }

    fn exit(&mut self, mut exit: Exit) {
        let Header { pid, tid, .. } = exit.header;
        let lost = self.shared.lost_of(pid);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        process.threads.remove(&tid);
        let last = process.threads.is_empty();
        if !last && !fs::exists(format!("/proc/{pid}")).unwrap_or(true) {
            self.gone.insert(pid, process.mm);
        }
        (exit.header.mm, exit.header.lost) = (process.mm, lost);
        let status = last.then(|| status(pid)).flatten();
        exit.header.flags = if last { flag::GROUP } else { 0 };
        match status {
            Some(status) => exit.status = status,
            None => exit.header.flags |= flag::UNTOLD,
        }
        let header = exit.header;
        if last {
            // What was sure once is not what was there at the end.
            let flags = flag::UNLOCKED;
            let header = Header { kind: kind::COMMIT, flags, ..header };
            let (id, cause) = (process.id, cause::SEED);
            let mut commit = Commit { header, id, cause, nr: -1, ..Commit::default() };
            process.image.tell(&mut commit);
            self.queue.push(&commit, &[]);
        }
        self.queue.push(&exit, &[]);
        if last {
            self.end(header);
            self.processes.remove(&pid);
            self.shared.unfollow(pid);
        }
    }

    /// Ends a process that is gone and of which no more is told: a thread that was about to end when it was
    /// first looked for is told by nobody.
    pub(super) fn end_untold(&mut self, pid: u32, mm: u64) {
        // Another may have its PID.
        let process = self.processes.get_mut(&pid).filter(|process| process.mm == mm);
        let Some(process) = process else { return };
        let Some(tid) = process.threads.pop_first() else { return };
        process.threads.clear();
        let header = Header { kind: kind::EXIT, time: now(), pid, tid, ..Header::default() };
        self.exit(Exit { header, ..Exit::default() });
    }

    /// The regions of a new address space, if they can still be read.
    fn begin(&mut self, header: Header, cause: u32, comm: [u8; 16], readings: &mut Readings) {
        let Some(picture) = readings.of(header.pid) else { return };
        let Some(process) = self.processes.get_mut(&header.pid) else { return };
        let header = Header { flags: flag::WHOLE | flag::UNLOCKED, ..header };
        let commit = Commit { header, id: 2, cause, nr: -1, comm, ..Commit::default() };
        self.queue.push_commit(commit, picture, process.seen(picture));
    }

    fn end(&mut self, header: Header) {
        self.queue.push(&Header { kind: kind::END, flags: 0, ..header }, &[]);
    }
}

/// Where a call worked.
enum Touched {
    All,
    /// From an address to another, pages beside it included.
    Range(u64, u64),
}

/// Where a call worked; `None`: nowhere.
fn touched(call: &record::Call) -> Option<Touched> {
    let row = lookup(call.nr, call.header.flags & flag::COMPAT != 0)?;
    let [a0, a1, a2, ..] = call.args;
    let result = u64::try_from(call.result).ok();
    let range = |start: u64, length: u64| (start, start.saturating_add(length));
    let (lo, hi) = match row.range {
        // A failed execve leaves all as it was.
        _ if row.report == Report::Failure => return None,
        Range::Nothing => return None,
        Range::First | Range::Unmap => range(a0, a1),
        Range::Mmap | Range::Chosen => range(result.unwrap_or(a0), a1),
        Range::Mremap => {
            let (old, new) = (range(a0, a1), range(result.unwrap_or(a0), a2));
            (old.0.min(new.0), old.1.max(new.1))
        }
        // The region that ends or starts there, and the hole that is left of one.
        Range::Brk => range(result?, 0),
        Range::At => range(a0, 0),
        Range::Shmat | Range::Found if result.is_some_and(|result| result != 0) => {
            range(result?, 0)
        }
        Range::All | Range::Prctl | Range::Shmat | Range::Found => return Some(Touched::All),
    };
    // A length is rounded up, to the size of a huge page at times: the regions tell.
    let (lo, hi) = (lo & !(PAGE - 1), hi.checked_next_multiple_of(PAGE)?);
    Some(Touched::Range(lo, hi))
}

/// How a process ended, while it waits for its parent to ask.
fn status(pid: u32) -> Option<u32> {
    let stat = procfs::process::Process::new(pid.cast_signed()).ok()?.stat().ok()?;
    stat.exit_code.map(i32::cast_unsigned)
}

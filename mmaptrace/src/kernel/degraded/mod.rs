//! The degraded tier: the programs tell of calls and tasks, and after calls the regions are read in
//! `/proc`. Both become records as the exact tier has them, so that all that follows is the same;
//! only that they say of themselves that they were read without the lock ([`flag::UNLOCKED`]).
//!
//! What is read is later than the call it is read for, and may hold what others did since. Calls
//! that have all returned before a reading share it, each told by the range that it touched.

mod alone;
mod interpret;
pub mod picture;
pub mod queue;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, mem, thread,
    time::Duration,
};

use aya::{
    Ebpf, EbpfLoader,
    maps::MapError,
    programs::{ProgramError, RawTracePoint},
};
use mmaptrace_common::{
    layout::Layout,
    record::{Commit, Header, cause, flag},
};
use zerocopy::IntoBytes as _;

use self::{
    alone::is_alone,
    picture::{Image, Picture},
    queue::Queue,
};
use super::{
    Readers, SeedError, Shared, Source, Tier,
    left_out::LeftOut,
    load::{LoadError, Settings, object_error, refused, release},
    seed::comm,
    source::{Bytes, Tally},
};
use crate::machine::now;

/// The object, built by `build.rs`.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/mmaptrace-ebpf-degraded"));

/// Program, tracepoint; what ends things before what begins them.
const PROGRAMS: [(&str, &str); 4] = [
    ("task_exit", "sched_process_exit"),
    ("task_exec", "sched_process_exec"),
    ("task_fork", "sched_process_fork"),
    ("call_exit", "sys_exit"),
];
/// Records that share a reading.
const BATCH: usize = 1024;
/// Readings that are tried before one is taken that may not be of one moment.
const ATTEMPTS: usize = 3;

/// The programs, attached for as long as this lives, and what was learned from them.
pub struct Degraded {
    /// Keeps programs and links.
    _ebpf: Ebpf,
    shared: Shared,
    queue: Queue,
    left_out: LeftOut,
    processes: BTreeMap<u32, Process>,
    /// Processes that were gone when one of several threads was told to have ended, and what stands for
    /// their spaces: what is in the ring may still tell of the other threads.
    gone: BTreeMap<u32, u64>,
    readers: Readers,
    /// The number of address spaces so far: what stands for their addresses.
    spaces: u64,
}

/// A process that is followed.
struct Process {
    /// Stands for the address of its `mm_struct`. Processes that share one are not known to.
    mm: u64,
    /// The id of its last commit.
    id: u64,
    threads: BTreeSet<u32>,
    /// Records of it that were taken.
    records: u64,
    /// What was last known of its image.
    image: Image,
}

impl Process {
    /// What is known of its image after this look at it.
    fn seen(&mut self, picture: &Picture) -> Image {
        self.image = picture.image.or(self.image);
        self.image
    }
}

impl Degraded {
    /// Loads and attaches the programs. Nothing is followed yet, unless `settings.follow` says so.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(settings: &Settings) -> Result<Self, LoadError> {
        let mut layout = Layout { task_status: status_offset(), ..Layout::NONE };
        settings.follow.set(&mut layout);
        let mut ebpf = EbpfLoader::new()
            .override_global("LAYOUT", layout.as_bytes(), true)
            .override_global("NAME", &settings.follow.padded_name()[..], true)
            .map_max_entries("RING", settings.ring_bytes)
            .load(OBJECT)
            .map_err(|error| object_error(&error))?;
        settings.follow.set_cgroup(&mut ebpf)?;
        let shared = Shared::of(&mut ebpf, settings.ring_bytes)?;
        for (program, tracepoint) in PROGRAMS {
            attach(&mut ebpf, program, tracepoint)?;
        }
        let left_out = LeftOut::of(&ebpf, |_| false)?;
        let (queue, processes, gone) = (Queue::default(), BTreeMap::new(), BTreeMap::new());
        let readers = Readers::default();
        Ok(Self { _ebpf: ebpf, shared, queue, left_out, processes, gone, readers, spaces: 0 })
    }

    /// Takes what is in the ring, up to a batch. `false`: there was nothing.
    fn take_batch(&mut self) -> bool {
        let gone = mem::take(&mut self.gone);
        let is_any_gone = !gone.is_empty();
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some(record) = self.shared.ring.take()
        {
            batch.push(queue::words(&record));
        }
        self.interpret(&batch);
        if batch.len() == BATCH {
            self.gone.extend(gone);
        } else {
            // There was no more to come of them.
            for (pid, mm) in gone {
                self.end_untold(pid, mm);
            }
        }
        !batch.is_empty() || is_any_gone
    }

    /// Takes what was written until now, and what is being written.
    fn take_written(&mut self) {
        let end = self.shared.ring.end();
        while !self.shared.ring.has_reached(end) {
            if !self.take_batch() {
                thread::yield_now();
            }
        }
    }

    /// Puts a process into a new address space, and tells what stands for its address.
    fn enter(&mut self, pid: u32, threads: BTreeSet<u32>) -> u64 {
        self.spaces += 1;
        let process =
            Process { mm: self.spaces, id: 2, threads, records: 0, image: Image::UNKNOWN };
        self.processes.insert(pid, process);
        self.spaces
    }

    /// Reads twice, and tells whether nothing happened meanwhile as far as anyone can see: what was
    /// read is the same, no call has returned, and nobody else was there to make one.
    fn look(&mut self, pid: u32, patience: Duration) -> Result<bool, SeedError> {
        // What had happened before is not what happens meanwhile.
        self.take_written();
        let Some(process) = self.processes.get(&pid) else { return Err(SeedError::NoProcess) };
        let (mm, id, seen, lost) =
            (process.mm, process.id, process.records, self.shared.lost_of(pid));
        let (picture, same) = self.readers.read(pid, patience, move || take_twice(pid))??;
        let earlier = self.queue.take();
        self.take_written();
        let later = self.queue.take();
        let unseen = self.processes.get(&pid).is_some_and(|it| it.mm == mm && it.records == seen);
        let quiet = same && unseen && self.shared.lost_of(pid) == lost;
        let flags = flag::WHOLE | if quiet { 0 } else { flag::UNLOCKED };
        let header = Header { flags, time: now(), mm, pid, tid: pid, lost, ..Header::default() };
        let comm = comm(format!("/proc/{pid}/comm").as_ref());
        let commit = Commit { header, id, cause: cause::SEED, nr: -1, comm, ..Commit::default() };
        let process = self.processes.get_mut(&pid).filter(|process| process.mm == mm);
        let image = process.map_or(picture.image, |process| process.seen(&picture));
        self.queue.push_commit(commit, &picture, image);
        self.queue.put_around(earlier, later);
        Ok(quiet)
    }
}

impl Source for Degraded {
    fn tier(&self) -> Tier {
        Tier::Degraded
    }

    fn shared(&self) -> &Shared {
        &self.shared
    }

    fn shared_mut(&mut self) -> &mut Shared {
        &mut self.shared
    }

    fn next(&mut self) -> Option<Bytes<'_>> {
        loop {
            if let Some(record) = self.queue.pop() {
                return Some(Bytes::Made(record));
            }
            if !self.take_batch() {
                return None;
            }
        }
    }

    fn seed(&mut self, pid: u32, patience: Duration) -> Result<(), SeedError> {
        if !self.processes.contains_key(&pid) {
            self.readers.read(pid, patience, move || Picture::take(pid))??;
            self.enter(pid, threads(pid));
        }
        for _ in 0..ATTEMPTS {
            if self.look(pid, patience)? {
                break;
            }
        }
        Ok(())
    }

    fn left_out(&self) -> u64 {
        self.left_out.count()
    }

    fn tally(&self, mm: u64) -> Result<Tally, MapError> {
        let process = self.processes.iter().find(|(_, process)| process.mm == mm);
        let (&pid, _) = process.ok_or(MapError::KeyNotFound)?;
        Ok(Tally { lost: self.shared.lost_of(pid), generation: 0 })
    }

    fn forget_names(&mut self, keys: &[u64]) -> Result<(), MapError> {
        self.queue.forget(keys);
        Ok(())
    }
}

/// What a process looks like, and whether it did so twice, with no other process in its address space.
fn take_twice(pid: u32) -> Result<(Picture, bool), SeedError> {
    let was_alone = is_alone(pid);
    let picture = Picture::take(pid)?;
    let same = Picture::take(pid)? == picture;
    // One that it has made in between may still be in it.
    Ok((picture, was_alone && same && is_alone(pid)))
}

/// The threads of a process that have not ended.
fn threads(pid: u32) -> BTreeSet<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let alive = tasks.filter(|task| {
        let stat = fs::read(task.path().join("stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses and may hold any byte.
        let name_end = stat.iter().rposition(|&byte| byte == b')').unwrap_or_default();
        !matches!(stat.get(name_end + 2), None | Some(b'Z' | b'X'))
    });
    alive.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
}

/// Where a task keeps whether its call is a 32-bit one: `thread_info.status`, and `thread_info` is
/// what a task starts with. Since Linux 5.11 (commit 3136b93c3fb2) there is another word before it.
fn status_offset() -> u32 {
    if release() >= (5, 11) { 16 } else { 8 }
}

fn attach(ebpf: &mut Ebpf, name: &'static str, tracepoint: &'static str) -> Result<(), LoadError> {
    let program =
        ebpf.program_mut(name).ok_or_else(|| LoadError::Object(format!("no program {name}")))?;
    let program: &mut RawTracePoint =
        program.try_into().map_err(|error: ProgramError| refused(name, &error))?;
    program.load().map_err(|error| refused(name, &error))?;
    program.attach(tracepoint).map_err(|error| refused(name, &error))?;
    Ok(())
}

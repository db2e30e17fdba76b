//! All address spaces and tasks that are followed: records in, events out.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use mmaptrace_common::record::{self, Header, cause, flag};

use serde::{Deserialize, Serialize};

use crate::{
    decode::{Record, decode},
    event::{Cause, Commits, Doubt, Event, SpaceId, Stacks, Syscall, Task},
    names::Names,
    process::{Forgotten, Process, Processes},
    space::Space,
    stack::{StackTable, Unidentified},
    threads::Threads,
};

/// All of it.
///
/// Memory is bounded by what lives: a space goes with its [`Event::End`], a thread with its
/// [`Event::Exit`], a name with [`Model::retain_names`], a stack with [`Model::retain_stacks`]; of ended processes the last few thousand
/// are kept, as [`Process`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Model {
    spaces: BTreeMap<u64, Space>,
    mms: BTreeMap<SpaceId, u64>,
    last_id: u64,
    processes: Processes,
    threads: Threads,
    names: Names,
    stacks: StackTable,
    totals: Totals,
}

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Events of tasks: every call, exec, fork and exit, and every commit that had an effect or
    /// moved the break. Not counted are commits without, and what the model tells of itself.
    pub events: u64,
    /// Records that found no room in the ring.
    pub lost: u64,
    /// Doubts that ended by reading a space again.
    pub healed: u64,
    /// Records that could not be decoded.
    pub malformed: u64,
    /// Causes of doubt, those during a doubt included.
    pub doubts: u64,
    /// How often a process was found in another address space, or to have ended, and no record had told of
    /// it; and how often one told of that later: a picture may be of an image in the making.
    pub found: u64,
    /// See [`Totals::found`].
    pub explained: u64,
}

impl Totals {
    /// So many records of a space are lost, which doubts it.
    fn lose(&mut self, records: u64) {
        self.lost = self.lost.saturating_add(records);
        self.doubts += u64::from(records > 0);
    }
}

impl Model {
    /// Takes a record from the ring, whose bytes are aligned to 8, and appends what it tells to
    /// `out`: nothing for a name or for a part of a commit.
    pub fn apply(&mut self, bytes: &[u8], out: &mut Vec<Event>) {
        match decode(bytes) {
            Ok(record) => self.record(&record, out),
            Err(error) => {
                self.totals.malformed += 1;
                out.push(Event::Malformed { kind: error.kind(), len: bytes.len() });
            }
        }
    }

    /// A space that has not ended.
    pub fn space(&self, id: SpaceId) -> Option<&Space> {
        self.spaces.get(self.mms.get(&id)?)
    }

    /// The space a process runs in.
    pub fn space_of(&self, pid: u32) -> Option<&Space> {
        self.space(self.processes.get(pid)?.space?)
    }

    /// All spaces that have not ended, in the order in which they were first seen.
    pub fn spaces(&self) -> impl Iterator<Item = &Space> {
        self.mms.keys().filter_map(|&id| self.space(id))
    }

    /// All processes that have not ended, by their ids. Their totals are those of ended spaces
    /// only; see [`Model::process_totals`].
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.processes.live()
    }

    /// A process that has not ended.
    pub fn process(&self, pid: u32) -> Option<&Process> {
        self.processes.get(pid)
    }

    /// A process that runs in a space.
    pub fn process_of(&self, space: SpaceId) -> Option<&Process> {
        self.processes.of_space(space)
    }

    /// Whether there are commits of a call that has not returned.
    pub fn has_open_calls(&self) -> bool {
        self.threads.has_open_calls()
    }

    /// The names of regions.
    pub const fn names(&self) -> &Names {
        &self.names
    }

    /// The spaces that are to be read again, and a process of each to do it by.
    pub fn in_doubt(&self) -> impl Iterator<Item = (&Space, u32)> {
        let doubtful = self.spaces().filter(|space| space.wants_reading());
        doubtful.filter_map(|space| Some((space, self.processes.of_space(space.id())?.pid)))
    }

    /// Totals of all.
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Whether every process is exact, or was when it ended.
    pub fn is_exact(&self) -> bool {
        self.processes.are_exact(|id| self.space(id))
    }

    /// Doubts a space for a reason that no record tells: what is known of what came later. That is no
    /// event.
    pub fn suspect(&mut self, id: SpaceId, why: Doubt) {
        let space = self.mms.get(&id).and_then(|mm| self.spaces.get_mut(mm));
        if let Some(space) = space {
            space.suspect(why);
        }
    }

    /// Every process with its totals as of now, those that ended first: the last few thousand of those. Of the
    /// others, [`Model::forgotten`] tells.
    pub fn process_totals(&self) -> impl Iterator<Item = Process> {
        self.processes.totals(|id| self.space(id))
    }

    /// The processes that ended longer ago than those that are remembered one by one.
    pub const fn forgotten(&self) -> Forgotten {
        self.processes.forgotten()
    }

    /// Condemns the names that no region has had for as long as since the last call, and returns their
    /// keys, for the kernel's side to forget that it sent them; forgets those that the last call has
    /// condemned, if no region has had them since and they did not come again. What was written before
    /// the kernel's side forgot is to be applied before the next call.
    pub fn retain_names(&mut self) -> Vec<u64> {
        let regions = self.spaces.values().flat_map(|space| space.map().iter());
        let used: HashSet<_> = regions.filter_map(|region| region.backing.name()).collect();
        self.names.retain(|key| used.contains(&key))
    }

    /// The stacks that events have.
    pub const fn stacks(&self) -> &StackTable {
        &self.stacks
    }

    /// Forgets stacks that no event has had for long, and returns the keys of those that will be
    /// next, for the kernel's side to forget that it sent them: likewise.
    pub fn retain_stacks(&mut self) -> Vec<u64> {
        self.stacks.retain()
    }

    /// The files that are new in stacks since the last call: their build ids are to be told, by
    /// records of [`kind::BUILD_ID`](record::kind::BUILD_ID).
    pub fn take_unidentified(&mut self) -> Vec<Unidentified> {
        self.stacks.take_unidentified()
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Vec<Event>) {
        let header = record.header();
        match self.spaces.get_mut(&header.mm) {
            // Its end was lost, and maybe how this one began.
            Some(space) if space.is_other_than(header) => self.end(header, out),
            Some(space) => {
                let lost = space.note_lost(header, out);
                self.totals.lose(lost);
            }
            None => {}
        }
        match *record {
            Record::Commit(commit, regions) => self.commit(commit, regions, out),
            Record::Path(path, components) => self.names.insert_path(path, components),
            Record::Name(name, text) => self.names.insert_name(name, text),
            Record::Call(call, text) => self.call(call, text, out),
            Record::Exec(exec, path, argv) => self.exec(exec, path, argv, out),
            Record::Fork(fork) => self.fork(fork, out),
            Record::Exit(exit) => self.exit(exit, out),
            Record::End(header) => self.end(header, out),
            Record::Stack(stack, addresses) => {
                let space = self.spaces.get(&stack.header.mm);
                self.stacks.insert(stack, addresses, space, &self.names);
            }
            Record::BuildId(id, bytes) => self.stacks.identify(id.key, bytes),
            Record::Loss(header) if header.mm == 0 => {
                let records = header.lost.into();
                self.totals.lost += records;
                out.push(Event::Lost { time: header.time, records });
            }
            // What was lost is noted above.
            Record::Loss(header) => {
                if let Some(space) = self.spaces.get_mut(&header.mm) {
                    space.miss_picture(header);
                }
            }
        }
    }

    fn commit(
        &mut self,
        commit: &record::Commit,
        regions: &[record::Region],
        out: &mut Vec<Event>,
    ) {
        let header = &commit.header;
        if !self.spaces.contains_key(&header.mm) {
            self.open(header, out);
        }
        // Before the commit takes the code away.
        self.see_stacks(header, commit.user_stack, commit.kernel_stack);
        let Some(space) = self.spaces.get_mut(&header.mm) else { return };
        let id = space.id();
        let (healed, doubts) = (space.healed(), space.doubts());
        let done = space.apply(commit, regions, out);
        self.totals.healed += space.healed() - healed;
        self.totals.doubts += space.doubts() - doubts;
        let known = self.processes.get(header.pid);
        let elsewhere = known.is_none_or(|process| process.space != Some(id));
        let enters = match commit.cause {
            // Told of the process whose space it is: the one that was read, if it is known and has
            // not ended. It may have had a new image since it was asked for: no process goes back.
            cause::SEED => {
                header.pid != 0
                    && known.and_then(|process| process.space).is_none_or(|now| now < id)
                    && !self.processes.ended_in(header.pid, id)
            }
            // The child; the caller of an exec whose own record was lost.
            cause::FORK | cause::EXEC => elsewhere,
            // Told of the task at work, which is one of the space's own.
            cause::CALL | cause::FAULT | cause::GROWTH => self.is_found_in(header.pid, id),
            _ => false,
        };
        if enters {
            if !matches!(commit.cause, cause::FORK | cause::EXEC) {
                self.find(header.pid, id);
            }
            self.processes.enter(header.pid, commit.comm, id);
        }
        let Some(done) = done else { return };
        if let Cause::Call(call) = done.cause {
            self.threads.see(header.tid, id, commit.comm);
            self.threads.commit(header.tid, call, commit.id);
        }
        if done.effective {
            self.count(header.pid);
        }
        if let Cause::Call(call) = done.cause
            && header.flags & flag::RETURNS != 0
        {
            let commits = self.threads.returned(header.tid, call);
            self.threads.tell(header.tid, call, commit.result);
            self.count(header.pid);
            let task = Task { pid: header.pid, tid: header.tid, comm: commit.comm };
            // The commit has told them.
            let stacks = Stacks::default();
            let (time, result, text) = (header.time, commit.result, Arc::default());
            let (space, duration) = (id, None);
            out.push(Event::Call {
                time,
                space,
                task,
                call,
                result,
                text,
                commits,
                stacks,
                duration,
            });
        }
    }

    fn call(&mut self, record: &record::Call, text: &[u8], out: &mut Vec<Event>) {
        let header = &record.header;
        let task = Task { pid: header.pid, tid: header.tid, comm: record.comm };
        let Some(space) = self.space_at(header, out) else { return };
        if self.is_found_in(task.pid, space) {
            self.find(task.pid, space);
            self.processes.enter(task.pid, task.comm, space);
        }
        self.threads.see(task.tid, space, task.comm);
        let compat = header.flags & flag::COMPAT != 0;
        let call = Syscall { nr: record.nr, compat, args: record.args };
        if self.threads.was_told(task.tid, call, record.result) {
            return;
        }
        let commits = self.threads.returned(task.tid, call);
        self.count(task.pid);
        let text = text_of(text);
        let (time, result) = (header.time, record.result);
        self.see_stacks(header, record.user_stack, 0);
        let stacks = Stacks::of(record.user_stack, 0);
        let duration = (record.entered != 0).then(|| time.saturating_sub(record.entered));
        out.push(Event::Call { time, space, task, call, result, text, commits, stacks, duration });
    }

    /// An event of this record has these stacks.
    fn see_stacks(&mut self, header: &Header, user: u64, kernel: u64) {
        for key in [user, kernel] {
            if key != 0 {
                self.stacks.see(key, self.spaces.get(&header.mm), &self.names);
            }
        }
    }

    fn exec(&mut self, exec: &record::Exec, path: &[u8], argv: &[u8], out: &mut Vec<Event>) {
        let header = &exec.header;
        let task = Task { pid: header.pid, tid: header.tid, comm: exec.comm };
        let space = self.begin(header, out);
        // A picture may come before the image's own commit.
        if let Some(space) = self.spaces.get_mut(&header.mm) {
            self.totals.explained += u64::from(space.found);
            space.begin_image();
        }
        self.processes.enter(task.pid, task.comm, space);
        // The call's commits were of the old space; a thread that took the leader's id left its own.
        self.threads.end(exec.old_tid);
        self.threads.end(task.tid);
        self.threads.see(task.tid, space, task.comm);
        self.count(task.pid);
        let old_tid = (exec.old_tid != 0 && exec.old_tid != task.tid).then_some(exec.old_tid);
        let argv = argv.strip_suffix(b"\0").unwrap_or(argv);
        out.push(Event::Exec {
            time: header.time,
            space,
            task,
            old_tid,
            path: Arc::from(path.strip_suffix(b"\0").unwrap_or(path)),
            argv: if argv.is_empty() {
                Vec::new()
            } else {
                argv.split(|&byte| byte == 0).map(Arc::from).collect()
            },
            cut: header.flags & flag::CUT != 0,
        });
    }

    fn fork(&mut self, fork: &record::Fork, out: &mut Vec<Event>) {
        let header = &fork.header;
        let shared = header.flags & flag::SHARED_MM != 0;
        let space = if shared { self.space_at(header, out) } else { Some(self.begin(header, out)) };
        let Some(space) = space else { return };
        let child = Task { pid: fork.child_pid, tid: fork.child_tid, comm: fork.comm };
        if child.pid != header.pid {
            let old = self.space_of(child.pid).map(Space::id);
            // A picture may have shown the child. Else a process that had this id has ended, and the
            // record of it was lost.
            if old != Some(space) {
                let old = old.and_then(|id| self.spaces.get(self.mms.get(&id)?));
                self.processes.exit(child.pid, None, old);
            }
            self.processes.enter(child.pid, child.comm, space);
        }
        self.threads.end(child.tid);
        self.threads.see(child.tid, space, child.comm);
        self.count(header.pid);
        // A child is born with its parent's name.
        let task = Task { pid: header.pid, tid: header.tid, comm: fork.comm };
        out.push(Event::Fork { time: header.time, space, task, child, shared });
    }

    fn exit(&mut self, exit: &record::Exit, out: &mut Vec<Event>) {
        let header = &exit.header;
        let (pid, tid) = (header.pid, header.tid);
        self.count(pid);
        // A thread may end after its process, and the space before both.
        let known = self.processes.get_or_ended(pid).map(|process| process.comm);
        let (comm, commits) =
            self.threads.end(tid).unwrap_or_else(|| (known.unwrap_or_default(), Commits::new()));
        let last = header.flags & flag::GROUP != 0;
        let is_told = header.flags & flag::UNTOLD == 0;
        self.totals.found += u64::from(!is_told);
        let status = is_told.then_some(exit.status);
        if last {
            let space = self.processes.get(pid).and_then(|process| process.space);
            let space = space.and_then(|id| self.spaces.get(self.mms.get(&id)?));
            self.processes.exit(pid, status, space);
        }
        let task = Task { pid, tid, comm };
        out.push(Event::Exit { time: header.time, task, status, last, commits });
    }

    fn end(&mut self, header: &Header, out: &mut Vec<Event>) {
        let Some(space) = self.spaces.remove(&header.mm) else { return };
        self.mms.remove(&space.id());
        self.processes.end_space(&space);
        self.threads.end_space(space.id());
        self.stacks.end_space(space.id());
        out.push(Event::End { time: header.time, space: space.id() });
    }

    /// The space that begins with this record; a picture may have shown it before.
    fn begin(&mut self, header: &Header, out: &mut Vec<Event>) -> SpaceId {
        match self.spaces.get(&header.mm) {
            Some(space) if space.is_of(header) => space.id(),
            Some(_) | None => self.open(header, out),
        }
    }

    /// Whether a process of which this space is not known to be is found at work in it. No process goes
    /// back to an older one: the record of how it came here was lost. One that nobody knows may be one that
    /// nobody follows, as a child of `vfork` that is about to leave it; unless the space is of no other.
    fn is_found_in(&self, pid: u32, space: SpaceId) -> bool {
        match self.processes.get(pid) {
            Some(process) => process.space.is_none_or(|now| now < space),
            None => self.processes.of_space(space).is_none(),
        }
    }

    /// A process is in this space, and known in another: no record has told how it came.
    fn find(&mut self, pid: u32, id: SpaceId) {
        let is_elsewhere = self.processes.get(pid).is_some_and(|process| process.space.is_some());
        let mm = self.mms.get(&id);
        if let (true, Some(space)) = (is_elsewhere, mm.and_then(|mm| self.spaces.get_mut(mm))) {
            self.totals.found += u64::from(!space.found);
            space.found = true;
        }
    }

    /// A new space at this record's mm. One that was there has ended, and the record of it was
    /// lost.
    fn open(&mut self, header: &Header, out: &mut Vec<Event>) -> SpaceId {
        self.end(header, out);
        self.last_id += 1;
        let id = SpaceId(self.last_id);
        let mut space = Space::new(id, header);
        let lost = space.note_lost(header, out);
        self.totals.lose(lost);
        self.mms.insert(id, header.mm);
        self.spaces.insert(header.mm, space);
        id
    }

    /// The space of a record that does not begin one.
    fn space_at(&mut self, header: &Header, out: &mut Vec<Event>) -> Option<SpaceId> {
        if let Some(space) = self.spaces.get(&header.mm) {
            Some(space.id())
        } else if header.mm == 0 {
            self.processes.get(header.pid)?.space
        } else {
            Some(self.open(header, out))
        }
    }

    fn count(&mut self, pid: u32) {
        self.totals.events += 1;
        self.processes.count(pid);
    }
}

/// A text without its NUL. The empty one, which nearly every call has, allocates nothing.
fn text_of(text: &[u8]) -> Arc<[u8]> {
    match text.strip_suffix(b"\0").unwrap_or(text) {
        [] => Arc::default(),
        text => Arc::from(text),
    }
}

//! One address space: its regions, and what is known of their exactness.

use mmaptrace_common::record::{self, Header, cause, flag};

use crate::{
    effect::{self, Effect},
    event::{Cause, Doubt, Event, SpaceId, Syscall, Task},
    map::{Map, ReplaceError},
    parts::{Parts, Pending},
    region::{Backing, PAGE, Region},
};

/// The end of all addresses: the start of the last page, which is never mapped.
const ADDRESSES: u64 = u64::MAX - PAGE + 1;

/// What hangs on an address space and not on a region. Addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// `mm->start_brk`
    pub start_brk: u64,
    /// `mm->brk`, not page-aligned.
    pub brk: u64,
    /// `mm->start_stack`
    pub start_stack: u64,
    /// Whether maps ends with the `[vsyscall]` page, which is no region.
    pub vsyscall: bool,
}

/// One address space.
///
/// It is *exact* while every commit has come, in order, fits what was there before, and leaves as
/// many regions and pages as the kernel counts; [`Space::doubt`] is `None` then. In doubt it goes
/// on applying what comes, which is the truth for the range it tells of, until the whole space has
/// been read again.
#[derive(Debug)]
pub struct Space {
    id: SpaceId,
    mm: u64,
    map: Map,
    layout: Layout,
    /// The last commit applied, once there was one.
    commit: Option<u64>,
    /// The last commit after which there was no doubt.
    sure: u64,
    doubt: Option<Doubt>,
    /// Whether the whole space was ever read.
    seeded: bool,
    names_stale: bool,
    lost: u64,
    healed: u64,
    doubts: u64,
    /// `total_vm` less the pages of all regions. Error paths of some kernels leave `total_vm` off
    /// for the rest of an address space's life; what it was off by when the whole space was read
    /// must stay.
    drift: i64,
    /// Whether that was told at a commit. At a seed another thread's unmapping may be half
    /// accounted, which by the next commit is over.
    drift_settled: bool,
    pending: Pending,
    old: Vec<Region>,
}

/// What a complete commit did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    /// Why it happened.
    pub(crate) cause: Cause,
    /// Whether regions or the break changed.
    pub(crate) effective: bool,
}

/// How a commit's id follows the last one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    First,
    /// The same id: read again.
    Again,
    Next,
    /// After so many others that did not come.
    Hole(u64),
    /// Before the last one; or odd, in the middle of a commit.
    Wrong,
}

impl Space {
    pub(crate) fn new(id: SpaceId, mm: u64) -> Self {
        Self {
            id,
            mm,
            map: Map::default(),
            layout: Layout::default(),
            commit: None,
            sure: 0,
            doubt: Some(Doubt::Unseeded),
            seeded: false,
            names_stale: false,
            lost: 0,
            healed: 0,
            doubts: 0,
            drift: 0,
            drift_settled: true,
            pending: Pending::default(),
            old: Vec::new(),
        }
    }

    /// Which one it is.
    pub const fn id(&self) -> SpaceId {
        self.id
    }

    /// The kernel's address of it (`struct mm_struct *`), which is reused once it has ended.
    pub const fn mm(&self) -> u64 {
        self.mm
    }

    /// Its regions.
    pub const fn map(&self) -> &Map {
        &self.map
    }

    /// Its break and stack.
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// The id of the last commit applied; 0 if there was none.
    pub fn commit(&self) -> u64 {
        self.commit.unwrap_or(0)
    }

    /// Why it is not known to be exact, if it is not: the first cause since it last was.
    pub const fn doubt(&self) -> Option<Doubt> {
        self.doubt
    }

    /// How many causes of doubt there were so far, those during a doubt included.
    pub const fn doubts(&self) -> u64 {
        self.doubts
    }

    /// How many of its records found no room in the ring.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// How often a doubt was ended by reading the whole space again.
    pub const fn healed(&self) -> u64 {
        self.healed
    }

    /// Whether names of files may have changed since the whole space was last read.
    pub const fn names_stale(&self) -> bool {
        self.names_stale
    }

    pub(crate) const fn mark_names_stale(&mut self) {
        self.names_stale = true;
    }

    /// Takes the loss that any record of this space tells, and returns how many are new.
    ///
    /// Records that are written without the lock may overtake each other on their way, so that a
    /// smaller number after a larger one means nothing.
    pub(crate) fn note_lost(&mut self, header: &Header, out: &mut Vec<Event>) -> u64 {
        let new = header.lost.saturating_sub(self.lost);
        if new > 0 {
            self.lost = header.lost;
            self.pending.miss();
            self.raise(header.time, Doubt::Lost(new), out);
        }
        new
    }

    /// Takes a part of a commit; the last one applies it. `None` until then, and for a commit that
    /// is refused.
    pub(crate) fn apply(
        &mut self,
        commit: &record::Commit,
        regions: &[record::Region],
        out: &mut Vec<Event>,
    ) -> Option<Done> {
        let time = commit.header.time;
        if self.pending.close_others(commit) {
            // A last part was lost; where the loss was told, this is but one more cause.
            self.raise(time, Doubt::Malformed, out);
        }
        let mut parts = self.pending.take(commit);
        if parts.push(commit, regions).is_err() {
            self.raise(time, Doubt::Malformed, out);
        }
        if commit.header.flags & flag::TRUNCATED != 0 {
            self.raise(time, Doubt::Truncated, out);
        }
        let done = if parts.open() { None } else { self.complete(commit, &mut parts, out) };
        self.pending.put(parts);
        done
    }

    fn complete(
        &mut self,
        commit: &record::Commit,
        parts: &mut Parts,
        out: &mut Vec<Event>,
    ) -> Option<Done> {
        let (time, flags) = (commit.header.time, commit.header.flags);
        let (claims_whole, counted) = (flags & flag::WHOLE != 0, flags & flag::COUNTED != 0);
        let (cause, order) = (cause_of(commit), self.order(commit.id));
        // What is older than what is known is refused; but a whole space is taken as what it was.
        let Some(cause) = cause.filter(|_| order != Order::Wrong || claims_whole) else {
            self.raise(time, Doubt::Malformed, out);
            return None;
        };
        match order {
            Order::First | Order::Again | Order::Next => {}
            Order::Hole(missing) => self.raise(time, Doubt::Hole(missing), out),
            Order::Wrong => self.raise(time, Doubt::Malformed, out),
        }
        let whole = parts.is_whole();
        if claims_whole && !whole {
            self.raise(time, Doubt::Malformed, out);
        }

        let was = self.map.len() as u64;
        let mut effects = Vec::new();
        if let Err(why) = self.replace(parts, whole, &mut effects) {
            self.raise(time, why, out);
        }
        let brk = self.move_to(commit);
        let reread = whole && order == Order::Again && cause == Cause::Seed;
        if reread && let Some(why) = self.silent_error(was, commit, &effects) {
            self.raise(time, why, out);
        }
        let proven = self.verify(commit, whole, counted, out);
        let healed = if whole && proven { self.doubt.take() } else { None };
        let exact = self.doubt.is_none();
        if exact {
            self.sure = commit.id;
        }
        let differences = effects.len() as u64;
        if whole {
            if !self.seeded && matches!(cause, Cause::Seed | Cause::Fork) {
                effects.clear();
            }
            self.seeded = true;
            self.names_stale &= cause != Cause::Seed;
        }

        let done = Done { cause, effective: !effects.is_empty() || brk.is_some() };
        let (space, id) = (self.id, commit.id);
        let task = Task { pid: commit.header.pid, tid: commit.header.tid, comm: commit.comm };
        out.push(Event::Commit { time, space, task, id, cause, effects, brk, exact });
        // What was never seeded was never exact: that is no heal.
        if healed.is_some_and(|why| why != Doubt::Unseeded) {
            self.healed += 1;
            out.push(Event::Healed { time, space, id, differences });
        }
        Some(done)
    }

    /// Takes what a commit tells beside the regions, and returns how the break moved.
    fn move_to(&mut self, commit: &record::Commit) -> Option<(u64, u64)> {
        let was = self.layout.brk;
        self.commit = Some(commit.id);
        self.layout = Layout {
            start_brk: commit.start_brk,
            brk: commit.brk,
            start_stack: commit.start_stack,
            vsyscall: commit.header.flags & flag::VSYSCALL != 0,
        };
        (self.seeded && was != commit.brk).then_some((was, commit.brk))
    }

    /// How `id` follows the last commit's.
    fn order(&self, id: u64) -> Order {
        if !id.is_multiple_of(2) {
            return Order::Wrong;
        }
        let Some(last) = self.commit else { return Order::First };
        let ahead = match (u32::try_from(last), u32::try_from(id)) {
            // `mm_lock_seq` has 32 bits, and comes back to 0.
            (Ok(last), Ok(id)) => i64::from(id.wrapping_sub(last).cast_signed()),
            (Ok(_) | Err(_), Ok(_) | Err(_)) => id.wrapping_sub(last).cast_signed(),
        };
        match ahead {
            ..0 => Order::Wrong,
            0 => Order::Again,
            2 => Order::Next,
            _ => Order::Hole(ahead.unsigned_abs() / 2 - 1),
        }
    }

    /// Puts what was read in place of what was known of the same ranges.
    fn replace(
        &mut self,
        parts: &mut Parts,
        whole: bool,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Doubt> {
        let mut result = Ok(());
        for (mut lo, mut hi, regions) in parts.ranges() {
            if whole {
                (lo, hi) = (0, ADDRESSES);
            }
            self.old.clear();
            match self.map.replace(lo, hi, regions, &mut self.old) {
                Ok(()) => {}
                Err(ReplaceError::Straddles { at }) => result = Err(Doubt::Contradiction { at }),
                Err(ReplaceError::Disordered { .. }) => {
                    result = Err(Doubt::Malformed);
                    continue;
                }
            }
            effect::diff_into(&self.old, regions, effects);
        }
        result
    }

    /// A reading of what was known to be exact, of the same commit, must find no difference, but
    /// for names of files.
    fn silent_error(&self, was: u64, commit: &record::Commit, effects: &[Effect]) -> Option<Doubt> {
        if self.doubt.is_some() {
            return None;
        }
        let mut wrong = effects.iter().filter(|effect| !(self.names_stale && is_rename(effect)));
        let at = wrong.next()?.start();
        let kernel = u64::from(commit.map_count);
        if was == kernel {
            Some(Doubt::Contradiction { at })
        } else {
            Some(Doubt::Count { kernel, model: was })
        }
    }

    /// Whether the kernel's counters are those of the regions. A doubt if they are not; a whole
    /// reading tells anew what the size is off by.
    fn verify(
        &mut self,
        commit: &record::Commit,
        whole: bool,
        counted: bool,
        out: &mut Vec<Event>,
    ) -> bool {
        let time = commit.header.time;
        let (kernel, model) = (u64::from(commit.map_count), self.map.len() as u64);
        if kernel != model {
            self.raise(time, Doubt::Count { kernel, model }, out);
            return false;
        }
        let drift = commit.total_vm.wrapping_sub(self.map.pages()).cast_signed();
        if !counted {
            if whole {
                (self.drift, self.drift_settled) = (drift, false);
            }
            return true;
        }
        let expected = drift == self.drift || (drift == 0 && !self.drift_settled);
        if !expected && self.seeded {
            let model = self.map.pages().wrapping_add_signed(self.drift);
            self.raise(time, Doubt::Pages { kernel: commit.total_vm, model }, out);
        }
        if expected || whole {
            (self.drift, self.drift_settled) = (drift, true);
        }
        expected || whole
    }

    /// Doubts. Only the first cause is an event; until it is healed, others are but counted.
    pub(crate) fn raise(&mut self, time: u64, why: Doubt, out: &mut Vec<Event>) {
        self.doubts += 1;
        if self.doubt.is_none() {
            self.doubt = Some(why);
            out.push(Event::Doubt { time, space: self.id, after: self.sure, why });
        }
    }
}

/// Whether nothing but the path of a file is another.
fn is_rename(effect: &Effect) -> bool {
    let Effect::Changed { old, new, .. } = effect else { return false };
    let (Backing::File { .. }, Backing::File { .. }) = (old.backing, new.backing) else {
        return false;
    };
    Region { backing: new.backing, ..*old } == *new
}

fn cause_of(commit: &record::Commit) -> Option<Cause> {
    let compat = commit.header.flags & flag::COMPAT != 0;
    let call = (commit.nr >= 0).then_some(Syscall { nr: commit.nr, compat, args: commit.args });
    match commit.cause {
        cause::CALL => call.map(Cause::Call),
        cause::FAULT => Some(Cause::Fault),
        cause::GROWTH => Some(Cause::Growth(call)),
        cause::KERNEL => Some(Cause::Kernel),
        cause::WORKER => Some(Cause::Worker),
        cause::REMOTE => Some(Cause::Remote(call)),
        cause::SEED => Some(Cause::Seed),
        cause::FORK => Some(Cause::Fork),
        cause::EXEC => Some(Cause::Exec),
        _ => None,
    }
}

//! Commits applied to a space: order, contradictions, counters, and the end of a doubt.

use mmaptrace_common::record::{self, cause, flag};

use crate::{
    effect::{self, Effect},
    event::{Cause, Doubt, Effects, Event, Stacks, Syscall, Task},
    map::Disordered,
    parts::{Parts, is_beside_others, is_numbered},
    region::{Backing, Flags, PAGE, Region},
};

use super::{Layout, Read, Reading, Renaming, Space};

/// The end of all addresses: the start of the last page, which is never mapped.
const ADDRESSES: u64 = u64::MAX - PAGE + 1;

/// How many readers of the lock may have been overtaken at once.
const READERS: u64 = 1 << 12;

/// How long a call may take to return once files have other names, in ns.
const RENAMING: u64 = 1_000_000_000;

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
    /// Of a reader of the lock that the last one has overtaken; or that of which a picture has shown it.
    Late,
    /// Before the last one; or odd, in the middle of a commit.
    Wrong,
}

impl Space {
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
        let claims_whole = flags & flag::WHOLE != 0;
        let (cause, order) = (cause_of(commit), self.order(commit));
        if order == Order::Late && cause == Some(Cause::Seed) {
            // It may not show what another told that has overtaken it. Who needs it asks again.
            return None;
        }
        // What is older than what is known is refused; but a whole space is taken as what it was, where the
        // kernel itself says when that was.
        let is_refused = order == Order::Wrong && (!claims_whole || is_beside_others(commit));
        let Some(cause) = cause.filter(|_| !is_refused) else {
            self.raise(time, Doubt::Malformed, out);
            return None;
        };
        // What those in the hole did, if anything, shows in a reading of the whole space: that which
        // follows; or this, which may show what another thread is about to tell as well.
        let (checks, to_be_checked) = (cause == Cause::Seed, flags & flag::CHECKED != 0);
        if !is_beside_others(commit) && !self.missing.is_empty() {
            // None comes after what a writer has done.
            self.raise(time, Doubt::Hole(self.missing.len() as u64), out);
            self.missing.clear();
        }
        match order {
            Order::First | Order::Again | Order::Next | Order::Late => {}
            Order::Hole(_) if checks || to_be_checked => {}
            // Those may come later.
            Order::Hole(missing)
                if is_beside_others(commit) && self.missing.len() as u64 + missing <= READERS =>
            {
                self.missing.extend((1..=missing).map(|before| commit.id - 2 * before));
            }
            Order::Hole(missing) => self.raise(time, Doubt::Hole(missing), out),
            Order::Wrong => self.raise(time, Doubt::Malformed, out),
        }
        self.expect_rename(commit, out);
        let whole = parts.is_whole();
        if claims_whole && !whole {
            self.raise(time, Doubt::Malformed, out);
        }

        let is_late = order == Order::Late;
        if is_late {
            self.missing.retain(|&missing| missing != commit.id);
        }
        if is_late && commit.id <= self.shown {
            // It may have been read before others did what is known by now.
            parts.clear();
        }
        let was = self.map.len() as u64;
        let mut effects = Effects::new();
        if let Err(why) = self.replace(parts, whole, &mut effects) {
            self.raise(time, why, out);
        }
        if effects.iter().any(is_of_code) {
            self.code += 1;
        }
        let brk = if is_late { None } else { self.move_to(commit, cause) };
        // Ids of the hook's counting stay while another thread is in the middle of an unmapping.
        let certain = flags & (flag::SEQUENCED | flag::COUNTED) != 0;
        if whole && certain && checks {
            self.note_rename(commit, &effects);
            if let Some(why) = self.silent_error(was, commit, order, &effects) {
                self.corrected += 1;
                self.raise(time, why, out);
            }
        }
        // What was lost after it was read it does not show: who told of that may have overtaken it.
        let proven = !is_late
            && self.verify(commit, whole, out)
            && whole
            && !self.lost_since(&commit.header);
        let healed = if proven { self.doubt.take() } else { None };
        let unlocked = self.reading == Reading::Unlocked && !whole;
        self.reading = if unlocked || flags & flag::UNLOCKED != 0 {
            Reading::Unlocked
        } else {
            Reading::Locked
        };
        if whole && (!is_late || commit.id > self.shown) {
            self.shown = commit.id;
            self.missing.retain(|&missing| missing > commit.id);
        }
        let exact = self.doubt().is_none() && !to_be_checked;
        if exact {
            self.sure = self.commit();
        }
        let differences = effects.len() as u64;
        if self.read == Read::Never && cause != Cause::Exec {
            // What was there before is not known: nothing can be said of what is new.
            effects.clear();
        }
        if whole {
            self.read = Read::Once;
        }
        if whole && !is_late {
            self.renames = commit.renames;
        }

        let done = Done { cause, effective: !effects.is_empty() || brk.is_some() };
        let (space, id) = (self.id, commit.id);
        let task = Task { pid: commit.header.pid, tid: commit.header.tid, comm: commit.comm };
        let stacks = Stacks::of(commit.user_stack, commit.kernel_stack);
        out.push(Event::Commit { time, space, task, id, cause, effects, brk, exact, stacks });
        // What was never seeded was never exact: that is no heal.
        if healed.is_some_and(|why| why != Doubt::Unseeded) {
            self.healed += 1;
            let lost = self.lost.saturating_sub(std::mem::replace(&mut self.told, self.lost));
            out.push(Event::Healed { time, space, id, differences, lost });
        }
        Some(done)
    }

    /// Takes what a commit tells beside the regions, and returns how the break moved.
    fn move_to(&mut self, commit: &record::Commit, cause: Cause) -> Option<(u64, u64)> {
        let was = self.layout.brk;
        self.commit = Some(commit.id);
        // A picture that was begun while the image was made may be late, and know no more than half of
        // this, which is not written under the lock then (`load_elf_binary`, `fs/binfmt_elf.c`).
        if cause == Cause::Seed && self.image == Some(commit.id) {
            return None;
        }
        if cause != Cause::Seed {
            self.image = (cause == Cause::Exec).then_some(commit.id);
        }
        self.layout = Layout {
            start_brk: commit.start_brk,
            brk: commit.brk,
            start_stack: commit.start_stack,
            vsyscall: commit.header.flags & flag::VSYSCALL != 0,
        };
        (self.read == Read::Once && was != commit.brk).then_some((was, commit.brk))
    }

    /// How a commit follows the last one.
    fn order(&self, commit: &record::Commit) -> Order {
        let id = commit.id;
        if !id.is_multiple_of(2) {
            return Order::Wrong;
        }
        let Some(last) = self.commit else { return Order::First };
        let is_late = is_beside_others(commit)
            && match commit.cause {
                cause::SEED => id < last,
                cause::FORK | cause::EXEC => false,
                _ => id <= self.shown || self.missing.contains(&id),
            };
        if is_late {
            return Order::Late;
        }
        let ahead = match (u32::try_from(last), u32::try_from(id)) {
            // `mm_lock_seq` has 32 bits, and comes back to 0.
            (Ok(last), Ok(id)) if is_numbered(commit) => {
                i64::from(id.wrapping_sub(last).cast_signed())
            }
            (Ok(_) | Err(_), Ok(_) | Err(_)) => id.wrapping_sub(last).cast_signed(),
        };
        match ahead {
            ..0 => Order::Wrong,
            0 => Order::Again,
            // 1 after a picture whose own id was odd, which no kernel gives.
            1 | 2 => Order::Next,
            _ => Order::Hole(ahead.unsigned_abs() / 2 - 1),
        }
    }

    /// Puts what was read in place of what was known of the same ranges.
    fn replace(
        &mut self,
        parts: &mut Parts,
        whole: bool,
        effects: &mut Effects,
    ) -> Result<(), Doubt> {
        let mut result = Ok(());
        let mut ranges = parts.ranges().peekable();
        while let Some((mut lo, mut hi, regions)) = ranges.next() {
            if whole {
                (lo, hi) = (0, ADDRESSES);
            }
            self.new.clear();
            self.new.extend_from_slice(regions);
            // What lies between two ranges in one region is part of what happened to it.
            while let Some(&(next, end, regions)) = ranges.peek()
                && let Some(between) = self.map.at(hi).filter(|it| it.start < hi && it.end > next)
            {
                self.new.push(between.clip(hi, next));
                self.new.extend_from_slice(regions);
                hi = end;
                ranges.next();
            }
            self.old.clear();
            match self.map.replace(lo, hi, &mut self.new, &mut self.old) {
                Ok(()) => effect::diff_into(&self.old, &self.new, effects),
                Err(Disordered { .. }) => result = Err(Doubt::Malformed),
            }
        }
        result
    }

    /// Files get their names before the call that names them returns and is counted. If none is for long,
    /// it was another that nobody has told of.
    fn expect_rename(&mut self, commit: &record::Commit, out: &mut Vec<Event>) {
        let Some(Renaming { renames, time, at }) = self.renaming else { return };
        let told = commit.header.flags & flag::RENAMED != 0 || commit.renames != renames;
        let late = commit.header.time > time.saturating_add(RENAMING);
        if told || late {
            self.renaming = None;
        }
        if late && !told {
            self.corrected += 1;
            self.raise(commit.header.time, Doubt::Contradiction { at }, out);
        }
    }

    /// Notes that a reading of what was known to be exact finds other names, which nobody has told of.
    fn note_rename(&mut self, commit: &record::Commit, effects: &[Effect]) {
        let told = commit.header.flags & flag::RENAMED != 0 || commit.renames != self.renames;
        if let Some(effect) = effects.iter().find(|it| is_rename(it))
            && !told
            && self.doubt.is_none()
            && self.read != Read::Never
        {
            let (renames, time, at) = (commit.renames, commit.header.time, effect.start());
            self.renaming.get_or_insert(Renaming { renames, time, at });
        }
    }

    /// What is wrong if a reading of what was known to be exact finds these differences, but for names of
    /// files.
    ///
    /// Of the same commit it must find none. Of a later one it may find what
    /// a thread has done that still holds the lock, for reading now (`mmap_write_downgrade`), and tells
    /// of when it lets go: an unmapping (`mm/vma.c`), or a stack that has grown (`mm/mmap_lock.c`,
    /// `mm/mmap.c`). All else was told before the lock was free, or is missing.
    fn silent_error(
        &self,
        was: u64,
        commit: &record::Commit,
        order: Order,
        effects: &[Effect],
    ) -> Option<Doubt> {
        if self.doubt.is_some() || self.read == Read::Never {
            return None;
        }
        let renumbered = |effect: &Effect| order == Order::Again && is_renumbered(effect);
        let mut wrong = effects.iter().filter(|&effect| !is_rename(effect) && !renumbered(effect));
        let missing = match order {
            Order::Again => {
                let (at, kernel) = (wrong.next()?.start(), u64::from(commit.map_count));
                return Some(if was == kernel {
                    Doubt::Contradiction { at }
                } else {
                    Doubt::Count { kernel, model: was }
                });
            }
            Order::Next => 1,
            Order::Hole(missing) => missing + 1,
            Order::First | Order::Late | Order::Wrong => return None,
        };
        let sequenced = commit.header.flags & flag::SEQUENCED != 0;
        let is_untold = sequenced && wrong.any(|effect| !may_be_under_way(effect));
        is_untold.then_some(Doubt::Hole(missing))
    }

    /// Whether the kernel's counters are those of the regions, as far as they can be; a doubt if
    /// not.
    ///
    /// While another thread is in the middle of an unmapping, `map_count` already is what it will
    /// be, and so are the regions if all are read; `total_vm` is not.
    fn verify(&mut self, commit: &record::Commit, whole: bool, out: &mut Vec<Event>) -> bool {
        let time = commit.header.time;
        // It counts what is missing, too.
        let counted = commit.header.flags & flag::COUNTED != 0 && self.missing.is_empty();
        let (kernel, model) = (u64::from(commit.map_count), self.map.len() as u64);
        if kernel != model && (counted || whole) {
            self.raise(time, Doubt::Count { kernel, model }, out);
            return false;
        }
        let (kernel, pages) = (commit.total_vm, self.map.pages());
        if counted {
            let drift = kernel.wrapping_sub(pages).cast_signed();
            if let Some(known) = self.drift.filter(|&known| known != drift) {
                let model = pages.wrapping_add_signed(known);
                self.raise(time, Doubt::Pages { kernel, model }, out);
            }
            if whole || (self.drift.is_none() && self.doubt.is_none()) {
                self.drift = Some(drift);
            }
        } else if whole && matches!(self.doubt, Some(Doubt::Pages { .. })) {
            // The regions are right: what it is off by is another, to be learned again.
            self.drift = None;
        }
        true
    }
}

/// Whether it changes what is executable where.
fn is_of_code(effect: &Effect) -> bool {
    let is_code = |region: &Region| region.flags.has(Flags::EXEC);
    match effect {
        Effect::Added { pages, .. } | Effect::Removed { pages, .. } => is_code(pages),
        Effect::Replaced { old, new } | Effect::Changed { old, new, .. } => {
            is_code(old) || is_code(new)
        }
        Effect::Split { .. } | Effect::Merged { .. } => false,
    }
}

/// Whether a thread that holds the lock for reading may be about to tell of it.
fn may_be_under_way(effect: &Effect) -> bool {
    match effect {
        Effect::Removed { .. } => true,
        Effect::Added { pages, within } => {
            pages.flags.has(Flags::GROWSDOWN) && within.0 == pages.start && within.1 > pages.end
        }
        Effect::Replaced { .. }
        | Effect::Changed { .. }
        | Effect::Split { .. }
        | Effect::Merged { .. } => false,
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

/// Whether the file of a region has another number, as files of file servers may get.
fn is_renumbered(effect: &Effect) -> bool {
    let Effect::Replaced { old, new } = effect else { return false };
    let (Backing::File { dev: old_dev, .. }, Backing::File { dev: new_dev, .. }) =
        (old.backing, new.backing)
    else {
        return false;
    };
    old_dev == new_dev && Region { backing: new.backing, ..*old } == *new
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

//! What to send when the lock of an address space is released, or when a new one is complete.

use core::ffi::c_void;

use aya_ebpf::bindings::task_struct;
use mmaptrace_common::{
    control::{NOT_KNOWN, Renames, Space},
    layout::ABSENT,
    record::{Commit, cause, flag, kind},
    syscalls::{Range, option},
};

use crate::{
    emit::{self, Tally},
    kernel::{
        Entry, HAS_VSYSCALL, PF_IO_WORKER, PF_KTHREAD, PF_USER_WORKER, comm, comm_halves, current,
        ids_of, int, layout, load, load_address,
    },
    maps::{PROCESSES, WALK, Walk},
    name,
    object::CONTROL,
    range::Ranges,
    space,
    stack::{self, Buffer},
    walk,
};

const PAGE: u64 = 4096;
/// How often a number is asked for that another reader of the lock takes meanwhile.
const PATIENCE: u32 = 64;
/// The name of a thread of the kernel (`mm/khugepaged.c`), in its two halves.
const KHUGEPAGED: [u64; 2] =
    [u64::from_le_bytes(*b"khugepag"), u64::from_le_bytes(*b"ed\0\0\0\0\0\0")];

/// What an `mm_struct` says of itself.
#[derive(Clone, Copy)]
struct Counters {
    /// The id of the commit that ends with this release; where the kernel has none, of the last one that was
    /// counted, until [`Counters::count`].
    id: u64,
    total_vm: u64,
    stack_vm: u64,
    map_count: u32,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    vsyscall: bool,
}

impl Counters {
    /// # Safety
    /// `mm` is a BTF pointer to an `mm_struct`.
    #[inline(always)]
    unsafe fn of(mm: *const c_void, last_id: u64) -> Self {
        // SAFETY: as above.
        unsafe {
            let id = if layout!(mm_lock_seq) == ABSENT {
                last_id
            } else {
                // Odd while the lock is held for writing, and raised again when it is let go.
                u64::from(load::<u32>(mm, layout!(mm_lock_seq)).wrapping_add(1) & !1)
            };
            Self {
                id,
                total_vm: load(mm, layout!(mm_total_vm)),
                stack_vm: load(mm, layout!(mm_stack_vm)),
                map_count: load(mm, layout!(mm_map_count)),
                start_brk: load(mm, layout!(mm_start_brk)),
                brk: load(mm, layout!(mm_brk)),
                start_stack: load(mm, layout!(mm_start_stack)),
                vsyscall: layout!(vsyscall) != 0
                    && load::<u16>(mm, layout!(mm_context_flags)) & HAS_VSYSCALL != 0,
            }
        }
    }

    /// Whether what `/proc/PID/maps` derives names from is other than `space` knows.
    #[inline(always)]
    fn moved(&self, space: &Space) -> bool {
        self.brk != space.brk
            || self.start_brk != space.start_brk
            || self.start_stack != space.start_stack
    }

    /// Notes where break and stack are told to be, and where the kernel does not number commits, takes the
    /// next number, and both as they are between the taking of the last one and of this. Of two readers of the
    /// lock who tell of them the one with the larger number knows better, whoever comes first. `false`:
    /// others took each that was asked for.
    ///
    /// # Safety
    /// `mm` is a BTF pointer to an `mm_struct`.
    #[inline(always)]
    unsafe fn count(&mut self, mm: *const c_void, space: &mut Space) -> bool {
        if layout!(mm_lock_seq) != ABSENT {
            self.note_layout(space);
            return true;
        }
        let mut turns = 0;
        while turns < PATIENCE {
            // SAFETY: as above, and the number is a field of a reference.
            unsafe {
                let last = core::ptr::read_volatile(&raw const space.id);
                self.start_brk = load(mm, layout!(mm_start_brk));
                self.brk = load(mm, layout!(mm_brk));
                self.start_stack = load(mm, layout!(mm_start_stack));
                self.id = last + 2;
                // Before it is counted: who counts next notes what is newer after this.
                self.note_layout(space);
                if space::compare_exchange(&raw mut space.id, last, self.id) == last {
                    return true;
                }
            }
            turns += 1;
        }
        false
    }

    /// Whether nothing was sent of the commit before this one.
    #[inline(always)]
    fn leaves_hole(&self, space: &Space) -> bool {
        layout!(mm_lock_seq) != ABSENT && (self.id as u32).wrapping_sub(space.id as u32) > 2
    }

    /// Notes what was told by the thread `tid`. `grows`: stacks may have, which no other tells. Else
    /// another reader may have noted meanwhile that there is less of them than was seen here.
    #[inline(always)]
    fn note(&self, space: &mut Space, tid: u32, grows: bool) {
        if layout!(mm_lock_seq) != ABSENT {
            space.id = self.id;
        }
        // In this order: who finds its unmapping noted finds by whom.
        // SAFETY: both are fields of a reference.
        unsafe {
            core::ptr::write_volatile(&raw mut space.tid, tid);
            core::ptr::write_volatile(&raw mut space.total_vm, self.total_vm);
        }
        if grows || self.stack_vm < space.stack_vm {
            space.stack_vm = self.stack_vm;
        }
    }

    /// Notes where break and stack were told to be.
    #[inline(always)]
    fn note_layout(&self, space: &mut Space) {
        space.brk = self.brk;
        space.start_brk = self.start_brk;
        space.start_stack = self.start_stack;
    }

    /// Whether the unmapping of this thread, which made the space smaller, is yet to be told: it is
    /// smaller than was noted, or it was another that noted so.
    #[inline(always)]
    fn are_untold(&self, space: &Space, tid: u32) -> bool {
        // SAFETY: both are fields of a reference. In this order, as above.
        unsafe {
            core::ptr::read_volatile(&raw const space.total_vm) != self.total_vm
                || core::ptr::read_volatile(&raw const space.tid) != tid
        }
    }
}

/// Who releases the lock, and why.
struct Actor {
    ids: (u32, u32),
    comm: [u8; 16],
    cause: u32,
    entry: Entry,
    /// What the call returns if it has succeeded, or [`NOT_KNOWN`].
    result: i64,
    /// Whether it returns that in any case: a brk returns the break, whatever it was asked for.
    returns: bool,
}

impl Actor {
    /// The current task, as one that acts on `mm`.
    ///
    /// # Safety
    /// `task` is the current task's BTF pointer.
    #[inline(always)]
    unsafe fn current(task: *mut task_struct, mm: u64) -> Self {
        let base: *const c_void = task.cast();
        // SAFETY: as above.
        let (flags, own, ids, comm) = unsafe {
            (
                load::<u32>(base, layout!(task_flags)),
                load_address(base, layout!(task_mm)),
                ids_of(base),
                comm(base),
            )
        };
        let (cause, entry) = if flags & PF_KTHREAD != 0 {
            (cause::KERNEL, Entry::NONE)
        } else if flags & (PF_IO_WORKER | PF_USER_WORKER) != 0 {
            // Its registers are a copy of its creator's.
            (cause::WORKER, Entry::NONE)
        } else {
            // SAFETY: a user task has registers.
            let entry = unsafe { Entry::of(task) };
            let cause = match (own == mm, entry.nr >= 0) {
                (false, _) => cause::REMOTE,
                (true, true) => cause::CALL,
                (true, false) => cause::FAULT,
            };
            (cause, entry)
        };
        Self { ids, comm, cause, entry, result: NOT_KNOWN, returns: false }
    }

    /// Its call returns this in any case.
    #[inline(always)]
    fn will_return(&mut self, result: u64) {
        if layout!(early_returns) != 0 {
            (self.result, self.returns) = (result as i64, true);
        }
    }
}

/// The release of the lock of `mm`, of which this is kept. `true`: a commit is ready to [`send`].
///
/// # Safety
/// `mm` is the BTF pointer the tracepoint was given. `space` stays valid for the length of a run, and a
/// writer is alone. Readers that get here at once may overwrite each other's notes: that costs a record
/// too many, not one too few.
#[inline(never)]
pub(crate) unsafe fn released(mm: *const c_void, space: &mut Space, write: bool) -> bool {
    let key = mm as u64;
    let task = current();
    // SAFETY: as above.
    if unsafe { load::<u32>(mm, layout!(mm_users)) } == 0 {
        // SAFETY: it is the current task.
        end(key, unsafe { ids_of(task.cast()) });
        return false;
    }
    // SAFETY: as above.
    let mut now = unsafe { Counters::of(mm, space.id) };
    // The other program of this hook has told it. A reader's finds nothing new by itself.
    if write && layout!(mm_lock_seq) != ABSENT && now.id == space.id {
        return false;
    }
    // SAFETY: it is the current task.
    let mut actor = unsafe { Actor::current(task, key) };
    let rule = actor.entry.rule();
    let mut flags = if write { flag::WRITE | flag::COUNTED } else { 0 };
    let grew = now.stack_vm > space.stack_vm;
    let unmaps = actor.cause == cause::CALL && downgrades(rule, &actor.entry);
    let ranges = if write {
        match actor.cause {
            // What is done once it has set what it returns is none of its work.
            cause::CALL if actor.entry.at_work => {
                actor.result = placed(rule, &actor.entry, space);
                if rule & 15 == Range::Brk as u8 {
                    actor.will_return(now.brk);
                }
                Ranges::of(rule, &actor.entry, space, now.brk)
            }
            // It rebuilds page tables, and leaves the regions alone.
            // SAFETY: it is the current task.
            cause::KERNEL if unsafe { comm_halves(task.cast()) } == KHUGEPAGED => Ranges::default(),
            _ => Ranges::ALL,
        }
    } else if grew {
        // A fault grew a stack, which one nobody tells. Before 6.5 that is done under the read
        // lock, beside an unmapping that may be half accounted, and of which others are then the count.
        if layout!(growth_locked) != 0 {
            flags |= flag::COUNTED;
        }
        if actor.cause == cause::CALL || actor.cause == cause::FAULT {
            actor.cause = cause::GROWTH;
        }
        Ranges::ALL
    } else if unmaps && actor.entry.at_work && now.are_untold(space, actor.ids.1) {
        // The end of an unmapping whose write lock was downgraded, which has made the space
        // smaller. If it is no smaller than was noted, another reader has been here meanwhile.
        let is_brk = rule & 15 == Range::Brk as u8;
        let smaller = now.total_vm != space.total_vm
            && (!is_brk || shrinks(actor.entry.args[0], space, &now));
        let ranges = Ranges::of(rule, &actor.entry, space, now.brk);
        // What a stack that is unmapped leaves hides what another has grown by: that shows by the count alone.
        if smaller && (layout!(growth_locked) != 0 || now.stack_vm < space.stack_vm) {
            flags |= flag::COUNTED;
        }
        if smaller && rule & 15 == Range::Unmap as u8 {
            // It would not have come so far had it failed: nothing is left there, and nothing has
            // to be read.
            actor.will_return(0);
            Ranges { hole: true, ..ranges }
        } else if smaller || !is_brk {
            if is_brk {
                actor.will_return(now.brk);
            }
            ranges
        } else {
            Ranges::ALL
        }
    } else if rule & 15 == Range::Prctl as u8
        && int(actor.entry.args[0]) == option::PR_SET_MM
        && (layout!(mm_lock_seq) == ABSENT || now.moved(space))
    {
        // It changes the layout under the read lock. If it is no such call that lets go, the break
        // has moved in a shrinking brk of another thread, which is about to tell of it. Where each has its
        // own number, whether it has is not asked: who has noted it may have been before.
        Ranges::default()
    } else if unmaps && now.total_vm < space.total_vm {
        // A fault at a signal's frame, beside another's unmapping. Or a debugger had set what the call
        // returns before it was made: nobody else tells of it.
        Ranges::ALL
    } else {
        return false;
    };
    if now.leaves_hole(space) {
        flags |= flag::CHECKED;
    }
    // SAFETY: as above.
    if !unsafe { now.count(mm, space) } {
        emit::count_loss(key);
        return false;
    }
    now.note(space, actor.ids.1, write || grew);
    space.nr = actor.entry.nr;
    space.result = actor.result;
    if write {
        space.settled_brk = now.brk;
        (space.found_lo, space.found_hi, space.earlier_lo, space.earlier_hi) = (0, 0, 0, 0);
    }
    // SAFETY: as above.
    let root = unsafe { load::<u64>(mm, layout!(mm_root)) };
    prepare(key, root, Tally::of(space), &now, &actor, flags, &ranges)
}

/// Whether this call, which lets go of a lock for reading, may have downgraded it: munmap, and a brk or
/// an mremap that shrinks. Once what it returns is set, a signal's frame may be what faults.
#[inline(always)]
fn downgrades(rule: u8, call: &Entry) -> bool {
    const UNMAP: u8 = Range::Unmap as u8;
    const BRK: u8 = Range::Brk as u8;
    const MREMAP: u8 = Range::Mremap as u8;
    let [_, old, new, ..] = call.args;
    match rule & 15 {
        UNMAP | BRK => true,
        MREMAP => new < old,
        _ => false,
    }
}

/// Whether a brk to `brk` that lets go of a lock for reading has certainly downgraded it. One that grew
/// lets go of it after it has populated what is new, and has settled it as a writer before. Nothing is
/// certain where a `PR_SET_MM` has set another break meanwhile, which is done beside readers.
#[inline(always)]
fn shrinks(brk: u64, space: &Space, now: &Counters) -> bool {
    brk == now.brk && (brk < space.settled_brk || brk < space.brk)
}

/// The address that an mmap returns, if it has succeeded and was free to choose: where the kernel
/// found room for it; or [`NOT_KNOWN`].
#[inline(always)]
fn placed(rule: u8, call: &Entry, space: &Space) -> i64 {
    /// `MAP_FIXED`, `MAP_LOCKED`, `MAP_POPULATE`, `MAP_FIXED_NOREPLACE`: it was told where, or goes
    /// on after this.
    const OTHERWISE: u64 = 0x10 | 0x2000 | 0x8000 | 0x10_0000;
    let [address, length, _, flags, ..] = call.args;
    let simple = layout!(early_returns) != 0
        && rule & 15 == Range::Mmap as u8
        && call.at_work
        && address == 0
        && flags & OTHERWISE == 0
        && space.earlier_hi == 0;
    // Where it looked for more it has a choice within.
    if simple
        && space.found_hi.wrapping_sub(space.found_lo)
            == length.wrapping_add(PAGE - 1) & !(PAGE - 1)
    {
        space.found_lo as i64
    } else {
        NOT_KNOWN
    }
}

/// Whether the tracer asks for a picture now.
#[inline(always)]
pub(crate) fn is_asked() -> bool {
    // SAFETY: the element is there.
    CONTROL.get_ptr(0).is_some_and(
        |control| unsafe { core::ptr::read_volatile(&raw const (*control).seed_tid) } != 0,
    )
}

/// The tracer let go of a lock: if it asked for a picture, takes it. `true`: it is ready to
/// [`send`].
///
/// # Safety
/// `mm` is the BTF pointer the tracepoint was given.
#[inline(never)]
pub(crate) unsafe fn asked(mm: *const c_void) -> bool {
    let Some(control) = CONTROL.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: the element is there, and no other thread changes it while `seed_tid` is this one's.
    let control = unsafe { &mut *control };
    let task: *const c_void = current().cast();
    // SAFETY: it is the current task; its own address space is not what it asked for.
    let ((_, tid), own) = unsafe { (ids_of(task), load_address(task, layout!(task_mm))) };
    if control.seed_tid != tid || own == mm as u64 {
        return false;
    }
    // SAFETY: as above.
    let (users, start_stack) =
        unsafe { (load::<u32>(mm, layout!(mm_users)), load::<u64>(mm, layout!(mm_start_stack))) };
    // It ends; or it is that of an image in the making, which has no stack yet (`setup_arg_pages`,
    // `fs/exec.c`); or its process has ended and has told so, and nobody follows it.
    let pid = control.seed_pid;
    if users == 0 || start_stack == 0 || (space::find(mm as u64).is_none() && !is_alive(pid)) {
        return false;
    }
    let uncertain = control.uncertain_names != 0 || name::renames().untold != 0;
    let flags = if uncertain { flag::RENAMED } else { 0 };
    if uncertain || control.anew != 0 {
        name::count(Renames { moves: 1, ..Renames::NONE });
    }
    // SAFETY: as above.
    let is_ready = unsafe { whole(mm, cause::SEED, flags, (pid, pid), control.seed_comm) };
    if is_ready {
        control.seed_tid = 0;
        control.anew = 0;
    }
    is_ready
}

/// Whether a process is followed and has not told that it has ended.
#[inline(always)]
pub(crate) fn is_alive(pid: u32) -> bool {
    // SAFETY: elements stay valid for the length of a run.
    PROCESSES.get_ptr(pid).is_some_and(|process| unsafe { (*process).ended } == 0)
}

/// Follows an address space from here on. `true`: all of it is ready to [`send`].
///
/// # Safety
/// `mm` is a BTF pointer to an `mm_struct` that nobody changes now.
#[inline(always)]
pub(crate) unsafe fn whole(
    mm: *const c_void,
    cause: u32,
    flags: u16,
    ids: (u32, u32),
    comm: [u8; 16],
) -> bool {
    let key = mm as u64;
    let Some(space) = space::follow(key, false) else {
        return false;
    };
    // SAFETY: as in `released`.
    let space = unsafe { &mut *space };
    if cause == cause::SEED && space.begins != 0 {
        return false;
    }
    // SAFETY: as above. A picture is no commit: without ids of the kernel's own it takes the last. That is
    // looked at first, so that it shows all that was counted up to it.
    let now = unsafe { Counters::of(mm, core::ptr::read_volatile(&raw const space.id)) };
    // At a seed of a space that is known, a fault of another thread that has grown a stack may be about to
    // tell of it, and a call that it has moved the break or the stack. And whose unmapping it is that was
    // noted here has yet to tell of it, and corrects that.
    let is_first = cause != cause::SEED || space.settled_brk == 0;
    now.note(space, 0, is_first);
    if is_first {
        now.note_layout(space);
        space.settled_brk = now.brk;
    }
    // At a seed, an unmapping of another thread may be half accounted.
    let counted = if cause == cause::SEED { 0 } else { flag::COUNTED };
    let flags = flag::WHOLE | counted | flags;
    let actor = Actor { ids, comm, cause, entry: Entry::NONE, result: NOT_KNOWN, returns: false };
    // SAFETY: as above.
    let root = unsafe { load::<u64>(mm, layout!(mm_root)) };
    prepare(key, root, Tally::of(space), &now, &actor, flags, &Ranges::ALL)
}

/// The last user of an address space is gone.
#[inline(always)]
fn end(mm: u64, ids: (u32, u32)) {
    let size = size_of::<mmaptrace_common::record::Header>() as u32;
    let header = emit::header(kind::END, 0, size, mm, ids, Tally::at(mm));
    emit::send_whole(&header, mm);
    space::forget(mm);
}

/// Writes down the commit and the ranges to read, for [`send`], unless there is no place to.
#[inline(always)]
fn prepare(
    mm: u64,
    root: u64,
    tally: Tally,
    now: &Counters,
    actor: &Actor,
    flags: u16,
    ranges: &Ranges,
) -> bool {
    let Some(walk) = walk::begin(mm, root, tally) else {
        return false;
    };
    let sequenced = layout!(mm_lock_seq) != ABSENT;
    let flags = flags
        | if sequenced { flag::SEQUENCED } else { 0 }
        | if actor.entry.compat { flag::COMPAT } else { 0 }
        | if actor.returns { flag::RETURNS } else { 0 }
        | if now.vsyscall { flag::VSYSCALL } else { 0 }
        | if ranges.all { flag::WHOLE } else { 0 };
    // SAFETY: `begin` gave it to this run alone.
    unsafe {
        (*walk).flags = flags.into();
        (*walk).ranges = *ranges;
        (*walk).expected = actor.result as u64;
        (*walk).part.commit = Commit {
            header: emit::header(kind::COMMIT, flags, 0, mm, actor.ids, tally),
            id: now.id,
            lo: 0,
            hi: 0,
            total_vm: now.total_vm,
            map_count: now.map_count,
            count: 0,
            start_brk: now.start_brk,
            brk: now.brk,
            start_stack: now.start_stack,
            cause: actor.cause,
            nr: actor.entry.nr,
            args: actor.entry.args,
            result: actor.result,
            comm: actor.comm,
            renames: name::renames().calls,
            user_stack: 0,
            kernel_stack: 0,
        };
    }
    true
}

/// Adds to the commit that [`released`] has made ready the stacks that led to it. Not done there for
/// the reason that [`send`] is not.
#[inline(always)]
pub(crate) fn add_stacks() {
    if layout!(user_stacks) == 0 && layout!(kernel_stacks) == 0 {
        return;
    }
    let Some(walk) = WALK.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: it is this run's, until it is sent.
    let commit = unsafe { &mut (*walk).part.commit };
    // What another's thread or the kernel's own did has no stack of the program's.
    if matches!(commit.cause, cause::CALL | cause::FAULT | cause::GROWTH) {
        commit.user_stack = stack::user(Buffer::Commit, commit.header.mm);
        if commit.user_stack != 0 && commit.cause == cause::CALL {
            stack::note_told(commit.header.mm, commit.header.tid, commit.nr);
        }
    }
    commit.kernel_stack = stack::kernel(Buffer::Commit, commit.header.mm);
}

/// Sends the commit that [`whole`] has made ready of a space that nobody else has yet.
#[inline(always)]
pub(crate) fn send() {
    if let Some(walk) = WALK.get_ptr_mut(0) {
        send_parts(walk);
        walk::finish(walk);
    }
}

/// Counts a loss if a stack of `mm` has grown since that was told: while an address space begins, a fault of
/// another process in it is told by nobody.
///
/// # Safety
/// `mm` is a BTF pointer to an `mm_struct`.
#[inline(always)]
pub(crate) unsafe fn see_growth(mm: *const c_void) {
    if let Some(space) = space::find(mm as u64) {
        // SAFETY: as above; elements stay valid for the length of a run.
        unsafe {
            if load::<u64>(mm, layout!(mm_stack_vm)) != (*space).stack_vm {
                emit::count_loss(mm as u64);
            }
        }
    }
}

/// Sends the commit that [`released`] or [`asked`] has made ready. A `PR_SET_MM` beside a reader may have
/// moved the break or the stack since, and have told so before this was, which says what was: where that does
/// not show by their numbers, notes and sends it as it is.
///
/// # Safety
/// `mm` is the BTF pointer the tracepoint was given.
#[inline(always)]
pub(crate) unsafe fn send_released(mm: *const c_void, write: bool) {
    let Some(walk) = WALK.get_ptr_mut(0) else {
        return;
    };
    send_parts(walk);
    // SAFETY: as above.
    if !write && layout!(mm_lock_seq) != ABSENT && unsafe { renew_layout(mm, walk) } {
        walk::send_nothing(walk);
        // Of a break that goes on moving a picture is to tell.
        // SAFETY: as above.
        if unsafe { renew_layout(mm, walk) } {
            emit::count_loss(mm as u64);
        }
    }
    walk::finish(walk);
}

/// Makes the commit tell the break and the stack of `mm` as they are, and no more than that, if they are not
/// what it tells. Whether they are not.
///
/// # Safety
/// As [`send_released`]; the walk is this run's.
#[inline(always)]
unsafe fn renew_layout(mm: *const c_void, walk: *mut Walk) -> bool {
    // SAFETY: as above.
    unsafe {
        let commit = &mut (*walk).part.commit;
        let (start_brk, brk, start_stack) = (
            load::<u64>(mm, layout!(mm_start_brk)),
            load::<u64>(mm, layout!(mm_brk)),
            load::<u64>(mm, layout!(mm_start_stack)),
        );
        let told = (commit.start_brk, commit.brk, commit.start_stack);
        if told == (start_brk, brk, start_stack) {
            return false;
        }
        (commit.start_brk, commit.brk, commit.start_stack) = (start_brk, brk, start_stack);
        (commit.user_stack, commit.kernel_stack) = (0, 0);
        (*walk).flags &= u32::from(flag::SEQUENCED | flag::COMPAT | flag::VSYSCALL);
        (*walk).expected = NOT_KNOWN as u64;
        let follows_picture = commit.cause == cause::SEED;
        // It is none itself.
        if follows_picture {
            commit.header.pid = 0;
        }
        // Elements stay valid for the length of a run.
        if let Some(space) = space::find(mm as u64) {
            // As at a picture: who has moved them is about to tell.
            if !follows_picture {
                ((*space).start_brk, (*space).brk, (*space).start_stack) =
                    (start_brk, brk, start_stack);
            }
        }
    }
    true
}

/// Sends the parts of a commit, the last one without `MORE`.
///
/// Who makes it ready does not call this: before 6.13 a program has 512 bytes of stack, with all
/// that it calls, and the way from here down to the components of a path needs most of them.
#[inline(always)]
fn send_parts(walk: *mut Walk) {
    // SAFETY: it is this run's, until `finish`.
    let ranges = unsafe { &(*walk).ranges };
    let given = |range: (u64, u64)| range.0 != range.1;
    let mut left = u32::from(given(ranges.first))
        + u32::from(given(ranges.second))
        + u32::from(given(ranges.third))
        + u32::from(given(ranges.fourth));
    if ranges.all {
        walk::send_range(0, u64::MAX, 0);
    } else if left == 0 {
        walk::send_nothing(walk);
    } else if ranges.hole {
        walk::send_hole(walk, ranges.first.0, ranges.first.1);
    } else {
        for (lo, hi) in [ranges.first, ranges.second, ranges.third, ranges.fourth] {
            if lo != hi {
                left -= 1;
                walk::send_range(lo, hi, left);
            }
        }
    }
    // SAFETY: as above.
    if unsafe { (*walk).flags } & u32::from(flag::CHECKED) != 0 {
        send_check(walk);
    }
}

/// Sends all of the space after a commit with [`flag::CHECKED`].
#[inline(always)]
fn send_check(walk: *mut Walk) {
    // SAFETY: it is this run's, until `finish`.
    unsafe {
        (*walk).flags &= u32::from(flag::SEQUENCED | flag::COUNTED | flag::VSYSCALL);
        (*walk).flags |= u32::from(flag::WHOLE);
        (*walk).expected = NOT_KNOWN as u64;
        let commit = &mut (*walk).part.commit;
        commit.header.pid = 0;
        commit.cause = cause::SEED;
        commit.nr = -1;
        (commit.user_stack, commit.kernel_stack) = (0, 0);
    }
    walk::send_range(0, u64::MAX, 0);
}

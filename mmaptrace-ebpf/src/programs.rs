//! The programs. Each says when the kernel runs it, and does no more than gather what the hook was
//! given.

#![expect(clippy::needless_pass_by_value, reason = "the macro hands each program its context")]

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_probe_read_user_str},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use mmaptrace_common::{
    control::{NOT_KNOWN, Process, Renames},
    record::{Call, Exec, Exit, Fork, TEXT_MAX, cause, flag, kind},
    syscalls::{AT_REMOVEDIR, Moves, Report},
};

use crate::{
    alone::Alone,
    claim::Busy,
    commit,
    emit::{self, Tally},
    kernel::{
        Entry, comm, comm_halves, current, ids_of, is_compat, layout, load, load_address, mask,
        read,
    },
    maps::{CALL_TEXT, ENTERED, EXEC_TEXT, PROCESSES},
    name,
    object::CGROUP,
    report, ring, space, stack,
};

/// The name that `follow_name` compares with, NUL-padded.
#[unsafe(no_mangle)]
static NAME: [u64; 2] = [u64::MAX; 2];

/// Argument `n` of a `tp_btf` program, as the pointer the verifier knows it to be.
#[inline(always)]
fn argument(ctx: &BtfTracePointContext, n: usize) -> u64 {
    // SAFETY: the context is an array of 64-bit arguments; the verifier knows how many.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<u64>().add(n)) }
}

/// `mmap_lock_released(mm, write)`, 6.14 and later: the lock is about to be released, and still
/// held.
#[btf_tracepoint(function = "mmap_lock_released")]
pub(crate) fn release_2(ctx: BtfTracePointContext) -> i32 {
    release(&ctx, argument(&ctx, 1))
}

/// The same once more, where a run can be preempted in its first and last instructions: the kernel then
/// leaves out those of other tasks on that CPU, but not of this, which finds all told if none was.
#[btf_tracepoint(function = "mmap_lock_released")]
pub(crate) fn release_2_again(ctx: BtfTracePointContext) -> i32 {
    release(&ctx, argument(&ctx, 1))
}

/// `mmap_lock_released(mm, memcg_path, write)`, before that.
#[btf_tracepoint(function = "mmap_lock_released")]
pub(crate) fn release_3(ctx: BtfTracePointContext) -> i32 {
    release(&ctx, argument(&ctx, 2))
}

#[inline(always)]
fn release(ctx: &BtfTracePointContext, write: u64) -> i32 {
    let _alone = Alone::begin();
    let (mm, write) = (argument(ctx, 0), write & 1 != 0);
    // SAFETY: `mm` is what it is called, and the task is the current one. Whom this is not about is let
    // go before anything is called.
    let is_ready = unsafe {
        // The tracer's own reading of a program's memory may grow a stack there, as anybody's.
        if !write
            && commit::is_asked()
            && ids_of(current().cast()).0 == layout!(tracer)
            && commit::asked(mm as *const c_void)
        {
            true
        } else if let Some(space) = space::find(mm)
            && (write || core::ptr::read_volatile(&raw const (*space).begins) == 0)
        {
            commit::released(mm as *const c_void, &mut *space, write)
        } else {
            false
        }
    };
    if is_ready {
        commit::add_stacks();
        // SAFETY: as above.
        unsafe { commit::send_released(mm as *const c_void, write) };
    }
    0
}

/// `vm_unmapped_area(addr, info)`: the kernel found room for a mapping of the current task, whose
/// lock it holds for writing until the mapping is made.
#[btf_tracepoint(function = "vm_unmapped_area")]
pub(crate) fn unmapped_area(ctx: BtfTracePointContext) -> i32 {
    found(&ctx)
}

/// Likewise.
#[btf_tracepoint(function = "vm_unmapped_area")]
pub(crate) fn unmapped_area_again(ctx: BtfTracePointContext) -> i32 {
    found(&ctx)
}

#[inline(always)]
fn found(ctx: &BtfTracePointContext) -> i32 {
    let _alone = Alone::begin();
    let address = argument(ctx, 0);
    let task: *const c_void = current().cast();
    // SAFETY: it is the current task.
    let mm = unsafe { load_address(task, layout!(task_mm)) };
    // An error is a small negative number.
    if address as i64 <= 0 || mm == 0 {
        return 0;
    }
    if let Some(space) = space::find(mm) {
        // SAFETY: the element stays valid, and its lock is held; argument 1 is the request.
        unsafe {
            let length: u64 = load(argument(ctx, 1) as *const c_void, layout!(unmapped_length));
            let end = address.saturating_add(length);
            if (*space).found_lo != address || (*space).found_hi != end {
                (*space).earlier_lo = (*space).found_lo;
                (*space).earlier_hi = (*space).found_hi;
                (*space).found_lo = address;
                (*space).found_hi = end;
            }
        }
    }
    0
}

/// `io_uring_queue_async_work(req, rw)`: a worker is to do what was asked for without a call. That is how
/// files are renamed and unlinked there; when it has, no hook tells that costs others nothing. What is to
/// follow a request in a chain is not told of by itself: it may be anything.
#[btf_tracepoint(function = "io_uring_queue_async_work")]
pub(crate) fn work_queued(ctx: BtfTracePointContext) -> i32 {
    /// `IORING_OP_RENAMEAT` and `IORING_OP_UNLINKAT` (`include/uapi/linux/io_uring.h`).
    const OF_NAMES: [u8; 2] = [35, 36];
    let request = argument(&ctx, 0) as *const c_void;
    // SAFETY: argument 0 is the request.
    let opcode: u8 = unsafe { load(request, layout!(io_opcode)) };
    // Copied: for the verifier of 6.1 what is loaded is a pointer, with which a compiler may compute.
    let next = read(request as u64 + u64::from(layout!(io_link))).unwrap_or(0_u64);
    if OF_NAMES.contains(&opcode) || next != 0 {
        let _alone = Alone::begin();
        name::count(Renames { calls: 1, moves: 1, untold: 1 });
    }
    0
}

/// `sys_enter(regs, id)`: a call begins. Attached only if durations are asked for.
#[btf_tracepoint(function = "sys_enter")]
pub(crate) fn call_enter(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: argument 0 is the current task's registers.
    let Some((task, _)) = (unsafe { Entry::rule_of(argument(&ctx, 0) as *const c_void) }) else {
        return 0;
    };
    // SAFETY: it is the current task.
    let mm = unsafe { load_address(task, layout!(task_mm)) };
    if space::find(mm).is_some() {
        let _alone = Alone::begin();
        // SAFETY: as above.
        let (_, tid) = unsafe { ids_of(task) };
        // Where it finds no room the call has no duration.
        let _ = ENTERED.insert(tid, emit::now(), 0);
    }
    0
}

/// When the call that a thread returns from began; 0: not known.
#[inline(always)]
fn entered(tid: u32) -> u64 {
    if layout!(durations) == 0 {
        return 0;
    }
    // SAFETY: elements stay valid for the length of a run.
    let time = ENTERED.get_ptr(tid).map_or(0, |time| unsafe { *time });
    let _ = ENTERED.remove(tid);
    time
}

/// Of an exit code: there was a core dump, as `wait` tells it.
const DUMPED: u32 = 0x80;

/// `sys_exit(regs, ret)`: a call returns to user space.
#[btf_tracepoint(function = "sys_exit")]
pub(crate) fn call_exit(ctx: BtfTracePointContext) -> i32 {
    let regs = argument(&ctx, 0) as *const c_void;
    // SAFETY: argument 0 is the current task's registers.
    let Some((task, rule)) = (unsafe { Entry::rule_of(regs) }) else {
        return 0;
    };
    let _alone = Alone::begin();
    let result = argument(&ctx, 1) as i64;
    let report = rule >> 4;
    if report == Report::Names as u8 {
        if result == 0 {
            let directory = rule & 15 == Moves::Directory as u8;
            // SAFETY: as above, and the task is the current one.
            let moves = rule & 15 == Moves::Always as u8
                || directory
                    && unsafe {
                        let entry = Entry::from_regs(regs, is_compat(task));
                        entry.args[2] & AT_REMOVEDIR != 0
                    };
            name::count(Renames { calls: 1, moves: u64::from(moves), untold: 0 });
        }
        return 0;
    }
    // SAFETY: it is the current task.
    let mm = unsafe { load_address(task, layout!(task_mm)) };
    if let Some(space) = space::find(mm) {
        // SAFETY: as above.
        let (ids, entry) = unsafe { (ids_of(task), Entry::from_regs(regs, is_compat(task))) };
        // SAFETY: the element stays valid. Another thread's commit may come in between: then the
        // return is told twice, which user space knows.
        let made_last = unsafe {
            let made_last = (*space).tid == ids.1 && (*space).nr == entry.nr;
            if layout!(early_returns) != 0 && made_last && (*space).result == result {
                (*space).result = NOT_KNOWN;
                return 0;
            }
            made_last
        };
        if report::wanted(report, &entry, result, made_last) {
            // SAFETY: it is the current task.
            let comm = unsafe { comm(task) };
            send_call(&entry, result, mm, Tally::of(space), ids, comm);
        }
    }
    0
}

/// Sends a call's return.
#[inline(always)]
fn send_call(call: &Entry, result: i64, mm: u64, tally: Tally, ids: (u32, u32), comm: [u8; 16]) {
    let flags = if call.compat { flag::COMPAT } else { 0 };
    let size = size_of::<Call>() as u32;
    let mut record = Call {
        header: emit::header(kind::CALL, flags, size, mm, ids, tally),
        args: call.args,
        result,
        nr: call.nr,
        len: 0,
        comm,
        user_stack: stack::of_call(mm, ids.1, call.nr),
        entered: entered(ids.1),
    };
    if call.rule() >> 4 == Report::Failure as u8 {
        // A failed execve: the name is still where the caller put it.
        let execveat = call.nr == if call.compat { 358 } else { 322 };
        let name = if execveat { call.args[1] } else { call.args[0] };
        if send_call_with_text(&mut record, name) {
            return;
        }
    }
    emit::send_whole(&record, mm);
}

/// Sends a call's return with the string at a user address. `false`: there is none to be read, or
/// nowhere to read it to.
#[inline(always)]
fn send_call_with_text(record: &mut Call, address: u64) -> bool {
    let Some(out) = CALL_TEXT.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: the element of a per-CPU array, and room for the text.
    unsafe {
        if !Busy::claim(&raw mut (*out).busy) {
            return false;
        }
        let out = &mut *out;
        let length = bpf_probe_read_user_str(
            out.text.as_mut_ptr().cast(),
            TEXT_MAX as u32,
            address as *const c_void,
        );
        if length > 0 {
            // Without the NUL.
            record.len = mask::<{ TEXT_MAX - 1 }>(length as usize - 1) as u32;
            record.header.size = size_of::<Call>() as u32 + record.len;
            out.call = *record;
            emit::send((&raw const *out).cast(), record.header.size, record.header.mm);
        }
        Busy::give_back(&raw mut out.busy);
        length > 0
    }
}

/// `sched_process_fork(parent, child)`: a task was made and has not run. Its address space, if it
/// has one of its own, is complete.
#[btf_tracepoint(function = "sched_process_fork")]
pub(crate) fn task_fork(ctx: BtfTracePointContext) -> i32 {
    let _alone = Alone::begin();
    let child = argument(&ctx, 1) as *const c_void;
    // SAFETY: they are tasks.
    unsafe {
        let is_ready = forked(argument(&ctx, 0) as *const c_void, child);
        begin(child, is_ready);
    }
    0
}

/// Sends what the address space of a task that was made, or has a new image, begins with, if that is ready;
/// pictures of it may come then.
///
/// # Safety
/// `task` is a BTF pointer to a task.
#[inline(always)]
unsafe fn begin(task: *const c_void, is_ready: bool) {
    if is_ready {
        commit::send();
    }
    // SAFETY: as above; what is ready has an address space.
    unsafe {
        let mm: *const c_void = load(task, layout!(task_mm));
        space::has_begun(mm as u64);
        if is_ready {
            commit::see_growth(mm);
        }
    }
}

/// `true`: the child's address space is ready to [`commit::send`].
///
/// # Safety
/// They are BTF pointers to tasks.
#[inline(never)]
unsafe fn forked(parent: *const c_void, child: *const c_void) -> bool {
    // SAFETY: as above.
    unsafe {
        let parent_mm = load_address(parent, layout!(task_mm));
        let (pid, tid) = ids_of(parent);
        let (child_pid, child_tid) = ids_of(child);
        let child_mm: *const c_void = load(child, layout!(task_mm));
        if child_mm.is_null() {
            return false;
        }
        let shared = child_mm as u64 == parent_mm;
        let thread = child_pid == pid;
        let followed = if thread {
            space::find(parent_mm).is_some()
        } else {
            (layout!(follow_children) != 0 && commit::is_alive(pid)) || matches(child)
        };
        if !followed {
            return false;
        }
        if !thread && PROCESSES.insert(child_pid, Process::default(), 0).is_err() {
            ring::count_unfollowed();
            return false;
        }
        let Some(space) = space::follow(child_mm as u64, !shared) else {
            return false;
        };
        let flags = if shared { flag::SHARED_MM } else { 0 };
        let size = size_of::<Fork>() as u32;
        let tally = Tally::of(space);
        let header = emit::header(kind::FORK, flags, size, child_mm as u64, (pid, tid), tally);
        let record = Fork { header, child_pid, child_tid, comm: comm(child) };
        emit::send_whole(&record, child_mm as u64);
        !shared && commit::whole(child_mm, cause::FORK, 0, (child_pid, child_tid), comm(child))
    }
}

/// `sched_process_exec(task, old_pid, bprm)`: the current task has a new image, and has not run it.
#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn task_exec(ctx: BtfTracePointContext) -> i32 {
    let _alone = Alone::begin();
    // SAFETY: argument 2 is the current task's `linux_binprm`, and the task the current one.
    unsafe {
        let is_ready = executed(argument(&ctx, 1) as u32, argument(&ctx, 2) as *const c_void);
        begin(current().cast::<c_void>(), is_ready);
    }
    0
}

/// `true`: the new address space of the current task is ready to [`commit::send`].
///
/// # Safety
/// `bprm` is a BTF pointer to the current task's `linux_binprm`.
#[inline(never)]
unsafe fn executed(old_tid: u32, bprm: *const c_void) -> bool {
    let task: *const c_void = current().cast();
    // SAFETY: `task` is the current task.
    unsafe {
        let (pid, tid) = ids_of(task);
        let mm: *const c_void = load(task, layout!(task_mm));
        if mm.is_null() {
            return false;
        }
        if !commit::is_alive(pid) {
            if !matches(task) {
                return false;
            }
            if PROCESSES.insert(pid, Process::default(), 0).is_err() {
                ring::count_unfollowed();
                return false;
            }
        }
        let Some(space) = space::follow(mm as u64, true) else {
            return false;
        };
        let filename: u64 = load(bprm, layout!(bprm_filename));
        let arguments = (load(mm, layout!(mm_arg_start)), load(mm, layout!(mm_arg_end)));
        let (ids, comm) = ((pid, tid), comm(task));
        send_exec(mm as u64, Tally::of(space), filename, arguments, old_tid, ids, comm);
        commit::whole(mm, cause::EXEC, 0, ids, comm)
    }
}

/// Sends the record of an exec, with file name and arguments.
#[inline(always)]
unsafe fn send_exec(
    mm: u64,
    tally: Tally,
    filename: u64,
    (arguments, arguments_end): (u64, u64),
    old_tid: u32,
    ids: (u32, u32),
    comm: [u8; 16],
) {
    const MASK: usize = TEXT_MAX - 1;
    let Some(out) = EXEC_TEXT.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the element has room for two texts, and each length is masked to less than one.
    unsafe {
        if !Busy::claim(&raw mut (*out).busy) {
            emit::count_loss(mm);
            return;
        }
        let out = &mut *out;
        let text = out.text.as_mut_ptr();
        let read =
            bpf_probe_read_kernel_str(text.cast(), TEXT_MAX as u32, filename as *const c_void);
        let path_len = if read > 0 { mask::<MASK>(read as usize - 1) } else { 0 };
        let wanted = arguments_end.saturating_sub(arguments);
        let mut flags = if wanted > MASK as u64 { flag::CUT } else { 0 };
        let wanted = mask::<MASK>(wanted.min(MASK as u64) as usize);
        let status = bpf_probe_read_user(
            text.add(path_len).cast(),
            wanted as u32,
            arguments as *const c_void,
        );
        let argv_len = if status == 0 {
            wanted
        } else {
            flags |= flag::CUT;
            0
        };
        let size = (size_of::<Exec>() + path_len + argv_len) as u32;
        out.exec = Exec {
            header: emit::header(kind::EXEC, flags, size, mm, ids, tally),
            old_tid,
            path_len: path_len as u32,
            argv_len: argv_len as u32,
            pad: 0,
            comm,
        };
        emit::send((&raw const *out).cast(), size, mm);
        Busy::give_back(&raw mut out.busy);
    }
}

/// `sched_process_exit(task, ...)`: the current task ends. Whether it still has its mm depends on
/// the version.
#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn task_exit(ctx: BtfTracePointContext) -> i32 {
    let _alone = Alone::begin();
    let task: *const c_void = current().cast();
    // SAFETY: it is the current task.
    unsafe {
        let status = load::<u32>(task, layout!(task_exit_code));
        // A core dump takes the place of an older one, which the kernel unlinks with no call (`do_coredump`,
        // `fs/coredump.c`).
        if status & DUMPED != 0 {
            name::count(Renames { calls: 1, ..Renames::NONE });
        }
        let (pid, tid) = ids_of(task);
        let mm = load_address(task, layout!(task_mm));
        let process = PROCESSES.get_ptr_mut(pid);
        let in_space = space::find(mm).is_some();
        if process.is_none() && !in_space {
            return 0;
        }
        let signal = load_address(task, layout!(task_signal));
        let ended = process.map_or(0, |process| (*process).ended);
        // One that nobody follows, whose PID was that of one that is kept for its last threads.
        if ended != 0 && ended != signal && !in_space {
            return 0;
        }
        let count = |offset: u32| read::<u32>(signal + u64::from(offset)).unwrap_or(0);
        let mut last = ended != signal
            && if layout!(exit_tells_last) != 0 {
                argument(&ctx, 1) & 1 != 0
            } else {
                count(layout!(signal_live)) == 0
            };
        if last && let Some(process) = process {
            // First: no picture comes after what is sent now and says that it lives. Before 6.16 more than
            // one thread may find that all have counted themselves out: one of them is the last.
            last = space::compare_exchange(&raw mut (*process).ended, ended, signal) == ended;
            // Threads that have counted themselves out before may come here later (`do_exit`).
            if count(layout!(signal_nr_threads)) <= 1 {
                let _ = PROCESSES.remove(pid);
            }
        }
        let flags = if last { flag::GROUP } else { 0 };
        let size = size_of::<Exit>() as u32;
        let header = emit::header(kind::EXIT, flags, size, mm, (pid, tid), Tally::at(mm));
        let record = Exit { header, status, pad: 0 };
        emit::send_whole(&record, mm);
    }
    0
}

/// Whether a task is one of those to follow by what it is, rather than by its PID.
#[inline(always)]
unsafe fn matches(task: *const c_void) -> bool {
    if layout!(follow_all) != 0 {
        return true;
    }
    if layout!(follow_name) != 0 {
        // SAFETY: the caller's pointer is a task, and the static is there.
        let (wanted, name) = unsafe {
            let wanted = [
                core::ptr::read_volatile(&raw const NAME[0]),
                core::ptr::read_volatile(&raw const NAME[1]),
            ];
            (wanted, comm_halves(task))
        };
        if wanted == name {
            return true;
        }
    }
    layout!(follow_cgroup) != 0 && CGROUP.current_task_under_cgroup(0) == Ok(true)
}

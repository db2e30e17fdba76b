//! The programs. The arguments of raw tracepoints are plain numbers for the verifier, and what they
//! point to is copied.

#![expect(clippy::needless_pass_by_value, reason = "the macro hands each program its context")]

use aya_ebpf::{
    EbpfContext as _,
    helpers::{
        bpf_get_current_comm,
        generated::{bpf_get_current_task, bpf_ktime_get_ns, bpf_ringbuf_output},
    },
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use mmaptrace_common::{
    control::Process,
    record::{Call, Exec, Exit, Fork, Header, flag, kind},
};

use crate::{
    kernel::{Entry, TS_COMPAT, ids, layout, read},
    maps::{BORN, PROCESSES},
    object::{CGROUP, RING},
    report, ring,
};

/// The name that `follow_name` compares with, NUL-padded.
#[unsafe(no_mangle)]
static NAME: [u64; 2] = [u64::MAX; 2];

/// `sizeof(struct pt_regs)`, in words.
const REGISTERS: usize = 21;

#[inline(always)]
fn argument(ctx: &RawTracePointContext, n: usize) -> u64 {
    // SAFETY: the context is an array of 64-bit arguments; the verifier knows how many.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<u64>().add(n)) }
}

/// `sys_exit(regs, ret)`: a call returns to user space.
#[raw_tracepoint(tracepoint = "sys_exit")]
pub(crate) fn call_exit(ctx: RawTracePointContext) -> i32 {
    let ids = ids();
    // SAFETY: it has no requirements.
    let task = unsafe { bpf_get_current_task() };
    let result = argument(&ctx, 1) as i64;
    if result == 0 {
        // The first thing a new task does is to return from the call that made it.
        born(task, ids);
    }
    if PROCESSES.get_ptr(ids.0).is_none() {
        return 0;
    }
    let status: Option<u32> = read(task + u64::from(layout!(task_status)));
    let Some((registers, status)) = read::<[u64; REGISTERS]>(argument(&ctx, 0)).zip(status) else {
        return 0;
    };
    // SAFETY: a copy of a user task's registers.
    let entry = unsafe { Entry::from_regs((&raw const registers).cast(), status & TS_COMPAT != 0) };
    let rule = entry.rule();
    if rule == 0 || !report::wanted(rule >> 4, &entry, result, false) {
        return 0;
    }
    let flags = if entry.compat { flag::COMPAT } else { 0 };
    let record = Call {
        header: header(kind::CALL, flags, size_of::<Call>(), ids),
        args: entry.args,
        result,
        nr: entry.nr,
        len: 0,
        comm: comm(),
        user_stack: 0,
        entered: 0,
    };
    send(&record, ids.0);
    0
}

/// `sched_process_fork(parent, child)`: the current task made another. Its ids are not known before
/// it runs.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub(crate) fn task_fork(ctx: RawTracePointContext) -> i32 {
    let (pid, tid) = ids();
    let may_match = layout!(follow_all) != 0 || layout!(follow_cgroup) != 0;
    let is_followed = PROCESSES.get_ptr(pid).is_some();
    if may_match || is_followed {
        // It may have ended before the child runs.
        let followed = if is_followed { FOLLOWED } else { 0 };
        let parent = followed | u64::from(pid) << 32 | u64::from(tid);
        if BORN.insert(argument(&ctx, 1), parent, 0).is_err() {
            ring::count_unfollowed();
        }
    }
    0
}

/// In what is kept of a parent, beside its ids: it was followed.
const FOLLOWED: u64 = 1 << 63;

/// Follows the current task if it is new, and is to be followed.
#[inline(always)]
fn born(task: u64, (child_pid, child_tid): (u32, u32)) {
    let Some(parent) = BORN.get_ptr(task) else {
        return;
    };
    // SAFETY: elements stay valid for the length of a run.
    let parent = unsafe { *parent };
    let _ = BORN.remove(task);
    let is_parent_followed = parent & FOLLOWED != 0;
    let (pid, tid) = (((parent & !FOLLOWED) >> 32) as u32, parent as u32);
    let is_thread = child_pid == pid;
    let wanted = if is_thread {
        is_parent_followed
    } else {
        (is_parent_followed && layout!(follow_children) != 0) || matches()
    };
    if !wanted || (!is_thread && !follow(child_pid)) {
        return;
    }
    let flags = if is_thread { flag::SHARED_MM } else { 0 };
    let header = header(kind::FORK, flags, size_of::<Fork>(), (pid, tid));
    send(&Fork { header, child_pid, child_tid, comm: comm() }, child_pid);
}

/// `sched_process_exec(task, old_pid, bprm)`: the current task has a new image.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub(crate) fn task_exec(ctx: RawTracePointContext) -> i32 {
    let ids = ids();
    if PROCESSES.get_ptr(ids.0).is_none() && !(matches() && follow(ids.0)) {
        return 0;
    }
    let record = Exec {
        header: header(kind::EXEC, 0, size_of::<Exec>(), ids),
        old_tid: argument(&ctx, 1) as u32,
        path_len: 0,
        argv_len: 0,
        pad: 0,
        comm: comm(),
    };
    send(&record, ids.0);
    0
}

/// `sched_process_exit(task)`: the current task ends.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(crate) fn task_exit(_: RawTracePointContext) -> i32 {
    let ids = ids();
    if PROCESSES.get_ptr(ids.0).is_some() {
        let header = header(kind::EXIT, 0, size_of::<Exit>(), ids);
        send(&Exit { header, status: 0, pad: 0 }, ids.0);
    }
    0
}

/// Starts to follow a process. `false`: there is no room.
#[inline(always)]
fn follow(pid: u32) -> bool {
    let followed = PROCESSES.insert(pid, Process::default(), 0).is_ok();
    if !followed {
        ring::count_unfollowed();
    }
    followed
}

/// Whether the current task is one of those to follow by what it is, rather than by its PID.
#[inline(always)]
fn matches() -> bool {
    if layout!(follow_all) != 0 {
        return true;
    }
    if layout!(follow_name) != 0 {
        // SAFETY: the static is there, and a name is as long.
        let (wanted, name) = unsafe {
            let wanted = [
                core::ptr::read_volatile(&raw const NAME[0]),
                core::ptr::read_volatile(&raw const NAME[1]),
            ];
            (wanted, core::mem::transmute::<[u8; 16], [u64; 2]>(comm()))
        };
        if wanted == name {
            return true;
        }
    }
    layout!(follow_cgroup) != 0 && CGROUP.current_task_under_cgroup(0) == Ok(true)
}

/// The current task's name, NUL-padded.
#[inline(always)]
fn comm() -> [u8; 16] {
    bpf_get_current_comm().unwrap_or_default()
}

#[inline(always)]
fn header(kind: u16, flags: u16, size: usize, (pid, tid): (u32, u32)) -> Header {
    // SAFETY: it has no requirements.
    let time = unsafe { bpf_ktime_get_ns() };
    Header { kind, flags, size: size as u32, time, mm: 0, pid, tid, lost: 0, generation: 0 }
}

/// Sends a record, or counts a loss of a process.
#[inline(always)]
fn send<T>(record: &T, pid: u32) {
    // SAFETY: all of it is there.
    let status = unsafe {
        bpf_ringbuf_output(
            (&raw const RING).cast_mut().cast(),
            (&raw const *record).cast_mut().cast(),
            size_of::<T>() as u64,
            ring::wake(),
        )
    };
    if status == 0 {
        return;
    }
    ring::count_loss();
    if let Some(process) = PROCESSES.get_ptr_mut(pid) {
        // SAFETY: the element stays valid for the length of a run.
        unsafe { ring::add(&raw mut (*process).lost, 1) };
    }
}

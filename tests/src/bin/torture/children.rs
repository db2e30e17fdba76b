//! Children: of their own address space, or of the same.

use std::{arch::global_asm, sync::atomic::Ordering};

use mmaptrace_tests::{
    raw::{call, call32},
    torture::{Abi, Op, share},
};

use crate::{
    carry::{Sequence, carry_out},
    place::{self, Place, STILL, STILL_READ, Worker},
    say,
};

/// Children of a thread that may live at a time.
const CHILDREN: usize = 4;
/// `CLONE_CHILD_CLEARTID`.
const CLEARTID: u64 = 0x20_0000;

/// What uses the stack of children that share the address space; the kernel clears it.
const THREAD: u32 = 1;
/// See [`THREAD`].
const PROCESS: u32 = 2;

/// A process that was made and not waited for.
#[derive(Clone, Copy)]
struct Child {
    pid: usize,
    still: bool,
}

/// Those of a thread, the oldest first.
#[derive(Clone, Copy, Default)]
pub(crate) struct Children([Option<Child>; CHILDREN]);

impl Children {
    fn add(&mut self, pid: usize) {
        if self.0[CHILDREN - 1].is_some() {
            self.kill_one();
        }
        if let Some(free) = self.0.iter_mut().find(|child| child.is_none()) {
            *free = Some(Child { pid, still: false });
        }
    }

    /// Kills the oldest, whatever it does.
    pub(crate) fn kill_one(&mut self) {
        if let Some(child) = self.0[0].take() {
            let _ = call(libc::SYS_kill, [child.pid, libc::SIGKILL as usize]);
            while wait_for(child.pid, 0) == Err(libc::EINTR) {}
        }
        self.0.rotate_left(1);
    }
}

fn wait_for(pid: usize, options: i32) -> Result<usize, i32> {
    call(libc::SYS_wait4, [pid, 0, options as usize, 0])
}

/// Ends the process.
pub(crate) fn end(status: usize) -> ! {
    loop {
        let _ = call(libc::SYS_exit_group, [status]);
    }
}

/// Says that this process stands still, and does so until it is killed.
pub(crate) fn stay() -> ! {
    let _ = call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as usize, libc::SIGKILL as usize]);
    if call(libc::SYS_getppid, []) == Ok(1) {
        // Nobody is left to kill it.
        end(0);
    }
    let pid = call(libc::SYS_getpid, []).unwrap_or(0) as u32;
    let _ = call(libc::SYS_write, [STILL, (&raw const pid).expose_provenance(), 4]);
    loop {
        let _ = call(libc::SYS_pause, []);
    }
}

/// A child that shares the address space: its notes, and what it does. On its own stack.
struct Job {
    worker: Worker,
    sequence: Sequence,
    thread: bool,
}

extern "C" fn begin(job: &mut Job) -> ! {
    job.worker.children = Children::default();
    carry_out(&mut job.worker, job.sequence.clone(), true);
    if job.thread {
        loop {
            let _ = call(libc::SYS_exit, [0]);
        }
    }
    end(0)
}

unsafe extern "C" {
    /// Makes the call `number`, which makes a child with a stack of its own, whose top has the
    /// argument and the address of a function.
    fn torture_spawn(number: i64, a: usize, b: usize, c: usize, d: usize) -> isize;
    /// Makes a child by `vfork`, which ends.
    fn torture_vfork() -> isize;
}

global_asm!(
    ".globl torture_spawn",
    "torture_spawn:",
    "mov eax, edi",
    "mov rdi, rsi",
    "mov rsi, rdx",
    "mov rdx, rcx",
    "mov r10, r8",
    "xor r8d, r8d",
    "syscall",
    "test rax, rax",
    "jz 2f",
    "ret",
    "2: xor ebp, ebp",
    "pop rdi",
    "pop rax",
    "call rax",
    "ud2",
    ".globl torture_vfork",
    "torture_vfork:",
    "mov eax, 58",
    "syscall",
    "test rax, rax",
    "jz 2f",
    "ret",
    "2: xor edi, edi",
    "mov eax, 60",
    "syscall",
    "ud2",
);

/// Makes a child as `op` says, which goes on with what is for it.
pub(crate) fn make(worker: &mut Worker, op: &Op, sequence: &Sequence) {
    let flags = worker.resolve(op.args[0]) as u64;
    let pid = match op.name {
        // SAFETY: the child ends at once, and has not touched the stack that it shares.
        "vfork" => unsafe { torture_vfork() },
        _ if share::of(flags) == share::NOTHING => copy(worker, op, sequence, flags),
        _ => shared(worker, op, sequence, flags),
    };
    // A child that was not made for want of a stack was not asked for either.
    if pid != 0 {
        place::made().fetch_add(1, Ordering::Relaxed);
    }
    if pid > 0 && share::of(flags) != share::ALL {
        worker.children.add(pid as usize);
    }
}

/// A child with a copy of the address space. Returns in the parent only.
fn copy(worker: &mut Worker, op: &Op, sequence: &Sequence, flags: u64) -> isize {
    let number = op.number().unwrap_or(0);
    let made = match op.abi {
        Abi::I386 => call32(number as u32, [flags as u32, 0, 0, 0, 0]),
        Abi::Native | Abi::X32 if op.name == "clone3" => {
            let arguments = clone_arguments(flags, 0, 0);
            let address = arguments.as_ptr().expose_provenance();
            call(number.into(), [address, size_of_val(&arguments), 0, 0, 0])
        }
        Abi::Native | Abi::X32 => call(number.into(), [flags as usize, 0, 0, 0, 0]),
    };
    if made == Ok(0) {
        worker.children = Children::default();
        carry_out(worker, sequence.clone(), true);
        end(0);
    }
    made.map_or(-1, |pid| pid as isize)
}

/// A child on a stack of its own, if the last one that was there has left.
fn shared(worker: &mut Worker, op: &Op, sequence: &Sequence, flags: u64) -> isize {
    if worker.stack_used.load(Ordering::Acquire) != 0 {
        return 0;
    }
    let thread = share::of(flags) == share::ALL;
    worker.stack_used.store(if thread { THREAD } else { PROCESS }, Ordering::Release);
    let job = Job {
        // The second block of the page.
        worker: Worker { block: worker.block + 256, ..*worker },
        sequence: sequence.clone(),
        thread,
    };
    let place = (worker.stack - size_of::<Job>()) & !63;
    // SAFETY: nobody is on that stack.
    unsafe {
        std::ptr::with_exposed_provenance_mut::<Job>(place).write(job);
        let top = std::ptr::with_exposed_provenance_mut::<usize>(place - 16);
        top.write(place);
        top.add(1).write(begin as *const () as usize);
    }
    let used = std::ptr::from_ref(worker.stack_used).expose_provenance();
    let pid = spawn(op.name, flags | CLEARTID, place - 16, used);
    if pid < 0 {
        worker.stack_used.store(0, Ordering::Release);
    }
    pid
}

/// `clone` or `clone3`.
fn spawn(name: &str, flags: u64, stack: usize, cleared: usize) -> isize {
    // SAFETY: the stack, where one is given, has what the child takes from it.
    unsafe {
        if name == "clone" {
            return torture_spawn(libc::SYS_clone, flags as usize, stack, 0, cleared);
        }
        let arguments = clone_arguments(flags, stack, cleared);
        let address = arguments.as_ptr().expose_provenance();
        torture_spawn(libc::SYS_clone3, address, size_of_val(&arguments), 0, 0)
    }
}

/// `struct clone_args`, in its first version. The signal is not among its flags, but for a bit that
/// is another one there.
fn clone_arguments(flags: u64, stack: usize, cleared: usize) -> [u64; 8] {
    let signal = if flags & 0x1_0000 == 0 { libc::SIGCHLD as u64 } else { 0 };
    // A stack is told by its lowest address and its size.
    let (lowest, size) = if stack == 0 { (0, 0) } else { (stack as u64 - 64, 64) };
    [flags & !0x7f, 0, cleared as u64, 0, signal, lowest, size, 0]
}

/// Waits until all children have ended or stand still, and tells of those that do.
pub(crate) fn stand_still(place: &Place) {
    while {
        hear(place);
        place.workers().map(Worker::waits).fold(false, |waits, also| waits | also)
    } {
        pause();
    }
    for worker in place.workers() {
        for child in worker.children.0.iter().flatten() {
            say::line(format_args!("CHILD {}", child.pid));
        }
    }
}

impl Worker {
    /// Whether a child is at work still. Those that have ended are waited for.
    fn waits(&mut self) -> bool {
        let mut waits = self.stack_used.load(Ordering::Acquire) == THREAD;
        for slot in &mut self.children.0 {
            if let Some(child) = *slot {
                if wait_for(child.pid, libc::WNOHANG) != Ok(0) {
                    *slot = None;
                } else if !child.still {
                    waits = true;
                }
            }
        }
        self.children.0.sort_unstable_by_key(Option::is_none);
        waits
    }
}

/// Takes note of the children that say that they stand still.
fn hear(place: &Place) {
    let mut pid = 0_u32;
    while call(libc::SYS_read, [STILL_READ, (&raw mut pid).expose_provenance(), 4]) == Ok(4) {
        let children = place.workers().flat_map(|worker| worker.children.0.iter_mut().flatten());
        children.filter(|child| child.pid == pid as usize).for_each(|child| child.still = true);
    }
}

fn pause() {
    let time = libc::timespec { tv_sec: 0, tv_nsec: 200_000 };
    let _ = call(libc::SYS_nanosleep, [(&raw const time).expose_provenance(), 0]);
}

/// Ends all children.
pub(crate) fn kill_all(place: &Place) {
    for worker in place.workers() {
        while worker.children.0[0].is_some() {
            worker.children.kill_one();
        }
    }
}

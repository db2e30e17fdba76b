//! The kernel's structures, at the offsets that user space found in its BTF.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::{
    bindings::task_struct,
    helpers::generated::{
        bpf_get_current_pid_tgid, bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_task_pt_regs,
    },
};
use mmaptrace_common::{
    kfunc::RDONLY_CAST,
    layout::{ABSENT, Layout, WORD},
};

use crate::kfunc;

/// Filled in before loading; constant for the verifier.
#[unsafe(no_mangle)]
pub(crate) static LAYOUT: Layout = Layout::NONE;

/// A field of [`LAYOUT`].
macro_rules! layout {
    ($field:ident) => {
        $crate::kernel::constant(&$crate::kernel::LAYOUT.$field)
    };
}

/// What the kernel takes of an argument that it declares as `int`: its lower half.
#[inline(always)]
pub(crate) const fn int(argument: u64) -> u64 {
    argument & 0xffff_ffff
}

/// A field of [`LAYOUT`]. Volatile, for the compiler must not believe the initial value.
#[inline(always)]
pub(crate) fn constant(field: &'static u32) -> u32 {
    // SAFETY: it is a reference.
    unsafe { core::ptr::read_volatile(field) }
}

pub(crate) use layout;

/// Bits of `task_struct.flags` (`include/linux/sched.h`).
pub(crate) const PF_KTHREAD: u32 = 0x0020_0000;
/// See [`PF_KTHREAD`].
pub(crate) const PF_IO_WORKER: u32 = 0x10;
/// Tells threads made by `create_io_thread` and vhost, since 6.4; see [`PF_KTHREAD`].
pub(crate) const PF_USER_WORKER: u32 = 0x4000;
/// The call in progress is a 32-bit one (`arch/x86/include/asm/thread_info.h`).
pub(crate) const TS_COMPAT: u32 = 2;
/// `arch/x86/include/asm/mmu.h`: the number of the bit `MM_CONTEXT_HAS_VSYSCALL`, as a mask. The
/// field is of 16 bits before 6.4, later of 64.
pub(crate) const HAS_VSYSCALL: u16 = 2;

/// Loads a field through a pointer the verifier knows as a BTF pointer: a plain load, and one that
/// cannot fault.
///
/// # Safety
/// `base` is such a pointer (or one into a map) and `offset` is of a `T` in what it points to.
#[inline(always)]
pub(crate) unsafe fn load<T: Copy>(base: *const c_void, offset: u32) -> T {
    // SAFETY: as above; the verifier checks it.
    unsafe { core::ptr::read_volatile(base.byte_add(offset as usize).cast()) }
}

/// Loads a field that is a pointer to a structure, of which no more than the address matters. To know where
/// such a pointer leads the verifier looks through the names of all the kernel's types, each time
/// (`type_is_trusted`, `kernel/bpf/verifier.c`); so it is not to see that it is one.
///
/// # Safety
/// As of [`load`].
#[inline(always)]
pub(crate) unsafe fn load_address(base: *const c_void, offset: u32) -> u64 {
    match Words::get() {
        Some(words) => words.at(base as u64 + u64::from(offset)),
        // SAFETY: as above.
        None => unsafe { load(base, offset) },
    }
}

/// Reads a `T` at any kernel address; `None` where nothing is mapped.
#[inline(always)]
pub(crate) fn read<T: Copy + Default>(address: u64) -> Option<T> {
    let mut value = T::default();
    // SAFETY: the helper checks the source, and the destination is a local of that size.
    let status = unsafe {
        bpf_probe_read_kernel((&raw mut value).cast(), size_of::<T>() as u32, address as *const _)
    };
    (status == 0).then_some(value)
}

/// How words are loaded at any kernel address, where the kernel lets a program do that: it calls the
/// address a pointer to a type that has a number there.
#[derive(Clone, Copy)]
pub(crate) struct Words {
    type_id: u32,
}

impl Words {
    /// `None` where [`Layout::words`] is absent.
    #[inline(always)]
    pub(crate) fn get() -> Option<Self> {
        let type_id = layout!(words);
        (type_id != ABSENT).then_some(Self { type_id })
    }

    /// The word at an address: a load, with a check that it is one of the kernel's; 0 where nothing is
    /// mapped.
    #[inline(always)]
    pub(crate) fn at(self, address: u64) -> u64 {
        let before = address.wrapping_sub(u64::from(WORD));
        // SAFETY: of the call the kernel makes one instruction. What is loaded is a number to the
        // verifier, and the kernel sees to faults.
        unsafe {
            let pointer = kfunc::call::<RDONLY_CAST>(before, self.type_id.into());
            load(pointer as *const c_void, WORD)
        }
    }
}

/// `value & MASK`, where the verifier sees it: the compiler drops a mask that a comparison made
/// idle, and then compares another register than it uses.
#[inline(always)]
pub(crate) fn mask<const MASK: usize>(mut value: usize) -> usize {
    // SAFETY: it changes the register it is given.
    unsafe { asm!("{0} &= {1}", inout(reg) value, const MASK) };
    value
}

/// A pointer's address as a number to calculate with, which the verifier does not let one do with
/// what it knows to be a pointer.
#[inline(always)]
pub(crate) fn number(mut address: u64) -> u64 {
    // SAFETY: it takes the register from little-endian to the machine's order, which is that.
    unsafe { asm!("{0} = le64 {0}", inout(reg) address) };
    address
}

/// The current task, as a BTF pointer.
#[inline(always)]
pub(crate) fn current() -> *mut task_struct {
    // SAFETY: it has no requirements.
    unsafe { bpf_get_current_task_btf() }
}

/// PID (thread group id) and TID of the current task, in the initial PID namespace.
#[inline(always)]
pub(crate) fn ids() -> (u32, u32) {
    // SAFETY: it has no requirements.
    let both = unsafe { bpf_get_current_pid_tgid() };
    ((both >> 32) as u32, both as u32)
}

/// The same of any task: loads, which cost less than [`ids`].
///
/// # Safety
/// `task` is a BTF pointer to a `task_struct`.
#[inline(always)]
pub(crate) unsafe fn ids_of(task: *const c_void) -> (u32, u32) {
    // SAFETY: as above.
    unsafe { (load(task, layout!(task_tgid)), load(task, layout!(task_pid))) }
}

/// A task's name, NUL-padded, as its two halves: to compare it.
///
/// # Safety
/// `task` is a BTF pointer to a `task_struct`.
#[inline(always)]
pub(crate) unsafe fn comm_halves(task: *const c_void) -> [u64; 2] {
    // SAFETY: as above. Two loads, for the verifier takes none of 16 bytes.
    unsafe { [load(task, layout!(task_comm)), load(task, layout!(task_comm) + 8)] }
}

/// A task's name, NUL-padded.
///
/// # Safety
/// As of [`comm_halves`].
#[inline(always)]
pub(crate) unsafe fn comm(task: *const c_void) -> [u8; 16] {
    // SAFETY: as above.
    unsafe { core::mem::transmute(comm_halves(task)) }
}

/// Whether the call that a task is in is a 32-bit one.
///
/// # Safety
/// `task` is the current task's BTF pointer.
#[inline(always)]
pub(crate) unsafe fn is_compat(task: *const c_void) -> bool {
    // SAFETY: as above.
    unsafe { load::<u32>(task, layout!(task_status)) & TS_COMPAT != 0 }
}

/// The registers with which the current task entered the kernel.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// The number of its system call, or -1: it came by an exception.
    pub(crate) nr: i32,
    /// Whether that is a 32-bit call.
    pub(crate) compat: bool,
    /// Whether that call is still at work: it has not set what it returns. A signal's frame is
    /// written after that, by the same task with the same number.
    pub(crate) at_work: bool,
    /// The call's arguments.
    pub(crate) args: [u64; 6],
}

impl Entry {
    /// Of a task that is in no call.
    pub(crate) const NONE: Self = Self { nr: -1, compat: false, at_work: false, args: [0; 6] };
}

/// How far above the start of a task's stack its registers are: the same for all. 0: nobody has asked yet.
#[unsafe(no_mangle)]
static mut REGISTERS: u64 = 0;

/// The address of the registers with which a task entered the kernel. The call that tells it is made once: it
/// costs what a return costs with the mitigations of a machine.
///
/// # Safety
/// `task` is the BTF pointer of a user task.
#[inline(always)]
unsafe fn registers_of(task: *mut task_struct) -> u64 {
    // SAFETY: as above; whoever is first writes what all others would.
    unsafe {
        let stack = number(load_address(task.cast(), layout!(task_stack)));
        let mut above = core::ptr::read_volatile(&raw const REGISTERS);
        if above == 0 {
            above = number(bpf_task_pt_regs(task) as u64) - stack;
            core::ptr::write_volatile(&raw mut REGISTERS, above);
        }
        stack + above
    }
}

/// `-ENOSYS`
const ENOSYS: i64 = -38;

/// x86-64: `struct pt_regs` is what the entry code pushes (`arch/x86/include/asm/ptrace.h`), the
/// same in every kernel.
mod regs {
    pub(super) const R10: u32 = 56;
    pub(super) const R9: u32 = 64;
    pub(super) const R8: u32 = 72;
    pub(super) const DX: u32 = 96;
    pub(super) const SI: u32 = 104;
    pub(super) const DI: u32 = 112;
    pub(super) const ORIG_AX: u32 = 120;
    pub(super) const BP: u32 = 32;
    pub(super) const BX: u32 = 40;
    pub(super) const AX: u32 = 80;
    pub(super) const CX: u32 = 88;
    pub(super) const IP: u32 = 128;
    pub(super) const CS: u32 = 136;
    pub(super) const SP: u32 = 152;
}

/// `__USER_CS` (`arch/x86/include/asm/segment.h`): the code segment of 64-bit code.
const USER_CS: u16 = 0x33;

/// The registers that lead to a task's callers.
pub(crate) struct Registers {
    /// The instruction it goes on with.
    pub(crate) ip: u64,
    pub(crate) sp: u64,
    pub(crate) bp: u64,
    /// Whether it runs 64-bit code; not the same as whether its call is of the 64-bit table.
    pub(crate) wide: bool,
}

impl Registers {
    /// # Safety
    /// `regs` is a BTF pointer to a user task's registers.
    #[inline(always)]
    pub(crate) unsafe fn of(regs: *const c_void) -> Self {
        // SAFETY: as above.
        unsafe {
            Self {
                ip: load(regs, regs::IP),
                sp: load(regs, regs::SP),
                bp: load(regs, regs::BP),
                wide: load::<u16>(regs, regs::CS) == USER_CS,
            }
        }
    }
}

impl Entry {
    /// Of a task that is no kernel thread.
    ///
    /// # Safety
    /// `task` is the current task's BTF pointer.
    #[inline(always)]
    pub(crate) unsafe fn of(task: *mut task_struct) -> Self {
        // SAFETY: every user task has its registers there.
        unsafe {
            let compat = is_compat(task.cast());
            match Words::get() {
                Some(words) => {
                    let regs = registers_of(task);
                    Self::from_words(|offset| words.at(regs + u64::from(offset)), compat)
                }
                None => Self::from_regs(bpf_task_pt_regs(task) as *const c_void, compat),
            }
        }
    }

    /// From registers at hand.
    ///
    /// # Safety
    /// `regs` is a BTF pointer to the current task's registers, or points to a copy of them.
    #[inline(always)]
    pub(crate) unsafe fn from_regs(regs: *const c_void, compat: bool) -> Self {
        // SAFETY: as above.
        Self::from_words(|offset| unsafe { load(regs, offset) }, compat)
    }

    /// From what tells each register, by its place.
    #[inline(always)]
    fn from_words(register: impl Fn(u32) -> u64, compat: bool) -> Self {
        let nr = register(regs::ORIG_AX) as i32;
        let args = if compat {
            let half = |offset: u32| u64::from(register(offset) as u32);
            [
                half(regs::BX),
                half(regs::CX),
                half(regs::DX),
                half(regs::SI),
                half(regs::DI),
                half(regs::BP),
            ]
        } else {
            [
                register(regs::DI),
                register(regs::SI),
                register(regs::DX),
                register(regs::R10),
                register(regs::R8),
                register(regs::R9),
            ]
        };
        // What the entry code leaves there until the call is done.
        let at_work = register(regs::AX) as i64 == ENOSYS;
        Self { nr, compat, at_work, args }
    }

    /// Of registers at hand: the task, and the call's [`Entry::rule`]. `None`, for most calls, if it is not in
    /// the table.
    ///
    /// # Safety
    /// It is a BTF pointer, to the current task's.
    #[inline(always)]
    pub(crate) unsafe fn rule_of(regs: *const c_void) -> Option<(*const c_void, u8)> {
        // SAFETY: as above.
        let both = rules(unsafe { load::<u64>(regs, regs::ORIG_AX) } as i32);
        if both == 0 {
            return None;
        }
        let task: *const c_void = current().cast();
        // SAFETY: it is the current task.
        match one(both, unsafe { is_compat(task) }) {
            0 => None,
            rule => Some((task, rule)),
        }
    }

    /// The byte of [`mmaptrace_common::syscalls::Rules`] of this call; 0: not in the table.
    #[inline(always)]
    pub(crate) fn rule(&self) -> u8 {
        rule(self.nr, self.compat)
    }
}

/// See [`Entry::rule`].
#[inline(always)]
pub(crate) fn rule(nr: i32, compat: bool) -> u8 {
    one(rules(nr), compat)
}

/// The rules of a number in both tables, so that one look tells of most calls that they are in
/// neither: the 32-bit one's in the upper byte.
#[inline(always)]
fn rules(nr: i32) -> u16 {
    use mmaptrace_common::syscalls::{IA32, NUMBERS, X32_BIT, X86_64};
    static BOTH: [u16; NUMBERS] = {
        let mut both = [0; NUMBERS];
        let mut nr = 0;
        while nr < NUMBERS {
            both[nr] = u16::from_le_bytes([X86_64[nr], IA32[nr]]);
            nr += 1;
        }
        both
    };
    let nr = (nr & !X32_BIT) as u32 as usize;
    if nr >= NUMBERS {
        return 0;
    }
    let table = (&raw const BOTH).cast::<u16>();
    // SAFETY: the index is within the table.
    unsafe { core::ptr::read_volatile(table.add(mask::<{ NUMBERS - 1 }>(nr))) }
}

/// Of both [`rules`], that of the table.
#[inline(always)]
const fn one(both: u16, compat: bool) -> u8 {
    both.to_le_bytes()[compat as usize]
}

//! Calls that make processes, or say how they run: `include/uapi/linux/sched.h`, `personality.h`,
//! `ipc.h`, `fcntl.h`.

use std::fmt::{self, Display, Formatter};

use super::{
    Show,
    bits::{Address, Bits, Names, Value},
    signal,
};

const CLONE: Names = &[
    (0x100, "CLONE_VM"),
    (0x200, "CLONE_FS"),
    (0x400, "CLONE_FILES"),
    (0x800, "CLONE_SIGHAND"),
    (0x1000, "CLONE_PIDFD"),
    (0x2000, "CLONE_PTRACE"),
    (0x4000, "CLONE_VFORK"),
    (0x8000, "CLONE_PARENT"),
    (0x1_0000, "CLONE_THREAD"),
    (0x2_0000, "CLONE_NEWNS"),
    (0x4_0000, "CLONE_SYSVSEM"),
    (CLONE_SETTLS, "CLONE_SETTLS"),
    (CLONE_PARENT_SETTID, "CLONE_PARENT_SETTID"),
    (CLONE_CHILD_CLEARTID, "CLONE_CHILD_CLEARTID"),
    (0x40_0000, "CLONE_DETACHED"),
    (0x80_0000, "CLONE_UNTRACED"),
    (CLONE_CHILD_SETTID, "CLONE_CHILD_SETTID"),
    (0x200_0000, "CLONE_NEWCGROUP"),
    (0x400_0000, "CLONE_NEWUTS"),
    (0x800_0000, "CLONE_NEWIPC"),
    (0x1000_0000, "CLONE_NEWUSER"),
    (0x2000_0000, "CLONE_NEWPID"),
    (0x4000_0000, "CLONE_NEWNET"),
    (0x8000_0000, "CLONE_IO"),
];
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_SETTLS: u64 = 0x8_0000;
const CLONE_PARENT_SETTID: u64 = 0x10_0000;
const CLONE_CHILD_CLEARTID: u64 = 0x20_0000;
const CLONE_CHILD_SETTID: u64 = 0x100_0000;

struct CloneFlags(u64);

impl Display for CloneFlags {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // The low byte is the signal sent to the parent when the child ends.
        let (flags, signal) = (self.0 & !0xff & 0xffff_ffff, self.0 & 0xff);
        if flags != 0 || signal == 0 {
            Bits { value: flags, names: CLONE, unknown: "CLONE_???" }.fmt(f)?;
        }
        match (flags, signal) {
            (_, 0) => Ok(()),
            (0, signal) => signal::Name(signal as u32).fmt(f),
            (_, signal) => write!(f, "|{}", signal::Name(signal as u32)),
        }
    }
}

/// The arguments of `clone`, named, as far as the flags make them count. The last two are the other
/// way round for 32-bit programs.
pub(super) fn clone(args: &[u64; 6], ia32: bool, show: &mut Show<'_>) -> fmt::Result {
    let &[flags, stack, parent_tid, fourth, fifth, _] = args;
    let (child_tid, tls) = if ia32 { (fifth, fourth) } else { (fourth, fifth) };
    show(&format_args!("child_stack={}", Address(stack)))?;
    show(&format_args!("flags={}", CloneFlags(flags)))?;
    if flags & (CLONE_PARENT_SETTID | CLONE_PIDFD) != 0 {
        show(&format_args!("parent_tid={}", Address(parent_tid)))?;
    }
    if flags & CLONE_SETTLS != 0 {
        show(&format_args!("tls={}", Address(tls)))?;
    }
    if flags & (CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID) != 0 {
        show(&format_args!("child_tidptr={}", Address(child_tid)))?;
    }
    Ok(())
}

const PERSONALITIES: Names = &[(0, "PER_LINUX"), (0x8, "PER_LINUX32")];

const PERSONALITY_FLAGS: Names = &[
    (0x002_0000, "UNAME26"),
    (0x004_0000, "ADDR_NO_RANDOMIZE"),
    (0x008_0000, "FDPIC_FUNCPTRS"),
    (0x010_0000, "MMAP_PAGE_ZERO"),
    (0x020_0000, "ADDR_COMPAT_LAYOUT"),
    (0x040_0000, "READ_IMPLIES_EXEC"),
    (0x080_0000, "ADDR_LIMIT_32BIT"),
    (0x100_0000, "SHORT_INODE"),
    (0x200_0000, "WHOLE_SECONDS"),
    (0x400_0000, "STICKY_TIMEOUTS"),
    (0x800_0000, "ADDR_LIMIT_3GB"),
];

/// A personality: one value and flags.
pub(super) struct Personality(pub(super) u64);

impl Display for Personality {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // The value that asks and changes nothing.
        if self.0 & 0xffff_ffff == 0xffff_ffff {
            return f.write_str("0xffffffff");
        }
        let (value, flags) = (self.0 & 0xff, self.0 & 0xffff_ff00);
        Value { of: value, names: PERSONALITIES, unknown: "PER_???" }.fmt(f)?;
        if flags == 0 {
            return Ok(());
        }
        f.write_str("|")?;
        if PERSONALITY_FLAGS.iter().any(|&(bit, _)| flags & bit == bit) {
            Bits { value: flags, names: PERSONALITY_FLAGS, unknown: "" }.fmt(f)
        } else {
            write!(f, "{flags:#x}")
        }
    }
}

/// The sub-calls of the 32-bit `ipc`; the high half of the word is a version.
pub(super) const IPC: Names = &[
    (1, "SEMOP"),
    (2, "SEMGET"),
    (3, "SEMCTL"),
    (4, "SEMTIMEDOP"),
    (11, "MSGSND"),
    (12, "MSGRCV"),
    (13, "MSGGET"),
    (14, "MSGCTL"),
    (21, "SHMAT"),
    (22, "SHMDT"),
    (23, "SHMGET"),
    (24, "SHMCTL"),
];

/// `AT_*` of `execveat`.
pub(super) const AT: Names = &[(0x100, "AT_SYMLINK_NOFOLLOW"), (0x1000, "AT_EMPTY_PATH")];

/// The directory that stands for the current one where a descriptor is asked for.
pub(super) const AT_FDCWD: i32 = -100;

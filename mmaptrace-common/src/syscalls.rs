//! The one table of system calls: every call that changes, or explains a change of, an address
//! space. Adding a call is adding a row to [`TABLE`]; see `docs/architecture.md`.
//!
//! The eBPF side reads two things of a row, compiled into one byte per number
//! ([`Rules`]): which range the call touches, and whether its return is reported. User space
//! reads the rest, to decode the call as strace would.

/// How an argument is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// An address: `NULL` or hexadecimal.
    Addr,
    /// A size or a count, unsigned.
    Size,
    /// A signed `int`.
    Int,
    /// An `unsigned int`, shown in hexadecimal.
    Hex,
    /// A file descriptor.
    Fd,
    /// A file offset in bytes: hexadecimal, as strace shows `mmap`'s.
    Offset,
    /// A file offset in pages, shown in bytes (`mmap2`).
    PageOffset,
    /// `PROT_*`.
    Prot,
    /// `MAP_*`.
    Map,
    /// `MREMAP_*`.
    Mremap,
    /// `MADV_*`.
    Advice,
    /// `MLOCK_ONFAULT`.
    Mlock2,
    /// `MCL_*`.
    Mlockall,
    /// `MPOL_*`, mode and mode flags.
    Policy,
    /// `MPOL_MF_*`.
    PolicyFlags,
    /// `SHM_*` of `shmat`.
    Shm,
    /// `PR_*`.
    Prctl,
    /// `PR_SET_MM_*` or `PR_SET_VMA_*`, by the option before it; else a number.
    PrctlArg,
    /// `ARCH_*`.
    ArchPrctl,
    /// The request of an ioctl.
    Ioctl,
    /// A personality: `PER_*` and its flags.
    Personality,
    /// `CLONE_*` and the exit signal.
    Clone,
    /// `SHADOW_STACK_*`.
    ShadowStack,
    /// The sub-call of the 32-bit `ipc`.
    Ipc,
    /// A path that user space was sent beside the call.
    Path,
}

/// Which part of the address space a call's commit reads. The regions on each side are read with
/// it, for a change may split or join them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Range {
    /// All of it: the call says nothing of where.
    All = 1,
    /// Nothing: its commits leave the regions as they are.
    Nothing = 2,
    /// `args[0]`, `args[1]` bytes.
    First = 3,
    /// `args[2]`, `args[3]` bytes, if `args[0]` is `PR_SET_VMA`; else all.
    Prctl = 4,
    /// `mmap`'s: where the kernel found room, and where the caller asked for it.
    Mmap = 5,
    /// From the old break to the new one.
    Brk = 6,
    /// `mremap`'s: the old place, the new one asked for, and the one the kernel found.
    Mremap = 7,
    /// `args[1]` if given, and where the kernel found room.
    Shmat = 8,
    /// `args[0]` if given with `args[1]` bytes, and where the kernel found room.
    Chosen = 9,
    /// Where the kernel found room.
    Found = 10,
    /// The region at `args[0]`.
    At = 11,
    /// As [`Range::First`], of a call that may downgrade its write lock before it ends.
    Unmap = 12,
}

/// When the return of a call is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Report {
    /// Each time.
    Always = 0,
    /// If its first argument is one of the options that change an address space.
    Prctl = 1,
    /// Likewise for `arch_prctl`.
    ArchPrctl = 2,
    /// If its request is userfaultfd's, or its thread made the space's last commit: a driver may
    /// map inside any ioctl.
    Ioctl = 3,
    /// Only failures: a success is told by the exec record.
    Failure = 4,
    /// Never: it does not return, or the record of the lifecycle says it all.
    Never = 5,
    /// Not reported: whoever calls it, names of mapped files may change. See [`NAMING`].
    Names = 6,
    /// If it is not 0: the child of a fork returns from the call it did not make.
    Parent = 7,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Syscall {
    /// The name, as in the kernel's tables and in strace.
    pub name: &'static str,
    /// Its number on x86-64, or -1.
    pub x86_64: i16,
    /// Its number for 32-bit programs on x86 (ia32), or -1.
    pub ia32: i16,
    /// Its arguments, at most 6.
    pub args: &'static [Arg],
    /// What its commits read.
    pub range: Range,
    /// When its return is reported.
    pub report: Report,
}

/// Numbers of the tables are below this.
pub const NUMBERS: usize = 512;

macro_rules! table {
    ($($name:literal $x86_64:literal $ia32:literal ($($arg:ident)*) $range:ident $report:ident;)*) => {
        &[$(Syscall {
            name: $name,
            x86_64: $x86_64,
            ia32: $ia32,
            args: &[$(Arg::$arg),*],
            range: Range::$range,
            report: Report::$report,
        }),*]
    };
}

/// The table. Numbers: the kernel's `arch/x86/entry/syscalls/syscall_64.tbl` and `syscall_32.tbl`.
#[rustfmt::skip]
pub const TABLE: &[Syscall] = table! {
    // name                 x86-64 ia32 (arguments)                                   range   report
    "mmap"                       9  -1 (Addr Size Prot Map Fd Offset)                 Mmap    Always;
    "mmap2"                     -1 192 (Addr Size Prot Map Fd PageOffset)             Mmap    Always;
    "old_mmap"                  -1  90 (Addr)                                         Found   Always;
    "munmap"                    11  91 (Addr Size)                                    Unmap   Always;
    "brk"                       12  45 (Addr)                                         Brk     Always;
    "mremap"                    25 163 (Addr Size Size Mremap Addr)                   Mremap  Always;
    "mprotect"                  10 125 (Addr Size Prot)                               First   Always;
    "pkey_mprotect"            329 380 (Addr Size Prot Int)                           First   Always;
    "madvise"                   28 219 (Addr Size Advice)                             First   Always;
    "process_madvise"          440 440 (Fd Addr Size Advice Hex)                      All     Always;
    "mlock"                    149 150 (Addr Size)                                    First   Always;
    "mlock2"                   325 376 (Addr Size Mlock2)                             First   Always;
    "munlock"                  150 151 (Addr Size)                                    First   Always;
    "mlockall"                 151 152 (Mlockall)                                     All     Always;
    "munlockall"               152 153 ()                                             All     Always;
    "mbind"                    237 274 (Addr Size Policy Addr Size PolicyFlags)       First   Always;
    "set_mempolicy_home_node"  450 450 (Addr Size Size Hex)                           First   Always;
    "remap_file_pages"         216 257 (Addr Size Prot Size Map)                      First   Always;
    "shmat"                     30 397 (Int Addr Shm)                                 Shmat   Always;
    "shmdt"                     67 398 (Addr)                                         All     Always;
    "ipc"                       -1 117 (Ipc Int Size Size Addr Size)                  All     Always;
    "mseal"                    462 462 (Addr Size Hex)                                First   Always;
    "map_shadow_stack"         453 453 (Addr Size ShadowStack)                        Chosen  Always;
    "prctl"                    157 172 (Prctl PrctlArg Addr Size Addr)                Prctl   Prctl;
    "arch_prctl"               158 384 (ArchPrctl Addr)                               All     ArchPrctl;
    "io_setup"                 206 245 (Size Addr)                                    Found   Always;
    "io_destroy"               207 246 (Addr)                                         At      Always;
    "ioctl"                     16  54 (Fd Ioctl Addr)                                All     Ioctl;
    "personality"              135 136 (Personality)                                  All     Always;
    "execve"                    59  11 (Path Addr Addr)                               All     Failure;
    "execveat"                 322 358 (Fd Path Addr Addr Hex)                        All     Failure;
    "fork"                      57   2 ()                                             Nothing Parent;
    "vfork"                     58 190 ()                                             Nothing Parent;
    "clone"                     56 120 (Clone Addr Addr Addr Addr)                    Nothing Parent;
    "clone3"                   435 435 (Addr Size)                                    Nothing Parent;
    "exit"                      60   1 (Int)                                          All     Never;
    "exit_group"               231 252 (Int)                                          All     Never;
};

/// A call that changes no address space, but what `/proc/PID/maps` prints of one: the names of
/// files, or where they are mounted.
#[derive(Clone, Copy, Debug)]
pub struct Naming {
    /// Its name.
    pub name: &'static str,
    /// Its number on x86-64.
    pub x86_64: i16,
    /// Its number for 32-bit programs on x86.
    pub ia32: i16,
    /// When it may change the paths of files that it does not touch.
    pub moves: Moves,
}

/// When a call may change the paths of files that it does not touch: those below a directory or a mount.
/// In [`Rules`], where a call of [`TABLE`] has its [`Range`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Moves {
    /// Never. Of a file that is unlinked the mount goes, elsewhere, if one was there: the key of a path
    /// is also of where its mount is.
    Never = 0,
    /// Always.
    Always = 1,
    /// If its third argument has [`AT_REMOVEDIR`]: with a directory go the mounts that others have there,
    /// and those on them (`__detach_mounts`, `fs/namespace.c`).
    Directory = 2,
}

/// `unlinkat`: a directory is to be removed (`include/uapi/linux/fcntl.h`).
pub const AT_REMOVEDIR: u64 = 0x200;

macro_rules! naming {
    ($($name:literal $x86_64:literal $ia32:literal $moves:ident;)*) => {
        &[$(Naming { name: $name, x86_64: $x86_64, ia32: $ia32, moves: Moves::$moves }),*]
    };
}

/// All of them.
#[rustfmt::skip]
pub const NAMING: &[Naming] = naming! {
    // name      x86-64 ia32 moves
    "rename"         82   38 Always;
    "renameat"      264  302 Always;
    "renameat2"     316  353 Always;
    "unlink"         87   10 Never;
    "unlinkat"      263  301 Directory;
    "rmdir"          84   40 Always;
    "mount"         165   21 Always;
    "umount"         -1   22 Always;
    "umount2"       166   52 Always;
    "move_mount"    429  429 Always;
    "pivot_root"    155  217 Always;
    // The last task to leave a mount namespace takes its mounts away.
    "setns"         308  346 Always;
    "unshare"       272  310 Always;
};

/// What the eBPF side knows of a number: [`Range`] in the low four bits, [`Report`] in the next
/// three. 0: not in the table.
pub type Rules = [u8; NUMBERS];

const fn rules(ia32: bool) -> Rules {
    let mut rules = [0; NUMBERS];
    let mut i = 0;
    while i < TABLE.len() {
        let row = &TABLE[i];
        let nr = if ia32 { row.ia32 } else { row.x86_64 };
        if nr >= 0 {
            assert!(rules[nr as usize] == 0, "two rows of one number");
            rules[nr as usize] = row.range as u8 | (row.report as u8) << 4;
        }
        i += 1;
    }
    i = 0;
    while i < NAMING.len() {
        let row = &NAMING[i];
        let nr = if ia32 { row.ia32 } else { row.x86_64 };
        if nr >= 0 {
            assert!(rules[nr as usize] == 0, "two rows of one number");
            rules[nr as usize] = (Report::Names as u8) << 4 | row.moves as u8;
        }
        i += 1;
    }
    rules
}

/// The rules by x86-64 number.
pub const X86_64: Rules = rules(false);
/// The rules by ia32 number.
pub const IA32: Rules = rules(true);

/// The bit that marks x32 calls in `orig_ax` (`__X32_SYSCALL_BIT`).
pub const X32_BIT: i32 = 0x4000_0000;

/// The options of `prctl` and the requests of `arch_prctl` and `ioctl` that change an address
/// space (`include/uapi/linux/prctl.h`, `arch/x86/include/uapi/asm/prctl.h`,
/// `include/uapi/linux/userfaultfd.h`).
pub mod option {
    /// `prctl`: the fields of the mm that hold its layout.
    pub const PR_SET_MM: u64 = 35;
    /// `prctl`: KSM for every region.
    pub const PR_SET_MEMORY_MERGE: u64 = 67;
    /// `prctl`: names of anonymous memory.
    pub const PR_SET_VMA: u64 = 0x5356_4d41;
    /// `arch_prctl`: the first of the three that map a vDSO.
    pub const ARCH_MAP_VDSO_X32: u64 = 0x2001;
    /// `arch_prctl`: the last of them.
    pub const ARCH_MAP_VDSO_64: u64 = 0x2003;
    /// `arch_prctl`: maps a shadow stack.
    pub const ARCH_SHSTK_ENABLE: u64 = 0x5001;
    /// `ioctl`: registers a range with a userfaultfd.
    pub const UFFDIO_REGISTER: u64 = 0xc020_aa00;
    /// `ioctl`: unregisters it.
    pub const UFFDIO_UNREGISTER: u64 = 0x8010_aa01;
}

/// The row of a number, if the table has one.
pub fn lookup(nr: i32, ia32: bool) -> Option<&'static Syscall> {
    let nr = i16::try_from(nr & !X32_BIT).ok().filter(|&nr| nr >= 0)?;
    TABLE.iter().find(|row| if ia32 { row.ia32 == nr } else { row.x86_64 == nr })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// strace's class `%memory` on x86-64 that changes mappings (`MEMORY_MAPPING_CHANGE`, TM|SI in
    /// its tables), and what this table has beside it.
    #[test]
    fn covers_straces_memory_mapping_change_class() {
        let class = [
            "mmap",
            "mprotect",
            "munmap",
            "brk",
            "mremap",
            "shmat",
            "shmdt",
            "execve",
            "execveat",
            "remap_file_pages",
            "pkey_mprotect",
        ];
        for name in class {
            let row = TABLE.iter().find(|row| row.name == name);
            assert!(row.is_some_and(|row| row.x86_64 >= 0), "{name} is missing");
        }
        assert!(TABLE.iter().any(|row| row.name == "mmap2" && row.ia32 >= 0));
        let extra: Vec<_> =
            TABLE.iter().filter(|row| row.x86_64 >= 0 && !class.contains(&row.name)).collect();
        for row in extra {
            let why = match row.name {
                "madvise" | "process_madvise" => "advices that set or clear a flag split regions",
                "mlock" | "mlock2" | "munlock" | "mlockall" | "munlockall" => "VM_LOCKED splits",
                "mbind" | "set_mempolicy_home_node" => "a policy splits",
                "mseal" => "VM_SEALED splits",
                "map_shadow_stack" | "io_setup" | "io_destroy" => "maps or unmaps",
                "prctl" | "arch_prctl" => "names, the layout's fields, the vDSO, shadow stacks",
                "ioctl" => "userfaultfd, and drivers that map",
                "personality" => "changes what a later mmap does",
                "fork" | "vfork" | "clone" | "clone3" => "makes an address space, or shares one",
                "exit" | "exit_group" => "may end one",
                _ => "",
            };
            assert!(!why.is_empty(), "{} is in the table without a reason", row.name);
        }
    }

    #[test]
    fn the_rules_say_what_the_rows_say() {
        for row in TABLE {
            for (nr, rules) in [(row.x86_64, &X86_64), (row.ia32, &IA32)] {
                if let Ok(nr) = usize::try_from(nr) {
                    assert_eq!(rules[nr] & 15, row.range as u8, "{}", row.name);
                    assert_eq!(rules[nr] >> 4, row.report as u8, "{}", row.name);
                }
            }
            assert!(row.args.len() <= 6);
        }
        assert_eq!(lookup(9 | X32_BIT, false).map(|row| row.name), Some("mmap"));
        assert!(lookup(-1, false).is_none());
    }
}

//! Calls at random: for each row of the table, arguments of the kinds it has, mostly valid.
//!
//! Where they go: mostly to the first pages of one arena, where threads meet, and to what the
//! kernel has chosen before. None may touch what the program itself stands on: addresses are the
//! arena's, a slot's, or such as cannot be mapped, and the arena has room behind it.

use mmaptrace_common::syscalls::{Arg, Syscall, TABLE, option};

use super::op::{Abi, Op, Word};

/// Where the arena starts: 32-bit calls reach it.
pub const ARENA: u64 = 0x2000_0000;
/// Pages of it.
const ARENA_PAGES: u64 = 1024;
/// Slots of a thread.
pub const SLOTS: u8 = 8;
/// The slot that has the vDSO at first.
pub const VDSO: u8 = 7;
/// Segments of shared memory there are.
pub const SEGMENTS: u8 = 2;
/// Descriptors the program has made; see its `place.rs`. The first ones can be mapped.
const FILES: std::ops::Range<u64> = 100..117;
/// The program's own pidfd.
const PIDFD: u64 = 110;
/// A userfaultfd.
const USERFAULT: u64 = 111;
/// The program's own file.
pub const IMAGE_FILE: u64 = 104;
/// The directory that the program is in.
const DIRECTORY: u64 = 107;
const AT_FDCWD: u64 = -100_i64 as u64;
/// `execveat`: an empty path stands for the descriptor's file.
pub const AT_EMPTY_PATH: u64 = 0x1000;
const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
const AT_REMOVEDIR: u64 = 0x200;

const PAGE: u64 = 4096;
const HUGE: u64 = 2 << 20;
const SIGCHLD: u64 = 17;

/// `clone`'s flags for each kind of child; all but the first share the address space. Others may
/// stand beside them: see [`of`](share::of).
pub mod share {
    /// A process of its own.
    pub const NOTHING: u64 = super::SIGCHLD;
    /// `CLONE_VM`.
    pub const MEMORY: u64 = 0x100 | super::SIGCHLD;
    /// `CLONE_VM | CLONE_VFORK`.
    pub const VFORK: u64 = 0x4100 | super::SIGCHLD;
    /// A thread: `CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
    /// CLONE_SYSVSEM`.
    pub const ALL: u64 = 0x5_0f00;

    const VM: u64 = 0x100;
    const VFORKED: u64 = 0x4000;
    const THREAD: u64 = 0x1_0000;

    /// The kind of child that flags make, if they make one.
    pub fn of(flags: u64) -> u64 {
        match flags {
            _ if flags & THREAD != 0 => ALL,
            _ if flags & VM == 0 => NOTHING,
            _ if flags & VFORKED != 0 => VFORK,
            _ => MEMORY,
        }
    }

    /// Whether the parent waits for what the child becomes.
    pub fn is_waited_for(flags: u64) -> bool {
        flags & (VFORKED | THREAD) == VFORKED
    }
}

/// Random numbers, the same for the same seed: `SplitMix64`.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// Once in so many times.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// An endless sequence of calls.
#[derive(Clone, Debug)]
pub struct Generator {
    random: Random,
    /// Calls that are left to the child, and what flags it was made with.
    child: Option<(u64, u64)>,
}

impl Generator {
    /// The sequence of a thread in a phase of an image of a run.
    pub fn new(seed: u64, image: u64, phase: u64, thread: u64) -> Self {
        let mut random = Random::new(seed);
        for number in [image, phase, thread] {
            random = Random::new(random.number() ^ number);
        }
        Self { random, child: None }
    }

    /// What comes last of a child.
    fn last(&mut self, shares: u64) -> Op {
        let exit = ["exit", "exit_group"];
        if share::of(shares) == share::ALL {
            return Op::new("exit", &[]);
        }
        if self.random.below(4) > 1 && !share::is_waited_for(shares) {
            return Op::new("stay", &[]);
        }
        let status = Word::Number(self.random.below(256));
        Op::new(self.random.of(&exit), &[status])
    }

    /// The next call of a child.
    fn of_child(&mut self, left: u64, shares: u64) -> Op {
        self.child = (left > 1).then_some((left - 1, shares));
        if left == 1 {
            return self.last(shares);
        }
        // A new image, which goes on where this one was.
        if share::of(shares) != share::ALL && self.random.once_in(24) {
            self.child = Some((left - 1, share::NOTHING));
            let (image, number) = (Word::Text(8), Word::Number);
            return match self.random.below(4) {
                0 | 1 => Op::new("execve", &[image]),
                2 => Op::new("execveat", &[number(AT_FDCWD), image]),
                _ => {
                    let (none, flags) = (number(0), number(AT_EMPTY_PATH));
                    Op::new("execveat", &[number(IMAGE_FILE), Word::Text(5), none, none, flags])
                }
            };
        }
        self.ordinary()
    }

    /// Any call that does not make a process nor end one.
    fn ordinary(&mut self) -> Op {
        match self.random.below(64) {
            0..3 => Op::new("touch", &[self.address()]),
            3 | 4 => {
                let at = self.address();
                Op::new("read", &[Word::Number(103), at, Word::Number(8)])
            }
            5 => self.renaming(),
            // The calls that most programs make most of.
            6..40 => {
                let often = ["mmap", "munmap", "mprotect", "mremap", "madvise", "brk", "mlock"];
                let name = self.random.of(&often);
                self.of_name(name)
            }
            _ => {
                let row = &TABLE[self.random.below(TABLE.len() as u64) as usize];
                self.of_row(row)
            }
        }
    }

    fn of_name(&mut self, name: &str) -> Op {
        let row = TABLE.iter().find(|row| row.name == name);
        self.of_row(row.unwrap_or(&TABLE[0]))
    }

    fn renaming(&mut self) -> Op {
        let (one, other) = (Word::Text(self.random.of(&[0, 1, 2, 3])), Word::Text(2));
        let here = Word::Number(AT_FDCWD);
        // Mounting is left to the victims: it would change this machine for others.
        match self.random.below(9) {
            0 => Op::new("rename", &[one, other]),
            1 => Op::new("renameat", &[here, one, here, other]),
            // RENAME_EXCHANGE.
            2 => Op::new("renameat2", &[here, one, here, Word::Text(1), Word::Number(2)]),
            3 => Op::new("rename", &[Word::Text(9), Word::Text(10)]),
            4 => Op::new("unlink", &[other]),
            5 => Op::new("rmdir", &[Word::Text(10)]),
            6 => Op::new("unlinkat", &[here, other]),
            7 => Op::new("unlinkat", &[Word::Number(DIRECTORY), other]),
            // A directory, as what it is, and as what it is not.
            _ => {
                let flags = Word::Number(self.random.of(&[AT_REMOVEDIR, AT_REMOVEDIR, 0, 1]));
                Op::new("unlinkat", &[here, Word::Text(10), flags])
            }
        }
    }

    /// An address, most likely of something mapped.
    fn address(&mut self) -> Word {
        self.range().0
    }

    /// An address and a length.
    fn range(&mut self) -> (Word, u64) {
        let random = &mut self.random;
        let few = PAGE * (1 + random.below(16));
        let near = ARENA + PAGE * random.below(64);
        match random.below(100) {
            0..55 => (Word::Number(near), few),
            55..75 => {
                let offset = PAGE * random.below(4) * random.below(2);
                (Word::Slot(random.below(SLOTS.into()) as u8, offset as u32), few)
            }
            75..80 => (Word::Number(ARENA + PAGE * random.below(ARENA_PAGES)), 4 * few),
            80..83 => (Word::Number(ARENA + HUGE * random.below(2)), HUGE),
            83..88 => (Word::Number(near + random.below(PAGE)), few - random.below(PAGE)),
            88..92 => (Word::Number(random.of(&[0, 1, PAGE, 16 * PAGE])), few),
            92..96 => {
                let end = [0x7fff_ffff_f000, 0x8000_0000_0000, 0xffff_8000_0000_0000, !0xfff, !0];
                (Word::Number(random.of(&end)), few)
            }
            // None that only some calls refuse: an advice would be taken for the whole program.
            _ => (Word::Number(near), random.of(&[0, 1, !0xfff, !0])),
        }
    }

    /// `all` of the flags now and then, most of the time few.
    fn flags(&mut self, all: &[u64], rarity: u64) -> u64 {
        all.iter().filter(|_| self.random.once_in(rarity)).sum()
    }

    fn of_row(&mut self, row: &'static Syscall) -> Op {
        let mut op = Op::new(row.name, &[]);
        let (mut address, mut length) = self.range();
        for (at, kind) in row.args.iter().enumerate() {
            op.args[at] = match kind {
                Arg::Addr => address,
                Arg::Size => {
                    let size = Word::Number(length);
                    (address, length) = self.range();
                    size
                }
                kind => Word::Number(self.argument(*kind)),
            };
        }
        self.amend(&mut op);
        if matches!(row.name, "mmap" | "mmap2" | "old_mmap" | "mremap" | "shmat" | "arch_prctl") {
            op.keep = Some(self.random.below(SLOTS.into()) as u8);
        }
        // Children are made by calls of their own table, but for those that share nothing.
        let abi = self.random.below(32);
        op.abi = match (row.x86_64, row.ia32) {
            (-1, _) => Abi::I386,
            (_, 0..) if abi < 3 => Abi::I386,
            (..) if abi == 3 => Abi::X32,
            (..) => Abi::Native,
        };
        // A heap that starts at 32 bits of an address ends there, too: with all the program has.
        if op.name == "prctl" && op.args.iter().any(|word| matches!(word, Word::Heap(_))) {
            op.abi = Abi::Native;
        }
        // Cut to 32 bits, what nobody can map becomes 4 GiB of memory.
        if op.abi == Abi::I386 && matches!(row.name, "mmap2" | "old_mmap" | "mremap") {
            for word in op.args.iter_mut().chain(&mut op.block) {
                if let Word::Number(number @ 0x1000_0000_0000..) = word {
                    *number = 0;
                }
            }
        }
        op
    }

    /// An argument that is no address and no size.
    fn argument(&mut self, kind: Arg) -> u64 {
        let random = &mut self.random;
        match kind {
            Arg::Fd => FILES.start + random.below(FILES.end - FILES.start),
            Arg::Offset | Arg::PageOffset => random.of(&[0, 0, PAGE, 5 * PAGE, 17, !0xfff]),
            Arg::Prot => match random.below(24) {
                0 => random.of(&[8, 0x10, 0x0100_0003, 0x0200_0003, 0x80]),
                _ => random.below(8),
            },
            Arg::Map => self.map_flags(),
            Arg::Mremap | Arg::Mlockall | Arg::PolicyFlags => random.below(9),
            // Not MADV_HWPOISON and MADV_SOFT_OFFLINE, which take the memory from the machine.
            Arg::Advice => match random.below(32) {
                0 => random.of(&[5, 6, 7, 26, 77, 104]),
                1..3 => 102 + random.below(2),
                _ => random.below(26),
            },
            Arg::Mlock2 => random.below(3),
            Arg::Policy => {
                let mode = random.below(8);
                mode | self.flags(&[1 << 13, 1 << 14, 1 << 15], 8)
            }
            Arg::Shm => self.flags(&[0o10000, 0o20000, 0o40000, 0o100_000], 3),
            Arg::Personality => {
                // PER_LINUX, three others, and the question of what it is.
                let kind = random.of(&[0, 0, 0, 0, 1, 6, 8, 0xffff_ffff]);
                // FDPIC_FUNCPTRS, SHORT_INODE, WHOLE_SECONDS, STICKY_TIMEOUTS; then
                // ADDR_NO_RANDOMIZE, MMAP_PAGE_ZERO, ADDR_COMPAT_LAYOUT, READ_IMPLIES_EXEC,
                // ADDR_LIMIT_32BIT, ADDR_LIMIT_3GB. Not UNAME26, by which the program
                // would take this kernel for an old one.
                let all = [19, 24, 25, 26, 18, 20, 21, 22, 23, 27].map(|bit| 1 << bit);
                kind | self.flags(&all, 6)
            }
            Arg::Clone => self.clone_flags(),
            Arg::Int | Arg::Hex | Arg::ShadowStack => random.of(&[0, 0, 0, 1, 2, !0]),
            // Given by `amend`.
            Arg::Addr
            | Arg::Size
            | Arg::Prctl
            | Arg::PrctlArg
            | Arg::ArchPrctl
            | Arg::Ioctl
            | Arg::Ipc
            | Arg::Path => 0,
        }
    }

    /// Flags for a child of a kind, some of which fail. Not among them: what makes a child that is
    /// not the program's to wait for or that does not know its own PID (`CLONE_PARENT`,
    /// `CLONE_NEWPID`), and what writes to memory of the program's or moves what it has there
    /// (`CLONE_SETTLS`, `CLONE_CHILD_SETTID`).
    fn clone_flags(&mut self) -> u64 {
        // FS, FILES, PTRACE, SYSVSEM, UNTRACED, IO.
        const SHARED: [u64; 6] = [0x200, 0x400, 0x2000, 0x4_0000, 0x80_0000, 0x8000_0000];
        // NEWNS, NEWCGROUP, NEWUTS, NEWIPC.
        const SPACES: [u64; 4] = [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000];
        const VFORKED: u64 = 0x4000;
        const NEWUSER: u64 = 0x1000_0000;
        // For threads, whose parents are those of their makers in any case.
        const PARENT: u64 = 0x8000;
        // A thread with signals of its own, signals without memory, and a namespace with the
        // directories of another.
        const BAD: [u64; 3] = [0x1_0000, 0x800, 0x2_0200];
        let kinds = [share::NOTHING, share::VFORK, share::MEMORY, share::ALL];
        let kind = self.random.of(&kinds);
        match self.random.below(8) {
            0..3 => kind,
            3..5 => kind | self.flags(&SHARED, 3),
            5 if kind == share::ALL => kind | PARENT | self.flags(&SHARED, 3),
            5 => kind | self.flags(&SPACES, 2),
            6 if kind == share::NOTHING => kind | self.random.of(&[VFORKED, NEWUSER]),
            _ => self.random.of(&BAD),
        }
    }

    fn map_flags(&mut self) -> u64 {
        const ANONYMOUS: u64 = 0x20;
        let random = &mut self.random;
        let kind = random.of(&[2, 2, 2, 2, 2, 2, 1, 1, 1, 3, 8, 0]);
        let anonymous = if random.below(5) < 3 { ANONYMOUS } else { 0 };
        let fixed = random.of(&[0, 0, 0, 0x10, 0x10, 0x10, 0x10_0000]);
        // GROWSDOWN, DENYWRITE, EXECUTABLE, LOCKED, NORESERVE, POPULATE, NONBLOCK, STACK, SYNC,
        // 32BIT, ABOVE4G, UNINITIALIZED; then HUGETLB, with or without a size.
        let rest = [
            0x100, 0x800, 0x1000, 0x2000, 0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x8_0000, 0x40, 0x80,
            0x400_0000,
        ];
        let rest = self.flags(&rest, 16);
        let huge = [0x4_0000, 0x4_0000 | 21 << 26, 0x4_0000 | 30 << 26];
        let huge = if self.random.once_in(48) { self.random.of(&huge) } else { 0 };
        kind | anonymous | fixed | rest | huge
    }

    /// What the kinds of its arguments do not say of a call.
    #[expect(clippy::too_many_lines, reason = "one arm a call, as the table has one row")]
    fn amend(&mut self, op: &mut Op) {
        let number = Word::Number;
        let (address, length) = self.range();
        let random = &mut self.random;
        match op.name {
            // Half of them leave the place to the kernel.
            "mmap" | "mmap2" if random.once_in(2) => {
                op.args[0] = number(0);
                if let Word::Number(flags) = op.args[3] {
                    op.args[3] = number(flags & !0x10_0010);
                }
            }
            "old_mmap" => {
                let flags = number(self.map_flags());
                let prot = number(self.random.below(8));
                let file = number(self.argument(Arg::Fd));
                op.block[..5].copy_from_slice(&[address, number(length), prot, flags, file]);
                op.args[0] = Word::Block;
            }
            "mmap" | "munmap" if random.once_in(48) => op.args[1] = number(1 << 47),
            "brk" => {
                op.args[0] = match random.below(16) {
                    0 => number(random.of(&[0, 1, !0])),
                    1 => Word::Heap(random.below(64 * PAGE) as u32),
                    _ => Word::Heap((random.below(64) * PAGE) as u32),
                };
            }
            "mremap" => {
                // The target lies in the arena, which has room behind it; so does what grows.
                let size = PAGE * (1 + random.below(20));
                op.args[2] = number(if random.once_in(16) { random.of(&[0, !0]) } else { size });
                let page = random.below(64);
                let odd = if random.once_in(16) { 7 } else { 0 };
                op.args[4] = number(ARENA + PAGE * page + odd);
                if random.once_in(12) {
                    op.args[1] = number(0);
                }
                if random.once_in(2) {
                    op.args[3] = number(random.of(&[0, 1, 1, 3, 5]));
                }
            }
            "process_madvise" => {
                op.args[0] = number(PIDFD);
                op.args[1] = Word::Block;
                op.args[2] = number(random.of(&[1, 1, 1, 0, 2]));
                op.args[4] = number(random.of(&[0, 0, 0, 0, 0, 0, 1, !0]));
                op.block[..4].copy_from_slice(&[address, number(length), address, number(PAGE)]);
            }
            "mbind" => {
                (op.args[3], op.args[4]) = (number(0), number(64));
                if !random.once_in(4) {
                    op.args[3] = Word::Block;
                    op.block[0] = number(random.of(&[1, 1, 0, 2]));
                }
            }
            "set_mempolicy_home_node" => op.args[2] = number(random.of(&[0, 0, 1, 99])),
            "remap_file_pages" => {
                op.args[2] = number(random.of(&[0, 0, 1]));
                op.args[3] = number(random.below(8));
            }
            "shmat" => {
                op.args[0] = Word::Segment(random.below(SEGMENTS.into()) as u8);
                let page = random.below(64);
                op.args[1] = number(random.of(&[0, ARENA + PAGE * page, ARENA + 99]));
            }
            "shmdt" | "io_destroy" => op.args[0] = Word::Slot(random.below(SLOTS.into()) as u8, 0),
            "ipc" => {
                // SHMAT and SHMDT, whose result goes to a block.
                op.args[0] = number(random.of(&[21, 21, 22, 99]));
                op.args[1] = Word::Segment(random.below(SEGMENTS.into()) as u8);
                op.args[2] = number(random.of(&[0, 0o10000]));
                op.args[3] = Word::Block;
                op.args[4] = number(random.of(&[0, ARENA, ARENA + 32 * PAGE]));
                op.args[5] = number(0);
            }
            "mseal" => op.args[2] = number(random.of(&[0, 1])),
            "prctl" => self.prctl(op),
            "arch_prctl" => {
                let map = option::ARCH_MAP_VDSO_X32 + random.below(3);
                let bad = [(option::ARCH_SHSTK_ENABLE, 99), (0x1234, 0)];
                let (what, address) = random.of(&[bad[0], bad[1], (map, 0), (map, ARENA)]);
                (op.args[0], op.args[1]) = (number(what), number(address));
            }
            "io_setup" => {
                op.args[0] = number(random.of(&[1, 8, 128, 0]));
                op.args[1] = Word::Block;
                op.keep = Some(random.below(SLOTS.into()) as u8);
            }
            "ioctl" => {
                // Nothing that protects a page: Linux 6.18 then tries forever to make it a guard.
                let (register, unregister) = (option::UFFDIO_REGISTER, option::UFFDIO_UNREGISTER);
                let request = random.of(&[register, register, unregister, 0x541b]);
                op.args = [number(0); 6];
                (op.args[0], op.args[1], op.args[2]) =
                    (number(USERFAULT), number(request), Word::Block);
                let mode = number(random.of(&[1, 2, 3, 4, 0]));
                op.block[..3].copy_from_slice(&[address, number(length), mode]);
            }
            // Those that are to succeed come at the end of a child's.
            "execve" => op.args[0] = Word::Text(random.of(&[0, 4, 5])),
            "execveat" => {
                let link = AT_SYMLINK_NOFOLLOW;
                // Nothing, or a directory: what is looked at before it is refused (what is no program, or
                // is only checked, `AT_EXECVE_CHECK`) leaves Linux 7.2 with a task whose next child looks
                // for ever for a number (`mm_get_cid`, `kernel/sched/sched.h`).
                let files = [AT_FDCWD, 99, DIRECTORY];
                let (file, path, flags) = match random.below(8) {
                    0 => (AT_FDCWD, 8, random.of(&[link, 1, !0])),
                    1 => (IMAGE_FILE, 5, random.of(&[link, 1])),
                    2..5 => (random.of(&files), 5, AT_EMPTY_PATH | random.of(&[0, 0, link])),
                    _ => (AT_FDCWD, random.of(&[0, 4, 5]), random.of(&[0, 0, link, 1])),
                };
                (op.args[0], op.args[1], op.args[4]) =
                    (number(file), Word::Text(path), number(flags));
            }
            "exit" | "exit_group" | "fork" | "vfork" | "clone" | "clone3" => {
                *op = self.of_name("munmap");
            }
            _ => {}
        }
    }

    fn prctl(&mut self, op: &mut Op) {
        let number = Word::Number;
        let (address, length) = self.range();
        let random = &mut self.random;
        op.args = [number(0); 6];
        match random.below(8) {
            0..5 => {
                let name = [Word::Text(6), Word::Text(6), Word::Text(7), number(0), Word::Text(0)];
                let name = random.of(&name);
                let args = [number(option::PR_SET_VMA), number(0), address, number(length), name];
                op.args[..5].copy_from_slice(&args);
            }
            5 | 6 => {
                op.args[0] = number(option::PR_SET_MEMORY_MERGE);
                op.args[1] = number(random.of(&[0, 1, 1, 7]));
            }
            _ => self.set_mm(op),
        }
        // An `int`, whatever is above it.
        if let (0, Word::Number(option)) = (self.random.below(4), &mut op.args[0]) {
            *option |= self.random.below(1 << 32) << 32;
        }
    }

    /// The layout's fields.
    fn set_mm(&mut self, op: &mut Op) {
        let number = Word::Number;
        let (address, _) = self.range();
        let random = &mut self.random;
        let heap = Word::Heap((random.below(8) * PAGE) as u32);
        op.args[0] = number(option::PR_SET_MM);
        let what = match random.below(4) {
            // PR_SET_MM_START_BRK, PR_SET_MM_BRK: the heap's own bounds are fit for both.
            0 => random.of(&[6, 7]),
            // PR_SET_MM_MAP.
            1 => 14,
            // PR_SET_MM_START_STACK, beside which stands what maps calls the stack.
            2 => 5,
            // PR_SET_MM_START_CODE to PR_SET_MM_MAP_SIZE, and two that there are not.
            _ => random.of(&[1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 15, 0, 99]),
        };
        op.args[1] = number(what);
        match what {
            6 | 7 => op.args[2] = heap,
            12 => (op.args[2], op.args[3]) = (address, number(random.of(&[16, 64, 0, !0]))),
            13 => op.args[2] = number(random.of(&[IMAGE_FILE, 100, 99])),
            14 => {
                // `struct prctl_mm_map`, without an auxiliary vector; and no file, or one that is
                // refused as long as the program's own is mapped.
                let base = ARENA + PAGE * random.below(64);
                let (start, end) = (number(base), number(base + PAGE * random.below(3)));
                let stack = random.of(&[start, end, heap]);
                let top = Word::Heap((random.below(8) * PAGE) as u32);
                let file = number(random.of(&[0xffff_ffff, 0xffff_ffff, IMAGE_FILE]) << 32);
                let code_and_data = [start, end, start, end];
                op.block[..4].copy_from_slice(&code_and_data);
                op.block[4..7].copy_from_slice(&[heap, top, stack]);
                op.block[7..11].copy_from_slice(&code_and_data);
                op.block[12] = file;
                op.args[2] = Word::Block;
                op.args[3] = number(random.of(&[104, 104, 104, 0]));
            }
            _ => op.args[2] = address,
        }
    }

    /// A call that makes a child, or seems to.
    fn birth(&mut self) -> Op {
        let mut flags = self.argument(Arg::Clone);
        let mut op = match self.random.below(8) {
            0 => Op::new("vfork", &[]),
            1 | 2 => Op::new("fork", &[]),
            3..6 => Op::new("clone", &[Word::Number(flags)]),
            _ => {
                // CLONE_NEWTIME, which only this call has room for.
                if share::of(flags) == share::NOTHING && self.random.once_in(8) {
                    flags |= 0x80;
                }
                Op::new("clone3", &[Word::Number(flags)])
            }
        };
        let shares = match op.name {
            "vfork" => return op,
            "fork" => share::NOTHING,
            _ => flags,
        };
        self.child = Some((2 + self.random.below(24), shares));
        if shares == share::NOTHING && op.name != "clone3" && self.random.once_in(8) {
            op.abi = Abi::I386;
        }
        op
    }
}

impl Iterator for Generator {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        let op = match self.child {
            Some((left, shares)) => Op { child: true, ..self.of_child(left, shares) },
            None if self.random.once_in(200) => self.birth(),
            None if self.random.once_in(400) => Op::new("kill", &[]),
            None => self.ordinary(),
        };
        Some(op)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mmaptrace_common::syscalls::{NAMING, TABLE};

    use super::{Generator, Op};

    #[test]
    fn each_call_of_the_table_is_made() {
        let made: BTreeSet<_> =
            Generator::new(1, 0, 0, 0).take(100_000).map(|op| op.name).collect();
        let mounts = ["mount", "umount", "umount2", "move_mount", "pivot_root", "setns", "unshare"];
        let naming = NAMING.iter().map(|row| row.name).filter(|name| !mounts.contains(name));
        for name in TABLE.iter().map(|row| row.name).chain(naming) {
            assert!(made.contains(name), "{name} is never made");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for op in Generator::new(2, 3, 4, 5).take(100_000) {
            let line = op.to_string();
            assert_eq!(line.parse::<Op>().expect(&line), op, "{line}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_calls_again() {
        let calls = |thread| Generator::new(7, 0, 1, thread).take(1000).collect::<Vec<_>>();
        assert_eq!(calls(1), calls(1));
        assert_ne!(calls(1), calls(2));
    }
}

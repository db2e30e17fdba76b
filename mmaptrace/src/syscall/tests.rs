//! Each line of [`SEEN`] is what strace 6.1 printed for the call beside it.

use super::*;

const A: u64 = 0x1000_0000;
const MINUS_1: u64 = u64::MAX;

/// The call's number and arguments, its result, and strace's line without the padding.
type Seen = (i32, [u64; 6], i64, &'static str);

#[rustfmt::skip]
const SEEN: &[Seen] = &[
    (9, [0, 16384, 3, 0x22, MINUS_1, 0], 0x7f22_f4c6_2000,
     "mmap(NULL, 16384, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f22f4c62000"),
    (9, [A, 16384, 3, 0x32, MINUS_1, 0], 0x1000_0000,
     "mmap(0x10000000, 16384, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS, -1, 0) = 0x10000000"),
    (9, [0, 16384, 0x100_0003, 0x22 | 0x40000 | 21 << 26, MINUS_1, 0], -12,
     "mmap(NULL, 16384, PROT_READ|PROT_WRITE|PROT_GROWSDOWN, MAP_PRIVATE|MAP_ANONYMOUS|MAP_HUGETLB|21<<MAP_HUGE_SHIFT, -1, 0) = -1 ENOMEM (Cannot allocate memory)"),
    (9, [0, 16384, 0x80, 0x8000_0022, MINUS_1, 0x1000], 0x7f22_f4c5_e000,
     "mmap(NULL, 16384, 0x80 /* PROT_??? */, MAP_PRIVATE|MAP_ANONYMOUS|32<<MAP_HUGE_SHIFT, -1, 0x1000) = 0x7f22f4c5e000"),
    (9, [0, 16384, 0xf, 1, MINUS_1, 0xffff_ffff_ffff_f000], -9,
     "mmap(NULL, 16384, PROT_READ|PROT_WRITE|PROT_EXEC|PROT_SEM, MAP_SHARED, -1, 0xfffffffffffff000) = -1 EBADF (Bad file descriptor)"),
    (9, [0, 16384, 0xf, 4, MINUS_1, 8192], -9,
     "mmap(NULL, 16384, PROT_READ|PROT_WRITE|PROT_EXEC|PROT_SEM, 0x4 /* MAP_??? */, -1, 0x2000) = -1 EBADF (Bad file descriptor)"),
    (9, [0, 16384, 0, 0, 3, 8192], -9,
     "mmap(NULL, 16384, PROT_NONE, MAP_FILE, 3, 0x2000) = -1 EBADF (Bad file descriptor)"),
    (9, [0, MINUS_1, 0x80, 0x7f_ff73, MINUS_1, 0x1000], -22,
     "mmap(NULL, 18446744073709551615, 0x80 /* PROT_??? */, MAP_SHARED_VALIDATE|MAP_FIXED|MAP_ANONYMOUS|MAP_32BIT|MAP_NORESERVE|MAP_POPULATE|MAP_NONBLOCK|MAP_GROWSDOWN|MAP_DENYWRITE|MAP_EXECUTABLE|MAP_LOCKED|MAP_STACK|MAP_HUGETLB|MAP_SYNC|MAP_FIXED_NOREPLACE|0x600600, -1, 0x1000) = -1 EINVAL (Invalid argument)"),
    (9, [0, 16384, 0x80, 0x103, 100, 1], -22,
     "mmap(NULL, 16384, 0x80 /* PROT_??? */, MAP_SHARED_VALIDATE|MAP_GROWSDOWN, 100, 0x1) = -1 EINVAL (Invalid argument)"),
    (25, [A, 8192, 16384, 1, 0, 0], 0x7f22_f4c5_a000,
     "mremap(0x10000000, 8192, 16384, MREMAP_MAYMOVE) = 0x7f22f4c5a000"),
    (25, [A, 8192, 16384, 3, 0x2000_0000, 0], -14,
     "mremap(0x10000000, 8192, 16384, MREMAP_MAYMOVE|MREMAP_FIXED, 0x20000000) = -1 EFAULT (Bad address)"),
    (25, [A, 8192, 16384, 5, 0x2000_0000, 0], -22,
     "mremap(0x10000000, 8192, 16384, MREMAP_MAYMOVE|MREMAP_DONTUNMAP) = -1 EINVAL (Invalid argument)"),
    (25, [A, 8192, 16384, 7, 0, 0], -22,
     "mremap(0x10000000, 8192, 16384, MREMAP_MAYMOVE|MREMAP_FIXED|MREMAP_DONTUNMAP, NULL) = -1 EINVAL (Invalid argument)"),
    (25, [A, 8192, 16384, 0x18, 0, 0], -22,
     "mremap(0x10000000, 8192, 16384, 0x18 /* MREMAP_??? */) = -1 EINVAL (Invalid argument)"),
    (10, [A, 4096, 0xff0, 0, 0, 0], -22,
     "mprotect(0x10000000, 4096, 0xff0 /* PROT_??? */) = -1 EINVAL (Invalid argument)"),
    (329, [A, 4096, 1, MINUS_1, 0, 0], -12,
     "pkey_mprotect(0x10000000, 4096, PROT_READ, -1) = -1 ENOMEM (Cannot allocate memory)"),
    (12, [0, 0, 0, 0, 0, 0], 0x5611_6dc8_6000, "brk(NULL) = 0x56116dc86000"),
    (28, [A, 4096, 25, 0, 0, 0], -12,
     "madvise(0x10000000, 4096, MADV_COLLAPSE) = -1 ENOMEM (Cannot allocate memory)"),
    (28, [A, 4096, 5, 0, 0, 0], -22,
     "madvise(0x10000000, 4096, 0x5 /* MADV_??? */) = -1 EINVAL (Invalid argument)"),
    (28, [A, 4096, MINUS_1, 0, 0, 0], -22,
     "madvise(0x10000000, 4096, 0xffffffff /* MADV_??? */) = -1 EINVAL (Invalid argument)"),
    (440, [5, 0, 1, 4, 0x10, 0], -22,
     "process_madvise(5, NULL, 1, MADV_DONTNEED, 0x10) = -1 EINVAL (Invalid argument)"),
    (325, [A, 4096, 0, 0, 0, 0], -12, "mlock2(0x10000000, 4096, 0) = -1 ENOMEM (Cannot allocate memory)"),
    (325, [A, 4096, 3, 0, 0, 0], -22,
     "mlock2(0x10000000, 4096, MLOCK_ONFAULT|0x2) = -1 EINVAL (Invalid argument)"),
    (151, [7, 0, 0, 0, 0, 0], 0, "mlockall(MCL_CURRENT|MCL_FUTURE|MCL_ONFAULT) = 0"),
    (152, [1, 2, 3, 0, 0, 0], 0, "munlockall() = 0"),
    (237, [A, 4096, 0x8001, 0, 0, 0], -22,
     "mbind(0x10000000, 4096, MPOL_PREFERRED|MPOL_F_STATIC_NODES, NULL, 0, 0) = -1 EINVAL (Invalid argument)"),
    (237, [A, 4096, 0x10001, 0, 0, 0], -22,
     "mbind(0x10000000, 4096, 0x10001 /* MPOL_??? */, NULL, 0, 0) = -1 EINVAL (Invalid argument)"),
    (237, [A, 4096, 0xe003, 0, 0, 0], -22,
     "mbind(0x10000000, 4096, MPOL_INTERLEAVE|MPOL_F_STATIC_NODES|MPOL_F_RELATIVE_NODES|MPOL_F_NUMA_BALANCING, NULL, 0, 0) = -1 EINVAL (Invalid argument)"),
    (237, [A, 4096, 2, A, 64, 7], -14,
     "mbind(0x10000000, 4096, MPOL_BIND, 0x10000000, 64, MPOL_MF_STRICT|MPOL_MF_MOVE|MPOL_MF_MOVE_ALL) = -1 EFAULT (Bad address)"),
    (450, [A, 4096, 0, 0, 0, 0], -2,
     "set_mempolicy_home_node(0x10000000, 4096, 0, 0) = -1 ENOENT (No such file or directory)"),
    (216, [A, 4096, 0, 0, 0x10000, 0], -22,
     "remap_file_pages(0x10000000, 4096, PROT_NONE, 0, MAP_FILE|MAP_NONBLOCK) = -1 EINVAL (Invalid argument)"),
    (30, [5000, A, 0o160_000, 0, 0, 0], -22,
     "shmat(5000, 0x10000000, SHM_RND|SHM_REMAP|SHM_EXEC) = -1 EINVAL (Invalid argument)"),
    (30, [MINUS_1, 0, 1, 0, 0, 0], -22,
     "shmat(-1, NULL, 0x1 /* SHM_??? */) = -1 EINVAL (Invalid argument)"),
    (67, [A, 0, 0, 0, 0, 0], -22, "shmdt(0x10000000) = -1 EINVAL (Invalid argument)"),
    (157, [0x5356_4d41, 0, A, 4096, 0, 0], -22,
     "prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, 0x10000000, 4096, NULL) = -1 EINVAL (Invalid argument)"),
    (157, [0x5356_4d41, 5, A, 4096, 0, 0], -22,
     "prctl(PR_SET_VMA, 0x5 /* PR_SET_VMA_??? */, 0x10000000, 0x1000, 0) = -1 EINVAL (Invalid argument)"),
    (157, [35, 7, A, 0, 0, 0], -1,
     "prctl(PR_SET_MM, PR_SET_MM_BRK, 0x10000000, 0, 0) = -1 EPERM (Operation not permitted)"),
    (157, [4444, 1, 2, 3, 4, 0], -22,
     "prctl(0x115c /* PR_??? */, 0x1, 0x2, 0x3, 0x4) = -1 EINVAL (Invalid argument)"),
    (158, [0x2003, A, 0, 0, 0, 0], -17,
     "arch_prctl(ARCH_MAP_VDSO_64, 0x10000000) = -1 EEXIST (File exists)"),
    (158, [9, 1, 0, 0, 0, 0], -22, "arch_prctl(0x9 /* ARCH_??? */, 0x1) = -1 EINVAL (Invalid argument)"),
    (206, [8, A, 0, 0, 0, 0], -14, "io_setup(8, 0x10000000) = -1 EFAULT (Bad address)"),
    (16, [5, 0xc020_aa00, A, 0, 0, 0], -9,
     "ioctl(5, UFFDIO_REGISTER, 0x10000000) = -1 EBADF (Bad file descriptor)"),
    (16, [1, 0xc004_6401, A, 0, 0, 0], -25,
     "ioctl(1, _IOC(_IOC_READ|_IOC_WRITE, 0x64, 0x1, 0x4), 0x10000000) = -1 ENOTTY (Inappropriate ioctl for device)"),
    (16, [1, 0x1234_5678, 5, 0, 0, 0], -25,
     "ioctl(1, _IOC(_IOC_NONE, 0x56, 0x78, 0x1234), 0x5) = -1 ENOTTY (Inappropriate ioctl for device)"),
    (135, [0xffff_ffff, 0, 0, 0, 0, 0], 0x40000,
     "personality(0xffffffff) = 0x40000 (PER_LINUX|ADDR_NO_RANDOMIZE)"),
    (135, [0x0040_0000, 0, 0, 0, 0, 0], 0,
     "personality(PER_LINUX|READ_IMPLIES_EXEC) = 0 (PER_LINUX)"),
    (135, [0x12345, 0, 0, 0, 0, 0], 8,
     "personality(0x45 /* PER_??? */|0x12300) = 0x8 (PER_LINUX32)"),
    (322, [5, 0, 0, 0, 1, 0], -14, "execveat(5, NULL, NULL, NULL, 0x1 /* AT_??? */) = -1 EFAULT (Bad address)"),
    (56, [0x0120_0011, 0, 0, 0x7fbc_7dac_aa10, 0, 0], 6592,
     "clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7fbc7dacaa10) = 6592"),
    (435, [0, 0, 0, 0, 0, 0], -22, "clone3(NULL, 0) = -1 EINVAL (Invalid argument)"),
];

fn line(call: &Syscall, path: &[u8], result: i64) -> String {
    format!("{} = {}", Call { call, path, open: false }, Outcome { call, result })
}

#[test]
fn reads_as_strace_writes() {
    for &(nr, args, result, expected) in SEEN {
        assert_eq!(line(&Syscall { nr, compat: false, args }, b"", result), expected);
    }
}

#[test]
fn calls_of_the_table_that_strace_6_1_does_not_know() {
    let call = |nr, args| Syscall { nr, compat: false, args };
    let show = |nr, args| line(&call(nr, args), b"", 0);
    assert_eq!(
        show(28, [A, 4096, 102, 0, 0, 0]),
        "madvise(0x10000000, 4096, MADV_GUARD_INSTALL) = 0"
    );
    assert_eq!(show(462, [A, 4096, 0, 0, 0, 0]), "mseal(0x10000000, 4096, 0) = 0");
    assert_eq!(
        line(&call(453, [0, 4096, 1, 0, 0, 0]), b"", 0x7000_0000_0000),
        "map_shadow_stack(NULL, 4096, SHADOW_STACK_SET_TOKEN) = 0x700000000000"
    );
    assert_eq!(show(157, [67, 1, 0, 0, 0, 0]), "prctl(PR_SET_MEMORY_MERGE, 0x1, 0, 0, 0) = 0");
    assert_eq!(
        show(158, [0x5001, 1, 0, 0, 0, 0]),
        "arch_prctl(ARCH_SHSTK_ENABLE, ARCH_SHSTK_SHSTK) = 0"
    );
    assert_eq!(
        show(9, [0, 4096, 3, 0x28, MINUS_1, 0]),
        "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_DROPPABLE|MAP_ANONYMOUS, -1, 0) = 0"
    );
}

#[test]
fn a_path_is_quoted_and_harmless() {
    let call = Syscall { nr: 322, compat: false, args: [-100_i64 as u64, A, 0, 0, 0x1100, 0] };
    assert_eq!(
        line(&call, b"he\x01l\"o\n", -2),
        r#"execveat(AT_FDCWD, "he\001l\"o\012", NULL, NULL, AT_SYMLINK_NOFOLLOW|AT_EMPTY_PATH) = -1 ENOENT (No such file or directory)"#
    );
}

#[test]
fn calls_of_32_bit_programs() {
    let call = |nr, args| Syscall { nr, compat: true, args };
    let junk = 0xdead_beef_0000_0000;
    assert_eq!(
        line(&call(192, [junk, 8192, 1, 2, junk | 3, 2]), b"", 0xf7f0_0000),
        "mmap2(NULL, 8192, PROT_READ, MAP_PRIVATE, 3, 0x2000) = 0xf7f00000"
    );
    assert_eq!(
        line(&call(90, [0xffff_d000, 0, 0, 0, 0, 0]), b"", -14),
        "old_mmap(0xffffd000) = -1 EFAULT (Bad address)"
    );
    assert_eq!(
        line(&call(117, [21, 7, 0, 0xffff_d000, 0, 0]), b"", 0),
        "ipc(SHMAT, 7, 0, 4294955008, NULL, 0) = 0"
    );
    assert_eq!(
        line(&call(120, [0x3d_0f00, A, 0x100, 0x200, 0x300, 0]), b"", 7),
        "clone(child_stack=0x10000000, flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|\
         CLONE_THREAD|CLONE_SYSVSEM|CLONE_SETTLS|CLONE_PARENT_SETTID|CLONE_CHILD_CLEARTID, \
         parent_tid=0x100, tls=0x200, child_tidptr=0x300) = 7"
    );
}

#[test]
fn calls_without_a_row() {
    let call = |nr, compat| Syscall { nr, compat, args: [1, 0, 0xff, 0, 0, 0] };
    assert_eq!(name(&call(0, false)), "read");
    assert_eq!(name(&call(511, false)), "syscall_0x1ff");
    assert_eq!(name(&call(3, true)), "syscall_0x3");
    assert_eq!(line(&call(0, false), b"", 5), "read(0x1, 0, 0xff, 0, 0, 0) = 5");
}

#[test]
fn results_that_are_no_values() {
    let call = Syscall { nr: 11, compat: false, args: [0; 6] };
    let outcome = |result| Outcome { call: &call, result };
    assert_eq!(outcome(-512).to_string(), "? ERESTARTSYS (To be restarted if SA_RESTART is set)");
    assert_eq!(outcome(-524).to_string(), "-1 (errno 524)");
    assert_eq!(outcome(-4096).to_string(), "-4096");
    let value = |result| outcome(result).value().to_string();
    assert_eq!((value(-12).as_str(), outcome(-12).error()), ("-1", Some("ENOMEM".into())));
    assert_eq!((value(-512).as_str(), value(0).as_str()), ("?", "0"));
    assert_eq!(outcome(0).error(), None);
    assert_eq!(outcome(i64::MIN).error(), None);
}

#[test]
fn an_open_call_has_no_end() {
    let call = Syscall { nr: 11, compat: false, args: [A, 4096, 0, 0, 0, 0] };
    assert_eq!(Call { call: &call, path: b"", open: true }.to_string(), "munmap(0x10000000, 4096");
}

//! Files of a file system in user space: `include/uapi/linux/fuse.h`, as much of it as a file takes that
//! is mapped. The server is a child of our own, for who waits for it may hold the lock of our memory.

use std::path::PathBuf;

use crate::{
    mounts::{alone, mount},
    sys::{
        Case, Outcome, PAGE, R, RW, Unsupported, call, if_supported, mmap, must, open, ready,
        scratch, touch,
    },
    tasks::clone,
};

pub(crate) const CASES: &[Case] = &[
    ("fuse_long_name", long_name),
    ("fuse_other_inode", other_inode),
    ("fuse_answers_late", answers_late),
];

const INIT: u32 = 26;
const LOOKUP: u32 = 1;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const FORGET: u32 = 2;
const BATCH_FORGET: u32 = 42;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
/// `FOPEN_DIRECT_IO`
const DIRECT_IO: u64 = 1;

/// How the server does.
#[derive(Clone, Copy)]
struct Served {
    /// The inode number is another each time it is asked for.
    other_inodes: bool,
    /// Files from the second one on are opened for direct access, and what is written takes for ever.
    late: bool,
}

/// Mounts a file system in which each name is that of the one file it has.
fn serve(how: Served) -> Result<PathBuf, Unsupported> {
    alone()?;
    let fd = if_supported(
        "open",
        call(libc::SYS_open, [c"/dev/fuse".as_ptr().expose_provenance(), libc::O_RDWR as usize]),
    )?;
    let path = scratch().join("fuse");
    std::fs::create_dir(&path).expect("a directory");
    let options = format!("fd={fd},rootmode=40000,user_id=0,group_id=0");
    mount("none".as_ref(), &path, "fuse", 0, &options)?;
    if clone(libc::SIGCHLD) == 0 {
        // SAFETY: plain calls.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            // Who waits for it cannot be killed.
            libc::alarm(60);
        }
        answer(fd, how);
        crate::sys::exit(0);
    }
    must(call(libc::SYS_close, [fd]));
    Ok(path)
}

/// Answers until nobody asks any more.
fn answer(fd: usize, how: Served) {
    let mut asked = vec![0_u64; 1 << 15];
    let (mut inode, mut opened) = (100, 0);
    loop {
        let room = [fd, asked.as_mut_ptr().expose_provenance(), 8 * asked.len()];
        match call(libc::SYS_read, room) {
            Ok(_) => {}
            Err(libc::EINTR | libc::ENOENT) => continue,
            Err(_) => return,
        }
        // `struct fuse_in_header`
        let (operation, unique, node) = ((asked[0] >> 32) as u32, asked[1], asked[2]);
        let attributes = |inode: u64, node: u64| {
            let mode = if node == 1 { 0o40_755 } else { 0o100_644 };
            // `struct fuse_attr`: inode, size, blocks, times, their ns and the mode, links.
            let size = PAGE as u64;
            [inode, size, 8, 0, 0, 0, 0, mode << 32, 1, 0, size]
        };
        let reply = match operation {
            // Version 7.31; how many may be asked for, and how much may be written, at once.
            INIT => vec![7 | 31 << 32, 0, 0x1_0000_000a_000c, 1, 0, 0, 0, 0],
            LOOKUP => [&[2, 1, 0, 0, 0][..], &attributes(inode, 2)].concat(),
            GETATTR => {
                inode += u64::from(how.other_inodes);
                [&[0, 0][..], &attributes(if node == 1 { 1 } else { inode }, node)].concat()
            }
            OPEN => {
                opened += 1;
                vec![1, if how.late && opened > 1 { DIRECT_IO } else { 0 }]
            }
            READ => vec![0; PAGE / 8],
            WRITE if how.late => loop {
                std::thread::park();
            },
            FORGET | BATCH_FORGET => continue,
            RELEASE | FLUSH => Vec::new(),
            _ => {
                // `ENOSYS`: there is no such thing here.
                let error = (-libc::ENOSYS).cast_unsigned();
                let head = [16 | u64::from(error) << 32, unique];
                let _ = call(libc::SYS_write, [fd, head.as_ptr().expose_provenance(), 16]);
                continue;
            }
        };
        let whole = [&[16 + 8 * reply.len() as u64, unique][..], &reply].concat();
        let _ = call(libc::SYS_write, [fd, whole.as_ptr().expose_provenance(), 8 * whole.len()]);
    }
}

const PLAIN: Served = Served { other_inodes: false, late: false };

/// A component of a path may be longer than Linux's own file systems have them.
fn long_name() -> Outcome {
    let path = serve(PLAIN)?.join("n".repeat(300));
    let fd = open(path.as_os_str().as_encoded_bytes(), libc::O_RDWR);
    ready();
    must(mmap(0, PAGE, R, libc::MAP_PRIVATE, fd, 0));
    Ok(())
}

/// The number of a file is what its file system says, and that may say another.
fn other_inode() -> Outcome {
    let path = serve(Served { other_inodes: true, ..PLAIN })?.join("file");
    let fd = open(path.as_os_str().as_encoded_bytes(), libc::O_RDWR);
    must(mmap(0, PAGE, R, libc::MAP_PRIVATE, fd, 0));
    ready();
    let inode = || std::os::unix::fs::MetadataExt::ino(&path.metadata().expect("it is there"));
    assert_ne!(inode(), inode());
    Ok(())
}

/// What is written back before a file is mapped waits for the server, with the lock of our memory held. It never
/// is done.
fn answers_late() -> Outcome {
    let path = serve(Served { late: true, ..PLAIN })?.join("file");
    let [one, other] = [(); 2].map(|()| open(path.as_os_str().as_encoded_bytes(), libc::O_RDWR));
    let at = must(mmap(0, PAGE, RW, libc::MAP_SHARED, one, 0));
    touch(at);
    ready();
    must(mmap(0, PAGE, R, libc::MAP_PRIVATE, other, 0));
    Ok(())
}

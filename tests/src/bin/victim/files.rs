//! Mapped files, and what their names become.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use mmaptrace_tests::is_emulated;

use crate::ring::{ASYNC, LINK, Ring, op, word};
use crate::sys::{
    Case, Outcome, PAGE, R, RW, call, file, if_supported, mmap, munmap, must, open, ready, say,
    scratch, touch, wait,
};

pub(crate) const CASES: &[Case] = &[
    ("file_unlinked", unlinked),
    ("file_unlinked_before", unlinked_before),
    ("file_renamed", renamed),
    ("file_renamed_by_io_uring", renamed_by_ring),
    ("file_renamed_in_a_chain_of_io_uring", renamed_in_a_chain),
    ("file_unlinked_by_io_uring", unlinked_by_ring),
    ("file_replaced_by_rename", replaced),
    ("file_directory_renamed", directory_renamed),
    ("file_directory_renamed_while_read", directory_renamed_while_read),
    ("file_unlinked_and_made_again", made_again),
    ("file_second_link_unlinked", second_link),
    ("file_held", held),
    ("file_mapped_again_after_many", mapped_again),
    ("path_newline", newline),
    ("path_deleted_for_a_name", deleted_for_a_name),
    ("path_not_utf8", not_utf8),
    ("path_backslash_and_spaces", backslash),
    ("path_control_characters", control_characters),
    ("path_longest_component", longest_component),
    ("path_deeper_than_path_max", deeper_than_path_max),
    ("path_deeper_than_is_sent", deeper_than_is_sent),
    ("dev_zero", dev_zero),
    ("secret_memory", secret_memory),
];

const READ_OR_MAKE: i32 = libc::O_RDWR | libc::O_CREAT;

fn map(fd: i32) -> usize {
    must(mmap(0, 2 * PAGE, R, libc::MAP_PRIVATE, fd, 0))
}

/// A file of this name, mapped before the tracer comes and once more after.
fn named(name: &[u8]) -> Outcome {
    let fd = file(name, 4);
    map(fd);
    ready();
    must(mmap(0, PAGE, R, libc::MAP_SHARED, fd, PAGE));
    Ok(())
}

/// The test itself does things to the file.
fn held() -> Outcome {
    map(file(b"held", 4));
    ready();
    Ok(())
}

/// More files than the tracer keeps names of, and then, while it does nothing, twice as many, and at last
/// the first of all.
fn mapped_again() -> Outcome {
    let nth = |n: usize| open(scratch().join(n.to_string()).as_os_str().as_bytes(), READ_OR_MAKE);
    let map_for_a_moment = |n| {
        let fd = nth(n);
        must(munmap(must(mmap(0, PAGE, R, libc::MAP_PRIVATE, fd, 0)), PAGE));
        must(call(libc::SYS_close, [fd as usize]));
    };
    ready();
    (0..4500).for_each(map_for_a_moment);
    ready();
    (4500..13000).for_each(map_for_a_moment);
    map(nth(0));
    Ok(())
}

fn unlinked() -> Outcome {
    map(file(b"unlinked", 4));
    ready();
    std::fs::remove_file(scratch().join("unlinked")).expect("unlink");
    Ok(())
}

fn unlinked_before() -> Outcome {
    let fd = file(b"unlinked", 4);
    std::fs::remove_file(scratch().join("unlinked")).expect("unlink");
    ready();
    map(fd);
    Ok(())
}

fn renamed() -> Outcome {
    map(file(b"old", 4));
    ready();
    std::fs::rename(scratch().join("old"), scratch().join("new")).expect("rename");
    Ok(())
}

/// No call of anyone renames it, but a worker.
fn renamed_by_ring() -> Outcome {
    map(file(b"old", 4));
    let [old, new] = ["old", "new"].map(path_of);
    ready();
    Ring::new()?.submit([renaming(&old, &new)])
}

/// Likewise, and after something else: of that alone the kernel tells who looks.
fn renamed_in_a_chain() -> Outcome {
    map(file(b"old", 4));
    let [old, new] = ["old", "new"].map(path_of);
    ready();
    Ring::new()?.submit([[word(op::NOP | ASYNC | LINK, 0), 0, 0, 0], renaming(&old, &new)])
}

fn renaming(old: &CStr, new: &CStr) -> [u64; 4] {
    let [old, new] = [old, new].map(|path| path.as_ptr().expose_provenance() as u64);
    [word(op::RENAMEAT, libc::AT_FDCWD), new, old, word(libc::AT_FDCWD.cast_unsigned(), 0)]
}

/// Unlinked so.
fn unlinked_by_ring() -> Outcome {
    map(file(b"held", 4));
    let held = path_of("held");
    ready();
    let address = held.as_ptr().expose_provenance() as u64;
    Ring::new()?.submit([[word(op::UNLINKAT, libc::AT_FDCWD), 0, address, 0]])
}

fn path_of(name: &str) -> CString {
    CString::new(scratch().join(name).into_os_string().into_vec()).expect("a path without a NUL")
}

/// As every editor and package manager does: the mapped file has lost its name to another.
fn replaced() -> Outcome {
    map(file(b"library", 4));
    let fd = file(b"library.new", 4);
    ready();
    std::fs::rename(scratch().join("library.new"), scratch().join("library")).expect("rename");
    map(fd);
    Ok(())
}

fn directory_renamed() -> Outcome {
    std::fs::create_dir_all(scratch().join("a/b")).expect("directories");
    map(file(b"a/b/file", 4));
    ready();
    std::fs::rename(scratch().join("a"), scratch().join("c")).expect("rename");
    Ok(())
}

/// Another thread gives a directory of the path another name while the path is read, which takes the longer the
/// longer it is: earlier and later, so that some of them come in the middle.
fn directory_renamed_while_read() -> Outcome {
    const LEVELS: usize = 900;
    const ROUNDS: u32 = 40;
    static BEGUN: AtomicU32 = AtomicU32::new(0);
    std::env::set_current_dir(scratch()).expect("the scratch directory");
    for _ in 0..LEVELS {
        std::fs::create_dir("a").expect("a directory");
        std::env::set_current_dir("a").expect("in it");
    }
    let mut names = ["here", "there"];
    let mut others = ["one", "other"];
    for name in [names[0], others[0]] {
        std::fs::create_dir(name).expect("a directory");
    }
    let fd = open(format!("{}/file", names[0]), libc::O_RDWR | libc::O_CREAT);
    must(call(libc::SYS_ftruncate, [fd as usize, PAGE]));
    ready();
    for round in 1..=ROUNDS {
        let delay = 3 * (round % 20) * if is_emulated() { 10 } else { 1 };
        std::thread::scope(|scope| {
            let mover = scope.spawn(move || {
                while BEGUN.load(Ordering::Acquire) < round {}
                let start = Instant::now();
                while start.elapsed().as_micros() < delay.into() {}
                std::fs::rename(names[0], names[1]).expect("rename");
            });
            // For paths to be read anew.
            std::fs::rename(others[0], others[1]).expect("rename");
            BEGUN.store(round, Ordering::Release);
            must(mmap(0, PAGE, R, libc::MAP_SHARED, fd, 0));
            mover.join().expect("a thread");
        });
        names.reverse();
        others.reverse();
        if round < ROUNDS {
            say("DONE");
            wait();
        }
    }
    Ok(())
}

/// The same name, perhaps the same inode number, and another file.
fn made_again() -> Outcome {
    map(file(b"again", 4));
    ready();
    for _ in 0..3 {
        std::fs::remove_file(scratch().join("again")).expect("unlink");
        map(file(b"again", 4));
    }
    Ok(())
}

/// The file is still there, and the name it was mapped by is not.
fn second_link() -> Outcome {
    map(file(b"one", 4));
    std::fs::hard_link(scratch().join("one"), scratch().join("two")).expect("link");
    ready();
    map(open(scratch().join("two").as_os_str().as_bytes(), libc::O_RDONLY));
    std::fs::remove_file(scratch().join("one")).expect("unlink");
    Ok(())
}

fn newline() -> Outcome {
    named(b"new\nline\n")
}

fn deleted_for_a_name() -> Outcome {
    named(b"not gone (deleted)")
}

fn not_utf8() -> Outcome {
    named(b"\xff\xfe\xc3( bytes")
}

fn backslash() -> Outcome {
    named(b" back\\slash \\012 ")
}

fn control_characters() -> Outcome {
    named(b"\x1b[31mred\x07\t\r\x7f\"}")
}

fn longest_component() -> Outcome {
    named(&[b'x'; 255])
}

/// A path of 5,000 bytes.
fn deeper_than_path_max() -> Outcome {
    deep(25)
}

/// One of 20,000.
fn deeper_than_is_sent() -> Outcome {
    deep(100)
}

/// Made step by step, as no path of this length can be said.
fn deep(levels: usize) -> Outcome {
    let home = std::env::current_dir().expect("a directory");
    std::env::set_current_dir(scratch()).expect("the scratch directory");
    for _ in 0..levels {
        let name = "d".repeat(200);
        std::fs::create_dir(&name).expect("a directory");
        std::env::set_current_dir(&name).expect("in it");
    }
    let fd = open("deep", libc::O_RDWR | libc::O_CREAT);
    must(call(libc::SYS_ftruncate, [fd as usize, 4 * PAGE]));
    std::env::set_current_dir(home).expect("back");
    map(fd);
    ready();
    must(mmap(0, PAGE, R, libc::MAP_SHARED, fd, PAGE));
    Ok(())
}

/// Shared, it is memory with a name of its own; private, it is anonymous and has the file's name.
fn dev_zero() -> Outcome {
    let fd = open("/dev/zero", libc::O_RDWR);
    ready();
    touch(must(mmap(0, 2 * PAGE, RW, libc::MAP_SHARED, fd, 0)));
    touch(must(mmap(0, 3 * PAGE, RW, libc::MAP_PRIVATE, fd, 0)));
    Ok(())
}

fn secret_memory() -> Outcome {
    ready();
    let fd = if_supported("memfd_secret", call(libc::SYS_memfd_secret, [0]))?;
    must(call(libc::SYS_ftruncate, [fd, 4 * PAGE]));
    if_supported("mmap", mmap(0, 2 * PAGE, RW, libc::MAP_SHARED, fd as i32, 0))?;
    Ok(())
}

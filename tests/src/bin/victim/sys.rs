//! System calls as the kernel has them, and the talk with the test.

use std::ffi::CString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

pub(crate) use mmaptrace_tests::raw::call;

/// A case: its name, and what it does.
pub(crate) type Case = (&'static str, fn() -> Outcome);

/// How a case went.
pub(crate) type Outcome = Result<(), Unsupported>;

/// A call that this kernel, or its configuration, lacks.
pub(crate) struct Unsupported {
    pub(crate) call: &'static str,
    pub(crate) errno: i32,
}

/// Bytes in a page.
pub(crate) const PAGE: usize = 4096;
/// Readable.
pub(crate) const R: i32 = libc::PROT_READ;
/// Readable and writable.
pub(crate) const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
/// Private anonymous memory.
pub(crate) const ANON: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

/// The value of a call that works on every kernel.
#[track_caller]
pub(crate) fn must(result: Result<usize, i32>) -> usize {
    result.unwrap_or_else(|errno| panic!("{}", std::io::Error::from_raw_os_error(errno)))
}

/// The value of a call that a kernel may lack.
pub(crate) fn if_supported(
    call: &'static str,
    result: Result<usize, i32>,
) -> Result<usize, Unsupported> {
    result.map_err(|errno| Unsupported { call, errno })
}

/// Holds that a call failed as it should.
#[track_caller]
pub(crate) fn fails(result: Result<usize, i32>, errno: i32) {
    assert_eq!(result, Err(errno));
}

/// `mmap`.
pub(crate) fn mmap(
    at: usize,
    len: usize,
    prot: i32,
    flags: i32,
    fd: i32,
    offset: usize,
) -> Result<usize, i32> {
    call(libc::SYS_mmap, [at, len, prot as usize, flags as usize, fd as usize, offset])
}

/// `munmap`.
pub(crate) fn munmap(at: usize, len: usize) -> Result<usize, i32> {
    call(libc::SYS_munmap, [at, len])
}

/// `mprotect`.
pub(crate) fn mprotect(at: usize, len: usize, prot: i32) -> Result<usize, i32> {
    call(libc::SYS_mprotect, [at, len, prot as usize])
}

/// That many pages of readable and writable anonymous memory, with a page on each side that
/// nothing merges with.
pub(crate) fn area(pages: usize) -> usize {
    let room = must(mmap(0, (pages + 2) * PAGE, libc::PROT_NONE, ANON, -1, 0));
    must(mprotect(room + PAGE, pages * PAGE, RW));
    room + PAGE
}

/// That many pages of addresses with nothing mapped there, as long as nobody maps anything.
pub(crate) fn hole(pages: usize) -> usize {
    let at = must(mmap(0, pages * PAGE, libc::PROT_NONE, ANON, -1, 0));
    must(munmap(at, pages * PAGE));
    at
}

/// Whether a region begins at this address.
pub(crate) fn begins(address: usize) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    maps.lines().any(|line| line.starts_with(&format!("{address:x}-")))
}

/// Writes a byte there, as a program does that uses its memory.
pub(crate) fn touch(at: usize) {
    // SAFETY: the cases touch mapped and writable memory, or such as grows when touched.
    unsafe { std::ptr::with_exposed_provenance_mut::<u8>(at).write_volatile(1) }
}

/// Opens a file that the case cannot do without.
#[track_caller]
pub(crate) fn open(path: impl Into<Vec<u8>>, flags: i32) -> i32 {
    let path = CString::new(path).expect("no NUL in a path");
    let at = libc::AT_FDCWD as usize;
    must(call(libc::SYS_openat, [at, path.as_ptr().addr(), flags as usize, 0o644])) as i32
}

/// Opens this very program.
pub(crate) fn open_self() -> i32 {
    open("/proc/self/exe", libc::O_RDONLY)
}

/// The directory the test gave this case.
pub(crate) fn scratch() -> PathBuf {
    std::env::args_os().nth(2).expect("a directory").into()
}

/// A new file of that many pages in the test's directory.
pub(crate) fn file(name: &[u8], pages: usize) -> i32 {
    let mut path = scratch().into_os_string().into_vec();
    path.push(b'/');
    path.extend_from_slice(name);
    let fd = open(path, libc::O_RDWR | libc::O_CREAT);
    must(call(libc::SYS_ftruncate, [fd as usize, pages * PAGE]));
    fd
}

/// Says a line to the test. Neither this nor [`wait`] allocates: a case may have given its heap
/// back.
pub(crate) fn say(line: &str) {
    let part =
        |text: &str| libc::iovec { iov_base: text.as_ptr().cast_mut().cast(), iov_len: text.len() };
    let parts = [part(line), part("\n")];
    must(call(libc::SYS_writev, [1, parts.as_ptr().expose_provenance(), 2]));
}

/// Waits for the test's byte. At the end of standard input the test is over, and so are we.
pub(crate) fn wait() {
    let mut byte = 0_u8;
    if call(libc::SYS_read, [0, (&raw mut byte).expose_provenance(), 1]) != Ok(1) {
        exit(0);
    }
}

/// Ends the process, and nothing else.
pub(crate) fn exit(status: i32) -> ! {
    loop {
        // It does not return.
        let _ = call(libc::SYS_exit_group, [status as usize]);
    }
}

/// Says that the preparations are done, and waits to be let go.
pub(crate) fn ready() {
    say("READY");
    wait();
}

/// Stands still until killed.
pub(crate) fn sleep_forever() -> ! {
    loop {
        // That a signal interrupts it is all it can fail with.
        let _ = call(libc::SYS_pause, []);
    }
}

//! What the calls find: descriptors, shared memory, and a place for each thread's notes that no
//! call touches.

use std::{
    ffi::{CStr, CString, c_int},
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use mmaptrace_tests::{
    raw::call,
    torture::{AT_EMPTY_PATH, IMAGE_FILE, SEGMENTS, SLOTS, Setting, TEXTS, VDSO},
};

use crate::{children::Children, say::Short, signals};

/// Bytes in a page.
pub(crate) const PAGE: usize = 4096;
/// Where the notes are: 32-bit calls reach the blocks in them.
const NOTES: usize = 0x1000_0000;
/// Bytes of a thread's notes: a page, and the stack of a child that shares the address space.
const NOTE: usize = 32 * PAGE;
/// Descriptors start here, whatever the program has opened before.
const FIRST: i32 = 100;
/// Where children say that they stand still, and where that is read.
pub(crate) const STILL: usize = 121;
pub(crate) const STILL_READ: usize = 120;

/// A file with one number: how many calls were made, by all processes and images.
const MADE: i32 = 122;
/// Where that is mapped.
const MADE_HERE: usize = NOTES - PAGE;

/// Takes note of a call that was made, unless it is one that this kernel does not have.
pub(crate) fn note<T>(result: Result<T, i32>) -> Result<T, i32> {
    if !matches!(result, Err(libc::ENOSYS)) {
        made().fetch_add(1, Ordering::Relaxed);
    }
    result
}

/// How many were.
pub(crate) fn made() -> &'static AtomicU64 {
    // SAFETY: it is mapped first of all, and no call touches it.
    unsafe { &*std::ptr::with_exposed_provenance::<AtomicU64>(MADE_HERE) }
}

/// What a call returned, kept for others.
#[derive(Clone, Copy, Default)]
pub(crate) struct Slot {
    pub(crate) address: usize,
    pub(crate) length: usize,
}

/// What all threads have.
#[derive(Clone, Copy)]
pub(crate) struct Common {
    pub(crate) setting: &'static Setting,
    /// Where the script's path is, or `-`.
    script: usize,
    /// Where the [`TEXTS`] are.
    pub(crate) texts: [usize; TEXTS.len()],
    pub(crate) segments: [usize; SEGMENTS as usize],
    /// The break that the calls start from.
    pub(crate) heap: usize,
}

/// How an image is named to the kernel.
#[derive(Clone, Copy)]
pub(crate) enum By {
    /// `execve`, by its path.
    Path,
    /// `execveat`, likewise.
    PathAt,
    /// `execveat`, by its descriptor.
    File,
}

/// A thread's notes.
#[derive(Clone, Copy)]
pub(crate) struct Worker {
    pub(crate) common: Common,
    pub(crate) slots: [Slot; SLOTS as usize],
    pub(crate) children: Children,
    /// Where blocks of arguments are written.
    pub(crate) block: usize,
    /// The end of the stack of a child that shares the address space.
    pub(crate) stack: usize,
    /// Not 0 as long as a child uses it.
    pub(crate) stack_used: &'static AtomicU32,
}

impl Worker {
    /// Becomes another image; returns if it cannot.
    pub(crate) fn execute(&self, setting: &Setting, by: By) {
        let numbers = setting.numbers().map(|number| Short::new(format_args!("{number}")));
        let mut arguments = [0; 13];
        arguments[0] = c"torture".as_ptr().expose_provenance();
        arguments[1] = self.common.script;
        for (argument, number) in arguments[2..].iter_mut().zip(&numbers) {
            *argument = number.address();
        }
        let environment = [0_usize];
        let path = c"/proc/self/exe".as_ptr().expose_provenance();
        let arguments = arguments.as_ptr().expose_provenance();
        let environment = environment.as_ptr().expose_provenance();
        made().fetch_add(1, Ordering::Relaxed);
        let _ = match by {
            By::Path => call(libc::SYS_execve, [path, arguments, environment]),
            By::PathAt => {
                let here = libc::AT_FDCWD as usize;
                call(libc::SYS_execveat, [here, path, arguments, environment, 0])
            }
            By::File => {
                let (file, path) = (IMAGE_FILE as usize, c"".as_ptr().expose_provenance());
                let flags = AT_EMPTY_PATH as usize;
                call(libc::SYS_execveat, [file, path, arguments, environment, flags])
            }
        };
    }
}

/// The notes of all.
pub(crate) struct Place(Vec<*mut Worker>);

// SAFETY: see `worker`.
unsafe impl Sync for Place {}

impl Place {
    /// The notes of a thread: for itself, and while it stands still for the first one.
    #[expect(clippy::mut_from_ref, reason = "two never have one of them at a time")]
    pub(crate) fn worker(&self, thread: u64) -> &mut Worker {
        let worker = self.0[thread as usize];
        // SAFETY: it is leaked; as to who has it, see above.
        unsafe { &mut *worker }
    }

    /// Those of all.
    pub(crate) fn workers(&self) -> impl Iterator<Item = &mut Worker> {
        (0..self.0.len()).map(|thread| self.worker(thread as u64))
    }

    /// Prepares it.
    pub(crate) fn prepare(setting: &'static Setting) -> Self {
        signals::catch();
        descriptors();
        map_made();
        let text = |text: &str| CString::new(text).expect("no NUL").into_raw().expose_provenance();
        let mut common = Common {
            setting,
            script: text(setting.script.as_deref().unwrap_or("-")),
            texts: std::array::from_fn(|at| text(TEXTS[at])),
            segments: std::array::from_fn(|_| segment()),
            heap: 0,
        };
        // A child has the notes of the thread that made it.
        let threads = if setting.child.is_some() { 1 } else { setting.threads as usize };
        map_notes(threads * NOTE);
        let mut workers = Vec::with_capacity(threads);
        // Room for what the threads allocate when they begin.
        common.heap = call(libc::SYS_brk, [0]).expect("it does not fail") + 64 * PAGE;
        let _ = call(libc::SYS_brk, [common.heap]);
        for thread in 0..threads {
            let note = NOTES + thread * NOTE;
            let worker = Worker {
                common,
                slots: [Slot::default(); SLOTS as usize],
                children: Children::default(),
                block: note + 256,
                stack: note + NOTE,
                // SAFETY: it was just mapped, and stays.
                stack_used: unsafe { &*std::ptr::with_exposed_provenance::<AtomicU32>(note) },
            };
            workers.push(Box::into_raw(Box::new(worker)));
        }
        let place = Self(workers);
        // SAFETY: takes a number.
        let address = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } as usize;
        place.worker(0).slots[usize::from(VDSO)] = Slot { address, length: 2 * PAGE };
        place
    }
}

/// Maps the number that all processes share: the first one makes it.
fn map_made() {
    // SAFETY: plain calls, on a descriptor of its own.
    unsafe {
        if libc::fcntl(MADE, libc::F_GETFD) < 0 {
            let made = libc::memfd_create(c"made".as_ptr(), 0);
            libc::ftruncate(made, PAGE as i64);
            libc::dup2(made, MADE);
            libc::close(made);
        }
    }
    let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE;
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let args = [MADE_HERE, PAGE, prot as usize, flags as usize, MADE as usize, 0];
    assert_eq!(call(libc::SYS_mmap, args), Ok(MADE_HERE), "room for a number");
}

fn map_notes(bytes: usize) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let args = [NOTES, bytes, prot as usize, flags as usize, usize::MAX, 0];
    assert_eq!(call(libc::SYS_mmap, args), Ok(NOTES), "room for the notes");
}

/// A segment of shared memory that goes with the last process that has it.
fn segment() -> usize {
    let Ok(id) = call(libc::SYS_shmget, [0, 16 * PAGE, 0o600]) else { return usize::MAX };
    let _ = call(libc::SYS_shmat, [id, 0, libc::SHM_RDONLY as usize]);
    let _ = call(libc::SYS_shmctl, [id, libc::IPC_RMID as usize, 0]);
    id
}

/// Files of all kinds, at numbers that a sequence can name. What this kernel lacks is not there,
/// and calls that name it fail.
fn descriptors() {
    let open = |path: &CStr, flags: c_int| -> c_int {
        // SAFETY: a path with an end.
        unsafe { libc::open(path.as_ptr(), flags, 0o600) }
    };
    let made = libc::O_RDWR | libc::O_CREAT;
    // SAFETY: plain calls, and descriptors that nothing else has.
    unsafe {
        libc::mkdir(c"d".as_ptr(), 0o700);
        let with_room = |fd: c_int| {
            libc::ftruncate(fd, (64 * PAGE) as i64);
            fd
        };
        let memory = |flags| libc::memfd_create(c"torture".as_ptr(), flags);
        // Linux before 6.17 comes to a deadlock where a private mapping of huge pages of a file
        // runs out of them: `hugetlb_wp` waits for `hugetlb_fault_mutex_table` with the page
        // locked, and the mutex's holder for the page. No thread goes on after that.
        let files = [
            with_room(open(c"a", made)),
            open(c"b", libc::O_RDONLY | libc::O_CREAT),
            with_room(memory(0)),
            open(c"/dev/zero", libc::O_RDWR),
            open(c"/proc/self/exe", libc::O_RDONLY),
            with_room(open(c"/dev/shm", libc::O_TMPFILE | libc::O_RDWR)),
            -1,
            open(c".", libc::O_RDONLY),
            with_room(open(c"d/a", made)),
            with_room(open(c"c", made)),
            libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) as c_int,
            userfault(),
            if is_before(6, 17) { -1 } else { with_room(memory(libc::MFD_HUGETLB)) },
            perf(),
            with_room(libc::syscall(libc::SYS_memfd_secret, 0) as c_int),
            open(c"/dev/null", libc::O_RDWR),
            open(c"/proc/self/maps", libc::O_RDONLY),
        ];
        for (at, fd) in (FIRST..).zip(files) {
            if fd < 0 {
                libc::close(at);
            } else {
                libc::dup3(fd, at, libc::O_CLOEXEC);
                libc::close(fd);
            }
        }
        // An image and a child have that of the first.
        if libc::fcntl(STILL as c_int, libc::F_GETFD) < 0 {
            let mut pipe = [0; 2];
            libc::pipe2(pipe.as_mut_ptr(), libc::O_NONBLOCK);
            libc::dup2(pipe[0], STILL_READ as c_int);
            libc::dup2(pipe[1], STILL as c_int);
            for end in pipe {
                libc::close(end);
            }
        }
    }
}

/// Whether this kernel is older than this version.
fn is_before(major: u32, minor: u32) -> bool {
    // SAFETY: a structure of arrays of bytes, which the call fills in.
    let release = unsafe {
        let mut names: libc::utsname = std::mem::zeroed();
        libc::uname(&raw mut names);
        CStr::from_ptr(names.release.as_ptr()).to_string_lossy().into_owned()
    };
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse().ok());
    let this: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    this < (major, minor)
}

/// A userfaultfd that sends a signal where others would wait for somebody to answer a fault.
fn userfault() -> c_int {
    const API: u64 = 0xc018_aa3f;
    const SIGBUS: u64 = 1 << 7;
    let mut api = [0xaa_u64, SIGBUS, 0];
    // SAFETY: the argument is a block of three words.
    unsafe {
        let fd = libc::syscall(libc::SYS_userfaultfd, 0) as c_int;
        if fd >= 0 && libc::ioctl(fd, API, &raw mut api) != 0 {
            libc::close(fd);
            return -1;
        }
        fd
    }
}

/// An event whose buffer can be mapped.
fn perf() -> c_int {
    // Software, the CPU's clock; the size of the first version of the structure.
    let attribute = [1 | 64 << 32, 0_u64, 0, 0, 0, 0, 0, 0];
    // SAFETY: the structure is as large as it says.
    unsafe { libc::syscall(libc::SYS_perf_event_open, attribute.as_ptr(), 0, -1, -1, 0) as c_int }
}

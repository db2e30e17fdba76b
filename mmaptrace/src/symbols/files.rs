//! The files that frames lie in: found, and made safe to read.

use std::{
    collections::HashMap,
    ffi::{CString, OsStr},
    fs::{File, Metadata},
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _},
        unix::{
            ffi::OsStrExt as _,
            fs::{MetadataExt as _, OpenOptionsExt as _},
        },
    },
    path::{Path, PathBuf},
};

use blazesym::helper::read_elf_build_id;

use super::ask::Wanted;
use crate::machine::thread_with_memory;

/// Files that are kept open; a process has 1024 descriptors, and blazesym keeps its own.
const FILES: usize = 200;
/// The most bytes of files that are kept as copies, see [`Found::of`]. It is memory.
const COPIED: u64 = 256 << 20;

/// All that were asked for.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// By what the model has them as; `None`: not to be had.
    found: HashMap<u64, Option<Found>>,
    /// Bytes of copies.
    copied: u64,
}

impl Files {
    /// Whether it is time to forget all: they are found again.
    pub(super) fn are_many(&self) -> bool {
        self.found.len() > FILES || self.copied > COPIED
    }

    /// The file itself, where the kernel still tells it, deleted or in another namespace as it may
    /// be; else what is at its path now, if that is still the same file.
    pub(super) fn find(&mut self, wanted: &Wanted) -> Option<&Found> {
        let Self { found, copied } = self;
        let found = found.entry(wanted.key).or_insert_with(|| {
            let found = mapped(wanted).or_else(|| at_path(wanted))?;
            *copied += found.copied;
            Some(found)
        });
        found.as_ref()
    }
}

/// A file, open.
#[derive(Debug)]
pub(super) struct Found {
    file: File,
    /// Whether nobody but root can change it.
    pub(super) trusted: bool,
    /// Bytes of the copy that it is.
    copied: u64,
}

impl Found {
    /// blazesym maps what it reads, and whoever shortens a mapped file kills its readers: a file
    /// that others than root can change is copied.
    fn of(file: File) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        if metadata.uid() == 0 && metadata.mode() & 0o022 == 0 {
            return Some(Self { file, trusted: true, copied: 0 });
        }
        let file = (metadata.len() <= COPIED).then(|| copy(&file).ok()).flatten()?;
        let copied = file.metadata().ok()?.len();
        Some(Self { file, trusted: false, copied })
    }

    /// Where to read it, for as long as this lives.
    pub(super) fn path(&self) -> PathBuf {
        by_descriptor(&self.file)
    }

    /// `None`: it has none, or is no ELF file.
    pub(super) fn build_id(&self) -> Option<Vec<u8>> {
        read_elf_build_id(&self.path()).ok().flatten().map(std::borrow::Cow::into_owned)
    }
}

/// By the kernel's link to what is mapped there.
fn mapped(wanted: &Wanted) -> Option<Found> {
    let (pid, range) = wanted.process?;
    let ((start, end), tid) = (range?, thread_with_memory(pid));
    let link = format!("/proc/{tid}/map_files/{start:x}-{end:x}");
    let place = File::options().read(true).custom_flags(libc::O_PATH).open(link).ok()?;
    open(&place).ok().and_then(Found::of)
}

/// What has its path now, if it has its identity as well.
fn at_path(wanted: &Wanted) -> Option<Found> {
    let path = Path::new(OsStr::from_bytes(&wanted.path)).strip_prefix("/").ok()?;
    let process = |(pid, _)| PathBuf::from(format!("/proc/{}/root", thread_with_memory(pid)));
    let roots = wanted.process.map(process).into_iter().chain([PathBuf::from("/")]);
    let mut places = roots.filter_map(|root| place(&root, path).ok());
    places.find_map(|place| match &wanted.build_id {
        None => {
            let same = place.metadata().is_ok_and(|metadata| is_same(&metadata, wanted));
            same.then(|| open(&place).ok()).flatten().and_then(Found::of)
        }
        Some(id) => {
            let found = open(&place).ok().and_then(Found::of)?;
            (found.build_id().as_ref() == Some(id)).then_some(found)
        }
    })
}

fn is_same(metadata: &Metadata, wanted: &Wanted) -> bool {
    let (major, minor) = (libc::major(metadata.dev()), libc::minor(metadata.dev()));
    (metadata.ino(), major << 20 | minor) == (wanted.ino, wanted.dev)
}

/// What is at a path below a root, and out of that no link leads; not opened yet. Others choose what is there,
/// and to open a device or a FIFO may do something.
fn place(root: &Path, path: &Path) -> io::Result<File> {
    let root = File::open(root)?;
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all zeros is a value of it.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (libc::O_PATH | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    let size = size_of::<libc::open_how>();
    // SAFETY: the path ends with a NUL, `how` is of that size, and the descriptor nobody else's.
    unsafe {
        let how = &raw const how;
        let fd = libc::syscall(libc::SYS_openat2, root.as_raw_fd(), path.as_ptr(), how, size);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(File::from_raw_fd(fd as i32))
    }
}

/// Opens what is there for reading, if it is a file.
fn open(place: &File) -> io::Result<File> {
    if !place.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    File::options().read(true).custom_flags(flags).open(by_descriptor(place))
}

fn by_descriptor(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// A copy that nobody else has.
fn copy(mut from: &File) -> io::Result<File> {
    // SAFETY: the name is a string, and the descriptor nobody else's.
    let mut to = unsafe {
        let fd = libc::memfd_create(c"symbols".as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        File::from_raw_fd(fd)
    };
    // It may grow meanwhile.
    io::copy(&mut io::Read::take(&mut from, COPIED), &mut to)?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// What is at a path below a directory, as far as it would be opened.
    fn open_at(root: &Path, path: &str) -> io::Result<File> {
        open(&place(root, Path::new(path))?)
    }

    #[test]
    fn nothing_but_files_is_opened() {
        let directory =
            std::env::temp_dir().join(format!("mmaptrace-place-{}", std::process::id()));
        fs::create_dir(&directory).expect("a new directory");
        fs::write(directory.join("file"), "x").expect("a file");
        symlink("/file", directory.join("link")).expect("a link to it, as the root has it");
        symlink("/proc/self/exe", directory.join("out")).expect("a link out");
        let fifo = CString::new(directory.join("fifo").as_os_str().as_bytes()).expect("no NUL");
        // SAFETY: the path ends with a NUL.
        let (made, watch) =
            unsafe { (libc::mkfifo(fifo.as_ptr(), 0o600), libc::inotify_init1(libc::IN_NONBLOCK)) };
        assert!(made == 0 && watch >= 0, "{}", io::Error::last_os_error());
        // SAFETY: as above.
        assert!(unsafe { libc::inotify_add_watch(watch, fifo.as_ptr(), libc::IN_OPEN) } >= 0);
        let opened = ["file", "link", "out", "fifo", ".", "none"]
            .map(|path| open_at(&directory, path).is_ok());
        assert_eq!(opened, [true, true, false, false, false, false]);
        let mut events = [0_u8; 64];
        // SAFETY: the buffer is of that length, and the descriptor this function's own.
        let seen = unsafe {
            let seen = libc::read(watch, events.as_mut_ptr().cast(), events.len());
            libc::close(watch);
            seen
        };
        assert_eq!(seen, -1, "the FIFO was opened");
        fs::remove_dir_all(directory).expect("it is there");
    }
}

//! The file that a frame lies in: found, and made safe to read.

use std::{
    ffi::OsStr,
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

use crate::machine::thread_with_memory;

/// The most bytes of a file that are copied, see [`Found::open`]. It is memory.
const COPIED: u64 = 256 << 20;

/// What is known of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// A process that has it mapped, and where, if it still has.
    pub(super) process: Option<(u32, Option<(u64, u64)>)>,
    /// Its path in that process's mount namespace.
    pub(super) path: &'a [u8],
    /// `s_dev`: `major << 20 | minor`.
    pub(super) dev: u32,
    /// Inode number.
    pub(super) ino: u64,
    /// Its build id, where that was told.
    pub(super) build_id: Option<&'a [u8]>,
}

/// A file, open.
#[derive(Debug)]
pub(super) struct Found {
    file: File,
    /// Whether nobody but root can change it.
    pub(super) trusted: bool,
}

impl Found {
    /// The file itself, where the kernel still tells it, deleted or in another namespace as it may
    /// be; else what is at its path now, if that is still the same file.
    ///
    /// blazesym maps what it reads, and whoever shortens a mapped file kills its readers: a file
    /// that others than root can change is copied.
    pub(super) fn open(wanted: &Wanted<'_>) -> Option<Self> {
        let file = mapped(wanted).or_else(|| at_path(wanted))?;
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() {
            return None;
        }
        let trusted = metadata.uid() == 0 && metadata.mode() & 0o022 == 0;
        if trusted {
            return Some(Self { file, trusted });
        }
        let file = (metadata.len() <= COPIED).then(|| copy(&file).ok()).flatten()?;
        Some(Self { file, trusted })
    }

    /// Where to read it, for as long as this lives.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }

    /// `None`: it has none, or is no ELF file.
    pub(super) fn build_id(&self) -> Option<Vec<u8>> {
        read_elf_build_id(&self.path()).ok().flatten().map(std::borrow::Cow::into_owned)
    }
}

/// By the kernel's link to what is mapped there.
fn mapped(wanted: &Wanted<'_>) -> Option<File> {
    let (pid, range) = wanted.process?;
    let ((start, end), tid) = (range?, thread_with_memory(pid));
    open(Path::new(&format!("/proc/{tid}/map_files/{start:x}-{end:x}"))).ok()
}

/// What has its path now, if it has its identity as well.
fn at_path(wanted: &Wanted<'_>) -> Option<File> {
    let path = Path::new(OsStr::from_bytes(wanted.path)).strip_prefix("/").ok()?;
    let root = |(pid, _)| format!("/proc/{}/root", thread_with_memory(pid));
    let inside = wanted.process.map(|process| Path::new(&root(process)).join(path));
    let here = Path::new("/").join(path);
    let files = inside.into_iter().chain([here]).filter_map(|path| open(&path).ok());
    files.into_iter().find(|file| {
        let same = |metadata: Metadata| is_same(&metadata, wanted);
        match wanted.build_id {
            None => file.metadata().is_ok_and(same),
            Some(id) => {
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                matches!(read_elf_build_id(&path), Ok(Some(found)) if *found == *id)
            }
        }
    })
}

fn is_same(metadata: &Metadata, wanted: &Wanted<'_>) -> bool {
    let (major, minor) = (libc::major(metadata.dev()), libc::minor(metadata.dev()));
    (metadata.ino(), major << 20 | minor) == (wanted.ino, wanted.dev)
}

/// Opens what may be anything: a FIFO is not waited for.
fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
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

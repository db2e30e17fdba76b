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
            fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
        },
    },
    path::{Path, PathBuf},
};

use blazesym::{helper::read_elf_build_id, symbolize::Symbolizer};

use super::{ask::Wanted, reader::symbolizer};
use crate::machine::thread_with_memory;

/// Files that are kept open; a process has 1024 descriptors, and blazesym keeps its own.
const FILES: usize = 200;
/// The longest file that is copied, see [`OpenFile::of`], in bytes. It is memory.
const LONGEST: u64 = 256 << 20;
/// The most bytes of copies that are kept.
const COPIED: u64 = 2 * LONGEST;
/// Keys of files that are known. One more, and all are forgotten: they are found again.
const KEYS: usize = 1 << 12;

/// All that were asked for.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Which they are, by what the model has them as; `None`: not to be had.
    keys: HashMap<u64, Option<Identity>>,
    /// The last one that was asked for is last.
    open: Vec<OpenFile>,
}

/// What is found.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// Not that file, or it cannot be read.
    Nothing,
    /// One that others than root can change, where only others are wanted.
    Untrusted,
    /// A file to read.
    File(&'a OpenFile),
}

impl Files {
    /// The file itself, where the kernel still tells it, deleted or in another namespace as it may
    /// be; else what is at its path now, if that is still the same file.
    pub(super) fn find(&mut self, wanted: &Wanted) -> Found<'_> {
        let known = match self.keys.get(&wanted.key).copied() {
            Some(None) => return Found::Nothing,
            Some(Some(identity)) if self.reuse(identity) => Ok(Some(identity)),
            _ => self.look_for(wanted),
        };
        let Ok(known) = known else { return Found::Untrusted };
        if self.keys.len() >= KEYS {
            self.keys.clear();
        }
        self.keys.insert(wanted.key, known);
        known.and_then(|_| self.open.last()).map_or(Found::Nothing, Found::File)
    }

    /// Opens the file, as the last one; `None`: it is not to be had.
    fn look_for(&mut self, wanted: &Wanted) -> Result<Option<Identity>, Untrusted> {
        let build_id = wanted.build_id.as_deref();
        let mapped = mapped(wanted).map(|file| (file, None));
        let candidates = mapped.into_iter().chain(at_path(wanted).map(|file| (file, build_id)));
        for (file, id) in candidates {
            let Some(identity) = self.take(file, wanted.only_trusted)? else { continue };
            let is_same = |file: &OpenFile| id.is_none() || file.build_id().as_deref() == id;
            if self.open.last().is_some_and(is_same) {
                return Ok(Some(identity));
            }
        }
        Ok(None)
    }

    /// Takes a file among those that are open, as the last one; `None`: it cannot be read.
    fn take(&mut self, file: File, only_trusted: bool) -> Result<Option<Identity>, Untrusted> {
        let Ok(metadata) = file.metadata() else { return Ok(None) };
        let identity = Identity::of(&metadata);
        if self.reuse(identity) {
            return Ok(Some(identity));
        }
        if !is_elf(&file) || !identity.trusted && metadata.len() > LONGEST {
            return Ok(None);
        }
        if only_trusted && !identity.trusted {
            return Err(Untrusted);
        }
        self.make_room(if identity.trusted { 0 } else { metadata.len() });
        let Ok(file) = OpenFile::of(file, identity) else { return Ok(None) };
        self.open.push(file);
        Ok(Some(identity))
    }

    /// Makes a file that is open the last one. Whether it is.
    fn reuse(&mut self, identity: Identity) -> bool {
        let Some(at) = self.open.iter().position(|file| file.identity == identity) else {
            return false;
        };
        self.open[at..].rotate_left(1);
        true
    }

    /// Closes those that were not asked for the longest, until there is room for one more, with a copy of so
    /// many bytes.
    fn make_room(&mut self, bytes: u64) {
        let mut copied = self.open.iter().map(|file| file.copied).sum::<u64>() + bytes;
        while self.open.len() >= FILES || copied > COPIED && !self.open.is_empty() {
            copied -= self.open.remove(0).copied;
        }
    }
}

/// It is not wanted, for others than root can change it.
#[derive(Debug)]
struct Untrusted;

/// What makes a file the same under another path: its copies are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    dev: u64,
    ino: u64,
    /// In bytes.
    size: u64,
    /// `st_mtime`, in s and ns.
    changed: (i64, i64),
    /// Whether nobody but root can change it.
    trusted: bool,
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
            trusted: metadata.uid() == 0 && metadata.mode() & 0o022 == 0,
        }
    }
}

/// A file, open.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: File,
    identity: Identity,
    /// Bytes of the copy that it is.
    copied: u64,
    /// What was read of it. It keeps that, and a mapping, for as long as it lives.
    pub(super) symbolizer: Symbolizer,
}

impl OpenFile {
    /// blazesym maps what it reads, and whoever shortens a mapped file kills its readers: a file
    /// that others than root can change is copied.
    fn of(file: File, identity: Identity) -> io::Result<Self> {
        if identity.trusted {
            return Ok(Self { file, identity, copied: 0, symbolizer: symbolizer().build() });
        }
        let file = copy(&file)?;
        let copied = file.metadata()?.len();
        // What it says of where its debugging information is cannot be believed.
        let none: [&Path; 0] = [];
        let symbolizer = symbolizer().set_debug_dirs(Some(none)).build();
        Ok(Self { file, identity, copied, symbolizer })
    }

    /// Whether nobody but root can change it.
    pub(super) const fn is_trusted(&self) -> bool {
        self.identity.trusted
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

fn is_elf(file: &File) -> bool {
    let mut magic = [0; 4];
    file.read_exact_at(&mut magic, 0).is_ok() && magic == *b"\x7fELF"
}

/// By the kernel's link to what is mapped there.
fn mapped(wanted: &Wanted) -> Option<File> {
    let (pid, range) = wanted.process?;
    let ((start, end), tid) = (range?, thread_with_memory(pid));
    let link = format!("/proc/{tid}/map_files/{start:x}-{end:x}");
    let place = File::options().read(true).custom_flags(libc::O_PATH).open(link).ok()?;
    open(&place).ok()
}

/// What has its path now, in the process's root and in this one's: where its build id is not known, only if it
/// has its inode.
fn at_path(wanted: &Wanted) -> impl Iterator<Item = File> {
    let path = Path::new(OsStr::from_bytes(&wanted.path)).strip_prefix("/").ok();
    let process = |(pid, _)| PathBuf::from(format!("/proc/{}/root", thread_with_memory(pid)));
    let roots = wanted.process.map(process).into_iter().chain([PathBuf::from("/")]);
    let places = roots.filter_map(move |root| place(&root, path?).ok());
    let is_it = |place: &File| {
        wanted.build_id.is_some()
            || place.metadata().is_ok_and(|metadata| is_same(&metadata, wanted))
    };
    places.filter(is_it).filter_map(|place| open(&place).ok())
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
    io::copy(&mut io::Read::take(&mut from, LONGEST), &mut to)?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    /// An empty directory; who makes it removes it.
    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("mmaptrace-{name}-{}", std::process::id()));
        fs::create_dir(&path).expect("a new directory");
        path
    }

    fn wanted(key: u64, path: &Path, only_trusted: bool) -> Wanted {
        let metadata = fs::metadata(path).expect("it is there");
        let dev = libc::major(metadata.dev()) << 20 | libc::minor(metadata.dev());
        let path = path.as_os_str().as_bytes().to_vec();
        let ino = metadata.ino();
        Wanted { key, process: None, path, dev, ino, build_id: None, only_trusted }
    }

    /// A file that anyone can change.
    fn write(path: &Path, what: &[u8]) {
        fs::write(path, what).expect("a file");
        let all = fs::Permissions::from_mode(0o666);
        fs::set_permissions(path, all).expect("it is this user's");
    }

    #[test]
    fn a_file_is_copied_once_whatever_its_links_and_only_if_it_is_wanted() {
        let directory = directory("copied");
        let (file, link, text) =
            (directory.join("file"), directory.join("link"), directory.join("text"));
        write(&file, b"\x7fELF and more");
        write(&text, b"no such file");
        fs::hard_link(&file, &link).expect("a link");
        let mut files = Files::default();
        assert!(matches!(files.find(&wanted(1, &file, true)), Found::Untrusted));
        assert!(matches!(files.find(&wanted(1, &file, false)), Found::File(_)));
        assert!(matches!(files.find(&wanted(3, &link, false)), Found::File(_)));
        assert!(matches!(files.find(&wanted(5, &text, false)), Found::Nothing));
        let copied = files.open.iter().map(|file| file.copied).collect::<Vec<_>>();
        assert_eq!(copied, [13]);
        fs::remove_dir_all(directory).expect("it is there");
    }

    #[test]
    fn those_that_were_not_asked_for_the_longest_make_room() {
        let directory = directory("room");
        let mut files = Files::default();
        let path = |index: usize| directory.join(index.to_string());
        for index in 0..FILES {
            write(&path(index), b"\x7fELF");
            files.find(&wanted(index as u64, &path(index), false));
        }
        let inode = |index| fs::metadata(path(index)).expect("it is there").ino();
        files.find(&wanted(0, &path(0), false));
        write(&path(FILES), b"\x7fELF");
        files.find(&wanted(FILES as u64, &path(FILES), false));
        let open = files.open.iter().map(|file| file.identity.ino).collect::<Vec<_>>();
        assert_eq!(open.len(), FILES);
        assert!(!open.contains(&inode(1)), "it is kept");
        assert_eq!(open[FILES - 2..], [inode(0), inode(FILES)]);
        files.make_room(COPIED);
        assert!(files.open.is_empty(), "some of them are kept");
        fs::remove_dir_all(directory).expect("it is there");
    }

    /// What is at a path below a directory, as far as it would be opened.
    fn open_at(root: &Path, path: &str) -> io::Result<File> {
        open(&place(root, Path::new(path))?)
    }

    #[test]
    fn nothing_but_files_is_opened() {
        let directory = directory("place");
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

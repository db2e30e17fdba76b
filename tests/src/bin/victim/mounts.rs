//! Mapped files, and where their file systems are mounted.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::sys::{
    Case, Outcome, PAGE, R, RW, Unsupported, call, exit, if_supported, mmap, must, open, ready,
    scratch, sleep_forever, touch,
};
use crate::tasks::{child_of_the_test, clone};

pub(crate) const CASES: &[Case] = &[
    ("mount_namespace", namespace),
    ("mount_namespace_inherited", inherited),
    ("mount_moved", moved),
    ("mount_detached", detached),
    ("mount_namespace_left", left),
    ("mount_namespace_left_for_the_first", left_for_the_first),
    ("mount_namespace_ends", ends),
    ("mount_held", held),
    ("mount_on_a_mount_held", on_a_mount_held),
    ("mount_of_a_file_held", of_a_file_held),
    ("mount_bind", bind),
    ("mount_bind_escaped", bind_escaped),
    ("mount_bind_escaped_and_unlinked", bind_escaped_and_unlinked),
    ("mount_overlay", overlay),
    ("mount_btrfs", btrfs),
    ("chroot", chroot),
];

fn text(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("no NUL in a path")
}

pub(crate) fn mount(from: &Path, to: &Path, kind: &str, flags: u64, data: &str) -> Outcome {
    let [from, to] = [from, to].map(text);
    let [kind, data] = [kind, data].map(|text| CString::new(text).expect("no NUL"));
    let [from, to, kind, data] =
        [&from, &to, &kind, &data].map(|text| text.as_ptr().expose_provenance());
    if_supported("mount", call(libc::SYS_mount, [from, to, kind, flags as usize, data]))?;
    Ok(())
}

/// A mount namespace of our own, whose mounts nobody else sees, and nobody has to take away.
pub(crate) fn alone() -> Outcome {
    in_another()?;
    mount(Path::new("none"), Path::new("/"), "", libc::MS_REC | libc::MS_PRIVATE, "")
}

/// Another mount namespace, with copies of the mounts of this.
fn in_another() -> Outcome {
    if_supported("unshare", call(libc::SYS_unshare, [libc::CLONE_NEWNS as usize]))?;
    Ok(())
}

/// An empty file system at a new directory of this name.
fn tmpfs(name: &str) -> Result<std::path::PathBuf, Unsupported> {
    let path = scratch().join(name);
    std::fs::create_dir(&path).expect("a directory");
    mount(Path::new("none"), &path, "tmpfs", 0, "")?;
    Ok(path)
}

fn map(path: &Path) {
    let fd = open(path.as_os_str().as_bytes(), libc::O_RDWR | libc::O_CREAT);
    must(call(libc::SYS_ftruncate, [fd as usize, 4 * PAGE]));
    must(mmap(0, 2 * PAGE, R, libc::MAP_PRIVATE, fd, 0));
    touch(must(mmap(0, PAGE, RW, libc::MAP_SHARED, fd, 0)));
}

/// A file that the tracer cannot reach.
fn namespace() -> Outcome {
    ready();
    alone()?;
    map(&tmpfs("own")?.join("file"));
    Ok(())
}

/// Files everybody has, by mounts that are copies of everybody's.
fn inherited() -> Outcome {
    alone()?;
    ready();
    map(&scratch().join("file"));
    Ok(())
}

/// The file is mapped, and then its mount goes elsewhere.
fn moved() -> Outcome {
    alone()?;
    let path = tmpfs("here")?;
    map(&path.join("file"));
    let to = scratch().join("there");
    std::fs::create_dir(&to).expect("a directory");
    ready();
    mount(&path, &to, "", libc::MS_MOVE, "")?;
    must(mmap(0, PAGE, R, libc::MAP_PRIVATE, crate::sys::open_self(), 0));
    Ok(())
}

/// The file is mapped, and its mount is nowhere any more.
fn detached() -> Outcome {
    alone()?;
    let path = tmpfs("here")?;
    map(&path.join("file"));
    ready();
    let flags = libc::MNT_DETACH as usize;
    must(call(libc::SYS_umount2, [text(&path).as_ptr().expose_provenance(), flags]));
    Ok(())
}

/// The namespace that has the file's mount ends, for nobody is in it any more.
fn left() -> Outcome {
    alone()?;
    map(&tmpfs("own")?.join("file"));
    ready();
    in_another()
}

/// Likewise, to be where everybody is.
fn left_for_the_first() -> Outcome {
    let first = open("/proc/self/ns/mnt", libc::O_RDONLY);
    alone()?;
    map(&tmpfs("own")?.join("file"));
    ready();
    must(call(libc::SYS_setns, [first as usize, libc::CLONE_NEWNS as usize]));
    Ok(())
}

/// A file of a namespace that ends with its only task, and takes the mount away with no call.
fn ends() -> Outcome {
    let file = scratch().join("ends/file");
    let child = clone(libc::SIGCHLD);
    if child == 0 {
        child_of_the_test();
        if alone().is_ok() {
            map(&tmpfs("ends")?.join("file"));
            sleep_forever();
        }
        exit(1);
    }
    let there =
        Path::new(&format!("/proc/{child}/root")).join(file.strip_prefix("/").expect("a root"));
    while !there.exists() {
        if must(call(libc::SYS_wait4, [child, 0, libc::WNOHANG as usize, 0])) != 0 {
            return alone();
        }
        std::thread::yield_now();
    }
    map(&there);
    ready();
    must(call(libc::SYS_kill, [child, libc::SIGKILL as usize]));
    must(call(libc::SYS_wait4, [child, 0, 0, 0]));
    Ok(())
}

/// The test itself removes the directory that the mount is on, where that is no mount.
fn held() -> Outcome {
    alone()?;
    map(&tmpfs("held")?.join("file"));
    ready();
    Ok(())
}

/// Likewise, of the mount that this one is on.
fn on_a_mount_held() -> Outcome {
    alone()?;
    tmpfs("held")?;
    map(&tmpfs("held/upper")?.join("file"));
    ready();
    Ok(())
}

/// Likewise, of a file that a file is mounted on.
fn of_a_file_held() -> Outcome {
    alone()?;
    let (file, held) = (tmpfs("here")?.join("file"), scratch().join("held"));
    for path in [&file, &held] {
        std::fs::write(path, "").expect("a file");
    }
    mount(&file, &held, "", libc::MS_BIND, "")?;
    map(&held);
    ready();
    Ok(())
}

/// One file by two paths; a file that is itself a mount.
fn bind() -> Outcome {
    alone()?;
    let path = tmpfs("here")?;
    let to = scratch().join("there");
    std::fs::create_dir(&to).expect("a directory");
    std::fs::write(path.join("one"), "").expect("a file");
    std::fs::write(path.join("other"), "").expect("a file");
    mount(&path, &to, "", libc::MS_BIND, "")?;
    mount(&path.join("one"), &path.join("other"), "", libc::MS_BIND, "")?;
    ready();
    map(&path.join("one"));
    map(&to.join("one"));
    map(&path.join("other"));
    Ok(())
}

/// A file by a mount of the directory it is in, out of which that is then moved: it has no path any more.
fn escape() -> Result<std::path::PathBuf, Unsupported> {
    alone()?;
    let path = tmpfs("here")?;
    let to = scratch().join("there");
    std::fs::create_dir(&to).expect("a directory");
    std::fs::create_dir_all(path.join("all/sub")).expect("directories");
    mount(&path.join("all"), &to, "", libc::MS_BIND, "")?;
    map(&to.join("sub/file"));
    ready();
    std::fs::rename(path.join("all/sub"), path.join("sub")).expect("rename");
    Ok(path.join("sub/file"))
}

fn bind_escaped() -> Outcome {
    escape()?;
    Ok(())
}

fn bind_escaped_and_unlinked() -> Outcome {
    std::fs::remove_file(escape()?).expect("unlink");
    Ok(())
}

/// The kernel maps the file below, and maps prints the one above.
fn overlay() -> Outcome {
    alone()?;
    let path = tmpfs("layers")?;
    for name in ["lower", "upper", "work", "all"] {
        std::fs::create_dir(path.join(name)).expect("a directory");
    }
    std::fs::write(path.join("lower/below"), [0; 4 * PAGE]).expect("a file");
    let layer = |name| format!("{}/{name}", path.display());
    let data = format!(
        "lowerdir={},upperdir={},workdir={}",
        layer("lower"),
        layer("upper"),
        layer("work")
    );
    mount(Path::new("none"), &path.join("all"), "overlay", 0, &data)?;
    let read = |name| open(path.join(name).as_os_str().as_bytes(), libc::O_RDONLY);
    must(mmap(0, PAGE, R, libc::MAP_PRIVATE, read("all/below"), 0));
    ready();
    must(mmap(0, 2 * PAGE, R, libc::MAP_SHARED, read("all/below"), 0));
    map(&path.join("all/above"));
    Ok(())
}

/// A subvolume has a device number of its own, which `stat` tells; maps has that of the whole.
fn btrfs() -> Outcome {
    alone()?;
    let (image, whole) = (scratch().join("image"), scratch().join("whole"));
    let (volume, path) = (whole.join("volume"), whole.join("volume/file"));
    std::fs::create_dir(&whole).expect("a directory");
    std::fs::File::create(&image).and_then(|image| image.set_len(32 << 20)).expect("room");
    program(Command::new("mkfs.btrfs").args(["-q", "-M"]).arg(&image))?;
    program(Command::new("mount").args(["-o", "loop"]).args([&image, &whole]))?;
    program(Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(&volume))?;
    map(&path);
    let dev = std::fs::metadata(&path).expect("the file").dev();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let line = maps.lines().find(|line| line.ends_with("/volume/file")).expect("the file");
    let shown = format!("{:02x}:{:02x}", libc::major(dev), libc::minor(dev));
    assert!(!line.contains(&shown), "{line} has what stat tells");
    ready();
    map(&path);
    map(&whole.join("file"));
    Ok(())
}

/// Runs a program that need not be there.
fn program(command: &mut Command) -> Outcome {
    let errno = match command.stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => return Ok(()),
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(0),
    };
    Err(Unsupported { call: "btrfs", errno })
}

/// The path is the reader's, from the reader's root.
fn chroot() -> Outcome {
    ready();
    let path = scratch();
    must(call(libc::SYS_chroot, [text(&path).as_ptr().expose_provenance()]));
    must(call(libc::SYS_chdir, [c"/".as_ptr().expose_provenance()]));
    map(Path::new("/file"));
    Ok(())
}

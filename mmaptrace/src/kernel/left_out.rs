//! Runs of programs that the kernel left out.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::FileExt as _,
    },
};

use aya::Ebpf;

use super::load::{LoadError, release};

/// Since then the kernel counts them.
const COUNTS: (u8, u8) = (5, 12);
/// Room for what the kernel tells of a program, bytes; it is some 300.
const ROOM: usize = 1024;

/// What tells of each program how often the kernel left it out (`bpf_prog_show_fdinfo`,
/// `kernel/bpf/syscall.c`): opened once, read each time.
pub(super) struct LeftOut(Vec<File>);

impl LeftOut {
    /// Of all that were loaded, but for those that another makes up for.
    ///
    /// # Errors
    /// [`LoadError::Object`]: /proc cannot be read, or has not what a kernel that counts has there.
    pub(super) fn of(ebpf: &Ebpf, made_up_for: impl Fn(&str) -> bool) -> Result<Self, LoadError> {
        let counting = ebpf.programs().filter(|(name, _)| !made_up_for(name));
        let loaded = counting.filter_map(|(_, program)| program.fd().ok());
        let open = |fd| File::open(format!("/proc/self/fdinfo/{fd}"));
        let files = loaded.map(|fd| open(fd.as_fd().as_raw_fd())).collect::<io::Result<Vec<_>>>();
        let files =
            files.map_err(|error| LoadError::Object(format!("cannot read /proc: {error}")))?;
        if release() >= COUNTS && files.iter().any(|file| count(file).is_none()) {
            return Err(LoadError::Object("/proc does not tell what the kernel leaves out".into()));
        }
        Ok(Self(files))
    }

    /// How many runs, so far; 0 where the kernel does not count them, before 5.12.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().filter_map(count).sum()
    }
}

fn count(info: &File) -> Option<u64> {
    let mut text = [0; ROOM];
    let length = info.read_at(&mut text, 0).ok()?;
    let text = str::from_utf8(text.get(..length)?).ok()?;
    text.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?.trim().parse().ok()
}

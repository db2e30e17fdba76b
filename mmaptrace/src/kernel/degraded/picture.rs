//! `/proc/PID/maps` of a process, as it is now.

use std::{fs, io, path::Path};

use mmaptrace_common::record::{Commit, NOWHERE, flag};
use mmaptrace_model::Region;
use procfs::{FromRead as _, process::Stat};

use super::super::SeedError;
use crate::proc_maps::ProcMaps;

/// What the file said.
#[derive(Debug)]
pub struct Picture {
    text: Vec<u8>,
    /// The same, taken apart: regions in order and apart.
    pub maps: ProcMaps,
    /// Pages of all regions.
    pub pages: u64,
    /// What `stat` said, and whether maps has a `[vsyscall]`.
    pub image: Image,
}

impl PartialEq for Picture {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.image == other.image
    }
}

/// What a commit tells of an image beside its regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    start_stack: u64,
    start_brk: u64,
    vsyscall: bool,
}

impl Image {
    /// Of which nothing is known.
    pub(super) const UNKNOWN: Self =
        Self { start_stack: NOWHERE, start_brk: NOWHERE, vsyscall: false };

    /// The same, with what an earlier look at the same image has found where this one has not: `stat`
    /// says 0 once the address space is gone.
    #[must_use]
    pub(super) fn or(self, earlier: Self) -> Self {
        let known = |now, then| if now == NOWHERE { then } else { now };
        Self {
            start_stack: known(self.start_stack, earlier.start_stack),
            start_brk: known(self.start_brk, earlier.start_brk),
            vsyscall: self.vsyscall,
        }
    }

    /// Tells it in a commit.
    pub(super) fn tell(self, commit: &mut Commit) {
        (commit.start_stack, commit.start_brk) = (self.start_stack, self.start_brk);
        if self.vsyscall {
            commit.header.flags |= flag::VSYSCALL;
        }
    }
}

impl Picture {
    pub(super) fn take(pid: u32) -> Result<Self, SeedError> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).map_err(|_| SeedError::NoProcess)?;
        // The main thread may have ended while others run: any of them will do.
        for task in tasks.flatten() {
            match fs::read(task.path().join("maps")) {
                Ok(maps) if !maps.is_empty() => return Ok(Self::of(maps)?.placed(&task.path())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(SeedError::Denied(error));
                }
                // It has ended meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(SeedError::NoMaps(error)),
            }
        }
        Err(SeedError::NoSpace)
    }

    /// The same, with what `stat` of the task says, where it does.
    fn placed(mut self, task: &Path) -> Self {
        let stat = fs::read(task.join("stat")).ok();
        if let Some(stat) = stat.and_then(|text| Stat::from_read(&text[..]).ok()) {
            // 0 stands for what this process may not know, and for none.
            let known = |address: &u64| *address != 0;
            self.image.start_stack = Some(stat.startstack).filter(known).unwrap_or(NOWHERE);
            self.image.start_brk = stat.start_brk.filter(known).unwrap_or(NOWHERE);
        }
        self
    }

    /// What a text of that file says.
    ///
    /// The kernel prints a large file in pieces, and regions may change between two: where they
    /// overlap the later piece is right.
    ///
    /// # Errors
    /// [`SeedError::NoMaps`]: it is something else.
    pub fn of(text: Vec<u8>) -> Result<Self, SeedError> {
        let wrong = || SeedError::NoMaps(io::ErrorKind::InvalidData.into());
        let mut maps = ProcMaps::parse(&text).ok_or_else(wrong)?;
        let mut ordered: Vec<(Region, Vec<u8>)> = Vec::with_capacity(maps.regions.len());
        for region in maps.regions {
            while ordered.last().is_some_and(|(last, _)| last.end > region.0.start) {
                ordered.pop();
            }
            ordered.push(region);
        }
        maps.regions = ordered;
        let pages = maps.regions.iter().map(|(region, _)| region.pages()).sum();
        let image = Image { vsyscall: maps.vsyscall.is_some(), ..Image::UNKNOWN };
        Ok(Self { text, maps, pages, image })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &[u8] = b"\
55d5c0a8e000-55d5c0a90000 r--p 00002000 fe:01 247774                     /tmp/a \xff b (deleted)\n\
7f0000000000-7f0000002000 rw-p 00000000 00:00 0 \n\
7f0000001000-7f0000003000 rw-p 00000000 00:00 0 \n\
7ffe00000000-7ffe00021000 rw-p 00000000 00:00 0                          [stack]\n\
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";

    #[test]
    fn of_pieces_that_overlap_the_later_is_right() {
        let picture = Picture::of(MAPS.to_vec()).expect("maps");
        let starts: Vec<_> = picture.maps.regions().map(|(region, _)| region.start).collect();
        assert_eq!(starts, [0x55d5_c0a8_e000, 0x7f00_0000_1000, 0x7ffe_0000_0000]);
        assert_eq!(picture.pages, 2 + 2 + 0x21);
        assert!(picture.maps.vsyscall.is_some());
        for wrong in [&b"something else"[..], b"2000-1000 r--p 00000000 00:00 0 \n"] {
            assert!(Picture::of(wrong.to_vec()).is_err());
        }
    }
}

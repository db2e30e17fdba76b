//! Regions: the kernel's `struct vm_area_struct`, as far as anyone outside can see it.

use std::fmt;

use mmaptrace_common::record;
use serde::{Deserialize, Serialize};

/// Bytes in a page. The only size x86-64 has.
pub const PAGE: u64 = 4096;

/// `vm_flags`, as in the kernel's `include/linux/mm.h`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Flags(pub u64);

impl Flags {
    /// `VM_READ`
    pub const READ: Self = Self(0x1);
    /// `VM_WRITE`
    pub const WRITE: Self = Self(0x2);
    /// `VM_EXEC`
    pub const EXEC: Self = Self(0x4);
    /// `VM_SHARED`
    pub const SHARED: Self = Self(0x8);
    /// `VM_MAYSHARE`: what `s` in `/proc/PID/maps` tells.
    pub const MAYSHARE: Self = Self(0x80);
    /// `VM_MAYBE_GUARD`: no part of a region's identity; `madvise` sets it under a read lock, which
    /// is no commit (Linux 6.19; before, no flag of Linux 5.15 or later has this bit).
    pub const MAYBE_GUARD: Self = Self(0x800);
    /// `VM_GROWSDOWN`
    pub const GROWSDOWN: Self = Self(0x100);
    /// `VM_LOCKED`
    pub const LOCKED: Self = Self(0x2000);
    /// `VM_DONTCOPY`: a fork's child does not get it.
    pub const DONTCOPY: Self = Self(0x2_0000);
    /// `VM_HUGETLB`
    pub const HUGETLB: Self = Self(0x40_0000);
    /// `VM_SOFTDIRTY`: no part of a region's identity; the kernel sets it on every change.
    pub const SOFTDIRTY: Self = Self(0x0800_0000);

    /// Whether all of `other`'s bits are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The four characters of `/proc/PID/maps`, like `rw-p`.
    pub fn permissions(self) -> [u8; 4] {
        let pick = |flag, set, clear| if self.has(flag) { set } else { clear };
        [
            pick(Self::READ, b'r', b'-'),
            pick(Self::WRITE, b'w', b'-'),
            pick(Self::EXEC, b'x', b'-'),
            pick(Self::MAYSHARE, b's', b'p'),
        ]
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// What is behind a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Backing {
    /// Private anonymous memory without a name of its own; `[heap]` and `[stack]` are names that
    /// hang on the address space, see [`Space::name`](crate::Space::name).
    Anonymous,
    /// A file, by the key of its path in [`Names`](crate::Names).
    File {
        /// `s_dev`: `major << 20 | minor`.
        dev: u32,
        /// Inode number.
        ino: u64,
        /// Key of its path.
        path: u64,
    },
    /// A mapping of the kernel's own, like `[vdso]`, by the key of its name.
    Special {
        /// Key of its name.
        name: u64,
    },
    /// Anonymous memory named with `PR_SET_VMA_ANON_NAME`, by the key of its name.
    Named {
        /// Key of its name.
        name: u64,
    },
    /// Shared anonymous memory named so.
    NamedShared {
        /// `s_dev` of the shmem file behind it.
        dev: u32,
        /// Its inode number.
        ino: u64,
        /// Key of its name.
        name: u64,
    },
}

impl Backing {
    /// Its key in [`Names`](crate::Names), if it has a name there.
    pub const fn name(&self) -> Option<u64> {
        match *self {
            Self::File { path: key, .. }
            | Self::Special { name: key }
            | Self::Named { name: key }
            | Self::NamedShared { name: key, .. } => Some(key),
            Self::Anonymous => None,
        }
    }
}

/// One region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// First address; page-aligned.
    pub start: u64,
    /// First address after it; page-aligned, above `start`.
    pub end: u64,
    /// Protection and the rest of `vm_flags`.
    pub flags: Flags,
    /// `vm_pgoff`, in pages. Of an anonymous region it tells nothing to users, but decides what it
    /// can merge with.
    pub pgoff: u64,
    /// What is behind it.
    pub backing: Backing,
}

impl Region {
    /// Its size, in bytes.
    pub const fn size(&self) -> u64 {
        self.end - self.start
    }

    /// Its size, in pages.
    pub const fn pages(&self) -> u64 {
        self.size() / PAGE
    }

    /// Its part in `[lo, hi)`, with the offset of that part. The two must overlap.
    #[must_use]
    pub const fn clip(&self, lo: u64, hi: u64) -> Self {
        let start = if lo > self.start { lo } else { self.start };
        let end = if hi < self.end { hi } else { self.end };
        debug_assert!(start < end);
        let pgoff = self.pgoff.wrapping_add((start - self.start) / PAGE);
        Self { start, end, pgoff, ..*self }
    }

    /// Whether `address` lies in it.
    pub const fn contains(&self, address: u64) -> bool {
        self.start <= address && address < self.end
    }

    /// The file offset that `/proc/PID/maps` prints, in bytes: 0 without a file.
    pub const fn offset(&self) -> u64 {
        match self.backing {
            Backing::File { .. } | Backing::NamedShared { .. } => self.pgoff.wrapping_mul(PAGE),
            Backing::Anonymous | Backing::Special { .. } | Backing::Named { .. } => 0,
        }
    }

    /// Device (`major << 20 | minor`) and inode number that `/proc/PID/maps` prints: 0 without a
    /// file.
    pub const fn inode(&self) -> (u32, u64) {
        match self.backing {
            Backing::File { dev, ino, .. } | Backing::NamedShared { dev, ino, .. } => (dev, ino),
            Backing::Anonymous | Backing::Special { .. } | Backing::Named { .. } => (0, 0),
        }
    }
}

/// Why a region record is refused: no kernel writes one like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a region {start:#x}-{end:#x} with backing {backing}")]
pub struct BadRegion {
    start: u64,
    end: u64,
    backing: u32,
}

impl TryFrom<&record::Region> for Region {
    type Error = BadRegion;

    fn try_from(raw: &record::Region) -> Result<Self, BadRegion> {
        let bad = BadRegion { start: raw.start, end: raw.end, backing: raw.backing };
        if raw.start >= raw.end || !(raw.start | raw.end).is_multiple_of(PAGE) {
            return Err(bad);
        }
        let backing = match raw.backing {
            record::backing::ANON => Backing::Anonymous,
            record::backing::FILE => Backing::File { dev: raw.dev, ino: raw.ino, path: raw.name },
            record::backing::SPECIAL => Backing::Special { name: raw.name },
            record::backing::NAMED => Backing::Named { name: raw.name },
            record::backing::NAMED_SHARED => {
                Backing::NamedShared { dev: raw.dev, ino: raw.ino, name: raw.name }
            }
            _ => return Err(bad),
        };
        Ok(Self {
            start: raw.start,
            end: raw.end,
            flags: Flags(raw.flags & !(Flags::SOFTDIRTY.0 | Flags::MAYBE_GUARD.0)),
            pgoff: raw.pgoff,
            backing,
        })
    }
}

//! Paths of mapped files and names of other mappings, by the keys that regions carry.

use std::{collections::HashMap, sync::Arc};

use mmaptrace_common::record::{self, flag};
use serde::{Deserialize, Serialize};

/// `s_magic` of the file systems whose `d_dname` is not the kernel's `simple_dname`, as in
/// `include/uapi/linux/magic.h`.
mod magic {
    /// `fs/anon_inodes.c`
    pub(super) const ANON_INODE: u64 = 0x0904_1934;
    /// `net/socket.c`
    pub(super) const SOCKET: u64 = 0x534f_434b;
    /// `fs/pipe.c`
    pub(super) const PIPE: u64 = 0x5049_5045;
    /// `drivers/dma-buf/dma-buf.c`
    pub(super) const DMA_BUF: u64 = 0x444d_4142;
}

/// What stands for the part of a name that was not told. No path of the kernel's starts with it.
pub const CUT: &[u8] = b"...";

/// So much text is kept whole, in bytes: programs choose their names, and may have a path of 16 KiB for each
/// region.
const TEXT_MAX: usize = 64 << 20;
/// So much is kept of each name beyond that.
const CUT_MAX: usize = 64;

/// The names, as `/proc/PID/maps` would print them but for the escaping of newlines.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(from = "HashMap<u64, Entry>")]
pub struct Names {
    by_key: HashMap<u64, Entry>,
    /// The length of all of them, in bytes.
    #[serde(skip)]
    length: usize,
    /// Whether there was ever one that [may change](Names::is_passing).
    #[serde(skip)]
    passing: bool,
}

impl From<HashMap<u64, Entry>> for Names {
    fn from(by_key: HashMap<u64, Entry>) -> Self {
        let length = by_key.values().map(|entry| entry.text.len()).sum();
        let passing = by_key.values().any(|entry| entry.extent == Extent::Passing);
        Self { by_key, length, passing }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    text: Arc<[u8]>,
    extent: Extent,
    age: Age,
}

/// How much of what maps prints a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Extent {
    Part,
    Whole,
    /// All, when it was read: its file system looks at it anew at times.
    Passing,
}

/// What is known of the use of a name. What the kernel's side was told to forget may still be meant by
/// records on their way, which it wrote before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Age {
    /// Came since the last [`Names::retain`]; the regions that have it may be yet to come.
    Young,
    /// Was there already.
    Old,
    /// Had no region at the last call, by which the kernel's side was told to forget it.
    Condemned,
}

impl Names {
    /// The name of a key: a path with ` (deleted)` where the kernel says so, or `[vdso]` and the
    /// like. Any bytes but NUL. Of one of which only a part was told, that, with [`CUT`] for the rest.
    pub fn get(&self, key: u64) -> Option<&Arc<[u8]>> {
        self.by_key.get(&key).map(|entry| &entry.text)
    }

    /// Whether the name of a key is known, and all of it.
    pub fn is_whole(&self, key: u64) -> bool {
        self.by_key.get(&key).is_some_and(|entry| entry.extent != Extent::Part)
    }

    /// Whether it may change with no call that tells of it: that of a file of a file server, say.
    pub fn is_passing(&self, key: u64) -> bool {
        self.by_key.get(&key).is_some_and(|entry| entry.extent == Extent::Passing)
    }

    /// Whether there was ever such a name.
    pub const fn have_passing(&self) -> bool {
        self.passing
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Takes a path, from its components: the last one first, each ended by a NUL. A later path of
    /// the same key takes the place of an earlier one.
    pub fn insert_path(&mut self, path: &record::Path, components: &[u8]) {
        let has = |flag| path.header.flags & flag != 0;
        let text = if has(flag::SYNTHETIC) {
            synthetic(path.magic, path.ino, first(components))
        } else {
            let mut text = if has(flag::CUT) { CUT.to_vec() } else { Vec::new() };
            text.extend(join(components));
            if has(flag::DELETED) {
                text.extend_from_slice(b" (deleted)");
            }
            text
        };
        let told = !has(flag::SYNTHETIC) || path.magic != magic::DMA_BUF;
        let extent = match () {
            () if has(flag::CUT) || !told => Extent::Part,
            () if has(flag::REVALIDATED) => Extent::Passing,
            () => Extent::Whole,
        };
        self.insert(path.key, &text, extent);
    }

    /// Takes the name of a special or named mapping.
    pub fn insert_name(&mut self, name: &record::Name, text: &[u8]) {
        self.insert(name.key, first(text), Extent::Whole);
    }

    fn insert(&mut self, key: u64, text: &[u8], extent: Extent) {
        let old = self.by_key.get(&key).map(|entry| &entry.text);
        // Names are sent again for each reader of a map; keep what others hold.
        let (text, extent) = match old {
            Some(old) if **old == *text => (Arc::clone(old), extent),
            _ if text.len() > CUT_MAX && self.length + text.len() > TEXT_MAX => {
                let last = &text[text.len() - CUT_MAX + CUT.len()..];
                (Arc::from([CUT, last].concat()), Extent::Part)
            }
            Some(_) | None => (Arc::from(text), extent),
        };
        self.length += text.len();
        self.passing |= extent == Extent::Passing;
        let old = self.by_key.insert(key, Entry { text, extent, age: Age::Young });
        self.length -= old.map_or(0, |old| old.text.len());
    }

    /// Condemns the names that are not `used` and were there already at the last call, and tells their
    /// keys; names that came since may be those of regions still on their way. Drops those condemned by
    /// the last call that are not used either, and did not come again.
    pub fn retain(&mut self, mut used: impl FnMut(u64) -> bool) -> Vec<u64> {
        let mut condemned = Vec::new();
        let length = &mut self.length;
        self.by_key.retain(|&key, entry| {
            let keep = entry.age == Age::Young || used(key);
            match entry.age {
                _ if keep => entry.age = Age::Old,
                Age::Young | Age::Old => {
                    condemned.push(key);
                    entry.age = Age::Condemned;
                }
                Age::Condemned => {
                    *length -= entry.text.len();
                    return false;
                }
            }
            true
        });
        condemned
    }
}

/// The bytes up to the first NUL.
fn first(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// `/usr/lib/libc.so.6` of `libc.so.6`, `lib`, `usr`.
fn join(components: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(components.len() + 1);
    for component in components.split(|&byte| byte == 0).rev().filter(|part| !part.is_empty()) {
        text.push(b'/');
        text.extend_from_slice(component);
    }
    if text.is_empty() {
        text.push(b'/');
    }
    text
}

/// What the file system's `d_dname` makes of a name. Those that no `mmap` can reach (nsfs, pidfs) are
/// not told apart.
fn synthetic(magic: u64, ino: u64, name: &[u8]) -> Vec<u8> {
    match magic {
        magic::ANON_INODE => [b"anon_inode:", name].concat(),
        magic::SOCKET => format!("socket:[{ino}]").into_bytes(),
        magic::PIPE => format!("pipe:[{ino}]").into_bytes(),
        // What follows is the name of the buffer, which is not the file's that was sent, and which an ioctl
        // changes whenever it likes.
        // https://github.com/torvalds/linux/blob/v6.12/drivers/dma-buf/dma-buf.c#L72
        magic::DMA_BUF => [b"/", name, b":", CUT].concat(),
        // simple_dname: memfd, shared anonymous memory, SysV shared memory, aio rings, huge pages.
        // https://github.com/torvalds/linux/blob/v6.12/fs/d_path.c#L318
        _ => [b"/", name, b" (deleted)"].concat(),
    }
}

#[cfg(test)]
mod tests {
    use mmaptrace_common::record::Header;

    use super::*;

    fn path(flags: u16, magic: u64, components: &[u8]) -> Vec<u8> {
        let header = Header { flags, ..Header::default() };
        let mut names = Names::default();
        names.insert_path(
            &record::Path { header, key: 7, ino: 42, magic, ..record::Path::default() },
            components,
        );
        names.get(7).map(|text| text.to_vec()).unwrap_or_default()
    }

    #[test]
    fn components_are_joined_from_the_root() {
        assert_eq!(path(0, 0, b"libc.so.6\0lib\0usr\0"), b"/usr/lib/libc.so.6");
        assert_eq!(path(0, 0, b""), b"/");
        assert_eq!(path(0, 0, b"a\nb\xff\0"), b"/a\nb\xff");
        assert_eq!(path(flag::DELETED, 0, b"x (deleted)\0tmp\0"), b"/tmp/x (deleted) (deleted)");
    }

    #[test]
    fn what_is_not_all_of_a_name_is_not_taken_for_it() {
        assert_eq!(path(flag::CUT, 0, b"f\0sub\0"), b".../sub/f");
        let mut names = Names::default();
        for (flags, whole) in [(flag::CUT, false), (0, true), (flag::CUT, false)] {
            let header = Header { flags, ..Header::default() };
            names.insert_path(&record::Path { header, key: 7, ..record::Path::default() }, b"f\0");
            assert_eq!(names.is_whole(7), whole);
        }
        assert!(!names.is_whole(8), "nobody has told it");
        for (magic, whole) in [(magic::DMA_BUF, false), (magic::PIPE, true)] {
            let header = Header { flags: flag::SYNTHETIC, ..Header::default() };
            let path = record::Path { header, key: 7, magic, ..record::Path::default() };
            names.insert_path(&path, b"dmabuf\0");
            assert_eq!(names.is_whole(7), whole);
        }
    }

    #[test]
    fn names_take_no_more_than_so_much() {
        let mut names = Names::default();
        let path = |key| record::Path { key, ..record::Path::default() };
        let long = "directory\0".repeat(1600);
        let insert = |names: &mut Names, key: u64| {
            names.insert_path(
                &path(key),
                [format!("{key:05}\0").as_bytes(), long.as_bytes()].concat().as_slice(),
            );
        };
        (0..10_000).for_each(|key| insert(&mut names, key));
        let length =
            |names: &Names| names.by_key.values().map(|entry| entry.text.len()).sum::<usize>();
        assert!(length(&names) < TEXT_MAX + 10_000 * CUT_MAX && names.length == length(&names));
        assert!(names.is_whole(0) && !names.is_whole(9999));
        let cut = names.get(9999).expect("it");
        assert!(cut.starts_with(CUT) && cut.ends_with(b"/09999") && cut.len() == CUT_MAX);
        (0..3).for_each(|_| drop(names.retain(|key| key >= 9000)));
        assert_eq!((names.len(), names.length), (1000, length(&names)));
        insert(&mut names, 9999);
        assert!(names.is_whole(9999) && names.length == length(&names));
    }

    #[test]
    fn synthetic_names_are_the_kernels() {
        let synthetic = |magic, name: &[u8]| path(flag::SYNTHETIC, magic, name);
        assert_eq!(synthetic(0x0904_1934, b"[perf_event]\0"), b"anon_inode:[perf_event]");
        assert_eq!(synthetic(0x534f_434b, b""), b"socket:[42]");
        assert_eq!(synthetic(0x5049_5045, b""), b"pipe:[42]");
        assert_eq!(synthetic(0x444d_4142, b"dmabuf\0"), b"/dmabuf:...");
        assert_eq!(synthetic(0x0102_1994, b"memfd:x\0"), b"/memfd:x (deleted)");
        assert_eq!(synthetic(0x0102_1994, b"dev/zero\0"), b"/dev/zero (deleted)");
        assert_eq!(synthetic(0x5a3c_69f0, b"[aio]\0"), b"/[aio] (deleted)");
    }

    #[test]
    fn a_name_outlives_one_sweep_unused() {
        let mut names = Names::default();
        for key in [1, 2] {
            names.insert_name(&record::Name { key, ..record::Name::default() }, b"[vdso]");
        }
        assert_eq!(names.retain(|_| false), []);
        assert_eq!(names.retain(|key| key == 1), [2]);
        assert_eq!(names.len(), 2, "a record may have it that was written before it was forgotten");
        assert_eq!(names.retain(|key| key == 1), []);
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn a_condemned_name_that_is_used_or_comes_again_stays() {
        let name = record::Name { key: 1, ..record::Name::default() };
        for comes_again in [false, true] {
            let mut names = Names::default();
            names.insert_name(&name, b"[vdso]");
            assert_eq!(names.retain(|_| false), []);
            assert_eq!(names.retain(|_| false), [1]);
            if comes_again {
                names.insert_name(&name, b"[vdso]");
            }
            assert_eq!(names.retain(|_| !comes_again), []);
            assert!(names.get(1).is_some());
            assert_eq!(names.retain(|_| false), [1], "it is condemned like any other");
            assert!(names.get(1).is_some());
            assert_eq!(names.retain(|_| false), []);
            assert!(names.is_empty());
        }
    }
}

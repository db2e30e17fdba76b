//! `/proc/PID/maps`, byte for byte as the kernel prints it (`fs/proc/task_mmu.c`,
//! `show_map_vma`).

use std::io::{self, Write};

use mmaptrace_model::{Flags, Region, RegionName};

/// Where the name starts, counted from 0; a line that is longer already gets one space.
const NAME_COLUMN: usize = 73;

/// What a region is called that maps prints and no process has.
pub(crate) const VSYSCALL: &[u8] = b"[vsyscall]";

/// Writes the regions, and the line of the `[vsyscall]` page if there is one: a region that no process has.
///
/// A path goes out as the kernel prints it: raw, but for a newline, which is `\012`.
///
/// # Errors
/// What the writer says.
pub fn write<'a>(
    out: &mut dyn Write,
    regions: impl IntoIterator<Item = (Region, RegionName<'a>)>,
    vsyscall: Option<Region>,
) -> io::Result<()> {
    let mut line = Vec::with_capacity(256);
    let vsyscall = vsyscall.map(|page| (page, RegionName::Special(VSYSCALL)));
    for (region, name) in regions.into_iter().chain(vsyscall) {
        line.clear();
        push_line(&mut line, &region, name)?;
        out.write_all(&line)?;
    }
    Ok(())
}

/// As maps prints them: `rw-p`.
pub(crate) fn permissions(flags: Flags) -> String {
    flags.permissions().map(char::from).iter().collect()
}

fn push_line(line: &mut Vec<u8>, region: &Region, name: RegionName<'_>) -> io::Result<()> {
    let [r, w, x, s] = region.flags.permissions().map(char::from);
    let (dev, ino) = region.inode();
    let (major, minor) = device(dev);
    let &Region { start, end, .. } = region;
    let offset = region.offset();
    write!(line, "{start:08x}-{end:08x} {r}{w}{x}{s} {offset:08x} {major:02x}:{minor:02x} {ino} ")?;
    let bare = line.len();
    // The kernel pads to one short of the column, and then writes a space.
    line.resize(bare.max(NAME_COLUMN - 1), b' ');
    let padded = line.len();
    line.push(b' ');
    push_name(line, name);
    if line.len() == padded + 1 {
        line.truncate(bare);
    }
    line.push(b'\n');
    Ok(())
}

/// Major and minor number of a device.
pub(super) const fn device(dev: u32) -> (u32, u32) {
    (dev >> 20, dev & 0xf_ffff)
}

/// Appends the name as the kernel prints it; nothing if there is none, or if it is not known.
pub(crate) fn push_name(out: &mut Vec<u8>, name: RegionName<'_>) {
    match name {
        RegionName::None | RegionName::Unknown => {}
        RegionName::Heap => out.extend_from_slice(b"[heap]"),
        RegionName::Stack => out.extend_from_slice(b"[stack]"),
        RegionName::Path(path) => {
            for &byte in path {
                match byte {
                    b'\n' => out.extend_from_slice(br"\012"),
                    byte => out.push(byte),
                }
            }
        }
        RegionName::Special(name) => out.extend_from_slice(name),
        RegionName::Anon(name) => push_bracketed(out, b"[anon:", name),
        RegionName::AnonShmem(name) => push_bracketed(out, b"[anon_shmem:", name),
    }
}

fn push_bracketed(out: &mut Vec<u8>, opening: &[u8], name: &[u8]) {
    out.extend_from_slice(opening);
    out.extend_from_slice(name);
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{proc_maps::ProcMaps, sink::testing};

    fn show(region: Region, name: RegionName<'_>) -> String {
        let mut out = Vec::new();
        write(&mut out, [(region, name)], None).expect("a vector takes all");
        String::from_utf8(out).expect("UTF-8")
    }

    /// Whatever runs here: a line parsed and printed again is the same line.
    #[test]
    fn prints_every_process_as_the_kernel_does() {
        let mut lines = 0;
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            // Others' maps may be out of reach, or gone by now.
            let Ok(maps) = std::fs::read(entry.path().join("maps")) else { continue };
            let parsed = ProcMaps::parse(&maps).expect("maps");
            let mut out = Vec::new();
            write(&mut out, parsed.regions(), parsed.vsyscall).expect("a vector takes all");
            assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&maps));
            assert_eq!(out, maps);
            lines += parsed.regions.len();
        }
        assert!(lines > 10, "not even this process was seen");
    }

    #[test]
    fn names_start_at_column_73_or_after_one_space() {
        let mut region = testing::region(0x1_0000, 0x1_1000, "rw-p");
        assert_eq!(show(region, RegionName::None), "00010000-00011000 rw-p 00000000 00:00 0 \n");
        assert_eq!(show(region, RegionName::Unknown), "00010000-00011000 rw-p 00000000 00:00 0 \n");
        let line = show(region, RegionName::Heap);
        assert_eq!((line.find('['), line.len()), (Some(73), 80));
        region = testing::file(0x7f01_e712_1000, 0x7f01_e712_4000, "r--s", 0x1_0000_0000_0000);
        assert_eq!(show(region, RegionName::Path(b"/x")).find("/x"), Some(73));
        region.backing =
            mmaptrace_model::Backing::File { dev: 0xfff_fffff, ino: u64::MAX, path: 1 };
        assert_eq!(
            show(region, RegionName::Path(b"/x")),
            "7f01e7121000-7f01e7124000 r--s 1000000000000 fff:fffff 18446744073709551615  /x\n"
        );
    }

    #[test]
    fn names_are_raw_but_for_newlines() {
        let region = testing::file(0x1_0000, 0x1_1000, "r--p", 0);
        let mut out = Vec::new();
        write(&mut out, [(region, RegionName::Path(b"/a\nb\\\x1b\xff (deleted)"))], None)
            .expect("a vector takes all");
        assert!(out.ends_with(b" /a\\012b\\\x1b\xff (deleted)\n"));
        let region = testing::region(0x1_0000, 0x1_1000, "rw-p");
        assert!(show(region, RegionName::Anon(b"x y")).ends_with(" [anon:x y]\n"));
        assert!(show(region, RegionName::AnonShmem(b"x")).ends_with(" [anon_shmem:x]\n"));
        assert!(show(region, RegionName::Special(b"[vdso]")).ends_with(" [vdso]\n"));
    }

    /// Where it may be read, too: `vsyscall=emulate`.
    #[test]
    fn vsyscall_is_a_line_and_no_region() {
        for permissions in ["--xp", "r-xp"] {
            let page = testing::region(0xffff_ffff_ff60_0000, 0xffff_ffff_ff60_1000, permissions);
            let mut out = Vec::new();
            write(&mut out, [], Some(page)).expect("a vector takes all");
            let line = format!(
                "ffffffffff600000-ffffffffff601000 {permissions} 00000000 00:00 0                  [vsyscall]\n"
            );
            assert_eq!(String::from_utf8_lossy(&out), line);
            let parsed = ProcMaps::parse(&out).expect("maps").vsyscall.expect("it");
            assert_eq!(parsed.flags.permissions(), page.flags.permissions());
        }
    }
}

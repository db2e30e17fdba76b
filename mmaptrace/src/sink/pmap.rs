//! What `pmap PID` and `pmap -x PID` print: procps-ng 4.0.2's formats, byte for byte.

use std::{
    fmt::{self, Display, Formatter},
    io::{self, Write},
};

use mmaptrace_model::{Backing, Region, RegionName, region::PAGE};

use super::maps;

/// Writes the header, a line for each region, and the total.
///
/// `cmdline` is the process's arguments with spaces between them, or its name in brackets if it has
/// none. In it, and in the names of files, pmap shows what is not printable as `?`.
///
/// # Errors
/// What the writer says.
pub fn write<'a>(
    out: &mut dyn Write,
    pid: u32,
    cmdline: &[u8],
    regions: impl IntoIterator<Item = (Region, RegionName<'a>)>,
    vsyscall: Option<Region>,
) -> io::Result<()> {
    writeln!(out, "{pid}:   {}", printable(cmdline))?;
    let mut total = 0;
    let mut name = Vec::new();
    for (region, region_name) in regions {
        let kib = region.size() / 1024;
        total += kib;
        write!(out, "{:016x} {kib:6}K {} ", region.start, Mode(&region))?;
        name.clear();
        push_mapping(&mut name, &region, region_name);
        name.push(b'\n');
        out.write_all(&name)?;
    }
    if let Some(page) = vsyscall {
        // pmap reads the line as any other, and knows no name without a slash.
        total += PAGE / 1024;
        writeln!(out, "{:016x}      4K {}   [ anon ]", page.start, Mode(&page))?;
    }
    writeln!(out, " total {total:16}K")
}

/// What of a region is in memory, in KiB, as `/proc/PID/smaps` counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// All of it.
    pub rss: u64,
    /// Those pages that were written to, private and shared.
    pub dirty: u64,
}

/// Writes the header, a line for each region with its figures, and the totals: `pmap -x`.
///
/// `cmdline` is as for [`write()`].
///
/// # Errors
/// What the writer says.
pub fn write_extended<'a>(
    out: &mut dyn Write,
    pid: u32,
    cmdline: &[u8],
    regions: impl IntoIterator<Item = (Region, RegionName<'a>, Resident)>,
    vsyscall: Option<Region>,
) -> io::Result<()> {
    writeln!(out, "{pid}:   {}", printable(cmdline))?;
    writeln!(out, "Address           Kbytes     RSS   Dirty Mode  Mapping")?;
    let mut total = 0;
    let mut resident = Resident::default();
    let mut name = Vec::new();
    for (region, region_name, Resident { rss, dirty }) in regions {
        let kib = region.size() / 1024;
        total += kib;
        resident.rss += rss;
        resident.dirty += dirty;
        let mode = Mode(&region);
        write!(out, "{:016x} {kib:7} {rss:7} {dirty:7} {mode} ", region.start)?;
        name.clear();
        push_mapping(&mut name, &region, region_name);
        name.push(b'\n');
        out.write_all(&name)?;
    }
    if let Some(page) = vsyscall {
        total += PAGE / 1024;
        writeln!(out, "{:016x}       4       0       0 {}   [ anon ]", page.start, Mode(&page))?;
    }
    writeln!(out, "---------------- ------- ------- ------- ")?;
    writeln!(out, "total kB{total:16} {:7} {:7}", resident.rss, resident.dirty)
}

/// The permissions, in pmap's five characters.
struct Mode<'a>(&'a Region);

impl Display for Mode<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [read, write, execute, shared] = self.0.flags.permissions().map(char::from);
        let shared = if shared == 'p' { '-' } else { shared };
        write!(f, "{read}{write}{execute}{shared}-")
    }
}

/// Appends what pmap makes of a name: what comes after the last slash of the whole line.
fn push_mapping(out: &mut Vec<u8>, region: &Region, name: RegionName<'_>) {
    if let Some(id) = segment(region, name) {
        out.extend_from_slice(format!("  [ shmid={id:#x} ]").as_bytes());
        return;
    }
    let from = out.len();
    maps::push_name(out, name);
    match (out[from..].iter().rposition(|&byte| byte == b'/'), name) {
        (Some(slash), _) => {
            // A name that ends in its slash is the slash.
            let after = if from + slash + 1 == out.len() { slash } else { slash + 1 };
            out.drain(from..from + after);
            for byte in &mut out[from..] {
                // isprint() of each byte by itself: none of a longer UTF-8 character is.
                if !matches!(byte, b' '..=b'~') {
                    *byte = b'?';
                }
            }
        }
        (None, RegionName::Stack) => out.splice(from.., *b"  [ stack ]").for_each(drop),
        (None, _) => out.splice(from.., *b"  [ anon ]").for_each(drop),
    }
}

/// The id of a System V shared memory segment: the inode number of a file on the kernel's own
/// tmpfs, which has no path of its own but this.
fn segment(region: &Region, name: RegionName<'_>) -> Option<u64> {
    match (region.backing, name) {
        (Backing::File { dev, ino, .. }, RegionName::Path(path))
            if maps::device(dev).0 == 0
                && path.starts_with(b"/SYSV")
                && path.ends_with(b" (deleted)") =>
        {
            Some(ino)
        }
        _ => None,
    }
}

/// Text as procps shows it in a UTF-8 locale; what could act on a terminal is `?` too.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.extend(
            chunk.valid().chars().map(|c| if crate::escape::is_harmful(c) { '?' } else { c }),
        );
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::{
        proc_maps::ProcMaps,
        sink::testing::{file, region},
    };

    struct Sleeper(Child);

    impl Drop for Sleeper {
        fn drop(&mut self) {
            self.0.kill().expect("the sleeper is ours");
            self.0.wait().expect("and not waited for yet");
        }
    }

    fn show(region: Region, name: RegionName<'_>) -> String {
        let mut out = Vec::new();
        write(&mut out, 7, b"x", [(region, name)], None).expect("a vector takes all");
        String::from_utf8(out).expect("UTF-8").lines().nth(1).expect("a line").to_owned()
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a test that cannot run says so")]
    fn prints_a_process_as_pmap_does() {
        let sleeper =
            Sleeper(Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().expect("sleep"));
        let pid = sleeper.0.id();
        // Its maps are final once it sleeps in nanosleep.
        while !std::fs::read_to_string(format!("/proc/{pid}/wchan"))
            .is_ok_and(|wchan| wchan.contains("nanosleep"))
            && !std::fs::read_to_string(format!("/proc/{pid}/syscall"))
                .is_ok_and(|call| call.starts_with("230 ") || call.starts_with("35 "))
        {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let maps = std::fs::read(format!("/proc/{pid}/maps")).expect("its maps");
        let theirs = match Command::new("pmap").arg(pid.to_string()).env("LC_ALL", "C").output() {
            Ok(output) => output,
            Err(error) => {
                eprintln!("SKIPPED prints_a_process_as_pmap_does: pmap: {error}");
                return;
            }
        };
        assert!(theirs.status.success());
        let parsed = ProcMaps::parse(&maps).expect("maps");
        let mut ours = Vec::new();
        write(&mut ours, pid, b"sleep 1000", parsed.regions(), parsed.vsyscall)
            .expect("a vector takes all");
        assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs.stdout));
    }

    #[test]
    fn mappings_as_pmap_names_them() {
        let mut at = file(0x7fc5_2e40_0000, 0x7fc5_2e40_1000, "rw-s", 0);
        assert_eq!(
            show(at, RegionName::Path(b"/tmp/nl\nx \xff\x01y\\\x1b[31m\xc3\xa9")),
            r"00007fc52e400000      4K rw-s- nl\012x ??y\?[31m??"
        );
        assert!(show(at, RegionName::Path(b"/dev/zero (deleted)")).ends_with("- zero (deleted)"));
        assert!(show(at, RegionName::Path(b"anon_inode:[x]")).ends_with("-   [ anon ]"));
        assert!(show(at, RegionName::Path(b"/tmp/")).ends_with("- /"));
        at.backing = Backing::File { dev: 1, ino: 4, path: 0 };
        let sysv = RegionName::Path(b"/SYSV0012d687 (deleted)");
        assert!(show(at, sysv).ends_with("-   [ shmid=0x4 ]"));
        let at = region(0x1_0000, 0x1000_0001_0000, "---p");
        assert_eq!(show(at, RegionName::None), "0000000000010000 17179869184K -----   [ anon ]");
        assert!(show(at, RegionName::Stack).ends_with("-   [ stack ]"));
        assert!(show(at, RegionName::Heap).ends_with("-   [ anon ]"));
        assert!(show(at, RegionName::Anon(b"a/b")).ends_with("- b]"));
    }

    #[test]
    fn the_header_is_harmless() {
        let mut out = Vec::new();
        let vsyscall = Some(region(0xffff_ffff_ff60_0000, 0xffff_ffff_ff60_1000, "--xp"));
        write(&mut out, 7, b"./w c\td\x1b \xff\xc3\xa9", [], vsyscall).expect("a vector takes all");
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            "7:   ./w c?d? ?\u{e9}\nffffffffff600000      4K --x--   [ anon ]\n total                4K\n"
        );
    }
}

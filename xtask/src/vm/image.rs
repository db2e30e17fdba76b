//! The initial RAM file system: busybox, the tool, the tests, and a script that runs them. There is
//! no other file system.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{
    Selection,
    build::Programs,
    console::{BINARY, END},
    kernels::{EXACT_ONLY, Tier},
};
use crate::workspace::root;

/// What there is beside the programs.
const DIRECTORIES: [&str; 11] =
    ["bin", "dev", "etc", "modules", "proc", "regressions", "root", "run", "sys", "tests", "tmp"];

/// What happens first.
///
/// A static C library has its thread's area for restartable sequences in the heap, which a victim
/// gives back: the kernel then kills it when it is preempted. Hence the tunable. Processes with as many
/// regions as there may be take long to emulate: there may be as many as tests need in any case.
const PROLOGUE: &str = "\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root MMAPTRACE_BIN=/bin/mmaptrace MMAPTRACE_VICTIM=/bin/victim
export MMAPTRACE_TORTURE=/bin/torture MMAPTRACE_REGRESSIONS=/regressions MMAPTRACE_EMULATED=1
export GLIBC_TUNABLES=glibc.pthread.rseq=0
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mkdir -p /dev/shm /sys/fs/cgroup
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
echo 8 > /proc/sys/vm/nr_hugepages
echo 22000 > /proc/sys/vm/max_map_count
ip link set lo up
cd /root
";

/// A kernel that lets nobody change it, and then one that lets nobody look into it either, root
/// included. It stays so: this comes last. The tool has to say that in one line.
const LOCKING_DOWN: &str = "\
mount -t securityfs security /sys/kernel/security
works() {
    printf 'test %s ... ' $1; shift
    if said=$(\"$@\" 2>&1)
    then echo ok
    else echo \"status $?: $said\"; echo FAILED
    fi
}
refuses() {
    printf 'test %s ... ' $1; shift
    if said=$(\"$@\" 2>&1); then code=0; else code=$?; fi
    lines=$(echo \"$said\" | wc -l)
    if [ $code = 1 ] && [ $lines -le $LINES ] && echo \"$said\" | grep -q 'locked down'
    then echo ok
    else echo \"status $code: $said\"; echo FAILED
    fi
}
echo integrity > /sys/kernel/security/lockdown
works a_trace_is_allowed_with_integrity mmaptrace -p 1 -d 0.1
works a_launch_is_allowed_with_integrity mmaptrace -- true
echo confidentiality > /sys/kernel/security/lockdown
LINES=1
refuses a_trace_is_refused mmaptrace -p 1 -d 1
LINES=9
refuses check_says_why mmaptrace check
";

/// Writes the file system for a kernel, which runs `script`, to `path`.
///
/// # Errors
/// When a file cannot be read, or `path` not be written.
pub(crate) fn write(
    path: &Path,
    programs: &Programs,
    busybox: &Path,
    modules: &[(PathBuf, &str)],
    script: &str,
) -> Result<()> {
    let mut archive = Archive::new();
    for directory in DIRECTORIES {
        archive.directory(directory);
    }
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    archive.file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n");
    archive.program("bin/busybox", &read(busybox)?);
    archive.program("bin/mmaptrace", &read(&programs.tool)?);
    archive.program("bin/victim", &read(&programs.victim)?);
    archive.program("bin/torture", &read(&programs.torture)?);
    archive.program("bin/hunt", &read(&programs.hunt)?);
    archive.program("bin/load", &read(&programs.load)?);
    // Only what it runs, for all of it is copied in an emulated machine.
    let tests = programs.tests.iter().map(|(name, path)| (format!("tests/{name}"), path));
    for (name, path) in tests.filter(|(name, _)| script.contains(&format!("/{name} "))) {
        archive.program(&name, &read(path)?);
    }
    for list in fs::read_dir(root().join("tests/regressions"))? {
        let list = list?;
        let name = format!("regressions/{}", list.file_name().display());
        archive.file(&name, &read(&list.path())?);
    }
    let mut init = PROLOGUE.to_owned();
    for (module, parameters) in modules {
        let path = format!("modules/{}", module.file_name().unwrap_or_default().display());
        archive.file(&path, &read(module)?);
        init.extend(["insmod /", &path, " ", parameters, "\n"]);
    }
    init.extend([script, "echo '", END, "'\npoweroff -f\n"]);
    archive.program("init", init.as_bytes());
    fs::write(path, archive.finish()).with_context(|| format!("cannot write {}", path.display()))
}

/// What is run, as if it were a file of tests, once a machine is locked down.
pub(crate) const LOCKDOWN: &str = "lockdown";

/// Where calls at random start.
const SEED: u64 = 1;

/// What is left out of a file of tests where there is no other tier.
struct LeftOut {
    file: &'static str,
    /// What is in the names of the tests: [`ALL`], or each of some.
    tests: &'static [&'static str],
    /// How many these are, so that one more, or one less, shows.
    count: usize,
    why: &'static str,
}

/// In the name of each test.
const ALL: &[&str] = &[""];

/// A file of which tests are left out.
const fn without(
    file: &'static str,
    tests: &'static [&'static str],
    count: usize,
    why: &'static str,
) -> LeftOut {
    LeftOut { file, tests, count, why }
}

/// What holds the tool to what only the other tier promises, for one reason or several; of a file that
/// is not named here, all is run.
const DEGRADED: &[LeftOut] = &[
    without("attach", &["again_and_again"], 1, "exact while it changes"),
    without("attach", &["the_end_of_the_program"], 1, ENDS),
    without("blame", ALL, 7, UNSEEN),
    without("calls", &["madvise_", "process_madvise"], 13, "flags that maps does not print"),
    without("contention", &["verify_finds"], 1, "comparisons with the kernel"),
    without("dump", &["a_flooded_process"], 1, UNSEEN),
    without("effects_without_calls", ALL, 29, UNSEEN),
    without("errors", &["a_kernel_thread", "a_tracer_that_fails_waits", "a_zombie"], 3, THE_TIER),
    without("export", ALL, 11, UNSEEN),
    without("faults", &["a_child_whose_fork", "an_exec_that_is_lost"], 2, LESS_IS_LOST),
    without(
        "faults",
        &["a_new_name_in_memory"],
        1,
        "a name that is in doubt before it is looked at",
    ),
    without("faults", &["a_picture_larger"], 1, "a picture that takes the way of all records"),
    without("faults", &["between_a_commit"], 1, "a change that is told before its call returns"),
    without("history", ALL, 13, UNSEEN),
    without("launch", &["the_exit_status"], 1, ENDS),
    without("launch", SHORT_LIVES, 4, "a look at what is gone by then"),
    without("memory", &["a_flood"], 1, "the memory that is enough without readings of maps"),
    without("memory", &["a_past_that"], 1, "records enough to fill what is remembered"),
    without(
        "names",
        &["after_many", "path_deeper_than_is_sent"],
        2,
        "names that are forgotten or cut",
    ),
    without("options", &["by_cgroup"], 1, THE_TIER),
    without("page", ALL, 4, UNSEEN),
    without("recording", IN_RECORDINGS, 3, UNSEEN),
    without("report", ALL, 8, UNSEEN),
    without("stacks", ALL, 8, "stacks and durations"),
    without("tasks", &["a_child_of_vfork"], 1, "calls of who is in the space and not followed"),
    without("tasks", &["an_exec_has_its"], 1, "the arguments that an exec was given"),
    without("tasks", &["an_mm_is"], 1, "where the kernel keeps a space"),
    without("tasks", &["each_end"], 1, ENDS),
    without("text", &["a_crowd_of_regions"], 1, UNSEEN),
    without("torture", &["torture_by_", "torture_with_", "regressions_"], 6, UNSEEN),
    without("verify", &["a_difference", "a_program"], 3, "comparisons with the kernel"),
];
const UNSEEN: &str = "a map that is exact at each change";
const THE_TIER: &str = "no word of the tier";
const ENDS: &str = "how a process ended whose parent has asked already";
const LESS_IS_LOST: &str = "a ring that larger records fill";
const SHORT_LIVES: &[&str] =
    &["ls_works", "shell_children", "vfork_and_exec_of_python", "what_lives_a_millisecond"];
const IN_RECORDINGS: &[&str] =
    &["a_call_that_takes_long", "an_event_is_few_bytes", "parts_of_what_was_recorded"];

/// Tells of each test of a file that is left out, as if it had said so, and fails if there are others
/// than were counted.
const LEAVING_OUT: &str = "\
leave_out() {
    file=$1 count=$2 filter=$3 why=$4; shift 4
    /tests/$file --list --format terse \"$@\" | sed -n 's/: test$//p' > /tmp/left_out
    found=$(wc -l < /tmp/left_out)
    grep -F -- \"$filter\" /tmp/left_out | while read name
    do echo \"test $name ... SKIP $name: $why\"; echo ok
    done
    if [ $found != $count ]
    then echo \"test (left out) ... $found, not $count as listed\"; echo FAILED
    fi
}
";

/// The tests that a machine runs, or its torture.
pub(crate) fn script(programs: &Programs, tier: Tier, selection: &Selection) -> String {
    if let Some(minutes) = selection.torture {
        let environment = match tier {
            Tier::Exact => "",
            Tier::Degraded => "MMAPTRACE_TIER=degraded",
        };
        return format!(
            "echo '{BINARY}torture'\nprintf 'test calls_at_random ... '\n\
             if {environment} hunt {SEED} {minutes} 0; then echo ok; else echo FAILED; fi\n"
        );
    }
    let mut script = match tier {
        Tier::Exact => String::new(),
        Tier::Degraded => format!("export MMAPTRACE_DEGRADED=1\n{LEAVING_OUT}"),
    };
    let mut run = |label: &str, command: &str| {
        script.extend(["echo '", BINARY, label, "'\n", command, "\n"]);
    };
    // Quoted for the shell.
    let quote = |text: &String| format!(" '{}'", text.replace('\'', r"'\''"));
    let filter = selection.filter.as_ref().map_or(String::new(), quote);
    for name in programs.tests.keys().filter(|it| selection.has_file(it)) {
        let is_listed = |it: &&LeftOut| it.file == name && tier == Tier::Degraded;
        let listed: Vec<_> = DEGRADED.iter().filter(is_listed).collect();
        let tests = listed.iter().flat_map(|it| it.tests);
        let skips: String = tests.flat_map(|test| [" --skip '", test, "'"]).collect();
        let mut command = format!("/tests/{name} --test-threads=1{skips}{filter} 2>&1");
        let shown = if filter.is_empty() { " ''" } else { &filter };
        for LeftOut { tests, count, why, .. } in listed {
            let parts: String = tests.iter().flat_map(|test| [" '", test, "'"]).collect();
            // Writing to a string cannot fail.
            _ = write!(command, "\nleave_out {name} {count}{shown} '{EXACT_ONLY}: {why}'{parts}");
        }
        run(name, &command);
    }
    if selection.has_file(LOCKDOWN) && selection.filter.is_none() {
        run(LOCKDOWN, LOCKING_DOWN);
    }
    script
}

/// A cpio archive in the form that the kernel unpacks (`newc`,
/// `Documentation/driver-api/early-userspace/buffer-format.rst`): for each file a header of
/// hexadecimal numbers, its name, its contents, each padded to 4 bytes.
struct Archive {
    bytes: Vec<u8>,
    files: usize,
}

impl Archive {
    fn new() -> Self {
        Self { bytes: Vec::new(), files: 0 }
    }

    fn directory(&mut self, name: &str) {
        self.entry(name, 0o40_755, &[]);
    }

    fn program(&mut self, name: &str, contents: &[u8]) {
        self.entry(name, 0o100_755, contents);
    }

    fn file(&mut self, name: &str, contents: &[u8]) {
        self.entry(name, 0o100_644, contents);
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) {
        self.files += 1;
        let (inode, size, name_size) = (self.files, contents.len(), name.len() + 1);
        // Magic, inode, mode, user, group, links, time, size, four device numbers, size of the
        // name, checksum.
        self.bytes.extend_from_slice(
            format!(
                "070701{inode:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{size:08x}{:032x}\
                 {name_size:08x}{:08x}",
                0, 0, 1, 0, 0, 0
            )
            .as_bytes(),
        );
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{Archive, DEGRADED};

    /// The shell of the machine gets them between quotes.
    #[test]
    fn no_reason_has_a_quote() {
        assert!(DEGRADED.iter().all(|it| !it.why.contains('\'')));
    }

    #[test]
    fn headers_are_of_110_bytes_and_all_is_padded() {
        let mut archive = Archive::new();
        archive.file("abc", b"12345");
        let bytes = archive.finish();
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(&bytes[54..62], b"00000005", "the size");
        assert_eq!(&bytes[94..102], b"00000004", "the size of the name, its NUL included");
        assert_eq!(&bytes[110..116], b"abc\x00\x00\x00");
        assert!(bytes[116..].starts_with(b"12345\x00\x00\x00070701"));
        assert_eq!(bytes.len() % 4, 0);
    }
}

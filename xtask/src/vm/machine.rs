//! A machine that QEMU emulates, and what its console prints.

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::packages::{Packages, on_path};

/// The emulator, on PATH or unpacked beside the kernels.
#[derive(Debug)]
pub(crate) struct Qemu {
    program: PathBuf,
    /// Where it was unpacked.
    root: Option<PathBuf>,
}

const PROGRAM: &str = "qemu-system-x86_64";
/// Within the contents of Debian's packages.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
const FIRMWARE: [&str; 2] = ["usr/share/seabios", "usr/share/qemu"];

/// Of the kernel's messages only the last ones; a panic ends the machine; no waiting for grace
/// periods of RCU, which ends of tracers and mounts do; no test at the start of whether timers work,
/// which a busy machine may fail; a clock that is read without leaving the emulated code; and memory is
/// cleared when asked for only, by loops (112 is `X86_FEATURE_REP_GOOD`, 395 `X86_FEATURE_FSRS`), not by
/// instructions that repeat, of which QEMU makes one step for each word or byte.
const COMMAND_LINE: &str = "console=ttyS0 loglevel=1 panic=-1 mitigations=off \
                            rcupdate.rcu_expedited=1 tsc=reliable no_timer_check init_on_alloc=0 \
                            clearcpuid=112,395";
/// Without what is slow to emulate and makes no difference here: page tables of five levels, and
/// fast strings, as above.
const PROCESSOR: &str = "max,la57=off,erms=off,fsrm=off";

/// What the machine's processors and clock are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Two, as fast as they come.
    Fast,
    /// One, of which each instruction takes a nanosecond, whatever it takes here.
    Counted,
}

impl Qemu {
    /// That of this machine, else Debian's.
    ///
    /// # Errors
    /// When there is none and it cannot be fetched.
    pub(crate) fn find(packages: &mut Packages) -> Result<Self> {
        if let Some(program) = on_path(PROGRAM) {
            return Ok(Self { program, root: None });
        }
        let root = packages.unpacked_with_dependencies("qemu-system-x86")?;
        Ok(Self { program: root.join("usr/bin").join(PROGRAM), root: Some(root) })
    }

    /// Boots a kernel.
    ///
    /// # Errors
    /// When QEMU cannot be started.
    pub(crate) fn boot(&self, kernel: &Path, initrd: &Path, pace: Pace) -> Result<Machine> {
        // The kernel kills it when this process ends, however it ends.
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
        if let Some(root) = &self.root {
            let [libraries, others] = LIBRARIES.map(|path| root.join(path));
            let mut path = OsString::from(&libraries);
            path.push(":");
            path.push(others);
            qemu.env("LD_LIBRARY_PATH", path).env("QEMU_MODULE_DIR", libraries.join("qemu"));
            for directory in FIRMWARE {
                qemu.arg("-L").arg(root.join(directory));
            }
        }
        // Both processors in one thread, for QEMU before 8.2 may translate code that the other one
        // changes meanwhile, and keep the translation: the kernel then runs into a breakpoint that
        // it has taken away, as tracers come and go. Two machines at once use two processors.
        qemu.args(["-accel", "tcg,thread=single", "-cpu", PROCESSOR, "-m", "2G"])
            .args(match pace {
                Pace::Fast => &["-smp", "2"][..],
                Pace::Counted => &["-smp", "1", "-icount", "shift=0,sleep=off"],
            })
            .args(["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", COMMAND_LINE])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = qemu.spawn().context("cannot run setpriv, of util-linux")?;
        let out = child.stdout.take().context("QEMU without its output")?;
        Ok(Machine { child, lines: read(out) })
    }
}

/// A running machine, switched off when dropped.
#[derive(Debug)]
pub(crate) struct Machine {
    child: Child,
    lines: Receiver<String>,
}

impl Machine {
    /// Gives each line of the console to `take`, until the machine switches itself off: `true`, or
    /// for `patience`: `false`.
    pub(crate) fn watch(self, patience: Duration, mut take: impl FnMut(&str)) -> bool {
        let start = Instant::now();
        loop {
            match self.lines.recv_timeout(patience.saturating_sub(start.elapsed())) {
                Ok(line) => take(&line),
                Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The console's lines, as they come.
fn read(out: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        let mut out = BufReader::new(out);
        let mut line = Vec::new();
        while out.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line);
            if sender.send(text.trim_end_matches(['\r', '\n']).to_owned()).is_err() {
                break;
            }
            line.clear();
        }
    });
    lines
}

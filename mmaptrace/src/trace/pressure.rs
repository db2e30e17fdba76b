//! Back pressure, where it is asked for (`--on-full wait`): processes wait while the tracer is
//! behind, stopped as by a shell's ^Z, so that what they do next finds room in the ring.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr,
};

use procfs::process::Process;

use super::{guard::Guard, kin::Kin};
use crate::note;

/// The processes that wait. They go on when this is dropped, and when this process is killed.
#[derive(Debug)]
pub(super) struct Pressure {
    stopped: BTreeMap<u32, OwnedFd>,
    /// `None`: it was killed.
    guard: Option<Guard>,
    /// Those never wait.
    kin: Kin,
    /// It was told that one of them does not.
    has_told: bool,
}

impl Pressure {
    pub(super) const fn new(guard: Guard, kin: Kin) -> Self {
        Self { stopped: BTreeMap::new(), guard: Some(guard), kin, has_told: false }
    }

    /// Lets these processes wait, but for the kin and those that someone else has stopped already; once more those that
    /// someone else has let go on since. One that cannot be stopped has ended, or goes on and may lose
    /// records, which are counted.
    pub(super) fn stop(&mut self, pids: &BTreeSet<u32>) {
        for &pid in pids {
            let Some(group) = group_of_running(pid) else { continue };
            if self.kin.has(pid, group) {
                self.tell_of_kin(pid);
                continue;
            }
            // 0 is no signal, and tells whether one may be sent.
            let Ok(process) = open(pid).and_then(|it| signal(&it, 0).map(|()| it)) else {
                continue;
            };
            self.tell(pid);
            if signal(&process, libc::SIGSTOP).is_ok() {
                self.stopped.insert(pid, process);
            }
        }
    }

    /// Lets all go on.
    pub(super) fn go_on(&mut self) {
        if self.stopped.is_empty() {
            return;
        }
        for process in std::mem::take(&mut self.stopped).values() {
            // It may have been killed.
            let _ = signal(process, libc::SIGCONT);
        }
        if let Some(guard) = &mut self.guard {
            guard.gone_on();
        }
    }

    /// Tells the guard of one that is about to be stopped.
    fn tell(&mut self, pid: u32) {
        if let Some(guard) = &mut self.guard
            && guard.stopping(pid).is_err()
        {
            note(format_args!(
                "the process 'let-go-on' was killed: if this tracer is, what waits for it stays stopped"
            ));
            self.guard = None;
        }
    }

    /// Tells of one of the kin, once: whoever meant it can say so.
    fn tell_of_kin(&mut self, pid: u32) {
        if !self.has_told {
            self.has_told = true;
            note(format_args!(
                "process {pid} may be who reads of this tracer, by its process group, and does not wait; \
                 if it is meant to: -p {pid}"
            ));
        }
    }
}

impl Drop for Pressure {
    fn drop(&mut self) {
        self.go_on();
    }
}

/// The process group of a process that is neither stopped nor over. It is stopped as a whole, so that any of its threads tells
/// that has not ended: the main one may have, long before the others.
fn group_of_running(pid: u32) -> Option<i32> {
    let tasks = Process::new(pid.cast_signed()).and_then(|process| process.tasks());
    let mut stats = tasks.into_iter().flatten().filter_map(|task| task.ok()?.stat().ok());
    let stat = stats.find(|stat| !matches!(stat.state, 'Z' | 'X'))?;
    (!matches!(stat.state, 'T' | 't')).then_some(stat.pgrp)
}

/// `pidfd_open(2)`: the process itself, whoever gets its PID later.
pub(super) fn open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: it takes two numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// `pidfd_send_signal(2)`
pub(super) fn signal(process: &OwnedFd, signal: i32) -> io::Result<()> {
    let info = ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open; no information goes with the signal.
    let status =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, info, 0) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        os::unix::process::CommandExt as _,
        process::Command,
    };

    use super::{Kin, Pressure};

    fn pressure(kin: Kin) -> Pressure {
        Pressure { stopped: BTreeMap::new(), guard: None, kin, has_told: false }
    }

    /// The state of a process, once it is this one.
    fn becomes(pid: u32, state: char) {
        let stat = || procfs::process::Process::new(pid.cast_signed()).and_then(|it| it.stat());
        while stat().expect("a process that lives").state != state {
            std::thread::yield_now();
        }
    }

    #[test]
    fn stops_again_what_someone_else_has_let_go_on() {
        let mut child = Command::new("sleep").arg("1000").spawn().expect("sleep");
        let mut pressure = pressure(Kin::default());
        for _ in 0..2 {
            pressure.stop(&BTreeSet::from([child.id()]));
            becomes(child.id(), 'T');
            // SAFETY: a child of this process.
            unsafe { libc::kill(child.id().cast_signed(), libc::SIGCONT) };
            becomes(child.id(), 'S');
        }
        child.kill().expect("a child");
        child.wait().expect("a child");
    }

    #[test]
    fn stops_none_of_the_kin_that_is_not_meant() {
        let sleep = |group: i32| {
            let mut command = Command::new("sleep");
            command.arg("1000").process_group(group).spawn().expect("sleep")
        };
        // SAFETY: it has no requirements.
        let own = unsafe { libc::getpgrp() };
        let (mut near, mut meant, mut far) = (sleep(own), sleep(own), sleep(0));
        let mut pressure = pressure(Kin::but_for(vec![meant.id()]));
        pressure.stop(&BTreeSet::from([near.id(), meant.id(), far.id()]));
        assert!(!pressure.stopped.contains_key(&near.id()));
        becomes(meant.id(), 'T');
        becomes(far.id(), 'T');
        for child in [&mut near, &mut meant, &mut far] {
            child.kill().expect("a child");
            child.wait().expect("a child");
        }
    }

    #[test]
    fn stops_what_runs_and_lets_go_of_no_other() {
        let sleep = || Command::new("sleep").arg("1000").spawn().expect("sleep");
        let (mut free, mut held) = (sleep(), sleep());
        // SAFETY: a child of this process.
        unsafe { libc::kill(held.id().cast_signed(), libc::SIGSTOP) };
        becomes(held.id(), 'T');
        let mut pressure = pressure(Kin::default());
        pressure.stop(&BTreeSet::from([free.id(), held.id()]));
        becomes(free.id(), 'T');
        drop(pressure);
        becomes(free.id(), 'S');
        becomes(held.id(), 'T');
        for child in [&mut free, &mut held] {
            child.kill().expect("a child");
            child.wait().expect("a child");
        }
    }
}

//! Back pressure, where it is asked for (`--on-full wait`): processes wait while the tracer is
//! behind, stopped as by a shell's ^Z, so that what they do next finds room in the ring.

use std::{
    collections::{BTreeMap, BTreeSet},
    io, mem,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use procfs::process::Process;

use super::{guard::Guard, kin::Kin};
use crate::{kernel::Gauge, note};

/// How often the ring is looked at. In so much time two processors write a few MiB.
const PERIOD: Duration = Duration::from_millis(2);

/// The processes that wait. They go on when this is dropped, and when this process is killed.
///
/// Whoever takes records says when they are to wait and go on. What else it does may take long, as a picture
/// of a process that is locked does: a thread looks at the ring meanwhile, and lets them wait as well.
#[derive(Debug)]
pub(super) struct Pressure {
    waiting: Arc<Mutex<Waiting>>,
    /// Whether the ring is to be looked at; the thread ends with it.
    orders: Option<Sender<bool>>,
    watcher: Option<JoinHandle<()>>,
}

impl Pressure {
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn new(guard: Guard, kin: Kin, ring: Gauge) -> io::Result<Self> {
        let waiting = Arc::new(Mutex::new(Waiting::new(Some(guard), kin)));
        let (orders, heard) = mpsc::channel();
        let watched = Arc::clone(&waiting);
        let watcher = thread::Builder::new().name("pressure".to_owned());
        let watcher = watcher.spawn(move || watch(&watched, &ring, &heard))?;
        Ok(Self { waiting, orders: Some(orders), watcher: Some(watcher) })
    }

    /// These are all that may wait from now on.
    pub(super) fn are(&self, pids: &BTreeSet<u32>) {
        let mut waiting = lock(&self.waiting);
        if waiting.pids != *pids {
            waiting.pids.clone_from(pids);
        }
    }

    /// See [`Waiting::stop`].
    pub(super) fn stop(&self) {
        lock(&self.waiting).stop();
    }

    /// Lets all go on.
    pub(super) fn go_on(&self) {
        lock(&self.waiting).go_on();
    }

    /// Whether any waits.
    pub(super) fn holds(&self) -> bool {
        !lock(&self.waiting).stopped.is_empty()
    }

    /// Whoever takes records sleeps until there is one, or does not.
    pub(super) fn set_idle(&self, idle: bool) {
        // If the thread has panicked there is none to tell.
        let _ = self.orders.as_ref().map(|orders| orders.send(!idle));
    }
}

impl Drop for Pressure {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.watcher.take().map(JoinHandle::join);
        self.go_on();
    }
}

/// The thread: lets them wait where half of the ring is full.
fn watch(waiting: &Mutex<Waiting>, ring: &Gauge, orders: &Receiver<bool>) {
    let mut awake = true;
    loop {
        let order = if awake {
            orders.recv_timeout(PERIOD)
        } else {
            orders.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match order {
            Ok(order) => awake = order,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if ring.is_half_full() {
            lock(waiting).stop();
        }
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    // What is stopped is known before it is.
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What both sides know of those that wait.
#[derive(Debug)]
struct Waiting {
    /// All that may.
    pids: BTreeSet<u32>,
    stopped: BTreeMap<u32, OwnedFd>,
    /// `None`: it was killed.
    guard: Option<Guard>,
    /// Those never wait.
    kin: Kin,
    /// It was told that one of them does not.
    has_told: bool,
}

impl Waiting {
    const fn new(guard: Option<Guard>, kin: Kin) -> Self {
        Self { pids: BTreeSet::new(), stopped: BTreeMap::new(), guard, kin, has_told: false }
    }

    /// Lets them wait, but for the kin and those that someone else has stopped already; once more those that
    /// someone else has let go on since. One that cannot be stopped has ended, or goes on and may lose
    /// records, which are counted.
    fn stop(&mut self) {
        let pids = mem::take(&mut self.pids);
        for &pid in &pids {
            self.stop_one(pid);
        }
        self.pids = pids;
    }

    fn stop_one(&mut self, pid: u32) {
        let Some(group) = group_of_running(pid) else { return };
        if self.kin.has(pid, group) {
            return self.tell_of_kin(pid);
        }
        // 0 is no signal, and tells whether one may be sent.
        let Ok(process) = open(pid).and_then(|it| signal(&it, 0).map(|()| it)) else { return };
        self.tell(pid);
        if signal(&process, libc::SIGSTOP).is_ok() {
            self.stopped.insert(pid, process);
        }
    }

    /// Lets all go on.
    fn go_on(&mut self) {
        if self.stopped.is_empty() {
            return;
        }
        for process in mem::take(&mut self.stopped).values() {
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
    use std::{collections::BTreeSet, os::unix::process::CommandExt as _, process::Command};

    use super::{Kin, Waiting};

    fn waiting<const N: usize>(kin: Kin, pids: [u32; N]) -> Waiting {
        Waiting { pids: BTreeSet::from(pids), ..Waiting::new(None, kin) }
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
        let mut waiting = waiting(Kin::default(), [child.id()]);
        for _ in 0..2 {
            waiting.stop();
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
        let pids = [near.id(), meant.id(), far.id()];
        let mut waiting = waiting(Kin::but_for(vec![meant.id()]), pids);
        waiting.stop();
        assert!(!waiting.stopped.contains_key(&near.id()));
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
        let mut waiting = waiting(Kin::default(), [free.id(), held.id()]);
        waiting.stop();
        becomes(free.id(), 'T');
        waiting.go_on();
        becomes(free.id(), 'S');
        becomes(held.id(), 'T');
        for child in [&mut free, &mut held] {
            child.kill().expect("a child");
            child.wait().expect("a child");
        }
    }
}

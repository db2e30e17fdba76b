//! Tracing: from the ring to the sink, and what comes in between.
//!
//! One thread takes records and answers clients; others write the lines and the recording. While
//! records come it looks at the ring every millisecond, for waking the reader is what a ring buffer
//! costs most; when none came for a while it asks to be woken by the next and sleeps.

mod answer;
mod engine;
mod follow;
mod guard;
mod intake;
mod kin;
mod losses;
mod pressure;
mod recorder;
mod start;
mod sweep;
mod verify;

use std::{
    collections::{BTreeSet, VecDeque},
    future, io, process,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use crate::{
    config::{Target, Trace},
    control::{directory, server::Server},
    exit::Exit,
    flow::Flow,
    kernel::{Follow, Settings, Source, source},
    launch::Launch,
    machine, note,
    output::{WRITE, is_broken_pipe},
    sink::Clock,
    view::{self, Stream},
};
use engine::Engine;
use guard::Guard;
use intake::Intake;
use kin::Kin;
use recorder::Recorder;
use start::start;

/// How long the ring is left alone while records come.
const TICK: Duration = Duration::from_millis(1);
/// Ticks without a record before the reader goes to sleep.
const PATIENCE: u32 = 50;
/// How long it sleeps at most: what tells no record, as a file's new name, is seen then.
const SLEEP: Duration = Duration::from_millis(250);

/// Why nothing is traced from another PID namespace than the initial one.
pub const OTHER_PIDS: &str =
    "PIDs in this PID namespace are not the kernel's; run it outside the container";

/// Traces, until there is nothing left to trace or the user says so.
///
/// # Errors
/// It cannot trace, or cannot write.
pub fn run(config: Trace) -> Result<Exit> {
    // Before there is a second thread; and the guard first, which must not hold what tells the command that
    // the tracer has gone.
    let guard = config.wait.then(Guard::start).transpose().context("cannot start a process")?;
    let launch = match &config.target.launch[..] {
        [] => None,
        command => Some(Launch::new(command)?),
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(trace(config, guard, launch))
}

async fn trace(mut config: Trace, guard: Option<Guard>, launch: Option<Launch>) -> Result<Exit> {
    // From here on no signal ends the process without the last line.
    let signals = Signals::new().context("cannot handle signals")?;
    if !machine::in_initial_pid_namespace() {
        bail!(OTHER_PIDS);
    }
    config.target.pids = follow::check(&config.target, config.wait)?;
    let began = Instant::now();
    let (source, why) = source::open(&Settings {
        ring_bytes: config.buffer,
        calls: config.calls,
        stacks: config.stacks,
        durations: config.durations,
        follow: Follow {
            all: config.target.all,
            name: config.target.name.clone(),
            cgroup: config.target.cgroup.clone(),
            children: config.target.follow,
        },
    })
    .map_err(|error| match error.advice() {
        Some(advice) => anyhow!("{error}; {advice}"),
        None => anyhow!(error),
    })?;
    machine::give_back_memory();
    // Only now: a file that is there already is lost by it.
    let mut engine = engine(&config, source)?;
    // To trace itself it would have to tell of what it does to tell.
    let mut own = vec![process::id()];
    own.extend(launch.as_ref().map(|launch| launch.pid));
    if let Some(guard) = guard {
        own.push(guard.pid());
        engine.press_back(guard, kin(&config.target, launch.as_ref()))?;
    }
    if config.stacks.user || config.stacks.kernel {
        own.extend(engine.intake.flow.mirror().symbols().start());
    }
    if let Some(why) = why.filter(|_| !config.quiet) {
        note(format_args!("{why}"));
    }
    if config.verbose {
        let (elapsed, buffer) = (began.elapsed(), config.buffer >> 10);
        note(format_args!("programs attached in {elapsed:.0?}; the buffer has {buffer} KiB"));
    }
    let server = match Server::listen(&directory::path()) {
        Ok(server) => {
            if config.verbose {
                note(format_args!("'mmaptrace dump' asks at {}", server.path().display()));
            }
            Some(server)
        }
        Err(error) => {
            let path = directory::path();
            note(format_args!("no 'mmaptrace dump' from this tracer: {}: {error}", path.display()));
            None
        }
    };
    follow::processes(&mut engine, &config.target, &own)?;
    if config.verbose {
        engine.describe(|space| note(format_args!("{space}")))?;
    }
    let command = match launch {
        None => None,
        Some(launch) => {
            let pid = launch.pid;
            engine.expect(pid)?;
            if let Err(error) = launch.go() {
                engine.end(None)?;
                return Ok(cannot_run(&config, &error));
            }
            Some(pid)
        }
    };
    if !config.quiet && command.is_none() {
        note(format_args!("tracing {}; ^C ends it", follow::describe(&config.target)));
    }
    let mut run = Loop { config: &config, signals, server, command, status: None };
    let outcome = run.turn(&mut engine).await;
    finish(&config, engine, outcome, run)
}

/// Those who are not to wait though they match: none where nobody is found by what others may have as well.
fn kin(target: &Target, launch: Option<&Launch>) -> Kin {
    if target.name.is_none() && target.cgroup.is_none() {
        return Kin::default();
    }
    let launched = launch.map(|launch| launch.pid);
    Kin::but_for(target.pids.iter().copied().chain(launched).collect())
}

/// All that events go through, from the ring to where they are shown and recorded.
fn engine(config: &Trace, source: Box<dyn Source>) -> Result<Engine> {
    let start = start(source.tier(), config.calls);
    let recorder = match (&config.recording, config.history) {
        (Some(path), _) => {
            let recorder = Recorder::to_file(path, &start);
            Some(recorder.with_context(|| format!("cannot create {}", path.display()))?)
        }
        (None, 0) => None,
        (None, size) => {
            let recorder = Recorder::to_memory(size, &start);
            Some(recorder.context("cannot remember what happens")?)
        }
    };
    let launching = !config.target.launch.is_empty();
    let stream = if launching { Stream::Stderr } else { Stream::Stdout };
    let view = config.viewing.as_ref().map(|viewing| view::open(viewing, stream, &start));
    let (sink, output) = view.transpose()?.unzip();
    let flow = Flow::new(sink, &start, true).context(WRITE)?;
    let (alive, threads, ended) = (BTreeSet::new(), BTreeSet::new(), VecDeque::new());
    let intake = Intake { flow, recorder, alive, threads, ended, pictured: None };
    let mut engine = Engine::new(source, intake, output, Clock::of(&start));
    if config.verify.is_some() {
        engine.count_differences();
    }
    engine.losses.children_since = config.target.follow.then(machine::ticks);
    Ok(engine)
}

/// Why a trace is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// There is nothing left to trace, or the time is up.
    Done,
    /// A signal said so.
    Told,
}

/// Why the model and `/proc` may not be compared.
const NOT_POSSIBLE: &str = "the process had ended, was in doubt, did not hold still, or had its \
                            memory locked; or the tier is degraded";

/// The last line, the summary, and the exit code.
fn finish(
    config: &Trace,
    mut engine: Engine,
    outcome: Result<Over>,
    run: Loop<'_>,
) -> Result<Exit> {
    let Loop { server, command, mut status, .. } = run;
    drop(server);
    let outcome = outcome.and_then(|over| engine.end(status).map(|()| over));
    let summary = engine.summary(status);
    let (compared, left_out) = (engine.compared(), engine.losses.left_out);
    let slip = engine.clock.slip();
    // The programs go with it.
    drop(engine);
    let over = match outcome {
        Err(error) if is_broken_pipe(&error) => Over::Done,
        outcome => {
            // How much had come tells how much is missing where it was to be written.
            let over = outcome.with_context(|| format!("after {} events", summary.events))?;
            if !config.quiet {
                if left_out > 0 {
                    note(format_args!(
                        "the kernel left out {left_out} runs of programs that it was in the middle of: \
                         calls, traced or not, may be missing"
                    ));
                }
                slip.note();
                match compared {
                    None => {}
                    Some((0, _)) => note(format_args!("not compared with /proc: {NOT_POSSIBLE}")),
                    Some((made, failed)) => note(format_args!(
                        "{made} comparisons with /proc, {failed} more were not possible: {NOT_POSSIBLE}"
                    )),
                }
                note(format_args!("{summary}"));
            }
            over
        }
    };
    if let (Some(pid), Over::Done) = (command, over) {
        // Untraced from here on, but its status is still what was asked for.
        status = wait_for(pid);
    }
    if summary.differences.is_some_and(|differences| differences > 0) {
        return Ok(Exit::Difference);
    }
    Ok(match status {
        None => Exit::Success,
        Some(status) if libc::WIFSIGNALED(status) => Exit::Signal(libc::WTERMSIG(status)),
        Some(status) => Exit::Status(libc::WEXITSTATUS(status) as u8),
    })
}

/// CMD never ran.
fn cannot_run(config: &Trace, error: &io::Error) -> Exit {
    let command = config.target.launch[0].display().to_string();
    note(format_args!("cannot run {}: {error}", command.escape_debug()));
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => Exit::NotFound,
        _ => Exit::CannotExecute,
    }
}

/// Waits until a child has ended. Signals end this process again, as they would without it.
fn wait_for(pid: u32) -> Option<i32> {
    let mut status = 0;
    // SAFETY: plain calls; the status is a local.
    unsafe {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::signal(signal, libc::SIG_DFL);
        }
        (libc::waitpid(pid as i32, &raw mut status, 0) == pid as i32).then_some(status)
    }
}

/// What the loop waits for.
struct Loop<'a> {
    config: &'a Trace,
    signals: Signals,
    server: Option<Server>,
    /// The launched command's PID.
    command: Option<u32>,
    /// Its status, once it has ended.
    status: Option<i32>,
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    dump: Signal,
    child: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            dump: signal(SignalKind::user_defined1())?,
            child: signal(SignalKind::child())?,
        })
    }
}

impl Loop<'_> {
    /// Runs until it is over.
    async fn turn(&mut self, engine: &mut Engine) -> Result<Over> {
        let ring = engine.ring_fd()?;
        // SAFETY: the descriptor is this function's own, and is closed with what registers it.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
            .context("cannot wait for the ring buffer")?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let deadline = self.config.duration.map(|duration| Instant::now() + duration);
        let mut check = self.config.verify.map(|period| (period, Instant::now() + period));
        let mut interrupted = false;
        let mut quiet = 0;
        loop {
            let records = engine.work()?;
            quiet = if records > 0 || engine.is_busy() { 0 } else { quiet + 1 };
            if engine.is_over(!self.config.target.is_open(), self.command.is_some())? {
                return Ok(Over::Done);
            }
            let idle = quiet >= PATIENCE && engine.doze()?;
            tokio::select! {
                _ = tick.tick(), if !idle => {}
                ready = ring.readable(), if idle => {
                    ready.context("cannot wait for the ring buffer")?.clear_ready();
                    quiet = 0;
                }
                () = sleep(SLEEP), if idle => {}
                () = at(deadline) => return Ok(Over::Done),
                () = at(check.map(|(_, when)| when)) => {
                    engine.verify_at_times()?;
                    check = check.map(|(period, _)| (period, Instant::now() + period));
                }
                _ = self.signals.interrupt.recv() => {
                    // A command of this terminal got it as well, and may handle it.
                    if self.command.is_none() || interrupted {
                        return Ok(Over::Told);
                    }
                    interrupted = true;
                }
                _ = self.signals.terminate.recv() => return Ok(Over::Told),
                _ = self.signals.hangup.recv() => return Ok(Over::Told),
                _ = self.signals.dump.recv() => engine.dump_all()?,
                _ = self.signals.child.recv() => self.reap(),
                Some((request, answer)) = next(&mut self.server) => {
                    let reply = engine.answer(request)?;
                    // The client may have gone.
                    let _ = answer.send(reply);
                }
            }
            if idle {
                engine.wake()?;
            }
        }
    }

    /// Takes CMD's status, if it has ended.
    fn reap(&mut self) {
        let Some(pid) = self.command else { return };
        let mut status = 0;
        // SAFETY: the status is a local.
        if unsafe { libc::waitpid(pid as i32, &raw mut status, libc::WNOHANG) } == pid as i32 {
            self.status = Some(status);
            self.command = None;
        }
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => future::pending().await,
    }
}

async fn next(server: &mut Option<Server>) -> Option<crate::control::server::Ask> {
    match server {
        Some(server) => server.next().await,
        None => future::pending().await,
    }
}

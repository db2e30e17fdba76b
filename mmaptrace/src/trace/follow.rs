//! Finds the processes to trace that run already.

use std::{
    fs,
    io::{self, BufRead as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use anyhow::{Result, anyhow, bail};

use super::engine::Engine;
use crate::{config::Target, kernel::SeedError, machine, note};

/// Sees that what the target names is there, before anything is done about it. Returns the PIDs of
/// the processes it names by one, each once: it may be that of any of their threads. `wait`: they are to
/// wait while the tracer is behind.
///
/// # Errors
/// It is not, or is this process.
pub(super) fn check(target: &Target, wait: bool) -> Result<Vec<u32>> {
    if let Some(cgroup) = &target.cgroup {
        let mut pids = Vec::new();
        members(cgroup, &mut pids)?;
        if wait && pids.contains(&std::process::id()) {
            bail!(
                "this tracer is in {} itself, and most likely who reads of it, and would wait as \
                 well: not with --on-full wait",
                cgroup.display()
            );
        }
    }
    let mut pids = Vec::new();
    for &pid in &target.pids {
        let pid = leader(pid)?;
        if pid == std::process::id() {
            bail!("process {pid} is this tracer, which cannot trace itself");
        }
        if !pids.contains(&pid) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// The PID of the process that a thread is of.
fn leader(tid: u32) -> Result<u32> {
    let pid = machine::process_of(tid).ok_or_else(|| refused(tid, &SeedError::NoProcess))?;
    if pid != tid {
        note(format_args!("{tid} is a thread of process {pid}, which is traced as a whole"));
    }
    Ok(pid)
}

/// Follows the processes that the target names, and those that run already and match it, but for the
/// tracer's `own`.
///
/// # Errors
/// One that was named by its PID cannot be traced.
pub(super) fn processes(engine: &mut Engine, target: &Target, own: &[u32]) -> Result<()> {
    for &pid in &target.pids {
        engine.follow(pid)?.map_err(|error| refused(pid, &error))?;
    }
    let mut others = Vec::new();
    if let Some(cgroup) = &target.cgroup {
        members(cgroup, &mut others)?;
    }
    if target.all || target.name.is_some() {
        for pid in machine::processes() {
            if target.all || target.name.as_deref() == name(pid).as_deref() {
                others.push(pid);
            }
        }
    }
    others.retain(|pid| !own.contains(pid));
    for pid in others {
        match engine.follow(pid)? {
            // It ended meanwhile, or is a kernel thread.
            Ok(()) | Err(SeedError::NoProcess | SeedError::NoSpace) => {}
            // One of many: the others are no less worth tracing.
            Err(error @ (SeedError::Denied(_) | SeedError::Locked)) => {
                let error = refused(pid, &error);
                note(format_args!("{error}; it is not traced until it runs another program"));
            }
            Err(error) => return Err(refused(pid, &error)),
        }
    }
    Ok(())
}

fn refused(pid: u32, error: &SeedError) -> anyhow::Error {
    match error {
        SeedError::NoProcess => anyhow!("no process has PID {pid}; see: ps -e"),
        SeedError::NoSpace => anyhow!(
            "process {pid} has no address space: it is a kernel thread, or has ended and waits for \
             its parent"
        ),
        SeedError::Denied(source) => {
            anyhow!(
                "cannot look at process {pid}: {source} (it takes CAP_SYS_PTRACE, and as many rights as it has)"
            )
        }
        SeedError::Locked
        | SeedError::NoThread(_)
        | SeedError::NoPicture
        | SeedError::NoMaps(_)
        | SeedError::Map(_) => {
            anyhow!("cannot read process {pid}: {error}")
        }
    }
}

fn name(pid: u32) -> Option<Vec<u8>> {
    let mut name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    name.pop();
    Some(name)
}

/// The processes of a cgroup and of those below it.
fn members(cgroup: &Path, pids: &mut Vec<u32>) -> Result<()> {
    let procs = cgroup.join("cgroup.procs");
    let file = fs::File::open(&procs).map_err(|error| {
        anyhow!("{} is no cgroup (version 2): {error}", cgroup.as_os_str().display())
    })?;
    for line in io::BufReader::new(file).lines() {
        match line {
            Ok(line) => pids.extend(line.parse::<u32>()),
            // A threaded cgroup does not tell.
            Err(error) => bail!("cannot read {}: {error}", procs.display()),
        }
    }
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            // It may have been removed meanwhile.
            let _ = members(&entry.path(), pids);
        }
    }
    Ok(())
}

/// The target, for a note.
pub(super) fn describe(target: &Target) -> String {
    let mut parts = Vec::new();
    if target.all {
        parts.push("every process".to_owned());
    }
    if let [_, ..] = target.pids[..] {
        let pids: Vec<_> = target.pids.iter().map(u32::to_string).collect();
        parts.push(format!("PID {}", pids.join(", ")));
    }
    if let Some(name) = &target.name {
        let name = std::ffi::OsStr::from_bytes(name).display().to_string();
        parts.push(format!("processes named {}", name.escape_debug()));
    }
    if let Some(cgroup) = &target.cgroup {
        parts.push(format!("the processes of {}", cgroup.display()));
    }
    if target.follow {
        format!("{} and children", parts.join(" and "))
    } else {
        parts.join(" and ")
    }
}

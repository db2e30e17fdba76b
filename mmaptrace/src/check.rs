//! `mmaptrace check`: what this kernel and user allow.

use std::{fs, io::Write as _};

use anyhow::{Context as _, Result};

use crate::{
    exit::Exit,
    kernel::{
        Follow, LoadError, Settings, Stacks, Tier,
        btf::Types,
        source::{self, DEGRADED, Why},
    },
    machine,
    trace::OTHER_PIDS,
};

/// The ring of the trial: as small as can be.
const RING: u32 = 4096;

/// Tries what tracing needs, and prints how each went.
///
/// # Errors
/// Standard output cannot be written.
pub fn run() -> Result<Exit> {
    let mut lines = Vec::new();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    lines.push(format!("kernel   {}", release.trim()));
    lines.push(format!(
        "user     {}",
        if machine::is_root() { "root" } else { "not root: run it with sudo" }
    ));
    match Types::of_running_kernel() {
        Ok(types) => {
            lines.push("types    BTF is there".to_owned());
            lines.push(match types.tracepoint_arguments("mmap_lock_released") {
                Some(_) => "commits  tracepoint mmap_lock_released is there".to_owned(),
                None => "commits  no tracepoint mmap_lock_released: it came with 6.1".to_owned(),
            });
            lines.push(match types.layout() {
                Ok(layout) if layout.mm_lock_seq == mmaptrace_common::layout::ABSENT => {
                    "ids      counted by the hook: the kernel has none of its own before 6.14"
                        .to_owned()
                }
                Ok(_) => "ids      the kernel's own (mm_lock_seq): a lost commit shows".to_owned(),
                Err(error) => format!("ids      {error}"),
            });
        }
        Err(error) => lines
            .push(format!("types    {error}: the kernel must be built with CONFIG_DEBUG_INFO_BTF")),
    }
    let is_initial = machine::in_initial_pid_namespace();
    lines.push(if is_initial {
        "pids     this is the initial PID namespace".to_owned()
    } else {
        format!("pids     {OTHER_PIDS}")
    });
    let settings = Settings {
        ring_bytes: RING,
        calls: true,
        stacks: Stacks::default(),
        durations: false,
        follow: Follow::default(),
    };
    let tier = match source::open(&settings) {
        Ok((source, why)) => {
            lines.push(match why {
                None => "programs the kernel takes and attaches all of them".to_owned(),
                Some(Why::Forced) => "programs MMAPTRACE_TIER asks for others".to_owned(),
                Some(Why::Refused(error)) => format!("programs {}", explain(&error)),
            });
            Some(source.tier())
        }
        Err(error) => {
            lines.push(format!("programs {}", explain(&error)));
            None
        }
    };
    // Whatever the kernel takes, a trace is refused where PIDs are others.
    let tier = tier.filter(|_| is_initial);
    lines.push(match tier {
        Some(Tier::Exact) => "tier     exact".to_owned(),
        Some(Tier::Degraded) => format!("tier     degraded: {DEGRADED}"),
        None => "tier     none: mmaptrace cannot trace here".to_owned(),
    });
    let mut text = lines.join("\n");
    text.push('\n');
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")?;
    Ok(if tier.is_some() { Exit::Success } else { Exit::Failure })
}

fn explain(error: &LoadError) -> String {
    match error.advice() {
        Some(advice) => format!("{error}; {advice}"),
        None => error.to_string(),
    }
}

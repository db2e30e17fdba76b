//! Who may be reading of this tracer, and would wait for itself if it were to wait for it.

use std::{collections::BTreeSet, process};

use procfs::process::Process;

/// The process groups of this tracer and of its ancestors. A shell makes one of a pipeline, sudo has that of
/// its own, and what stands between this tracer and who looks at it is most often an ancestor: sudo, a
/// terminal, sshd.
#[derive(Debug, Default)]
pub(super) struct Kin {
    groups: BTreeSet<i32>,
    /// Processes that are meant, wherever they are.
    meant: Vec<u32>,
}

impl Kin {
    /// As it is now.
    pub(super) fn but_for(meant: Vec<u32>) -> Self {
        let mut groups = BTreeSet::new();
        let mut pid = process::id().cast_signed();
        while let Ok(stat) = Process::new(pid).and_then(|process| process.stat()) {
            groups.insert(stat.pgrp);
            pid = stat.ppid;
        }
        Self { groups, meant }
    }

    /// Whether a process in this group is of them.
    pub(super) fn has(&self, pid: u32, group: i32) -> bool {
        self.groups.contains(&group) && !self.meant.contains(&pid)
    }
}

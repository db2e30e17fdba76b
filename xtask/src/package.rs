//! Programs that a task needs and the machine may lack.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::workspace::is_root;

/// Whether a program, or what has this absolute path, is there, after its package (Debian's name) was installed if it was not and
/// this process may do that.
pub(crate) fn have(program: &str, package: &str) -> bool {
    if !there(program) && is_root() {
        // A new machine knows no packages.
        for arguments in [&["update"][..], &["install", "-y", "--no-install-recommends", package]] {
            let mut apt = Command::new("apt-get");
            let _ = apt.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status();
        }
    }
    there(program)
}

fn there(program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).exists();
    }
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    found.is_ok_and(|output| output.status.success())
}

//! Tests that cannot run here: said aloud, so that they are counted.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

/// Whether this process is root. Every test that traces needs it.
pub fn is_root() -> bool {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Whether a program is there, as distributions have it. Those of busybox, which do less, do not
/// tell their version.
pub fn has(program: &str) -> bool {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success())
}

/// Says that `name` does not run here, and why, on a line of its own that starts with `SKIP `.
///
/// It goes to standard error past the test runner's capture, which would hide it.
pub fn skip(name: &str, why: &str) {
    // One write, so that lines of tests that run side by side stay whole. If standard error is
    // closed, there is nobody to tell.
    let _ = std::io::stderr().lock().write_all(format!("SKIP {name}: {why}\n").as_bytes());
}

/// Returns from a test that is not run by root, and says so.
#[macro_export]
macro_rules! needs_root {
    ($name:expr) => {
        if !$crate::is_root() {
            $crate::skip($name, "needs root");
            return;
        }
    };
}

//! `execve` and `execveat`: new images, and calls for one that fail.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::{Case, Outcome, PAGE, RW, call, fails, mmap, must, open_self, ready, say, wait};

pub(crate) const CASES: &[Case] = &[
    ("execve_fails", fail),
    ("execveat_fails", fail_at),
    ("execve", image),
    ("execveat", image_at),
    ("execve_from_a_thread", from_thread),
    ("execve_repeatedly", repeatedly),
    ("execve_on_and_on", on_and_on),
    ("execve_zero_page", zero_page),
    ("execve_script", script),
    ("after_execve", after),
    ("after_execve_again", again),
    ("after_execve_on_and_on", again_and_again),
];

/// This very program, for the new image.
pub(crate) const SELF: &CStr = c"/proc/self/exe";

fn arguments(case: &CStr) -> [*const libc::c_char; 3] {
    [c"victim".as_ptr(), case.as_ptr(), std::ptr::null()]
}

pub(crate) fn exec(path: &CStr, case: &CStr) -> Result<usize, i32> {
    let arguments = arguments(case);
    let arguments = arguments.as_ptr().expose_provenance();
    call(libc::SYS_execve, [path.as_ptr().expose_provenance(), arguments, 0])
}

fn fail() -> Outcome {
    ready();
    fails(exec(c"/nonexistent/program", c"x"), libc::ENOENT);
    fails(exec(c"/etc/passwd", c"x"), libc::EACCES);
    fails(exec(c"/tmp\n\x1b[31m", c"x"), libc::ENOENT);
    Ok(())
}

fn fail_at() -> Outcome {
    ready();
    let (path, arguments) = (c"nonexistent", arguments(c"x"));
    let path = path.as_ptr().expose_provenance();
    let arguments = arguments.as_ptr().expose_provenance();
    fails(call(libc::SYS_execveat, [usize::MAX, path, arguments, 0, 0]), libc::EBADF);
    Ok(())
}

/// What the new image does. It does not wait again: it was let go before.
fn after() -> Outcome {
    must(mmap(0, 5 * PAGE, RW, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0));
    Ok(())
}

fn image() -> Outcome {
    ready();
    must(exec(SELF, c"after_execve"));
    Ok(())
}

fn image_at() -> Outcome {
    let fd = open_self() as usize;
    ready();
    let (path, arguments) = (c"", arguments(c"after_execve"));
    let path = path.as_ptr().expose_provenance();
    let arguments = arguments.as_ptr().expose_provenance();
    let flags = libc::AT_EMPTY_PATH as usize;
    must(call(libc::SYS_execveat, [fd, path, arguments, 0, flags]));
    Ok(())
}

/// The thread takes the leader's id, and the other threads are gone.
fn from_thread() -> Outcome {
    static STANDS: AtomicBool = AtomicBool::new(false);
    let other = std::thread::spawn(|| {
        STANDS.store(true, Ordering::Release);
        crate::sys::sleep_forever()
    });
    let thread = std::thread::spawn(|| {
        // What it maps as it starts is no work of this.
        while !STANDS.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        ready();
        must(exec(SELF, c"after_execve"));
    });
    thread.join().expect("it does not come back");
    other.join().expect("nor does it")
}

fn repeatedly() -> Outcome {
    ready();
    must(exec(SELF, c"after_execve_again"));
    Ok(())
}

fn again() -> Outcome {
    next_of(20, c"after_execve_again")
}

fn on_and_on() -> Outcome {
    ready();
    must(exec(SELF, c"after_execve_on_and_on"));
    Ok(())
}

fn again_and_again() -> Outcome {
    next_of(200, c"after_execve_on_and_on")
}

/// Each image runs the next of so many, and counts by its arguments: one more each time.
fn next_of(images: usize, case: &CStr) -> Outcome {
    let count = std::env::args().count();
    if count > images {
        return after();
    }
    let mut arguments = vec![c"victim".as_ptr(), case.as_ptr()];
    arguments.resize(count + 1, c"one more".as_ptr());
    arguments.push(std::ptr::null());
    let arguments = arguments.as_ptr().expose_provenance();
    must(call(libc::SYS_execve, [SELF.as_ptr().expose_provenance(), arguments, 0]));
    Ok(())
}

/// `MMAP_PAGE_ZERO`: the loader maps a page at address 0.
fn zero_page() -> Outcome {
    ready();
    let persona = (libc::MMAP_PAGE_ZERO | libc::ADDR_NO_RANDOMIZE) as usize;
    must(call(libc::SYS_personality, [persona]));
    must(exec(SELF, c"after_execve"));
    Ok(())
}

/// The image is the interpreter's, the name is the script's. It talks like a victim.
fn script() -> Outcome {
    use std::os::unix::fs::PermissionsExt as _;
    let path = crate::sys::scratch().join("script");
    std::fs::write(&path, "#!/bin/sh\necho DONE\nread -r line\n").expect("a script");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, mode).expect("its mode");
    let path = std::ffi::CString::new(path.into_os_string().into_encoded_bytes()).expect("no NUL");
    ready();
    must(exec(&path, c"argument"));
    say("never");
    wait();
    Ok(())
}

//! The names that maps prints: of files that lose theirs, with bytes that no terminal should see,
//! on mounts that only the process has. Each test is of the victim's case of its name; where one could
//! make the tracer see what another changed, under a tracer of its own.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use mmaptrace_tests::{
    Outcome, Scratch, Tracer, Victim, assert_exact, cases, dump_as, is_stopped, maps, needs_root,
    skip, until, victim, victim_path,
};
use serde_json::Value;

cases! {
    file_unlinked: [];
    file_unlinked_before: ["mmap"];
    file_renamed: [];
    file_renamed_by_io_uring: [];
    file_renamed_in_a_chain_of_io_uring: [];
    file_unlinked_by_io_uring: [];
    file_replaced_by_rename: ["mmap"];
    file_directory_renamed: [];
    file_unlinked_and_made_again: ["mmap"];
    file_second_link_unlinked: ["mmap"];
}

cases! { PATHS:
    path_newline: ["mmap"];
    path_deleted_for_a_name: ["mmap"];
    path_not_utf8: ["mmap"];
    path_backslash_and_spaces: ["mmap"];
    path_control_characters: ["mmap"];
    path_longest_component: ["mmap"];
    path_deeper_than_path_max: ["mmap"];
    dev_zero: ["mmap"];
    secret_memory: ["mmap"];
}

cases! {
    mount_namespace: ["mmap"];
    mount_namespace_inherited: ["mmap"];
    mount_namespace_left: [];
    mount_namespace_left_for_the_first: [];
    mount_moved: ["mmap"];
    mount_detached: [];
    mount_bind: ["mmap"];
    mount_bind_escaped: [];
    mount_bind_escaped_and_unlinked: [];
    mount_overlay: ["mmap"];
    mount_btrfs: ["mmap"];
    chroot: ["mmap"];
}

/// Nobody tells of that: a dump looks for names anew.
#[test]
fn mount_namespace_ends() {
    needs_root!("mount_namespace_ends");
    let scratch = Scratch::new();
    let mut victim = victim!("mount_namespace_ends", scratch.path());
    let tracer = Tracer::attach(victim.pid(), &[]);
    let before = maps(victim.pid());
    assert_exact(victim.pid());
    victim.work();
    assert_ne!(maps(victim.pid()), before);
    assert_exact(victim.pid());
    drop(tracer);
}

/// What the tracer forgets while much is on its way may be among that.
#[test]
fn file_mapped_again_after_many() {
    needs_root!("file_mapped_again_after_many");
    let scratch = Scratch::new();
    let mut victim = victim!("file_mapped_again_after_many", scratch.path());
    let mut tracer = Tracer::attach(victim.pid(), &[]);
    victim.go();
    victim.expect_ready();
    assert_exact(victim.pid());
    tracer.process().signal(libc::SIGSTOP);
    until("a tracer that stands still", || is_stopped(tracer.process().pid()).then_some(()));
    victim.work();
    tracer.process().signal(libc::SIGCONT);
    assert_exact(victim.pid());
    tracer.finish().assert_clean();
}

/// The name that is sent then is read again once the rename is told of.
#[test]
fn file_directory_renamed_while_read() {
    needs_root!("file_directory_renamed_while_read");
    let scratch = Scratch::new();
    let mut victim = victim!("file_directory_renamed_while_read", scratch.path());
    let tracer = Tracer::attach(victim.pid(), &[]);
    for _ in 0..40 {
        assert_eq!(victim.work(), Outcome::Done);
        assert_exact(victim.pid());
    }
    drop(victim);
    tracer.finish().assert_clean();
}

/// Maps prints all of it, and the tracer is sent its end.
#[test]
fn path_deeper_than_is_sent() {
    needs_root!("path_deeper_than_is_sent");
    let scratch = Scratch::new();
    let mut victim = victim!("path_deeper_than_is_sent", scratch.path());
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    let maps = String::from_utf8(maps(victim.pid())).expect("paths of ours");
    let line = maps.lines().find(|line| line.ends_with("/deep")).expect("the file");
    assert!(line.len() > 20_000, "maps prints {} bytes", line.len());
    let dump = dump_as(victim.pid(), &["--format", "json"]);
    assert!(dump.stderr.contains("NOT known to be exact"), "{}", dump.stderr);
    let dump: Value = serde_json::from_slice(&dump.stdout).expect("a line of JSON");
    assert_eq!((&dump["exact"], &dump["doubt"]["kind"]), (&false.into(), &"name".into()));
    let names = dump["regions"].as_array().expect("regions").iter().map(|it| &it["name"]);
    let cut = names.filter_map(Value::as_str).find(|name| name.ends_with("/deep"));
    assert!(cut.is_some_and(|name| name.starts_with(".../ddd")), "{cut:?}");
    tracer.finish().assert_clean();
}

/// A victim with a file of a file system of its own; `None`: that is not to be had.
fn served(case: &str, scratch: &Scratch) -> Option<Victim> {
    let victim = Victim::start_if_supported(victim_path!(), case, &[scratch.path()]);
    victim.map_err(|why| skip(case, &why)).ok()
}

/// The kernel's side copies 255 bytes of a component, which is what Linux's own file systems have.
#[test]
fn fuse_long_name() {
    needs_root!("fuse_long_name");
    let scratch = Scratch::new();
    let Some(mut victim) = served("fuse_long_name", &scratch) else { return };
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    assert!(has(&maps(victim.pid()), &"n".repeat(300)), "maps prints all of it");
    let dump = dump_as(victim.pid(), &["--format", "json"]);
    let dump: Value = serde_json::from_slice(&dump.stdout).expect("a line of JSON");
    assert_eq!((&dump["exact"], &dump["doubt"]["kind"]), (&false.into(), &"name".into()));
    tracer.finish().assert_clean();
}

/// No call tells of it, and no picture was asked for but the dump's.
#[test]
fn fuse_other_inode() {
    needs_root!("fuse_other_inode");
    let scratch = Scratch::new();
    let Some(mut victim) = served("fuse_other_inode", &scratch) else { return };
    let tracer = Tracer::attach(victim.pid(), &[]);
    let before = maps(victim.pid());
    assert_exact(victim.pid());
    victim.work();
    assert_ne!(maps(victim.pid()), before);
    assert_exact(victim.pid());
    tracer.finish().assert_clean();
}

fn has(maps: &[u8], path: &str) -> bool {
    String::from_utf8_lossy(maps).contains(path)
}

/// A mount that only the process has goes with what it is on, which another removes where that is no mount:
/// maps prints the path from a mount's root on then.
fn removed_elsewhere(case: &str, remove: impl FnOnce(&Path)) {
    let scratch = Scratch::new();
    let victim = match Victim::start_if_supported(victim_path!(), case, &[scratch.path()]) {
        Ok(victim) => victim,
        Err(why) => return skip(case, &why),
    };
    let tracer = Tracer::attach(victim.pid(), &[]);
    assert_exact(victim.pid());
    assert!(has(&maps(victim.pid()), "/held"), "it has no path");
    remove(&scratch.join("held"));
    assert!(!has(&maps(victim.pid()), "/held"), "it has its path still");
    assert_exact(victim.pid());
    tracer.finish().assert_clean();
}

#[test]
fn mount_held_rmdir() {
    needs_root!("mount_held_rmdir");
    removed_elsewhere("mount_held", |held| fs::remove_dir(held).expect("rmdir"));
}

#[test]
fn mount_on_a_mount_held_unlinkat() {
    needs_root!("mount_on_a_mount_held_unlinkat");
    removed_elsewhere("mount_on_a_mount_held", |held| {
        let held = CString::new(held.as_os_str().as_bytes()).expect("no NUL in a path");
        // SAFETY: a path that ends with a NUL.
        let removed = unsafe { libc::unlinkat(libc::AT_FDCWD, held.as_ptr(), libc::AT_REMOVEDIR) };
        assert_eq!(removed, 0, "{}", std::io::Error::last_os_error());
    });
}

#[test]
fn mount_of_a_file_held_unlink() {
    needs_root!("mount_of_a_file_held_unlink");
    removed_elsewhere("mount_of_a_file_held", |held| {
        fs::remove_file(held).expect("unlink");
    });
}

#[test]
fn mount_of_a_file_held_rename() {
    needs_root!("mount_of_a_file_held_rename");
    removed_elsewhere("mount_of_a_file_held", |held| {
        let other = held.with_file_name("other");
        fs::write(&other, "").expect("a file");
        fs::rename(other, held).expect("rename");
    });
}

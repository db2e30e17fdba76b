//! Dumps on demand: in each format as the tools that people know print it, at one commit, however
//! fast the process changes.

use std::process::Command;

use mmaptrace_tests::{
    Outcome, Tracer, assert_exact, difference, dump, dump_as, has, maps, needs_root, often, run,
    skip, until, victim,
};

#[test]
fn pmap_prints_the_same() {
    needs_root!("pmap_prints_the_same");
    let victim = victim!("mmap_memfd");
    let pid = victim.pid().to_string();
    if !has("pmap") {
        return skip("pmap_prints_the_same", "there is no pmap but busybox's");
    }
    let mut pmap = Command::new("pmap");
    pmap.env("LC_ALL", "C").arg(&pid);
    let mut victim = victim;
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    let expected = run(&mut pmap);
    let dump = dump_as(victim.pid(), &["--format", "pmap"]);
    assert_eq!(dump.code(), Some(0), "{}", dump.stderr);
    assert_eq!(difference(&expected.stdout, &dump.stdout), None);
    tracer.finish().assert_clean();
}

/// Figures of what is in memory are /proc's, and the process stands still.
#[test]
fn pmap_x_prints_the_same() {
    needs_root!("pmap_x_prints_the_same");
    let mut victim = victim!("mmap_memfd");
    if !has("pmap") {
        return skip("pmap_x_prints_the_same", "there is no pmap but busybox's");
    }
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    let pid = victim.pid().to_string();
    let expected = run(Command::new("pmap").env("LC_ALL", "C").args(["-x", &pid]));
    let dump = dump_as(victim.pid(), &["--format", "pmap-x"]);
    assert_eq!((dump.code(), &dump.stderr[..]), (Some(0), ""));
    assert_eq!(difference(&expected.stdout, &dump.stdout), None);
    tracer.finish().assert_clean();
}

/// Where its arguments are a process says itself: it is told as much of them as pmap prints.
#[test]
fn pmap_prints_no_more_of_arguments_than_pmap() {
    const NAME: &str = "pmap_prints_no_more_of_arguments_than_pmap";
    needs_root!(NAME);
    let mut victim = victim!("prctl_long_arguments");
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    let dump = dump_as(victim.pid(), &["--format", "pmap"]);
    assert_eq!(dump.code(), Some(0), "{}", dump.stderr);
    let line = dump.stdout.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let expected = format!("{}:   {}", victim.pid(), "x".repeat((1 << 17) - 1));
    assert!(line == expected.as_bytes(), "a line of {} bytes", line.len());
    tracer.finish().assert_clean();
}

#[test]
fn json_tells_every_region() {
    needs_root!("json_tells_every_region");
    let mut victim = victim!("mmap_fixed");
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    let dump = dump_as(victim.pid(), &["--format", "json"]);
    assert_eq!(dump.code(), Some(0), "{}", dump.stderr);
    let value: serde_json::Value = serde_json::from_slice(&dump.stdout).expect("JSON");
    assert_eq!(value["exact"], true, "{value}");
    assert_eq!(value["pid"], victim.pid(), "{value}");
    let maps = String::from_utf8(maps(victim.pid())).expect("paths of ours");
    let regions = value["regions"].as_array().expect("`regions`");
    let lines = maps.lines().filter(|line| !line.ends_with("[vsyscall]")).count();
    assert_eq!(regions.len(), lines);
    tracer.finish().assert_clean();
}

#[test]
fn v_tells_the_commit_and_that_it_is_exact() {
    needs_root!("v_tells_the_commit_and_that_it_is_exact");
    let victim = victim!("stand_still");
    let tracer = Tracer::attach(victim.pid(), &[]);
    let dump = dump_as(victim.pid(), &["-v"]);
    assert_eq!(difference(&maps(victim.pid()), &dump.stdout), None);
    assert!(dump.stderr.contains("commit") && dump.stderr.contains("exact"), "{}", dump.stderr);
    tracer.finish().assert_clean();
}

#[test]
fn sigusr1_puts_a_dump_into_the_stream() {
    needs_root!("sigusr1_puts_a_dump_into_the_stream");
    let mut victim = victim!("mmap_fixed");
    let mut tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    tracer.process().signal(libc::SIGUSR1);
    until("the dump", || {
        let stream = tracer.stream();
        String::from_utf8_lossy(&stream).contains("\"type\":\"dump\"").then_some(())
    });
    let trace = tracer.finish();
    trace.assert_clean();
    let dump = trace.of_type("dump").next().expect("a dump");
    assert_eq!(dump["pid"], victim.pid());
    assert_eq!(dump["exact"], true);
}

#[test]
fn twenty_thousand_regions() {
    needs_root!("twenty_thousand_regions");
    let mut victim = victim!("many_regions");
    let tracer = Tracer::attach(victim.pid(), &[]);
    assert_exact(victim.pid());
    victim.work();
    assert_exact(victim.pid());
    let trace = tracer.finish();
    trace.assert_clean();
    assert!(trace.total("regions") > 19_900, "{}", trace.end());
}

/// The ranges of a dump's lines.
fn ranges(dump: &[u8]) -> Vec<(u64, u64)> {
    let text = String::from_utf8_lossy(dump);
    let range = |line: &str| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        Some((hex(start)?, hex(end)?))
    };
    text.lines().map(|line| range(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

/// Two tracers of one process that never stands still: each dump is of one moment.
#[test]
fn a_flooded_process_is_dumped_at_one_commit() {
    needs_root!("a_flooded_process_is_dumped_at_one_commit");
    let mut victim = victim!("flood");
    let older = Tracer::attach(victim.pid(), &[]);
    let newer = Tracer::attach(victim.pid(), &[]);
    victim.go();
    assert_eq!(victim.line().as_deref(), Some("FLOOD"));
    // What maps tells of the program's file does not change.
    let files = |dump: &[u8]| -> Vec<String> {
        let text = String::from_utf8_lossy(dump).into_owned();
        text.lines().filter(|line| line.contains(" /")).map(str::to_owned).collect()
    };
    let expected = files(&maps(victim.pid()));
    for _ in 0..often(30) {
        let dump = dump(victim.pid());
        let ranges = ranges(&dump);
        assert!(ranges.iter().all(|(start, end)| start < end));
        assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "regions overlap");
        assert_eq!(files(&dump), expected);
    }
    assert_eq!(victim.work(), Outcome::Done);
    assert_exact(victim.pid());
    let newer = newer.finish();
    assert_exact(victim.pid());
    let older = older.finish();
    for trace in [&newer, &older] {
        trace.assert_clean();
        trace.assert_consistent();
    }
}

/// Tracers that start, are asked and end at the same time: none takes another's socket away, and a
/// dump is not led astray by one that ends while it is asked.
#[test]
fn tracers_that_come_and_go_together() {
    needs_root!("tracers_that_come_and_go_together");
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..often(5) {
                    let victim = victim!("stand_still");
                    let tracer = Tracer::attach(victim.pid(), &[]);
                    for _ in 0..often(5) {
                        assert_exact(victim.pid());
                    }
                    tracer.finish().assert_clean();
                }
            });
        }
    });
}

//! What the tracer keeps is bounded by what lives, and by what it was told to remember.

use mmaptrace_tests::{
    Outcome, Tracer, Victim, assert_exact, is_emulated, mmaptrace, needs_root, often, run, skip,
    victim,
};

/// The memory that a process has now, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// 50 processes of 20,000 regions, or fewer.
#[test]
fn a_million_regions_take_no_more_than_400_mib() {
    needs_root!("a_million_regions_take_no_more_than_400_mib");
    let (processes, mib) = if is_emulated() { (20, 250) } else { (50, 400) };
    let mut victims: Vec<_> = (0..processes).map(|_| victim!("many_regions")).collect();
    let pids: Vec<_> = victims.iter().map(Victim::pid).collect();
    let mut tracer = Tracer::attach_all(&pids, &["--buffer", "32M", "--history", "0"]);
    let resident = resident(tracer.process().pid());
    assert!(resident < mib << 10, "{resident} KiB");
    let last = victims.last_mut().expect("one at least");
    last.work();
    assert_exact(last.pid());
    let trace = tracer.finish();
    trace.assert_clean();
    let regions = trace.total("regions");
    assert!(regions > 20_000 * processes, "{regions}");
}

/// Traces children that come and go, and returns how many KiB more the tracer has after all of them
/// than after half.
fn growth(victim: &mut Victim, options: &[&str]) -> (u64, Tracer) {
    let mut tracer = Tracer::attach(victim.pid(), options);
    victim.go();
    assert_eq!(victim.line().as_deref(), Some("HALF"));
    assert_exact(victim.pid());
    let half = resident(tracer.process().pid());
    assert_eq!(victim.work(), Outcome::Done);
    assert_exact(victim.pid());
    let full = resident(tracer.process().pid());
    (full.saturating_sub(half), tracer)
}

/// Holds that children that come and go leave nothing behind.
fn assert_leaves_nothing(victim: &mut Victim) {
    let options = ["-f", "--history", "0", "-e", "brk"];
    let (growth, tracer) = growth(victim, &options);
    // Where it is slow, more may wait to be told at once, now and then.
    let bound = if is_emulated() { 8192 } else { 4096 };
    assert!(growth < bound, "{growth} KiB more");
    tracer.finish().assert_clean();
}

/// What a process that has ended leaves behind is bounded: 10,000 more of them take no more.
#[test]
fn processes_that_come_and_go_leave_nothing() {
    needs_root!("processes_that_come_and_go_leave_nothing");
    assert_leaves_nothing(&mut victim!("generations"));
}

/// The same with 50,000 more.
#[test]
fn processes_that_come_and_go_for_long_leave_nothing() {
    const NAME: &str = "processes_that_come_and_go_for_long_leave_nothing";
    needs_root!("processes_that_come_and_go_for_long_leave_nothing");
    if is_emulated() {
        return skip(NAME, "emulated, a hundred thousand processes take too long");
    }
    assert_leaves_nothing(&mut victim!("generations_for_long"));
}

/// What is remembered is bounded: once it is full, it takes no more.
#[test]
fn a_past_that_is_full_takes_no_more() {
    needs_root!("a_past_that_is_full_takes_no_more");
    let history = format!("{}K", often(256));
    let options = ["-f", "--history", &history, "-e", "brk"];
    let mut victim = victim!("generations");
    let (growth, tracer) = growth(&mut victim, &options);
    assert!(growth < 8192, "{growth} KiB more");
    let report = run(mmaptrace(&["report", "-p"]).arg(victim.pid().to_string()));
    assert!(report.stderr.contains("is forgotten (--history)"), "not full: {}", report.stderr);
    tracer.finish().assert_clean();
}

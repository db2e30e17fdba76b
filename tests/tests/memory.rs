//! What the tracer keeps is bounded by what lives, and by what it was told to remember.

use std::time::Duration;

use mmaptrace_tests::{
    Outcome, Scratch, Tracer, Victim, assert_exact, is_emulated, mmaptrace, needs_root, often, run,
    skip, until, victim,
};

/// The memory that a process has now, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// 50 processes of 20,000 regions, or fewer. What a region takes is what all of them take more than one.
#[test]
fn a_million_regions_take_no_more_than_400_mib() {
    needs_root!("a_million_regions_take_no_more_than_400_mib");
    let (processes, mib) = if is_emulated() { (20, 250) } else { (50, 400) };
    let mut victims: Vec<_> = (0..processes).map(|_| victim!("many_regions")).collect();
    let pids: Vec<_> = victims.iter().map(Victim::pid).collect();
    let attach = |pids: &[u32]| {
        let mut tracer = Tracer::attach_all(pids, &["--buffer", "32M", "--history", "0"]);
        (resident(tracer.process().pid()), tracer)
    };
    let (alone, tracer) = attach(&pids[..1]);
    tracer.finish().assert_clean();
    let (resident, tracer) = attach(&pids);
    assert!(resident < mib << 10, "{resident} KiB");
    let each = resident.saturating_sub(alone) * 1024 / (20_000 * (processes - 1));
    assert!(each < 320, "{each} bytes a region");
    let last = victims.last_mut().expect("one at least");
    last.work();
    assert_exact(last.pid());
    let trace = tracer.finish();
    trace.assert_clean();
    let regions = trace.total("regions");
    assert!(regions > 20_000 * processes, "{regions}");
}

/// Of a flood that nobody reads of no more is kept than may wait to be written: 8 MiB, and what all that is
/// in the ring makes of them, up to 9 MiB; where the machine is slow the ring fills again while losses
/// are looked for, which takes all that is in it up to four times over. What is lost is counted, and told to who reads later.
#[test]
fn a_flood_that_nobody_reads_of_takes_no_more() {
    needs_root!("a_flood_that_nobody_reads_of_takes_no_more");
    let mut victims = [victim!("torrent"), victim!("torrent")];
    let pids: Vec<_> = victims.iter().map(Victim::pid).collect();
    let other = pids[1].to_string();
    let options = ["--format", "json", "--buffer", "1M", "--history", "0", "-p", &other];
    let mut tracer = Tracer::attach_plainly(pids[0], &options);
    let before = resident(tracer.process().pid());
    // Of 200,000 calls, nearly 180 MiB of lines; and files get other names meanwhile.
    victims.iter_mut().for_each(Victim::go);
    let scratch = Scratch::new();
    let names = [scratch.join("one"), scratch.join("other")];
    std::fs::write(&names[0], "").expect("a file");
    for round in 0..100 {
        std::fs::rename(&names[round % 2], &names[(round + 1) % 2]).expect("another name");
        std::thread::sleep(Duration::from_millis(1));
    }
    for victim in &mut victims {
        assert_eq!(victim.outcome(), Outcome::Done);
    }
    let grown = |tracer: &mut Tracer| resident(tracer.process().pid()).saturating_sub(before);
    // Until it takes no more from the ring.
    let growth = until("a tracer that holds still", || {
        let was = grown(&mut tracer);
        std::thread::sleep(Duration::from_millis(300));
        (grown(&mut tracer) == was).then_some(was)
    });
    assert!(growth < 48 << 10, "{growth} KiB more");
    let trace = tracer.finish_unread(|| pids.iter().for_each(|&pid| assert_exact(pid)));
    trace.assert_lost_and_healed();
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

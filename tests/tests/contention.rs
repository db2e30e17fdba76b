//! 32 threads that map and unmap the same addresses: the exits of their calls come in another
//! order than their changes, and a model that follows the exits ends wrong. Each test is of the
//! victim's case of its name.
//!
//! Beside the dump at the end, every commit told has to fit those before it: what is added was
//! not mapped, what is removed or changed was, as it is told.

use mmaptrace_tests::{
    Outcome, Tracer, assert_exact, cases, maps, needs_root, often, skip, victim,
};
use serde_json::Value;

cases! { STORMS:
    storm_same_addresses: ["mmap", "munmap"];
    storm_mixed: ["mmap", "munmap"];
    storm_one_arena: ["mmap", "munmap", "mprotect", "madvise"];
    munmap_returns_after_the_next_mmap: ["mmap", "munmap"];
}

/// The ids of an address space's commits rise, and no call names a commit that is not told.
#[test]
fn commits_are_in_order_and_calls_name_them() {
    needs_root!("commits_are_in_order_and_calls_name_them");
    let mut victim = victim!("storm_same_addresses");
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    assert_exact(victim.pid());
    let trace = tracer.finish();
    trace.assert_clean();
    let ids: Vec<_> = trace.of_type("commit").map(|commit| commit["id"].as_u64()).collect();
    assert!(ids.len() >= often(64_000), "{} commits", ids.len());
    assert!(ids.is_sorted());
    for call in trace.of_type("call") {
        for id in call["commits"].as_array().expect("`commits`") {
            assert!(ids.binary_search(&id.as_u64()).is_ok(), "{call}");
        }
    }
}

/// A munmap is held back between its commit and its return, until the same addresses are mapped again:
/// they are, whoever returns last.
#[test]
fn a_munmap_that_returns_last_was_first() {
    const NAME: &str = "a_munmap_that_returns_last_was_first";
    needs_root!("a_munmap_that_returns_last_was_first");
    // A return that can be foretold is told with its commit, but where its time is asked for.
    for options in [&[][..], &["-T"]] {
        let mut victim = victim!("munmap_returns_after_the_next_mmap");
        let tracer = Tracer::attach(victim.pid(), options);
        assert_eq!(victim.work(), Outcome::Done);
        assert_exact(victim.pid());
        let trace = tracer.finish();
        trace.assert_clean();
        trace.assert_leads_to(victim.pid(), &maps(victim.pid()));
        if trace.lines[0]["tier"] == "degraded" {
            return skip(NAME, "the degraded tier looks when both have returned");
        }
        let calls: Vec<_> = trace.of_type("call").collect();
        let is_fixed = |call: &&Value| {
            let flags = call["call"]["args"][3].as_str();
            flags.is_some_and(|flags| flags.contains("MAP_FIXED_NOREPLACE"))
        };
        let mapped = calls.iter().position(is_fixed).expect("the mmap");
        let at = &calls[mapped]["result"];
        let unmaps: Vec<_> = (0..calls.len())
            .filter(|&call| {
                let call = &calls[call]["call"];
                call["name"] == "munmap" && &call["raw"][0] == at
            })
            .collect();
        assert_eq!(unmaps.len(), 1, "{calls:?}");
        let id = |call: usize| calls[call]["commits"][0].as_u64().expect("a commit");
        assert!(id(unmaps[0]) < id(mapped), "{calls:?}");
        assert!(options.is_empty() || unmaps[0] > mapped, "it has not returned last: {calls:?}");
    }
}

/// The lean way is as exact.
#[test]
fn low_overhead_is_as_exact() {
    needs_root!("low_overhead_is_as_exact");
    let mut victim = victim!("storm_one_arena");
    let tracer = Tracer::attach(victim.pid(), &["--low-overhead"]);
    victim.work();
    assert_exact(victim.pid());
    let trace = tracer.finish();
    trace.assert_clean();
    trace.assert_consistent();
}

/// The tool's own comparison with /proc, all the while.
#[test]
fn verify_finds_no_difference() {
    needs_root!("verify_finds_no_difference");
    let mut victim = victim!("storm_mixed");
    let tracer = Tracer::attach(victim.pid(), &["--verify=0.05"]);
    victim.work();
    assert_exact(victim.pid());
    let trace = tracer.finish();
    trace.assert_clean();
    assert_eq!(trace.total("differences"), 0);
}

//! 32 threads that map and unmap the same addresses: the exits of their calls come in another
//! order than their changes, and a model that follows the exits ends wrong. Each test is of the
//! victim's case of its name.
//!
//! Beside the dump at the end, every commit told has to fit those before it: what is added was
//! not mapped, what is removed or changed was, as it is told.

use mmaptrace_tests::{Tracer, assert_exact, cases, needs_root, often, victim};

cases! { STORMS:
    storm_same_addresses: ["mmap", "munmap"];
    storm_mixed: ["mmap", "munmap"];
    storm_one_arena: ["mmap", "munmap", "mprotect", "madvise"];
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

//! An event that has few effects costs no allocation, from its record to its line: neither a busy
//! program nor a long one makes the tracer grow.

#[path = "../benches/shown/mod.rs"]
mod shown;
#[path = "../benches/workload/mod.rs"]
mod workload;

use mmaptrace_recording::Item;
use workload::{EVENTS, Workload};
use zerocopy::IntoBytes as _;

/// Allocations of so many rounds, once there is room for one.
fn allocations(shown: &str, rounds: usize) -> u64 {
    let mut workload = Workload::new(100);
    let mut flow = shown::flow(shown, workload.seed.as_bytes());
    let mut turn = |rounds| {
        let mut events = 0;
        for _ in 0..rounds {
            workload.round(|record| {
                let taken = flow.take(Item::Record(record));
                events += taken.expect("what is nowhere can be written").len();
            });
        }
        assert_eq!(events, rounds * EVENTS);
    };
    turn(10);
    allocation_counter::measure(|| turn(rounds)).count_total
}

#[test]
fn the_model_allocates_nothing() {
    assert_eq!(allocations("", 1000), 0);
}

#[test]
fn a_line_of_text_allocates_nothing() {
    assert_eq!(allocations("text", 1000), 0);
}

#[test]
fn a_line_of_json_allocates_nothing() {
    assert_eq!(allocations("json", 1000), 0);
}

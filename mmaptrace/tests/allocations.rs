//! An event that has few effects costs no allocation, from its record to its line: neither a busy
//! program nor a long one makes the tracer grow.

#[path = "../benches/workload/mod.rs"]
mod workload;

use std::io;

use mmaptrace::{
    flow::Flow,
    sink::{Clock, Filter, Json, Sink, Text, clock::Times, text::Style},
};
use mmaptrace_recording::{Item, Start};
use workload::{EVENTS, Workload};
use zerocopy::IntoBytes as _;

/// Allocations of so many rounds, once there is room for one.
fn allocations(sink: Option<Box<dyn Sink>>, rounds: usize) -> u64 {
    let mut workload = Workload::new(100);
    let start = Start { max_map_count: 65_530, calls: true, ..Start::default() };
    let mut flow = Flow::new(sink, &start, false).expect("what is nowhere can be written");
    flow.take(Item::Record(workload.seed.as_bytes())).expect("what is nowhere can be written");
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
    assert_eq!(allocations(None, 1000), 0);
}

#[test]
fn a_line_of_text_allocates_nothing() {
    let style = Style {
        colour: false,
        standalone: true,
        escape_dumps: false,
        times: Times::Micros,
        returns: true,
    };
    let sink = Text::new(io::sink(), style, Clock::default(), Filter::default());
    assert_eq!(allocations(Some(Box::new(sink)), 1000), 0);
}

#[test]
fn a_line_of_json_allocates_nothing() {
    let sink = Json::new(io::sink(), Clock::default(), Filter::default());
    assert_eq!(allocations(Some(Box::new(sink)), 1000), 0);
}

//! The way from records to what is shown, for those who count its instructions: `cargo xtask budget`.
//!
//! `flow model|text|json ROUNDS` does so many rounds on 100 regions and prints what they took.

#![expect(clippy::print_stdout, reason = "made for a person to read")]

mod workload;

use std::{env, io, time::Instant};

use mmaptrace::{
    flow::Flow,
    sink::{Clock, Filter, Json, Sink, Text, clock::Times, text::Style},
};
use mmaptrace_recording::{Item, Start};
use workload::{EVENTS, Workload};
use zerocopy::IntoBytes as _;

/// Regions of the process.
const REGIONS: u64 = 100;

fn main() {
    let mut arguments = env::args().skip(1);
    let shown = arguments.next().unwrap_or_default();
    let rounds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1_usize);
    let start = Start { max_map_count: 65_530, calls: true, ..Start::default() };
    let clock = Clock::of(&start);
    let sink: Option<Box<dyn Sink>> = match shown.as_str() {
        "text" => {
            let style = Style {
                colour: false,
                standalone: true,
                escape_dumps: false,
                times: Times::Micros,
                returns: true,
            };
            Some(Box::new(Text::new(io::sink(), style, clock, Filter::default())))
        }
        "json" => Some(Box::new(Json::new(io::sink(), clock, Filter::default()))),
        // `cargo test` runs it without arguments.
        _ => None,
    };
    let mut workload = Workload::new(REGIONS);
    let mut flow = Flow::new(sink, &start, false).expect("what is nowhere can be written");
    let _ = flow.take(Item::Record(workload.seed.as_bytes()));
    let began = Instant::now();
    for _ in 0..rounds {
        workload.round(|record| {
            let taken = flow.take(Item::Record(record)).expect("what is nowhere can be written");
            assert!(!taken.is_empty());
        });
    }
    let each = began.elapsed().as_nanos() as f64 / (rounds * EVENTS) as f64;
    println!("{shown}: {each:.0} ns an event");
}

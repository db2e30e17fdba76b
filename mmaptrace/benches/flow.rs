//! The way from records to what is shown, for those who count its instructions: `cargo xtask budget`.
//!
//! `flow model|text|json ROUNDS` does so many rounds on 100 regions and prints what they took.

#![expect(clippy::print_stdout, reason = "made for a person to read")]

mod shown;
mod workload;

use std::{env, time::Instant};

use mmaptrace_recording::Item;
use workload::{EVENTS, Workload};
use zerocopy::IntoBytes as _;

/// Regions of the process.
const REGIONS: u64 = 100;

fn main() {
    let mut arguments = env::args().skip(1);
    let shown = arguments.next().unwrap_or_default();
    let rounds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1_usize);
    let mut workload = Workload::new(REGIONS);
    // `cargo test` runs it without arguments: then nothing is shown.
    let mut flow = shown::flow(&shown, workload.seed.as_bytes());
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

//! How long the model takes for an event, against the number of regions: `cargo bench --bench model`.

mod workload;

use divan::{Bencher, counter::ItemsCount};
use mmaptrace_model::Model;
use workload::{EVENTS, Workload};
use zerocopy::IntoBytes as _;

fn main() {
    divan::main();
}

/// Maps, protects and unmaps a page.
#[divan::bench(args = [10, 100, 1_000, 10_000, 60_000])]
fn apply(bencher: Bencher<'_, '_>, regions: u64) {
    let mut workload = Workload::new(regions);
    let (mut model, mut events) = (Model::default(), Vec::new());
    model.apply(workload.seed.as_bytes(), &mut events);
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        workload.round(|record| {
            events.clear();
            model.apply(record, &mut events);
        });
    });
    assert!(model.in_doubt().next().is_none(), "the records are what a kernel would send");
}

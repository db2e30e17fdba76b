//! What the kernel's side sends: decode, order, apply. The first two bytes of each piece are its
//! length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mmaptrace_model::Model;
use zerocopy::IntoBytes as _;

fuzz_target!(|bytes: &[u8]| {
    let mut model = Model::default();
    let mut events = Vec::new();
    let mut left = bytes;
    while let Some((length, rest)) = left.split_first_chunk() {
        let (record, rest) = rest.split_at(rest.len().min(u16::from_ne_bytes(*length).into()));
        // Aligned, as the ring has them: else none of them would be looked into.
        let mut words = vec![0_u64; record.len().div_ceil(8)];
        words.as_mut_bytes()[..record.len()].copy_from_slice(record);
        model.apply(&words.as_bytes()[..record.len()], &mut events);
        events.clear();
        left = rest;
    }
    // Whatever came: regions are in order and apart, and names can be forgotten.
    for space in model.spaces() {
        let mut end = 0;
        for region in space.map().iter() {
            assert!(end <= region.start && region.start < region.end);
            end = region.end;
        }
    }
    model.retain_names();
    model.retain_stacks();
});

//! A model as a recording has it, without the version, which bytes at random hardly have, and records
//! after it: it is refused, or sound, and goes on as one that is made of it again. The first two bytes
//! of each piece are its length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mmaptrace_model::Model;
use zerocopy::IntoBytes as _;

fuzz_target!(|bytes: &[u8]| {
    let mut left = bytes;
    let mut pieces = std::iter::from_fn(|| {
        let (length, rest) = left.split_first_chunk()?;
        let (piece, rest) = rest.split_at(rest.len().min(u16::from_ne_bytes(*length).into()));
        left = rest;
        Some(piece)
    });
    let Some(keyframe) = pieces.next() else { return };
    let version = &Model::default().to_keyframe()[..4];
    let Ok(mut model) = Model::from_keyframe(&[version, keyframe].concat()) else { return };
    assert_sound(&model);
    let mut again = Model::from_keyframe(&model.to_keyframe()).expect("as made");
    for record in pieces {
        // Aligned, as the ring has them: else none of them would be looked into.
        let mut words = vec![0_u64; record.len().div_ceil(8)];
        words.as_mut_bytes()[..record.len()].copy_from_slice(record);
        let (mut events, mut same) = (Vec::new(), Vec::new());
        model.apply(&words.as_bytes()[..record.len()], &mut events);
        again.apply(&words.as_bytes()[..record.len()], &mut same);
        assert_eq!(events, same);
    }
    assert_sound(&model);
    model.retain_names();
    model.retain_stacks();
});

/// Regions are in order and apart.
fn assert_sound(model: &Model) {
    for space in model.spaces() {
        let mut end = 0;
        for region in space.map().iter() {
            assert!(end <= region.start && region.start < region.end);
            end = region.end;
        }
    }
}

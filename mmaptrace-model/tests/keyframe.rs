//! Models as bytes. That a model goes on from them as before is held by [`support::apply`], of every
//! record of all tests.

mod support;

use mmaptrace_common::record::{Region, backing};
use mmaptrace_model::{BadKeyframe, Model, region::PAGE};
use proptest::prelude::*;
use support::{apply, commit, seed_words};

fn seeded() -> Model {
    let mut model = Model::default();
    let region = Region {
        start: PAGE,
        end: 3 * PAGE,
        pgoff: 1,
        backing: backing::ANON,
        ..Region::default()
    };
    let mut commit = commit(10);
    (commit.map_count, commit.total_vm) = (1, 2);
    apply(&mut model, &seed_words(&commit, &[region]));
    model
}

/// If this fails, the types in a model have changed: raise the version in `keyframe.rs`, or
/// recordings of before are misread.
#[test]
fn the_bytes_are_those_of_this_version() {
    let hex: Vec<_> = seeded().to_keyframe().iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = "070000000180acd1918190e2ffff010180acd1918190e2ffff0100018020806000010000000000\
                    010a000a000a00000100000000000000000000010180acd1918190e2ffff0101016464776f726b6572\
                    00000000000000000000010100000000000000000000010164000000000000000000000000";
    assert_eq!(hex.concat(), expected);
}

#[test]
fn another_version_is_told() {
    let mut bytes = seeded().to_keyframe();
    bytes[0] += 1;
    let version = u32::from(bytes[0]);
    assert_eq!(Model::from_keyframe(&bytes).err(), Some(BadKeyframe::Version { version }));
    assert_eq!(Model::from_keyframe(&[]).err(), Some(BadKeyframe::Malformed));
}

proptest! {
    #[test]
    fn whatever_is_changed_is_refused_or_a_sound_model(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = seeded().to_keyframe();
        for (place, byte) in changes {
            let place = place.index(bytes.len() - 4) + 4;
            bytes[place] = byte;
        }
        if let Ok(mut model) = Model::from_keyframe(&bytes) {
            apply(&mut model, &seed_words(&commit(12), &[]));
            let maps = model.spaces().map(|space| space.map().iter().count());
            prop_assert_eq!(maps.sum::<usize>(), model.spaces().map(|it| it.map().len()).sum());
        }
    }
}

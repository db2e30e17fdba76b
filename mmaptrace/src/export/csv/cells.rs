//! What stands in the columns.

use std::fmt::Display;

use mmaptrace_model::{
    Effect, HeapRule, Model, Region, RegionName,
    event::{SpaceId, Syscall},
};

use crate::{escape::Escaped, sink::maps, sink::maps::permissions, syscall};

/// The columns from `start` to `was_name`.
pub(super) type What = [String; 7];

/// An effect in a word, and what it was on.
pub(super) fn what(effect: &Effect, name: impl Fn(&Region) -> String) -> (&'static str, What) {
    let one = |region: &Region| {
        let [start, end] = [region.start, region.end].map(|address| format!("{address:#x}"));
        let (size, none) = (region.size().to_string(), String::new());
        [start, end, size, permissions(region.flags), name(region), none.clone(), none]
    };
    let two = |old: &Region, new: &Region| {
        let [start, end, size, perms, name_now, ..] = one(new);
        [start, end, size, perms, name_now, permissions(old.flags), name(old)]
    };
    let edge = |at: u64| {
        let mut what = What::default();
        what[0] = format!("{at:#x}");
        what
    };
    match effect {
        Effect::Added { pages, .. } => ("added", one(pages)),
        Effect::Removed { pages, .. } => ("removed", one(pages)),
        Effect::Replaced { old, new } => ("replaced", two(old, new)),
        Effect::Changed { old, new, .. } => ("changed", two(old, new)),
        Effect::Split { at, .. } => ("split", edge(*at)),
        Effect::Merged { at, .. } => ("merged", edge(*at)),
    }
}

pub(super) fn name(region: &Region, space: SpaceId, model: &Model, heap: HeapRule) -> String {
    let known = model.names();
    let name = match model.space(space) {
        Some(space) => space.name(region, known, heap),
        None => RegionName::of(region, known),
    };
    let mut bytes = Vec::new();
    maps::push_name(&mut bytes, name);
    text(&bytes)
}

/// What a program chose, as a cell that no spreadsheet takes for a formula.
pub(super) fn text(bytes: &[u8]) -> String {
    match bytes {
        [first @ (b'=' | b'+' | b'-' | b'@'), rest @ ..] => {
            format!(r"\{first:03o}{}", Escaped(rest))
        }
        _ => Escaped(bytes).to_string(),
    }
}

pub(super) fn arguments(call: &Syscall, path: &[u8]) -> String {
    syscall::arguments(call, path).join(", ")
}

pub(super) fn or_empty(value: Option<impl Display>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

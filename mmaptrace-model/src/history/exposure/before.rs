//! What was there before the first event that a past has of a space.

use crate::{effect::Effect, region::Region};

/// Makes of the regions after effects those before them, but for where they were cut.
pub(super) fn unapply(regions: &mut Vec<Region>, effects: &[Effect]) {
    for effect in effects {
        let (old, new) = match effect {
            Effect::Added { pages, .. } => (None, Some(pages)),
            Effect::Removed { pages, .. } => (Some(pages), None),
            Effect::Replaced { old, new } | Effect::Changed { old, new, .. } => {
                (Some(old), Some(new))
            }
            Effect::Split { .. } | Effect::Merged { .. } => (None, None),
        };
        if let Some(new) = new
            && let Some(at) =
                regions.iter().position(|it| it.start <= new.start && new.end <= it.end)
        {
            let whole = regions.swap_remove(at);
            let rest = [(whole.start, new.start), (new.end, whole.end)];
            let rest = rest.into_iter().filter(|(start, end)| start < end);
            regions.extend(rest.map(|(start, end)| whole.clip(start, end)));
        }
        regions.extend(old);
    }
}

//! What is at an address, and around it.

use mmaptrace_model::{Region, event::SpaceId, history::Origin};

use crate::sink::{Lens, View as _, maps};

/// What is at the address.
#[derive(Clone, Debug, Default)]
pub(super) struct Picture {
    /// The region, and its name as maps prints it.
    pub(super) region: Option<(Region, Vec<u8>)>,
    /// How many of the bytes that were asked for are mapped.
    pub(super) mapped: u64,
    /// Where the page comes from.
    pub(super) origin: Origin,
    /// The regions before and after, where there is none.
    pub(super) below: Option<(Region, Vec<u8>)>,
    /// See `below`.
    pub(super) above: Option<(Region, Vec<u8>)>,
}

impl Picture {
    /// Looks at the regions around, where there is none.
    pub(super) fn look_around(&mut self, address: u64, lens: &Lens<'_>, space: SpaceId) {
        let (None, Some(known)) = (&self.region, lens.model.space(space)) else { return };
        let below = known.map().below(address);
        let above = known.map().overlapping(address, u64::MAX).next();
        for (has, is) in [(&mut self.below, below), (&mut self.above, above)] {
            if has.as_ref().map(|(region, _)| region) != is {
                *has = is.map(|region| named(region, lens, space));
            }
        }
    }
}

/// A region, and its name as maps prints it.
pub(super) fn named(region: &Region, lens: &Lens<'_>, space: SpaceId) -> (Region, Vec<u8>) {
    let mut name = Vec::new();
    maps::push_name(&mut name, lens.name(space, region));
    (*region, name)
}

//! Where memory comes from: what each place of a program has mapped, and what of it stays.

use std::{borrow::Cow, collections::BTreeMap, num::NonZeroU64};

use mmaptrace_model::{Event, Model, history::Deed};

use super::{
    About,
    lives::{Change, Fate, Lives, Owner, Past},
};
use crate::sink::text::why::tag;

/// A place that changes address spaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Site {
    /// The process whose address space it is, and its name.
    pub(super) process: (u32, [u8; 16]),
    /// The acting thread, and its name; `None`: whoever did it did it before the events begin.
    pub(super) thread: Option<(u32, [u8; 16])>,
    /// The call, or another cause in a word.
    pub(super) call: Cow<'static, str>,
    /// The key of the stack.
    pub(super) stack: Option<NonZeroU64>,
}

/// What it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Bytes that it mapped and that are mapped at the end of the events, or were at the end of
    /// their address space.
    pub(super) live: u64,
    /// Bytes that it mapped.
    pub(super) mapped: u64,
    /// How often it changed the address space.
    pub(super) calls: u64,
}

/// All sites, as the events tell of them.
#[derive(Debug)]
pub(super) struct Sites {
    lives: Lives,
    totals: BTreeMap<Site, Totals>,
    now: u64,
}

impl Sites {
    pub(super) fn new(about: &About) -> Self {
        Self { lives: Lives::new(about), totals: BTreeMap::new(), now: 0 }
    }

    /// Takes an event, and the model after it.
    pub(super) fn event(&mut self, event: &Event, model: &Model) {
        self.now = super::lives::time(event).unwrap_or(self.now);
        let totals = &mut self.totals;
        let change = self.lives.event(event, model, &mut |past| remains(totals, past));
        if let Some(Change { deed, mapped }) = change
            && let Some(owner) = self.lives.owner(deed.space)
        {
            let totals = entry(totals, &owner, Some(&deed));
            totals.mapped += mapped;
            // What a call has done besides is of the same deed.
            totals.calls += u64::from(matches!(event, Event::Commit { .. }));
        }
    }

    /// The totals, by process, thread, call and stacks; and the time of the last event.
    pub(super) fn finish(mut self) -> (BTreeMap<Site, Totals>, u64) {
        let totals = &mut self.totals;
        self.lives.finish(self.now, &mut |past| remains(totals, past));
        (self.totals, self.now)
    }
}

/// Counts pages that nothing unmapped.
fn remains(totals: &mut BTreeMap<Site, Totals>, past: &Past<'_>) {
    match past.fate {
        Fate::Alive | Fate::Gone => {
            let totals = entry(totals, &past.owner, past.piece.mapped.as_deref());
            totals.live += past.piece.region.size();
        }
        Fate::Unmapped | Fate::Replaced | Fate::Changed => {}
    }
}

fn entry<'a>(
    totals: &'a mut BTreeMap<Site, Totals>,
    owner: &Owner,
    deed: Option<&Deed>,
) -> &'a mut Totals {
    let site = Site {
        process: (owner.pid, owner.comm),
        thread: deed.map(|deed| (deed.task.tid, deed.task.comm)),
        call: deed.map_or_else(|| "before".into(), |deed| tag(&deed.cause)),
        stack: deed.and_then(|deed| deed.stacks.user),
    };
    totals.entry(site).or_default()
}

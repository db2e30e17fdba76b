//! The lives of pages: which call mapped them, how they have been since, and what ended that.
//!
//! The kernel's regions split and merge as their neighbours change, so that they have no lives to
//! speak of; pages have. A [`Piece`] is pages beside each other that one call mapped and that have
//! been the same since one call. When a call takes or changes a part of it, that part is told as
//! [`Past`], and the rest lives on with its beginning. What mapped and changed pages is
//! [`Origins`]'s to know.

mod look;
mod pieces;

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use mmaptrace_model::{
    Effect, Event, HeapRule, Model, Region, Space,
    event::{Cause, SpaceId},
    history::{Deed, Origins, Replacing},
};

use self::{
    look::{Look, Names},
    pieces::Pieces,
};
use super::{About, Scope, kind::Kind};

/// Pages with one life so far.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// The pages, as a region of their own.
    pub(super) region: Region,
    /// What they are for.
    pub(super) kind: Kind,
    /// As in `/proc/PID/maps`; empty without one, any bytes.
    pub(super) name: Arc<[u8]>,
    /// What mapped them; `None`: they were there before the events begin.
    pub(super) mapped: Option<Arc<Deed>>,
    /// What made them as they are: that, or the last change.
    pub(super) made: Option<Arc<Deed>>,
    /// Since when they are so: ns of `CLOCK_MONOTONIC`.
    pub(super) since: u64,
}

impl Piece {
    fn clip(&self, lo: u64, hi: u64) -> Self {
        Self { region: self.region.clip(lo, hi), ..self.clone() }
    }
}

/// An address space, and a process that runs in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    /// The address space.
    pub(super) space: SpaceId,
    /// The process; 0 if it is not known.
    pub(super) pid: u32,
    /// Its name, NUL-padded, any bytes.
    pub(super) comm: [u8; 16],
}

/// What ended a time in the life of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Fate {
    /// Nothing did: it is so when the events end.
    Alive,
    /// They were unmapped.
    Unmapped,
    /// Others took their place.
    Replaced,
    /// Their protection, flags or name changed; another time begins.
    Changed,
    /// Their address space ended.
    Gone,
}

/// A time in the life of pages.
#[derive(Debug)]
pub(super) struct Past<'a> {
    /// Whose address space they are of.
    pub(super) owner: Owner,
    /// The pages, and how they were.
    pub(super) piece: &'a Piece,
    /// Until when: ns of `CLOCK_MONOTONIC`, not before [`Piece::since`].
    pub(super) until: u64,
    /// What came of them.
    pub(super) fate: Fate,
    /// By what; `None` at the end of the space and of the events.
    pub(super) by: Option<&'a Arc<Deed>>,
}

/// A change of an address space.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// What did it.
    pub(super) deed: Arc<Deed>,
    /// How much it mapped, in bytes.
    pub(super) mapped: u64,
}

/// Takes a time that is over.
pub(super) type Tell<'a> = dyn FnMut(&Past<'_>) + 'a;

/// The lives of all pages of all address spaces.
#[derive(Debug)]
pub(super) struct Lives {
    heap: HeapRule,
    scope: Scope,
    origins: Origins,
    spaces: BTreeMap<SpaceId, Pieces>,
    replacing: Replacing,
    names: Names,
    begun: bool,
}

impl Lives {
    pub(super) fn new(about: &About) -> Self {
        Self {
            heap: about.heap,
            scope: about.scope,
            origins: Origins::default(),
            spaces: BTreeMap::new(),
            replacing: Replacing::default(),
            names: Names::default(),
            begun: false,
        }
    }

    /// Takes an event and the model after it, and tells what is over with it. What did it and what
    /// it mapped, if it changed anything; of a commit whose call put pages in place of their like, the rest of
    /// that with the call.
    pub(super) fn event(
        &mut self,
        event: &Event,
        model: &Model,
        tell: &mut Tell<'_>,
    ) -> Option<Change> {
        self.origins.event(event, model);
        let replaced = self.replacing.event(event);
        let mut done = replaced.map(|(deed, pages)| self.replaced(deed, &pages, model, tell));
        match event {
            Event::Commit { time, space, cause, effects, .. } => {
                let whole = match cause {
                    Cause::Seed | Cause::Fork | Cause::Exec => true,
                    Cause::Call(_)
                    | Cause::Fault
                    | Cause::Growth(_)
                    | Cause::Kernel
                    | Cause::Worker
                    | Cause::Remote(_) => false,
                };
                if let Some(deed) = change(event) {
                    let deed = Arc::new(deed);
                    let mapped = self.effects(effects, &deed, model, tell);
                    done = Some(Change { deed, mapped });
                }
                if whole {
                    self.fill(*space, *time, model);
                }
            }
            // What was seen of an image in the making is told again.
            Event::Exec { space, .. } => drop(self.spaces.remove(space)),
            Event::End { time, space } => {
                if let Some(pieces) = self.spaces.remove(space) {
                    pieces.finish(*time, Fate::Gone, tell);
                }
            }
            Event::Call { .. }
            | Event::Fork { .. }
            | Event::Exit { .. }
            | Event::Doubt { .. }
            | Event::Healed { .. }
            | Event::Lost { .. }
            | Event::Malformed { .. } => {}
        }
        if !self.begun
            && let Some(time) = time(event)
        {
            self.begun = true;
            let spaces = model.spaces().map(Space::id);
            let own = spaces.filter(|space| self.scope.has_space(*space, model));
            own.collect::<Vec<_>>().into_iter().for_each(|space| self.fill(space, time, model));
        }
        done
    }

    /// Tells of everything that lives on when the events end, at this time.
    pub(super) fn finish(self, now: u64, tell: &mut Tell<'_>) {
        for pieces in self.spaces.into_values() {
            pieces.finish(now, Fate::Alive, tell);
        }
    }

    /// Whose an address space is that has not ended, as far as anything told of it.
    pub(super) fn owner(&self, space: SpaceId) -> Option<Owner> {
        self.spaces.get(&space).map(|pieces| pieces.owner)
    }

    /// How much is mapped in a space, in bytes, by the place of the kind in [`Kind::ALL`].
    pub(super) fn sizes(&self, space: SpaceId) -> [u64; Kind::ALL.len()] {
        self.spaces.get(&space).map_or_else(Default::default, |pieces| pieces.sizes)
    }

    fn effects(
        &mut self,
        effects: &[Effect],
        deed: &Arc<Deed>,
        model: &Model,
        tell: &mut Tell<'_>,
    ) -> u64 {
        let Self { heap, origins, names, spaces, .. } = self;
        let id = deed.space;
        let pieces = Pieces::of(id, spaces, model);
        let mut look = Look { space: model.space(id), model, heap: *heap, origins, names };
        let owner = pieces.owner;
        let mut over = |piece: &Piece, fate| {
            tell(&Past { owner, piece, until: deed.time.max(piece.since), fate, by: Some(deed) });
        };
        let replaced = deed.replaces().unwrap_or_default();
        let mut mapped = 0;
        for effect in effects {
            let new = match effect {
                Effect::Added { pages, .. } => {
                    pieces.take(pages.start, pages.end, |_| {});
                    pages
                }
                Effect::Removed { pages, .. } => {
                    pieces.take(pages.start, pages.end, |piece| over(&piece, Fate::Unmapped));
                    continue;
                }
                Effect::Replaced { old, new } => {
                    pieces.take(old.start, old.end, |piece| over(&piece, Fate::Replaced));
                    new
                }
                Effect::Changed { old, new, .. } => {
                    let others = replaced.contains(&old.start);
                    let fate = if others { Fate::Replaced } else { Fate::Changed };
                    pieces.take(old.start, old.end, |piece| over(&piece, fate));
                    new
                }
                // The pages on both sides are what they were.
                Effect::Split { .. } | Effect::Merged { .. } => continue,
            };
            look.pieces(id, new, deed.time, |piece| {
                if piece.mapped.as_ref().is_some_and(|by| (by.space, by.id) == (id, deed.id)) {
                    mapped += piece.region.size();
                }
                pieces.put(piece);
            });
        }
        mapped
    }

    /// New pages in place of others that no effect tells from them.
    fn replaced(
        &mut self,
        deed: Deed,
        range: &Range<u64>,
        model: &Model,
        tell: &mut Tell<'_>,
    ) -> Change {
        let (id, deed) = (deed.space, Arc::new(deed));
        let Self { heap, origins, names, spaces, .. } = self;
        let pieces = Pieces::of(id, spaces, model);
        let mut look = Look { space: model.space(id), model, heap: *heap, origins, names };
        let owner = pieces.owner;
        let mut mapped = 0;
        let regions = look.space.into_iter();
        for region in regions.flat_map(|space| space.map().overlapping(range.start, range.end)) {
            let new = region.clip(region.start.max(range.start), region.end.min(range.end));
            for older in pieces.before(&deed, new.start..new.end) {
                pieces.take(older.start, older.end, |piece| {
                    let until = deed.time.max(piece.since);
                    tell(&Past {
                        owner,
                        piece: &piece,
                        until,
                        fate: Fate::Replaced,
                        by: Some(&deed),
                    });
                });
                let new = new.clip(older.start, older.end);
                look.pieces(id, &new, deed.time, |piece| {
                    mapped += piece.region.size();
                    pieces.put(piece);
                });
            }
        }
        Change { deed, mapped }
    }

    /// Takes from the model what no effect has told of.
    fn fill(&mut self, id: SpaceId, since: u64, model: &Model) {
        let Some(space) = model.space(id) else { return };
        let Self { heap, origins, names, spaces, .. } = self;
        let pieces = Pieces::of(id, spaces, model);
        let mut look = Look { space: Some(space), model, heap: *heap, origins, names };
        for region in space.map().iter() {
            for (lo, hi) in pieces.gaps(region.start, region.end) {
                look.pieces(id, &region.clip(lo, hi), since, |piece| pieces.put(piece));
            }
        }
    }
}

/// What a commit did, if it changed anything, or may have.
pub(super) fn change(event: &Event) -> Option<Deed> {
    let Event::Commit { effects, .. } = event else { return None };
    Deed::of(event).filter(|deed| !effects.is_empty() || deed.replaces().is_some())
}

/// When an event happened: ns of `CLOCK_MONOTONIC`.
pub(super) const fn time(event: &Event) -> Option<u64> {
    match event {
        Event::Commit { time, .. }
        | Event::Call { time, .. }
        | Event::Exec { time, .. }
        | Event::Fork { time, .. }
        | Event::Exit { time, .. }
        | Event::End { time, .. }
        | Event::Doubt { time, .. }
        | Event::Healed { time, .. }
        | Event::Lost { time, .. } => Some(*time),
        Event::Malformed { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::testing::{self, Step};

    /// The times that are told, as text, and all pieces at each step against the model.
    fn told(steps: &[Step]) -> Vec<String> {
        let mut lives = Lives::new(&testing::ABOUT);
        let mut told = Vec::new();
        let mut now = 0;
        let mut tell = |past: &Past<'_>| {
            let Past { piece: Piece { region, mapped, made, since, .. }, until, fate, .. } = past;
            let permissions = String::from_utf8_lossy(&region.flags.permissions()).into_owned();
            let id = |deed: &Option<Arc<Deed>>| deed.as_ref().map_or(0, |deed| deed.id);
            told.push(format!(
                "{:x}-{:x} {permissions} {since}..{until} {fate:?}, mapped {} made {}",
                region.start,
                region.end,
                id(mapped),
                id(made),
            ));
        };
        testing::replay(steps, |event, model| {
            now = time(event).unwrap_or(now);
            lives.event(event, model, &mut tell);
            for space in model.spaces() {
                let pieces = lives.spaces.get(&space.id()).expect("a space that is known");
                let covered: u64 = pieces.at.values().map(|piece| piece.region.pages()).sum();
                assert_eq!(covered, space.map().pages(), "after {event:?}");
                assert_eq!(covered * 4096, pieces.sizes.iter().sum::<u64>());
                for Piece { region, .. } in pieces.at.values() {
                    let flags = space.map().at(region.start).map(|region| region.flags);
                    assert_eq!(flags, Some(region.flags), "after {event:?}");
                }
            }
        });
        lives.finish(now, &mut tell);
        told
    }

    #[test]
    fn what_stays_keeps_its_beginning() {
        let told = told(&testing::story());
        assert_eq!(
            told,
            [
                "7f0000001000-7f0000002000 rw-p 30..40 Changed, mapped 6 made 6",
                "7f0000001000-7f0000002000 r--p 40..50 Unmapped, mapped 6 made 8",
                "7f0000002000-7f0000003000 rw-p 30..50 Unmapped, mapped 6 made 6",
                "400000-402000 r-xp 20..80 Gone, mapped 4 made 4",
                "7f0000000000-7f0000001000 rw-p 30..80 Gone, mapped 6 made 6",
                "7f0000003000-7f0000004000 rw-p 30..80 Gone, mapped 6 made 6",
                "7ffe00000000-7ffe00021000 rw-p 20..80 Gone, mapped 4 made 4",
            ]
        );
    }

    #[test]
    fn what_is_mapped_over_its_like_is_anothers() {
        let told = told(&testing::mapped_over_its_like(3));
        assert_eq!(
            told,
            [
                "7f0000001000-7f0000003000 rw-p 30..40 Replaced, mapped 6 made 6",
                "400000-402000 r-xp 20..80 Gone, mapped 4 made 4",
                "7f0000000000-7f0000001000 rw-p 30..80 Gone, mapped 6 made 6",
                "7f0000001000-7f0000003000 rw-p 40..80 Gone, mapped 8 made 8",
                "7f0000003000-7f0000004000 rw-p 30..80 Gone, mapped 6 made 6",
                "7ffe00000000-7ffe00021000 rw-p 20..80 Gone, mapped 4 made 4",
            ]
        );
    }

    #[test]
    fn what_is_mapped_over_it_with_another_protection_is_anothers() {
        let told = told(&testing::mapped_over_its_like(1));
        assert_eq!(told[0], "7f0000001000-7f0000003000 rw-p 30..40 Replaced, mapped 6 made 6");
        assert_eq!(told[3], "7f0000001000-7f0000003000 r--p 40..80 Gone, mapped 8 made 8");
    }

    #[test]
    fn what_was_there_before_has_no_beginning() {
        let steps = testing::story();
        // The space, and what was mapped in it, by a first picture.
        let told = told(&[vec![testing::seed_of(&steps)], steps[4..].to_vec()].concat());
        let before = told.iter().filter(|line| line.ends_with("mapped 0 made 0")).count();
        assert_eq!(before, 6, "{told:#?}");
    }
}

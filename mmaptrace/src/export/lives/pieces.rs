//! The pieces of one space, by address.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use mmaptrace_model::{Model, event::SpaceId, history::Deed};

use super::{Fate, Owner, Past, Piece, Tell};
use crate::export::kind::Kind;

/// The pieces of one space: they do not overlap.
#[derive(Debug)]
pub(super) struct Pieces {
    pub(super) owner: Owner,
    /// By their first address.
    pub(super) at: BTreeMap<u64, Piece>,
    pub(super) sizes: [u64; Kind::ALL.len()],
}

impl Pieces {
    /// Those of a space, new or known.
    pub(super) fn of<'a>(
        id: SpaceId,
        spaces: &'a mut BTreeMap<SpaceId, Self>,
        model: &Model,
    ) -> &'a mut Self {
        let pieces = spaces.entry(id).or_insert_with(|| Self {
            owner: Owner { space: id, pid: 0, comm: [0; 16] },
            at: BTreeMap::new(),
            sizes: Default::default(),
        });
        if pieces.owner.pid == 0
            && let Some(process) = model.process_of(id)
        {
            pieces.owner = Owner { space: id, pid: process.pid, comm: process.comm };
        }
        pieces
    }

    pub(super) fn put(&mut self, piece: Piece) {
        self.sizes[piece.kind as usize] += piece.region.size();
        self.at.insert(piece.region.start, piece);
    }

    /// Takes out what lies in `[lo, hi)`, and leaves what lies beside it.
    pub(super) fn take(&mut self, lo: u64, hi: u64, mut each: impl FnMut(Piece)) {
        self.cut(lo);
        self.cut(hi);
        while let Some(&start) = self.at.range(lo..hi).next().map(|(start, _)| start)
            && let Some(piece) = self.at.remove(&start)
        {
            self.sizes[piece.kind as usize] -= piece.region.size();
            each(piece);
        }
    }

    /// Makes two pieces of one that reaches across an address.
    fn cut(&mut self, at: u64) {
        if let Some((_, piece)) = self.at.range_mut(..at).next_back()
            && piece.region.end > at
        {
            let above = piece.clip(at, piece.region.end);
            piece.region = piece.region.clip(0, at);
            self.at.insert(at, above);
        }
    }

    /// The pieces in a range, cut at its ends, that neither a deed nor a later one has made or changed.
    pub(super) fn before(&mut self, deed: &Deed, range: Range<u64>) -> Vec<Range<u64>> {
        self.cut(range.start);
        self.cut(range.end);
        let is_later = |by: &Option<Arc<Deed>>| {
            by.as_ref().is_some_and(|by| by.space == deed.space && by.id >= deed.id)
        };
        let pieces = self.at.range(range).map(|(_, piece)| piece);
        let older = pieces.filter(|piece| !is_later(&piece.mapped) && !is_later(&piece.made));
        older.map(|piece| piece.region.start..piece.region.end).collect()
    }

    /// The ranges of `[lo, hi)` that no piece covers.
    pub(super) fn gaps(&self, lo: u64, hi: u64) -> Vec<(u64, u64)> {
        let before = self.at.range(..lo).next_back().map_or(lo, |(_, piece)| piece.region.end);
        let mut free = lo.max(before);
        let mut gaps = Vec::new();
        for piece in self.at.range(lo..hi).map(|(_, piece)| piece) {
            if free < piece.region.start {
                gaps.push((free, piece.region.start));
            }
            free = piece.region.end;
        }
        if free < hi {
            gaps.push((free, hi));
        }
        gaps
    }

    pub(super) fn finish(self, now: u64, fate: Fate, tell: &mut Tell<'_>) {
        let owner = self.owner;
        for piece in self.at.values() {
            tell(&Past { owner, piece, until: now.max(piece.since), fate, by: None });
        }
    }
}

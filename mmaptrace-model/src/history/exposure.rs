//! What was writable and executable: at once, or one after the other, or by two mappings of one
//! file.

mod before;
mod files;

use std::{collections::HashMap, ops::Range, sync::Arc};

pub use self::files::Shared;
use self::{before::unapply, files::Files};
use super::{
    deed::{self, Deed, Move, Replacing},
    pages::{Pages, copied},
};
use crate::{
    effect::Effect,
    event::{Cause, Event, SpaceId},
    model::Model,
    region::{Backing, Flags, Region},
};

/// `PROT_EXEC`
const PROT_EXEC: u64 = 4;
/// `SHM_EXEC`
const SHM_EXEC: u64 = 0o100_000;

/// What made pages what they are; `None`: they were that before anyone looked.
pub type Since = Option<Arc<Deed>>;

/// How pages were writable and executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum How {
    /// At once.
    Both,
    /// Writable first, executable later.
    WrittenFirst,
    /// Executable first, writable later.
    ExecutedFirst,
    /// Never writable, and executable without being asked for: `READ_IMPLIES_EXEC`.
    Implied,
}

/// Pages that were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    /// The address space.
    pub space: SpaceId,
    /// Its process, as it was called then.
    pub owner: Option<(u32, [u8; 16])>,
    /// The pages, as they were when it happened last.
    pub pages: Region,
    /// Their name: a path, or one that was given to anonymous memory; any bytes.
    pub name: Option<Arc<[u8]>>,
    /// How.
    pub how: How,
    /// What made them the first of the two; of [`How::Both`], what made them both.
    pub first: Since,
    /// What made them the second; the last time, if it happened again.
    pub second: Since,
    /// Whether nobody asked for them to be executable: the personality `READ_IMPLIES_EXEC` made
    /// them so.
    pub implied: bool,
    /// How many times it happened.
    pub times: u64,
}

/// What is known of a page: since when it has been writable and executable, now or once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Marks {
    writable: Option<Since>,
    executable: Option<Since>,
}

/// Watches for it.
#[derive(Debug, Default)]
pub struct Exposure {
    spaces: HashMap<SpaceId, Pages<Marks>>,
    found: Vec<Exposed>,
    index: HashMap<(SpaceId, u64, u64, How), usize>,
    files: Files,
    replacing: Replacing,
}

impl Exposure {
    /// Takes an event, and the model after it.
    pub fn event(&mut self, event: &Event, model: &Model) {
        if let Some((deed, pages)) = self.replacing.event(event) {
            self.replaced(&Arc::new(deed), &pages, model);
        }
        match event {
            Event::Commit { space, cause, effects, .. } => {
                let known = self.spaces.contains_key(space);
                if !known && matches!(cause, Cause::Seed | Cause::Fork) {
                    self.look(*space, &[], model);
                } else if let (Some(deed), [_, ..]) = (Deed::of(event), &effects[..]) {
                    if !known {
                        self.look(*space, effects, model);
                    }
                    self.commit(&Arc::new(deed), effects, model);
                }
            }
            // What was writable in the parent is executable in the child all the same.
            Event::Fork { space, task, shared: false, .. } => {
                let parent = model.space_of(task.pid).and_then(|it| self.spaces.get(&it.id()));
                if let Some(pages) = parent.cloned() {
                    self.spaces.insert(*space, pages);
                }
            }
            // What was seen of an image in the making is told again.
            Event::End { space, .. } | Event::Exec { space, .. } => {
                self.spaces.remove(space);
            }
            Event::Call { .. }
            | Event::Fork { .. }
            | Event::Exit { .. }
            | Event::Doubt { .. }
            | Event::Healed { .. }
            | Event::Lost { .. }
            | Event::Malformed { .. } => {}
        }
    }

    /// Looks at a space of which perhaps no event told.
    pub fn meet(&mut self, space: SpaceId, model: &Model) {
        if !self.spaces.contains_key(&space) {
            self.look(space, &[], model);
        }
    }

    /// What was found, in the order in which it happened first.
    pub fn found(&self) -> &[Exposed] {
        &self.found
    }

    /// Files that were mapped both ways, likewise.
    pub fn files(&self) -> &[Shared] {
        self.files.found()
    }

    /// The first look at a space: what was there before these effects.
    fn look(&mut self, space: SpaceId, effects: &[Effect], model: &Model) {
        self.spaces.entry(space).or_default();
        let Some(known) = model.space(space) else { return };
        let mut regions: Vec<_> = known.map().iter().copied().collect();
        unapply(&mut regions, effects);
        for region in &regions {
            self.enter(space, region, None, model);
        }
    }

    fn commit(&mut self, deed: &Arc<Deed>, effects: &[Effect], model: &Model) {
        let space = deed.space;
        let pages = self.spaces.entry(space).or_default();
        let moved = Move::of(deed, effects);
        let carried = moved.as_ref().map(|moved| copied(pages, moved.from.clone()));
        let replaced = deed.replaces().unwrap_or_default();
        for effect in effects {
            match effect {
                Effect::Removed { pages: old, .. } => {
                    self.spaces.entry(space).or_default().remove(old.start..old.end);
                }
                Effect::Added { pages: new, .. } | Effect::Replaced { new, .. } => {
                    self.enter(space, new, Some(deed), model);
                }
                Effect::Changed { new, .. } if replaced.contains(&new.start) => {
                    self.enter(space, new, Some(deed), model);
                }
                Effect::Changed { old, new, .. } => self.change(old, new, deed, model),
                Effect::Split { .. } | Effect::Merged { .. } => {}
            }
        }
        if let (Some(moved), Some(carried)) = (moved, carried) {
            let pages = self.spaces.entry(space).or_default();
            pages.remove(moved.destination());
            for (range, marks) in carried {
                pages.insert(moved.place(range.start)..moved.place(range.end), marks);
            }
        }
    }

    /// New pages in place of others that no effect tells from them: what those were says nothing of these.
    fn replaced(&mut self, deed: &Arc<Deed>, range: &Range<u64>, model: &Model) {
        let Some(now) = model.space(deed.space) else { return };
        // Between the commit and the return of its call others may have come.
        let later = |mark: &Option<Since>| {
            let mark = mark.as_ref().and_then(Option::as_ref);
            mark.is_some_and(|mark| mark.space == deed.space && mark.id >= deed.id)
        };
        for region in now.map().overlapping(range.start, range.end) {
            let region = region.clip(region.start.max(range.start), region.end.min(range.end));
            let pages = self.spaces.entry(deed.space).or_default();
            let known = copied(pages, region.start..region.end).into_iter();
            for (Range { start, end }, marks) in known {
                if !later(&marks.writable) && !later(&marks.executable) {
                    self.enter(deed.space, &region.clip(start, end), Some(deed), model);
                }
            }
        }
    }

    /// Pages that are new.
    fn enter(&mut self, space: SpaceId, new: &Region, deed: Option<&Arc<Deed>>, model: &Model) {
        let since = || deed.cloned();
        let [writable, executable] = [Flags::WRITE, Flags::EXEC].map(|flag| new.flags.has(flag));
        let range = new.start..new.end;
        let pages = self.spaces.entry(space).or_default();
        if writable || executable {
            let marks =
                Marks { writable: writable.then(since), executable: executable.then(since) };
            pages.insert(range, marks);
        } else {
            pages.remove(range);
        }
        let implied = executable && is_implied(deed);
        match (writable, executable) {
            (true, true) => self.find(space, new, How::Both, since(), since(), implied, model),
            (false, true) if implied => {
                self.find(space, new, How::Implied, since(), since(), true, model);
            }
            (true | false, false) | (false, true) => {}
        }
        self.files.take(new, deed, model);
    }

    /// Pages that have other flags.
    fn change(&mut self, old: &Region, new: &Region, deed: &Arc<Deed>, model: &Model) {
        let gained = |flag| new.flags.has(flag) && !old.flags.has(flag);
        let (writable, executable) = (gained(Flags::WRITE), gained(Flags::EXEC));
        if !writable && !executable {
            return;
        }
        let space = deed.space;
        let by = || Some(Some(Arc::clone(deed)));
        let pages = self.spaces.entry(space).or_default();
        let range = new.start..new.end;
        let known = copied(pages, range.clone());
        let mark = |marks: &Marks| Marks {
            writable: if writable { by() } else { marks.writable.clone() },
            executable: if executable { by() } else { marks.executable.clone() },
        };
        pages.insert(range.clone(), mark(&Marks::default()));
        for (range, marks) in &known {
            pages.insert(range.clone(), mark(marks));
        }
        let implied = executable && is_implied(Some(deed));
        let now = || Some(Arc::clone(deed));
        if writable && executable {
            self.find(space, new, How::Both, now(), now(), implied, model);
        } else {
            let mut found = false;
            for (Range { start, end }, marks) in known {
                let other = if executable { marks.writable } else { marks.executable };
                let Some(first) = other else { continue };
                let how =
                    match (executable, new.flags.has(Flags::WRITE), new.flags.has(Flags::EXEC)) {
                        (_, true, true) => How::Both,
                        (true, ..) => How::WrittenFirst,
                        (false, ..) => How::ExecutedFirst,
                    };
                self.find(space, &new.clip(start, end), how, first, now(), implied, model);
                found = true;
            }
            if implied && !found {
                self.find(space, new, How::Implied, now(), now(), true, model);
            }
        }
        self.files.take(new, Some(deed), model);
    }

    #[expect(clippy::too_many_arguments, reason = "they are what a finding has")]
    fn find(
        &mut self,
        space: SpaceId,
        pages: &Region,
        how: How,
        first: Since,
        second: Since,
        implied: bool,
        model: &Model,
    ) {
        let key = (space, pages.start, pages.end, how);
        if let Some(&known) = self.index.get(&key) {
            let known = &mut self.found[known];
            (known.pages, known.second, known.implied) = (*pages, second, implied);
            known.times += 1;
            return;
        }
        self.index.insert(key, self.found.len());
        let owner = model.process_of(space).map(|process| (process.pid, process.comm));
        let name = name(pages, model);
        let pages = *pages;
        self.found.push(Exposed {
            space,
            owner,
            pages,
            name,
            how,
            first,
            second,
            implied,
            times: 1,
        });
    }
}

/// The name that a region has of its own.
fn name(region: &Region, model: &Model) -> Option<Arc<[u8]>> {
    match region.backing {
        Backing::Anonymous => None,
        Backing::File { path: key, .. }
        | Backing::Special { name: key }
        | Backing::Named { name: key }
        | Backing::NamedShared { name: key, .. } => model.names().get(key).cloned(),
    }
}

/// Whether a call did not ask for the pages to be executable that it made so.
fn is_implied(deed: Option<&Arc<Deed>>) -> bool {
    let Some(call) = deed.and_then(|deed| deed.call()) else { return false };
    match deed::name(call) {
        Some("mmap" | "mmap2" | "mprotect" | "pkey_mprotect") => call.args[2] & PROT_EXEC == 0,
        Some("shmat") => call.args[2] & SHM_EXEC == 0,
        Some("brk") => true,
        Some(_) | None => false,
    }
}

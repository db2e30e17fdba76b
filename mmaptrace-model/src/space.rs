//! One address space: its regions, and what is known of their exactness.

mod commit;

use std::collections::BTreeSet;

use mmaptrace_common::record::{Header, flag};

use serde::{Deserialize, Serialize};

use crate::{
    event::{Doubt, Event, SpaceId},
    keyframe,
    map::Map,
    names::Names,
    parts::Pending,
    region::Region,
};

/// What hangs on an address space and not on a region. Addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// `mm->start_brk`
    pub start_brk: u64,
    /// `mm->brk`, not page-aligned.
    pub brk: u64,
    /// `mm->start_stack`
    pub start_stack: u64,
    /// Whether maps ends with the `[vsyscall]` page, which is no region.
    pub vsyscall: bool,
}

/// Whether the whole space was ever read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Read {
    /// What was there before is not known.
    Never,
    /// It was.
    Once,
    /// Not yet, but there was nothing: it was made for a new image.
    Empty,
}

/// How far the last reading goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Reading {
    /// To the last commit.
    Locked,
    /// Nobody knows how far: it was done without the lock.
    Unlocked,
    /// Not as far as was needed since that commit: there was none to be had.
    Missing,
}

/// One address space.
///
/// It is *exact* while every commit has come, in order, fits what was there before, and leaves as
/// many regions and pages as the kernel counts; [`Space::doubt`] is `None` then. In doubt it goes
/// on applying what comes, which is the truth for the range it tells of, until the whole space has
/// been read again.
#[derive(Debug, Serialize, Deserialize)]
pub struct Space {
    id: SpaceId,
    mm: u64,
    /// Which of the spaces at this mm; 0: not told.
    generation: u32,
    #[serde(with = "keyframe::map")]
    map: Map,
    layout: Layout,
    /// The last commit applied, once there was one; the one with the largest number, if some were late.
    commit: Option<u64>,
    /// The commit that told of its image, if none came after that.
    image: Option<u64>,
    /// What was done up to this one the last reading of the whole space has shown.
    shown: u64,
    /// Those since then that others have overtaken, and that have not come yet.
    missing: Vec<u64>,
    /// The last commit after which there was no doubt.
    sure: u64,
    doubt: Option<Doubt>,
    reading: Reading,
    read: Read,
    renames: u64,
    /// Whether a process was found in it that no record had told to be there.
    pub(crate) found: bool,
    /// What a picture has shown of a call that is not counted yet.
    renaming: Option<Renaming>,
    lost: u64,
    /// How many of those the last heal has told.
    told: u64,
    healed: u64,
    doubts: u64,
    #[serde(skip)]
    corrected: u64,
    /// `total_vm` less the pages of all regions, once known. Error paths of some kernels leave
    /// `total_vm` off for the rest of an address space's life: whatever it is off by must stay.
    drift: Option<i64>,
    pending: Pending,
    /// Room for what a commit changes.
    #[serde(skip)]
    old: Vec<Region>,
    #[serde(skip)]
    new: Vec<Region>,
    code: u64,
}

/// Files have other names, and the call that did that has not returned.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Renaming {
    /// What had returned by then.
    renames: u64,
    /// When that was seen, in ns, and of which region.
    time: u64,
    at: u64,
}

impl Space {
    pub(crate) fn new(id: SpaceId, header: &Header) -> Self {
        let Header { mm, generation, .. } = *header;
        Self {
            id,
            mm,
            generation,
            map: Map::default(),
            layout: Layout::default(),
            commit: None,
            image: None,
            shown: 0,
            missing: Vec::new(),
            sure: 0,
            doubt: Some(Doubt::Unseeded),
            reading: Reading::Locked,
            read: Read::Never,
            renames: 0,
            found: false,
            renaming: None,
            lost: 0,
            told: 0,
            healed: 0,
            doubts: 0,
            corrected: 0,
            drift: None,
            pending: Pending::default(),
            old: Vec::new(),
            new: Vec::new(),
            code: 0,
        }
    }

    /// It was made for a new image: all that is in it is new, whatever was seen of it.
    pub(crate) fn begin_image(&mut self) {
        let Self { id, mm, generation, lost, told, healed, doubts, corrected, .. } = *self;
        let header = Header { mm, generation, ..Header::default() };
        let (doubt, code) = (self.doubt.or(Some(Doubt::Unseeded)), self.code + 1);
        let new =
            Self { doubt, lost, told, healed, doubts, corrected, code, ..Self::new(id, &header) };
        *self = Self { read: Read::Empty, ..new };
    }

    /// Which one it is.
    pub const fn id(&self) -> SpaceId {
        self.id
    }

    /// The kernel's address of it (`struct mm_struct *`), which is reused once it has ended.
    pub const fn mm(&self) -> u64 {
        self.mm
    }

    /// Which of the spaces at its mm it is, as
    /// [`Header::generation`](mmaptrace_common::record::Header::generation).
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// Its regions.
    pub const fn map(&self) -> &Map {
        &self.map
    }

    /// Its break and stack.
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// The id of the last commit applied; 0 if there was none.
    pub fn commit(&self) -> u64 {
        self.commit.unwrap_or(0)
    }

    /// Why it is not known to be exact, if it is not: the first cause since it last was.
    pub const fn doubt(&self) -> Option<Doubt> {
        match (self.doubt, self.reading) {
            (None, Reading::Unlocked) => Some(Doubt::Unlocked),
            (None, _) if !self.missing.is_empty() => Some(Doubt::Hole(self.missing.len() as u64)),
            (doubt, _) => doubt,
        }
    }

    /// The same of what is shown at a moment, for which a picture may have been needed and not been had,
    /// and the names of all regions are. Looks at each region.
    pub fn doubt_of_dump(&self, names: &Names) -> Option<Doubt> {
        self.doubt_of_picture().or_else(|| self.doubt_of_names(names))
    }

    /// The same but for the names.
    pub const fn doubt_of_picture(&self) -> Option<Doubt> {
        match (self.doubt(), self.reading) {
            (None, Reading::Missing) => Some(Doubt::NoPicture),
            (doubt, _) => doubt,
        }
    }

    /// The first region whose name is not known, or not all of it, as a doubt of what is shown.
    pub fn doubt_of_names(&self, names: &Names) -> Option<Doubt> {
        let is_whole = |region: &&Region| region.backing.name().is_none_or(|it| names.is_whole(it));
        let at = self.map.iter().find(|region| !is_whole(region))?.start;
        Some(Doubt::Name { at })
    }

    /// The keys of names that regions have and no record has told.
    pub fn untold_names(&self, names: &Names) -> BTreeSet<u64> {
        let keys = self.map.iter().filter_map(|region| region.backing.name());
        keys.filter(|&key| names.get(key).is_none()).collect()
    }

    /// Whether a region has a name that may change with no call that tells of it.
    pub fn has_passing_names(&self, names: &Names) -> bool {
        let mut keys = self.map.iter().filter_map(|region| region.backing.name());
        names.have_passing() && keys.any(|key| names.is_passing(key))
    }

    /// Whether to read it again would help.
    pub const fn wants_reading(&self) -> bool {
        self.doubt.is_some()
    }

    /// How often a reading has found that what was taken to be exact was not.
    pub const fn corrected(&self) -> u64 {
        self.corrected
    }

    /// How many causes of doubt there were so far, those during a doubt included.
    pub const fn doubts(&self) -> u64 {
        self.doubts
    }

    /// How many of its records found no room in the ring.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// How often a doubt was ended by reading the whole space again.
    pub const fn healed(&self) -> u64 {
        self.healed
    }

    /// How many calls had changed names of files, machine-wide, when the whole space was last read:
    /// if there were more since, its files may have other names.
    pub const fn renames(&self) -> u64 {
        self.renames
    }

    /// How many commits changed what is executable where: two readings of the same address, with
    /// the same number, are of the same code.
    pub const fn code(&self) -> u64 {
        self.code
    }

    /// Whether a record at this space's mm is of another space: one of the two has begun or ended with
    /// nobody telling.
    pub(crate) const fn is_other_than(&self, header: &Header) -> bool {
        self.generation != header.generation && self.generation != 0 && header.generation != 0
    }

    /// Whether this is the space at its mm that a record tells of.
    pub(crate) const fn is_of(&self, header: &Header) -> bool {
        self.generation == header.generation && header.generation != 0
    }

    /// How many of its records have found no room of which no record has told, if the kernel's side has
    /// counted so many.
    pub const fn untold(&self, lost: u32) -> u64 {
        // The count comes back to 0. Records that are written without the lock may overtake each other
        // on their way, so that a smaller number after a larger one means nothing.
        let more = lost.wrapping_sub(self.lost as u32).cast_signed();
        if more > 0 { more.cast_unsigned() as u64 } else { 0 }
    }

    /// Whether losses are known that came after this record was written.
    const fn lost_since(&self, header: &Header) -> bool {
        header.lost.wrapping_sub(self.lost as u32).cast_signed() < 0
    }

    /// Takes the loss that any record of this space tells, and returns how many are new.
    pub(crate) fn note_lost(&mut self, header: &Header, out: &mut Vec<Event>) -> u64 {
        let new = self.untold(header.lost);
        if new > 0 {
            self.lost += new;
            self.pending.miss();
            // What was lost may have come after that one.
            self.image = None;
            self.raise(header.time, Doubt::Lost(new), out);
        }
        new
    }

    /// Takes what a record may tell: that there is no picture.
    pub(crate) const fn miss_picture(&mut self, header: &Header) {
        if header.flags & flag::NO_PICTURE != 0 && matches!(self.reading, Reading::Locked) {
            self.reading = Reading::Missing;
        }
    }

    /// See [`Model::suspect`](crate::Model::suspect).
    pub(crate) fn suspect(&mut self, why: Doubt) {
        self.doubt.get_or_insert(why);
    }

    /// Doubts. Only the first cause is an event; until it is healed, others are but counted. That it was
    /// never read is none, and nothing fits what is not known; but a loss is told then, too.
    fn raise(&mut self, time: u64, why: Doubt, out: &mut Vec<Event>) {
        if self.doubt == Some(Doubt::Unseeded) && !matches!(why, Doubt::Lost(_)) {
            return;
        }
        self.doubts += 1;
        if matches!(self.doubt, None | Some(Doubt::Unseeded)) {
            self.doubt = Some(why);
            out.push(Event::Doubt { time, space: self.id, after: self.sure, why });
        }
    }
}

//! Stacks of threads, by the keys that events carry, and where in which file each address lay.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroU64,
    sync::Arc,
};

use mmaptrace_common::record::{self, stack};

use serde::{Deserialize, Serialize};

use crate::{
    event::SpaceId,
    keyframe,
    names::Names,
    region::{Backing, Flags},
    space::Space,
};

/// A stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Its frames, the innermost first.
    pub frames: Vec<Frame>,
    /// Why there are no more.
    pub end: End,
}

/// Why a stack has no more frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The frame pointer of the last is null: it is where the thread starts, or its code keeps
    /// none.
    Null,
    /// There are more, but a stack has no room for them
    /// ([`STACK_MAX`](record::STACK_MAX)).
    Depth,
    /// The frame pointer of the last leads nowhere: its code keeps none.
    Broken,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Of the innermost, the instruction the thread goes on with; of the others, the one that
    /// comes after the call.
    pub address: u64,
    /// What was mapped there.
    pub place: Place,
}

/// What is behind the address of a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// The kernel.
    Kernel,
    /// A file.
    File {
        /// The key of its path.
        key: u64,
        /// Its path, as in `/proc/PID/maps`; empty: the record that told it is lost.
        path: Arc<[u8]>,
        /// Where in the file, in bytes.
        offset: u64,
        /// `s_dev`: `major << 20 | minor`.
        dev: u32,
        /// Inode number.
        ino: u64,
    },
    /// A mapping of the kernel's own, like `[vdso]`.
    Special {
        /// Its name.
        name: Arc<[u8]>,
        /// Where in it, in bytes.
        offset: u64,
    },
    /// Memory: code made at run time.
    Anonymous {
        /// The first address of its region ...
        start: u64,
        /// ... and the first after it.
        end: u64,
    },
    /// Nothing that the model knew of.
    Unmapped,
}

/// The stacks.
///
/// Bounded by [`StackTable::retain`]: those that no event had for long are dropped, and those of a
/// user's with its address space.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct StackTable {
    by_key: HashMap<u64, Entry>,
    /// By the key of a file's path; `None` until it is told.
    build_ids: HashMap<u64, Option<Arc<[u8]>>>,
    unidentified: Vec<Unidentified>,
}

/// A file in a stack whose build id nobody has told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unidentified {
    /// A space that has it mapped.
    pub space: SpaceId,
    /// A frame in it; its place is [`Place::File`].
    pub frame: Frame,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    #[serde(with = "keyframe::plain")]
    record: record::Stack,
    addresses: Box<[u64]>,
    /// Whose it is, and how often code had been mapped there when the frames were looked up:
    /// [`Space::code`].
    at: Option<(SpaceId, u64)>,
    stack: Arc<Stack>,
    age: Age,
}

/// How long an entry was not used. What the kernel's side was told to forget may still be meant by
/// records on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Age {
    Used,
    Unused,
    Forgotten,
}

impl StackTable {
    /// The stack of a key, with its frames where they lay at the last event that had it.
    pub fn get(&self, key: NonZeroU64) -> Option<&Arc<Stack>> {
        self.by_key.get(&key.get()).map(|entry| &entry.stack)
    }

    /// The build id of a file, by the key of its path; `None`: it has none, or it is not known.
    pub fn build_id(&self, file: u64) -> Option<&Arc<[u8]>> {
        self.build_ids.get(&file)?.as_ref()
    }

    /// How many stacks there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The records that told the stacks, in no order.
    pub fn records(&self) -> impl Iterator<Item = (&record::Stack, &[u64])> {
        self.by_key.values().map(|entry| (&entry.record, &entry.addresses[..]))
    }

    /// The build ids that were told, by the keys of paths, in no order.
    pub fn build_ids(&self) -> impl Iterator<Item = (u64, &Arc<[u8]>)> {
        self.build_ids.iter().filter_map(|(&key, id)| Some((key, id.as_ref()?)))
    }

    /// Drops the stacks that were told to be forgotten by the last call and had no event since, and
    /// tells the keys of those that had none for as long.
    pub fn retain(&mut self) -> Vec<u64> {
        let mut forgotten = Vec::new();
        self.by_key.retain(|&key, entry| {
            let keep = entry.age != Age::Forgotten;
            entry.age = match entry.age {
                Age::Used => Age::Unused,
                Age::Unused | Age::Forgotten => {
                    forgotten.push(key);
                    Age::Forgotten
                }
            };
            keep
        });
        let stacks = self.by_key.values().flat_map(|entry| &entry.stack.frames);
        let used: HashSet<u64> = stacks.filter_map(Frame::file).collect();
        self.build_ids.retain(|key, _| used.contains(key));
        forgotten
    }

    /// The files that are new in the stacks since the last call.
    pub fn take_unidentified(&mut self) -> Vec<Unidentified> {
        std::mem::take(&mut self.unidentified)
    }

    /// Takes a stack; a user's is that of a thread of `space`.
    pub(crate) fn insert(
        &mut self,
        record: &record::Stack,
        addresses: &[u64],
        space: Option<&Space>,
        names: &Names,
    ) {
        let entry = Entry {
            record: *record,
            addresses: addresses.into(),
            at: None,
            stack: Arc::new(Stack { frames: Vec::new(), end: End::Null }),
            age: Age::Used,
        };
        self.by_key.insert(record.key, entry);
        self.see(record.key, space, names);
    }

    /// An event has this stack: the code at its addresses is what `space` has there now.
    pub(crate) fn see(&mut self, key: u64, space: Option<&Space>, names: &Names) {
        let Some(entry) = self.by_key.get_mut(&key) else { return };
        entry.age = Age::Used;
        let user = entry.record.flags & stack::USER != 0;
        let at = space.filter(|_| user).map(|space| (space.id(), space.code()));
        // Where the space is not known, nothing is known better than at the last event.
        if !entry.stack.frames.is_empty() && (at == entry.at || at.is_none()) {
            return;
        }
        entry.at = at;
        let frames = frames(&entry.addresses, entry.record.flags, space, names);
        if let Some(space) = space {
            let id = space.id();
            for frame in &frames {
                if let Some(key) = frame.file()
                    && !self.build_ids.contains_key(&key)
                {
                    self.build_ids.insert(key, None);
                    self.unidentified.push(Unidentified { space: id, frame: frame.clone() });
                }
            }
        }
        entry.stack = Arc::new(Stack { frames, end: End::of(entry.record.flags) });
    }

    /// Takes the build id of a file; an empty one: there is none.
    pub(crate) fn identify(&mut self, file: u64, build_id: &[u8]) {
        let id = (!build_id.is_empty()).then(|| Arc::from(build_id));
        self.build_ids.insert(file, id);
    }

    /// A space has ended, and no event will have its stacks.
    pub(crate) fn end_space(&mut self, space: SpaceId) {
        if !self.by_key.is_empty() {
            self.by_key.retain(|_, entry| entry.at.is_none_or(|(of, _)| of != space));
        }
    }
}

impl End {
    const fn of(flags: u32) -> Self {
        if flags & stack::CUT != 0 {
            Self::Depth
        } else if flags & stack::BROKEN != 0 {
            Self::Broken
        } else {
            Self::Null
        }
    }
}

impl Frame {
    /// The key of the path of the file it lies in, if in one.
    pub const fn file(&self) -> Option<u64> {
        match self.place {
            Place::File { key, .. } => Some(key),
            Place::Kernel | Place::Special { .. } | Place::Anonymous { .. } | Place::Unmapped => {
                None
            }
        }
    }
}

/// The frames at these addresses.
fn frames(addresses: &[u64], flags: u32, space: Option<&Space>, names: &Names) -> Vec<Frame> {
    let frame = |&address: &u64| {
        let place = match space {
            _ if flags & stack::USER == 0 => Place::Kernel,
            Some(space) => place(address, space, names),
            None => Place::Unmapped,
        };
        Frame { address, place }
    };
    let is_return = |address: u64| {
        let region = space.and_then(|space| space.map().at(address));
        region.is_some_and(|region| region.flags.has(Flags::EXEC))
    };
    let mut addresses = addresses.to_vec();
    if flags & stack::LEAF != 0
        && let [_, top, rest @ ..] = &addresses[..]
        // A function with a frame has put other things on the stack, or its own return address.
        && (!is_return(*top) || rest.first() == Some(top))
    {
        addresses.remove(1);
    }
    addresses.iter().map(frame).collect()
}

fn place(address: u64, space: &Space, names: &Names) -> Place {
    let Some(region) = space.map().at(address) else { return Place::Unmapped };
    let name = |key| names.get(key).map(Arc::clone).unwrap_or_default();
    let within = address - region.start;
    match region.backing {
        Backing::File { dev, ino, path: key } => {
            let offset = region.offset().wrapping_add(within);
            Place::File { key, path: name(key), offset, dev, ino }
        }
        Backing::Special { name: key } => Place::Special { name: name(key), offset: within },
        Backing::Anonymous | Backing::Named { .. } | Backing::NamedShared { .. } => {
            Place::Anonymous { start: region.start, end: region.end }
        }
    }
}

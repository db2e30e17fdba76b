//! Items on their way to a block.

use mmaptrace_common::record::{Header, kind};
use zerocopy::FromBytes as _;

use crate::{block::flag, codec::Item};

/// Items that will be one block: kept as they are, which is all that the thread they come from has
/// to do.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    items: Vec<Entry>,
    events: u64,
    times: Option<(u64, u64)>,
    flags: u16,
}

/// An item; records are bytes of the batch.
#[derive(Clone, Copy, Debug)]
enum Entry {
    Record(usize),
    Mark(Item<'static>),
}

impl Batch {
    /// An empty batch, after so many events.
    pub fn new(events: u64) -> Self {
        Self { events, ..Self::default() }
    }

    /// Empties it, to be filled after so many events. Its room stays.
    pub fn restart(&mut self, events: u64) {
        self.bytes.clear();
        self.items.clear();
        (self.events, self.times, self.flags) = (events, None, 0);
    }

    /// Adds an item.
    ///
    /// # Panics
    /// If it is a record of more than [`RECORD_MAX`](crate::RECORD_MAX) bytes.
    pub fn push(&mut self, item: Item<'_>) {
        let (entry, time) = match item {
            Item::Record(bytes) => {
                assert!(bytes.len() <= crate::RECORD_MAX, "no ring has such records");
                self.bytes.extend_from_slice(bytes);
                let header = Header::read_from_prefix(bytes).ok().map(|(header, _)| header);
                self.flags |= match header.map(|header| header.kind) {
                    Some(kind::EXEC) => flag::EXEC,
                    Some(kind::EXIT) => flag::EXIT,
                    Some(_) | None => 0,
                };
                (Entry::Record(bytes.len()), header.map(|header| header.time))
            }
            Item::Tick { time } => (Entry::Mark(Item::Tick { time }), Some(time)),
            Item::Dump { time, pid } => (Entry::Mark(Item::Dump { time, pid }), Some(time)),
            Item::ForgetNames => (Entry::Mark(Item::ForgetNames), None),
            Item::ForgetStacks => (Entry::Mark(Item::ForgetStacks), None),
        };
        self.items.push(entry);
        if let Some(time) = time {
            let (first, last) = self.times.unwrap_or((time, time));
            self.times = Some((first, last.max(time)));
        }
    }

    /// Bytes of its records.
    pub const fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no items in it.
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Its items, in order.
    pub fn items(&self) -> impl Iterator<Item = Item<'_>> {
        let mut rest = &self.bytes[..];
        self.items.iter().map(move |entry| match *entry {
            Entry::Record(len) => {
                let (record, others) = rest.split_at(len);
                rest = others;
                Item::Record(record)
            }
            Entry::Mark(item) => item,
        })
    }

    /// Events before it.
    pub(crate) const fn events(&self) -> u64 {
        self.events
    }

    /// The first time in it and the latest.
    pub(crate) const fn times(&self) -> Option<(u64, u64)> {
        self.times
    }

    /// What is in it, a union of [`flag`].
    pub(crate) const fn flags(&self) -> u16 {
        self.flags
    }
}

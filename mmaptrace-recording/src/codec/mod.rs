//! What is in a block of records: items, taken apart into columns.

mod columns;
mod foresee;
mod layout;
mod shape;

use std::convert::Infallible;

use zerocopy::IntoBytes as _;

use columns::{Columns, Cursors, Fold};
use foresee::{Coder, Foresight};
use layout::{HEADER, column};
use shape::{Shape, Shapes};

/// The longest record, in bytes.
pub const RECORD_MAX: usize = 1 << 20;

/// What a recording is made of: all that what is shown depends on, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A record as the kernel's side wrote it; of any bytes, [`RECORD_MAX`] at most.
    Record(&'a [u8]),
    /// The clock (ns of `CLOCK_MONOTONIC`), told while no records came.
    Tick {
        /// What it said.
        time: u64,
    },
    /// The map of a process was written into the stream.
    Dump {
        /// When: ns of `CLOCK_MONOTONIC`.
        time: u64,
        /// The process.
        pid: u32,
    },
    /// Names that no region has any more were forgotten.
    ForgetNames,
    /// Stacks that no event had for long were forgotten.
    ForgetStacks,
}

/// Bytes that no recorder wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt;

/// Marks, the symbols below [`RECORDS`].
mod mark {
    /// A record without a whole header: its length, and its bytes.
    pub(super) const RAW: u64 = 0;
    pub(super) const TICK: u64 = 1;
    pub(super) const DUMP: u64 = 2;
    pub(super) const FORGET_NAMES: u64 = 3;
    pub(super) const FORGET_STACKS: u64 = 4;
}

/// The first symbol of a record: it has shape 0; the next one shape 1, and so on.
const RECORDS: u64 = 8;

/// Takes items apart.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    foresight: Foresight,
    shapes: Shapes,
    coder: Writer,
    words: Vec<u64>,
}

impl Encoder {
    /// Adds an item.
    pub(crate) fn push(&mut self, item: Item<'_>) {
        match item {
            Item::Record(bytes) if bytes.len() < HEADER * 8 => {
                self.coder.symbol(mark::RAW);
                self.coder.columns.put(column::MARKS, bytes.len() as u64);
                self.coder.columns.put_bytes(column::BYTES, bytes);
            }
            Item::Record(bytes) => self.record(bytes),
            Item::Tick { time } => self.mark(mark::TICK, time),
            Item::Dump { time, pid } => {
                self.mark(mark::DUMP, time);
                self.coder.columns.put(column::MARKS, pid.into());
            }
            Item::ForgetNames => self.coder.symbol(mark::FORGET_NAMES),
            Item::ForgetStacks => self.coder.symbol(mark::FORGET_STACKS),
        }
    }

    fn mark(&mut self, symbol: u64, mut time: u64) {
        self.coder.symbol(symbol);
        let Ok(()) = self.foresight.time(&mut self.coder, &mut time);
    }

    fn record(&mut self, bytes: &[u8]) {
        self.words.clear();
        let (whole, rest) = bytes.as_chunks::<8>();
        self.words.extend(whole.iter().copied().map(u64::from_le_bytes));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.words.push(u64::from_le_bytes(last));
        }
        let shape = Shape::of(&self.words, bytes.len());
        let number = self.shapes.number(&shape, |number| self.foresight.shape(number));
        self.coder.symbol(RECORDS + number as u64);
        if self.foresight.shape(number).is_none() {
            let Ok(_) = self.foresight.learn(&mut self.coder, shape);
        }
        let Ok(()) = self.foresight.record(&mut self.coder, number, &mut self.words);
    }

    /// Appends the block to `out`, and is as new.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        self.coder.columns.drain_into(out);
        self.foresight.clear();
        self.shapes.clear();
    }
}

/// Writes what is not as foreseen.
#[derive(Debug, Default)]
struct Writer {
    columns: Columns<{ column::COUNT }>,
    mask: u64,
}

impl Writer {
    fn symbol(&mut self, symbol: u64) {
        self.columns.put(column::SYMBOLS, symbol);
    }
}

impl Coder for Writer {
    type Error = Infallible;

    fn begin(&mut self, _: usize) -> Result<(), Infallible> {
        self.mask = 0;
        Ok(())
    }

    fn word(
        &mut self,
        bit: usize,
        column: usize,
        fold: Fold,
        foreseen: u64,
        word: &mut u64,
    ) -> Result<(), Infallible> {
        if *word != foreseen {
            self.mask |= 1 << bit;
            self.columns.put(column, fold.fold(foreseen, *word));
        }
        Ok(())
    }

    fn end(&mut self, masks: usize) -> u64 {
        self.columns.put(masks, self.mask);
        self.mask
    }

    fn number(&mut self, column: usize, foreseen: u64, word: &mut u64) -> Result<(), Infallible> {
        self.columns.put(column, Fold::Count.fold(foreseen, *word));
        Ok(())
    }

    fn bytes(&mut self, words: &mut [u64]) -> Result<(), Infallible> {
        self.columns.put_bytes(column::BYTES, words.as_bytes());
        Ok(())
    }
}

/// Puts items together again.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    foresight: Foresight,
    coder: Reader<'a>,
    shapes: usize,
    words: Vec<u64>,
    /// How many more bytes the records may have.
    left: usize,
}

impl<'a> Decoder<'a> {
    /// Of a block whose records have no more than `limit` bytes.
    pub(crate) fn new(payload: &'a [u8], limit: usize) -> Result<Self, Corrupt> {
        let columns = Cursors::new(payload)?;
        Ok(Self {
            foresight: Foresight::default(),
            coder: Reader { columns, mask: 0 },
            shapes: 0,
            words: Vec::new(),
            left: limit,
        })
    }

    /// The next item; `None` at the end of the block. A record's bytes are aligned to 8.
    pub(crate) fn next_item(&mut self) -> Result<Option<Item<'_>>, Corrupt> {
        if self.coder.columns.is_empty(column::SYMBOLS) {
            return Ok(None);
        }
        let item = match self.coder.columns.take(column::SYMBOLS)? {
            mark::RAW => {
                let len = self.coder.columns.take(column::MARKS)? as usize;
                let bytes = self.coder.columns.take_bytes(column::BYTES, len)?;
                self.words.clear();
                self.words.resize(len.div_ceil(8), 0);
                self.words.as_mut_bytes()[..len].copy_from_slice(bytes);
                Item::Record(&self.words.as_bytes()[..len])
            }
            mark::TICK => Item::Tick { time: self.time()? },
            mark::DUMP => {
                let time = self.time()?;
                let pid = self.coder.columns.take(column::MARKS)?;
                Item::Dump { time, pid: pid.try_into().map_err(|_| Corrupt)? }
            }
            mark::FORGET_NAMES => Item::ForgetNames,
            mark::FORGET_STACKS => Item::ForgetStacks,
            symbol => Item::Record(self.record(symbol)?),
        };
        Ok(Some(item))
    }

    fn time(&mut self) -> Result<u64, Corrupt> {
        let mut time = 0;
        self.foresight.time(&mut self.coder, &mut time)?;
        Ok(time)
    }

    fn record(&mut self, symbol: u64) -> Result<&[u8], Corrupt> {
        let number = symbol.checked_sub(RECORDS).ok_or(Corrupt)? as usize;
        let shape = match self.foresight.shape(number) {
            Some(shape) => shape,
            None if number == self.shapes => {
                self.shapes += 1;
                self.foresight.learn(&mut self.coder, Shape::default())?
            }
            None => return Err(Corrupt),
        };
        let len = shape.len as usize;
        if !(HEADER * 8..=RECORD_MAX).contains(&len) {
            return Err(Corrupt);
        }
        self.left = self.left.checked_sub(len).ok_or(Corrupt)?;
        self.words.clear();
        self.words.resize(len.div_ceil(8), 0);
        self.foresight.record(&mut self.coder, number, &mut self.words)?;
        Ok(&self.words.as_bytes()[..len])
    }
}

/// Reads what [`Writer`] wrote.
#[derive(Debug)]
struct Reader<'a> {
    columns: Cursors<'a, { column::COUNT }>,
    mask: u64,
}

impl Coder for Reader<'_> {
    type Error = Corrupt;

    fn begin(&mut self, masks: usize) -> Result<(), Corrupt> {
        self.mask = self.columns.take(masks)?;
        Ok(())
    }

    fn word(
        &mut self,
        bit: usize,
        column: usize,
        fold: Fold,
        foreseen: u64,
        word: &mut u64,
    ) -> Result<(), Corrupt> {
        let other = self.mask >> bit & 1 != 0;
        *word = if other { fold.unfold(foreseen, self.columns.take(column)?) } else { foreseen };
        Ok(())
    }

    fn end(&mut self, _: usize) -> u64 {
        self.mask
    }

    fn number(&mut self, column: usize, foreseen: u64, word: &mut u64) -> Result<(), Corrupt> {
        *word = Fold::Count.unfold(foreseen, self.columns.take(column)?);
        Ok(())
    }

    fn bytes(&mut self, words: &mut [u64]) -> Result<(), Corrupt> {
        let bytes = self.columns.take_bytes(column::BYTES, size_of_val(words))?;
        words.as_mut_bytes().copy_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

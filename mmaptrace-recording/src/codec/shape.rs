//! Shapes: what many records have in common, written once in a block and then told by a number.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use super::layout::{CAUSE, HEADER, KIND, Layout, MM, TASK};

/// The head of a record, but for its time and losses, with the number of its call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    /// Bytes of the record; what its header says is in `kind`.
    pub(super) len: u64,
    /// Kind, flags and size.
    pub(super) kind: u64,
    pub(super) mm: u64,
    pub(super) task: u64,
    /// The word that [`Layout::shape`] names, else 0.
    pub(super) call: u64,
}

impl Shape {
    /// The shape of a record of `len` bytes, which has a header.
    pub(super) fn of(words: &[u64], len: usize) -> Self {
        let [kind, mm, task] = [words[KIND], words[MM], words[TASK]];
        let call = Layout::of(kind as u16, len).shape.map_or(0, |place| words[place]);
        Self { len: len as u64, kind, mm, task, call }
    }

    pub(super) const fn layout(&self) -> Layout {
        Layout::of(self.kind as u16, self.len as usize)
    }

    pub(super) const fn tid(&self) -> u32 {
        (self.task >> 32) as u32
    }

    /// The number of the call, in commits and calls; both have it in the same word's other half.
    pub(super) fn nr(&self) -> u32 {
        let shift = if self.layout().shape == Some(CAUSE) { 32 } else { 0 };
        (self.call >> shift) as u32
    }

    pub(super) const fn fields(&mut self) -> [&mut u64; 5] {
        [&mut self.len, &mut self.kind, &mut self.mm, &mut self.task, &mut self.call]
    }
}

const _: () = assert!(HEADER == 5, "a word of the header that is neither shape, time nor loss");

/// The numbers of shapes.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    numbers: HashMap<Shape, usize, BuildHasherDefault<Mix>>,
    /// Which number came after each, the last time: threads do the same over and over.
    next: Vec<usize>,
    last: usize,
}

impl Shapes {
    /// The number of a shape: that of the next new one, if it is new.
    pub(super) fn number(
        &mut self,
        shape: &Shape,
        known: impl Fn(usize) -> Option<Shape>,
    ) -> usize {
        let guess = self.next.get(self.last).copied().unwrap_or_default();
        let number = if known(guess) == Some(*shape) {
            guess
        } else {
            let new = self.numbers.len();
            *self.numbers.entry(*shape).or_insert(new)
        };
        if self.next.len() <= self.last {
            self.next.resize(self.last + 1, 0);
        }
        self.next[self.last] = number;
        self.last = number;
        number
    }

    pub(super) fn clear(&mut self) {
        self.numbers.clear();
        self.next.clear();
        self.last = 0;
    }
}

/// A quick hash. Whoever makes it collide slows the recording down, and can do that by calls alone.
#[derive(Debug, Default)]
pub(super) struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(26) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        // The best bits are the top ones, and the table takes some of either end.
        self.0 ^ self.0 >> 32
    }
}

//! A recording that forgets its beginning, to keep within its size.

use std::{
    collections::VecDeque,
    io::{self, Write},
};

/// What a [`Writer`](crate::Writer) writes to that keeps the last so many bytes: as a recording, at
/// any time.
#[derive(Debug)]
pub struct Memory {
    /// The head of the file, and the start.
    head: Vec<u8>,
    /// What followed it, and then a keyframe and what followed that, each.
    segments: VecDeque<Vec<u8>>,
    size: usize,
    limit: usize,
}

impl Memory {
    /// One of this many bytes, and at times a keyframe and what follows it more.
    pub const fn new(limit: usize) -> Self {
        Self { head: Vec::new(), segments: VecDeque::new(), size: 0, limit }
    }

    /// What was written so far is the head, or what follows is a keyframe: drops the oldest.
    pub fn begin_segment(&mut self) {
        self.segments.push_back(Vec::new());
        while self.size > self.limit && self.segments.len() > 1 {
            self.size -= self.segments.pop_front().map_or(0, |segment| segment.len());
        }
    }

    /// The recording.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.head.len() + self.size);
        bytes.extend_from_slice(&self.head);
        for segment in &self.segments {
            bytes.extend_from_slice(segment);
        }
        bytes
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.segments.back_mut() {
            Some(segment) => {
                segment.extend_from_slice(bytes);
                self.size += bytes.len();
            }
            None => self.head.extend_from_slice(bytes),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! Columns: values of one field of many records, each as few bytes as it needs, one after the
//! other.
//!
//! What compresses a stream of records is that values of a field are like each other, not like what
//! stands beside them.

use super::Corrupt;

/// Bytes of columns, all of one block.
#[derive(Debug)]
pub(super) struct Columns<const N: usize>([Vec<u8>; N]);

impl<const N: usize> Default for Columns<N> {
    fn default() -> Self {
        Self([const { Vec::new() }; N])
    }
}

impl<const N: usize> Columns<N> {
    /// Appends a number: seven bits to a byte, the lowest first, the top bit set in all but the
    /// last.
    pub(super) fn put(&mut self, column: usize, mut value: u64) {
        let out = &mut self.0[column];
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }

    pub(super) fn put_bytes(&mut self, column: usize, bytes: &[u8]) {
        self.0[column].extend_from_slice(bytes);
    }

    /// Appends all columns to `out`, their lengths first, and empties them.
    pub(super) fn drain_into(&mut self, out: &mut Vec<u8>) {
        for column in &self.0 {
            out.extend_from_slice(&(column.len() as u32).to_le_bytes());
        }
        for column in &mut self.0 {
            out.append(column);
        }
    }
}

/// Reads what [`Columns`] wrote.
#[derive(Debug)]
pub(super) struct Cursors<'a, const N: usize>([&'a [u8]; N]);

impl<'a, const N: usize> Cursors<'a, N> {
    pub(super) fn new(payload: &'a [u8]) -> Result<Self, Corrupt> {
        let (lengths, mut rest) = payload.split_at_checked(4 * N).ok_or(Corrupt)?;
        let mut columns = [&[][..]; N];
        for (column, length) in columns.iter_mut().zip(lengths.as_chunks::<4>().0) {
            let length = u32::from_le_bytes(*length) as usize;
            (*column, rest) = rest.split_at_checked(length).ok_or(Corrupt)?;
        }
        if rest.is_empty() { Ok(Self(columns)) } else { Err(Corrupt) }
    }

    /// Whether a column has no more values.
    pub(super) const fn is_empty(&self, column: usize) -> bool {
        self.0[column].is_empty()
    }

    pub(super) fn take(&mut self, column: usize) -> Result<u64, Corrupt> {
        let bytes = &mut self.0[column];
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = bytes.split_first().ok_or(Corrupt)?;
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Corrupt)
    }

    pub(super) fn take_bytes(&mut self, column: usize, len: usize) -> Result<&'a [u8], Corrupt> {
        let (taken, rest) = self.0[column].split_at_checked(len).ok_or(Corrupt)?;
        self.0[column] = rest;
        Ok(taken)
    }
}

/// How a difference becomes a number that is small where the difference is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fold {
    /// Small numbers: twice the difference, or for a negative one, twice its absolute value less 1.
    Count,
    /// Addresses: small numbers of pages. The absolute value, its lower 12 bits put behind the
    /// others, and below it one bit for the sign.
    Address,
}

/// Bits of an offset in a page.
const PAGE: u32 = 12;
/// Bits of an absolute value, less those.
const PAGES: u32 = 63 - PAGE;

impl Fold {
    pub(super) const fn fold(self, from: u64, to: u64) -> u64 {
        let difference = to.wrapping_sub(from);
        let negative = difference >> 63;
        match self {
            Self::Count => difference << 1 ^ negative.wrapping_neg(),
            // The one without an absolute value takes the place of -0.
            Self::Address if difference == 1 << 63 => 1,
            Self::Address => {
                let size = difference.cast_signed().unsigned_abs();
                (size >> PAGE | (size & ((1 << PAGE) - 1)) << PAGES) << 1 | negative
            }
        }
    }

    pub(super) const fn unfold(self, from: u64, folded: u64) -> u64 {
        let negative = (folded & 1).wrapping_neg();
        let difference = match self {
            Self::Count => folded >> 1 ^ negative,
            Self::Address if folded == 1 => 1 << 63,
            Self::Address => {
                let size = folded >> 1;
                let size = (size << PAGE & !(1 << 63)) | size >> PAGES;
                (size ^ negative).wrapping_sub(negative)
            }
        };
        from.wrapping_add(difference)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_are_one_byte() {
        for fold in [Fold::Count, Fold::Address] {
            let step = if fold == Fold::Address { 4096 } else { 1 };
            for distance in [0, 1, -1, 63, -63] {
                let to = 0x7f00_0000_0000_u64.wrapping_add_signed(distance * step);
                assert!(fold.fold(0x7f00_0000_0000, to) < 0x80, "{fold:?} {distance}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_difference_comes_back(from: u64, by: u64, scale in 0_u32..64) {
            let to = from.wrapping_add(by >> scale);
            for fold in [Fold::Count, Fold::Address] {
                for (from, to) in [(from, to), (to, from), (from, from.wrapping_add(1 << 63))] {
                    prop_assert_eq!(fold.unfold(from, fold.fold(from, to)), to);
                }
            }
        }

        #[test]
        fn columns_come_back(values in prop::collection::vec((0_usize..3, any::<u64>()), 0..100)) {
            let mut columns = Columns::<3>::default();
            for &(column, value) in &values {
                columns.put(column, value);
            }
            let mut payload = Vec::new();
            columns.drain_into(&mut payload);
            let mut cursors = Cursors::<3>::new(&payload).expect("as written");
            for (column, value) in values {
                prop_assert_eq!(cursors.take(column), Ok(value));
            }
            prop_assert!((0..3).all(|column| cursors.is_empty(column)));
        }

        #[test]
        fn any_bytes_are_columns_or_corrupt(bytes: Vec<u8>) {
            if let Ok(mut cursors) = Cursors::<2>::new(&bytes) {
                while cursors.take(1).is_ok() {}
                prop_assert!(cursors.take_bytes(0, usize::MAX).is_err());
            }
        }
    }
}

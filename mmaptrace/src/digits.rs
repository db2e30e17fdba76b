//! Numbers as text, without what the formatter does to find out about signs, widths and padding:
//! numbers are most of what a line is made of. Their digits are made all at a time, as the bytes of
//! a word: where they are stored one by one, the processor waits before it moves them together.

use std::{
    fmt::{self, Display, Formatter},
    str,
};

use zerocopy::IntoBytes as _;

/// A number as text.
#[derive(Clone, Copy, Debug)]
pub struct Digits {
    /// The text, and more of ASCII after it.
    words: [u64; 3],
    /// Bytes of the text.
    length: usize,
}

/// What eight decimal digits can count to.
const EIGHT: u64 = 100_000_000;
/// 1 in each byte.
const ONES: u128 = u128::from_le_bytes([1; 16]);
/// The character `0` in each byte.
const ZEROES: u128 = b'0' as u128 * ONES;

impl Digits {
    /// In base 10, with zeroes before it up to `WIDTH` digits, 16 at most.
    #[inline]
    pub fn decimal<const WIDTH: usize>(value: u64) -> Self {
        const { assert!(WIDTH <= 16) };
        if value < EIGHT && WIDTH <= 8 {
            let digits = eight(value);
            let length = (8 - digits.trailing_zeros() as usize / 8).max(WIDTH).max(1);
            return Self::new(ZEROES | u128::from(digits >> (64 - 8 * length)), length);
        }
        let (head, value) = (value / (EIGHT * EIGHT), value % (EIGHT * EIGHT));
        let digits = u128::from(eight(value / EIGHT)) | u128::from(eight(value % EIGHT)) << 64;
        if head == 0 {
            let length = (16 - digits.trailing_zeros() as usize / 8).max(WIDTH);
            return Self::new(ZEROES | digits >> (128 - 8 * length), length);
        }
        let before = eight(head);
        let zeroes = before.trailing_zeros() as usize / 8;
        let before = (before >> (8 * zeroes) | ZEROES as u64) & u64::MAX >> (8 * zeroes);
        Self::new(ZEROES | digits, 16).after(before, 8 - zeroes)
    }

    /// In base 16: `7f84c36c7000`
    #[inline]
    pub fn hex(value: u64) -> Self {
        let length = (value | 1).ilog2() as usize / 4 + 1;
        let aligned = value << (64 - 4 * length);
        let digits =
            u128::from(nibbles((aligned >> 32) as u32)) | u128::from(nibbles(aligned as u32)) << 64;
        // 1 in each byte that is more than 9.
        let letters = ((digits + 6 * ONES) >> 4) & ONES;
        Self::new(ZEROES + digits + letters * u128::from(b'a' - b'0' - 10), length)
    }

    /// In base 16, as C's `%#lx` writes it but for 0: `0x7f84c36c7000`
    #[inline]
    pub fn prefixed_hex(value: u64) -> Self {
        Self::hex(value).after(u16::from_le_bytes(*b"0x").into(), 2)
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        // SAFETY: it is all ASCII: digits, letters, zeroes.
        unsafe { str::from_utf8_unchecked(&self.words.as_bytes()[..self.length]) }
    }

    /// Appends the text.
    #[inline]
    pub fn push_to(&self, out: &mut Vec<u8>) {
        let length = out.len() + self.length;
        out.extend_from_slice(self.words.as_bytes());
        out.truncate(length);
    }

    /// Text whose first byte is the lowest.
    #[inline]
    fn new(text: u128, length: usize) -> Self {
        Self { words: [(text as u64).to_le(), ((text >> 64) as u64).to_le(), 0], length }
    }

    /// The same after up to 7 other bytes, at least one.
    #[inline]
    fn after(self, text: u64, length: usize) -> Self {
        let shift = 8 * length;
        let [low, high, _] = self.words.map(u64::from_le);
        let words =
            [text | low << shift, low >> (64 - shift) | high << shift, high >> (64 - shift)];
        Self { words: words.map(u64::to_le), length: self.length + length }
    }
}

/// The eight digits of a number below [`EIGHT`], as numbers from 0 to 9; the first one in the lowest
/// byte. Each step halves all numbers of the last one side by side: quotient, then rest.
#[inline]
const fn eight(value: u64) -> u64 {
    let fours = (value / 10_000) | ((value % 10_000) << 32);
    let quotients = ((fours * 5243) >> 19) & 0x7f_0000_007f;
    let twos = quotients | ((fours - 100 * quotients) << 16);
    let quotients = ((twos * 103) >> 10) & 0xf_000f_000f_000f;
    quotients | ((twos - 10 * quotients) << 8)
}

/// The eight hexadecimal digits of a number, as numbers from 0 to 15; the first one in the lowest byte.
#[inline]
const fn nibbles(value: u32) -> u64 {
    let fours = (value as u64 | (value as u64) << 16) & 0xffff_0000_ffff;
    let twos = (fours | fours << 8) & 0xff_00ff_00ff_00ff;
    ((twos | twos << 4) & 0x0f0f_0f0f_0f0f_0f0f).swap_bytes()
}

impl Display for Digits {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Digits;

    #[test]
    fn as_the_formatter_has_them() {
        let powers = (0..20).map(|power| 10_u64.pow(power)).chain((0..64).map(|bit| 1 << bit));
        let around = powers.flat_map(|power| [power - 1, power, power + 1]);
        for value in around.chain([0xabc, 0x7f84_c36c_7000, 1_234_567_890_123_456_789, u64::MAX]) {
            assert_eq!(Digits::decimal::<1>(value).as_str(), format!("{value}"));
            assert_eq!(Digits::decimal::<2>(value).as_str(), format!("{value:02}"));
            assert_eq!(Digits::decimal::<6>(value).as_str(), format!("{value:06}"));
            assert_eq!(Digits::decimal::<9>(value).as_str(), format!("{value:09}"));
            assert_eq!(Digits::hex(value).as_str(), format!("{value:x}"));
            assert_eq!(Digits::prefixed_hex(value).as_str(), format!("{value:#x}"));
        }
    }
}

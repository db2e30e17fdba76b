//! Numbers as text, without what the formatter does to find out about signs, widths and padding:
//! numbers are most of what a line is made of.

use std::{
    fmt::{self, Display, Formatter},
    str,
};

/// The most that a number needs: 20 decimal digits, or `0x` and 16 others.
const ROOM: usize = 20;

/// A number as text.
#[derive(Clone, Copy, Debug)]
pub struct Digits {
    /// The text, right-aligned; zeroes before it.
    bytes: [u8; ROOM],
    start: usize,
}

impl Digits {
    /// In base 10, with zeroes before it up to `WIDTH` digits.
    pub const fn decimal<const WIDTH: usize>(value: u64) -> Self {
        Self::of::<10>(value, WIDTH)
    }

    /// In base 16: `7f84c36c7000`
    pub const fn hex(value: u64) -> Self {
        Self::of::<16>(value, 1)
    }

    /// In base 16, as C's `%#lx` writes it but for 0: `0x7f84c36c7000`
    pub const fn prefixed_hex(value: u64) -> Self {
        let mut digits = Self::hex(value);
        digits.start -= 2;
        digits.bytes[digits.start + 1] = b'x';
        digits
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // SAFETY: they are all ASCII: digits, letters, zeroes.
        unsafe { str::from_utf8_unchecked(&self.bytes[self.start..]) }
    }

    #[inline]
    const fn of<const BASE: u64>(value: u64, width: usize) -> Self {
        let mut bytes = [b'0'; ROOM];
        let mut start = ROOM;
        let mut rest = value;
        while rest >= BASE {
            start -= 2;
            let pair = Pairs::<BASE>::ALL[(rest % (BASE * BASE)) as usize];
            (bytes[start], bytes[start + 1]) = (pair[0], pair[1]);
            rest /= BASE * BASE;
        }
        if rest != 0 {
            start -= 1;
            bytes[start] = digit(rest);
        }
        if start + width > ROOM {
            start = ROOM - width;
        }
        Self { bytes, start }
    }
}

/// Two digits at a time: half as many divisions.
struct Pairs<const BASE: u64>;

impl<const BASE: u64> Pairs<BASE> {
    /// Those of each number below the square of the base, of which 16 is the largest.
    const ALL: [[u8; 2]; 256] = {
        let mut all = [[b'0'; 2]; 256];
        let mut number = 0;
        while number < BASE * BASE {
            all[number as usize] = [digit(number / BASE), digit(number % BASE)];
            number += 1;
        }
        all
    };
}

const fn digit(value: u64) -> u8 {
    b"0123456789abcdef"[value as usize]
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
        for value in [0, 1, 9, 10, 15, 16, 0xabc, 0x7f84_c36c_7000, u64::MAX] {
            assert_eq!(Digits::decimal::<1>(value).as_str(), format!("{value}"));
            assert_eq!(Digits::decimal::<6>(value).as_str(), format!("{value:06}"));
            assert_eq!(Digits::hex(value).as_str(), format!("{value:x}"));
            assert_eq!(Digits::prefixed_hex(value).as_str(), format!("{value:#x}"));
        }
    }
}

//! Sizes for people, exact: a unit is taken only if one decimal says all.

use std::fmt::{self, Display, Formatter, Write as _};

use crate::digits::Digits;

const UNITS: [(u64, char); 5] =
    [(1 << 50, 'P'), (1 << 40, 'T'), (1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')];

/// A size in bytes, shown as `16K`, `1.5G`, or, where no unit is exact, `1537K` and `100` (bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (unit, letter) in UNITS {
            if self.0 >= unit {
                match (self.0 / unit, self.0 % unit) {
                    (whole, 0) => {
                        f.write_str(Digits::decimal::<1>(whole).as_str())?;
                        return f.write_char(letter);
                    }
                    (whole, rest) if rest == unit / 2 => return write!(f, "{whole}.5{letter}"),
                    _ => {}
                }
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact() {
        for (bytes, shown) in [
            (0, "0"),
            (4096, "4K"),
            (135_168, "132K"),
            (1 << 20, "1M"),
            (3 << 19, "1.5M"),
            ((1 << 20) + 4096, "1028K"),
            (3 << 29, "1.5G"),
            ((1 << 36) + (1 << 20), "65537M"),
            (1 << 47, "128T"),
            (100, "100"),
            (1536, "1.5K"),
            (u64::MAX, "18446744073709551615"),
        ] {
            assert_eq!(Size(bytes).to_string(), shown);
        }
    }
}

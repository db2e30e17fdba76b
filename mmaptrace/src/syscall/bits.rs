//! Flags and named values, spelt the way strace spells them.

use std::fmt::{self, Display, Formatter};

use crate::digits::Digits;

/// Values and their names, in the order in which they are shown.
pub(super) type Names = &'static [(u64, &'static str)];

/// A number as C's `%#lx` writes it: hexadecimal with `0x`, but a bare `0`.
pub(super) struct Hex(pub(super) u64);

impl Display for Hex {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            value => f.write_str(Digits::prefixed_hex(value).as_str()),
        }
    }
}

/// An address: `NULL` or hexadecimal.
pub(super) struct Address(pub(super) u64);

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("NULL"),
            value => f.write_str(Digits::prefixed_hex(value).as_str()),
        }
    }
}

/// A union of flags. `names` may give 0 a name of its own; `unknown` is said of a value in which no
/// flag is known.
pub(super) struct Bits {
    pub(super) value: u64,
    pub(super) names: Names,
    pub(super) unknown: &'static str,
}

impl Display for Bits {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let &Self { value, names, unknown } = self;
        if value == 0 {
            return f.write_str(named(names, 0).unwrap_or("0"));
        }
        let mut rest = value;
        let mut separator = "";
        for &(bits, name) in names {
            if bits != 0 && rest & bits == bits {
                f.write_str(separator)?;
                f.write_str(name)?;
                separator = "|";
                rest &= !bits;
            }
        }
        match (rest, separator) {
            (0, _) => Ok(()),
            (rest, "") => write!(f, "{rest:#x} /* {unknown} */"),
            (rest, separator) => write!(f, "{separator}{rest:#x}"),
        }
    }
}

/// One value of a list.
pub(super) struct Value {
    pub(super) of: u64,
    pub(super) names: Names,
    pub(super) unknown: &'static str,
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match named(self.names, self.of) {
            Some(name) => f.write_str(name),
            None => write!(f, "{} /* {} */", Hex(self.of), self.unknown),
        }
    }
}

/// The name of a value, if it has one.
pub(super) fn named(names: Names, value: u64) -> Option<&'static str> {
    names.iter().find(|&&(candidate, _)| candidate == value).map(|&(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names = &[(0, "NONE"), (1, "A"), (2, "B"), (0x10, "C")];

    #[test]
    fn flags() {
        let show = |value| Bits { value, names: NAMES, unknown: "X_???" }.to_string();
        assert_eq!(show(0), "NONE");
        assert_eq!(show(3), "A|B");
        assert_eq!(show(0x58), "C|0x48");
        assert_eq!(show(0x40), "0x40 /* X_??? */");
        assert_eq!(Bits { value: 0, names: &[(1, "A")], unknown: "" }.to_string(), "0");
    }

    #[test]
    fn values() {
        let show = |value| Value { of: value, names: NAMES, unknown: "X_???" }.to_string();
        assert_eq!(show(0x10), "C");
        assert_eq!(show(3), "0x3 /* X_??? */");
        assert_eq!(
            Value { of: 0, names: &[(1, "A")], unknown: "X_???" }.to_string(),
            "0 /* X_??? */"
        );
    }
}

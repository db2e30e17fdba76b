//! What a mangled name says, as far as it is not too long.

use std::fmt::{self, Write};

use cpp_demangle::DemangleOptions;

/// The longest name that is told, in bytes; the rest is cut off, and an ellipsis is in its place. What a few
/// hundred bytes of a mangled name say may have gigabytes.
const LONGEST: usize = 4096;

/// The name as the source has it, where it is one of Rust or of C++; else as it is.
pub(super) fn demangled(name: &str) -> String {
    let mut text = Text::default();
    let rust = rustc_demangle::try_demangle(name).map(|name| write!(text, "{name:#}"));
    if let Err(_no_rust) = rust {
        let options = DemangleOptions::default();
        let symbol = cpp_demangle::Symbol::new(name);
        let cpp = symbol
            .is_ok_and(|name| name.structured_demangle(&mut text, &options).is_ok() || text.full);
        if !cpp {
            text = Text::default();
            // As far as there is room.
            let _ = write!(text, "{name}");
        }
    }
    text.end()
}

/// Text, up to a length.
#[derive(Default)]
struct Text {
    text: String,
    full: bool,
}

impl Text {
    fn end(mut self) -> String {
        if self.full {
            self.text.push('…');
        }
        self.text
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LONGEST - self.text.len();
        self.full |= text.len() > room;
        self.text.push_str(&text[..text.floor_char_boundary(room)]);
        // Who writes is to give up.
        if self.full { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_in_the_source() {
        assert_eq!(
            demangled("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE"),
            "core::fmt::Write::write_fmt"
        );
        assert_eq!(demangled("_RNvC1a1f"), "a::f");
        assert_eq!(demangled("_ZN1a1fEi"), "a::f(int)");
        assert_eq!(demangled("_Znot"), "_Znot");
        assert_eq!(demangled("main"), "main");
    }

    #[test]
    fn no_name_is_longer_than_it_may_be() {
        let plain = demangled(&"é".repeat(LONGEST));
        assert_eq!(plain, "é".repeat(LONGEST / 2) + "…");
        // Each template has the one before it twice.
        let mut bomb = "_Z1f1A1BIS_S_E".to_owned();
        for last in "123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ".chars() {
            write!(bomb, "S0_IS{last}_S{last}_E").expect("a string takes it");
        }
        let told = demangled(&bomb);
        assert!(told.starts_with("f(A, B<A, A>"), "{}", &told[..80]);
        assert!(told.ends_with('…') && told.len() <= LONGEST + 3, "{}", told.len());
    }
}

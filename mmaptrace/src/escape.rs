//! What a traced program chooses - names, paths, arguments - made harmless for a terminal.
//!
//! Control characters (C0, DEL, C1), the invisible characters that turn or hide text, and bytes
//! that are not UTF-8 are shown byte by byte in octal, `\033`, as strace and `/proc/PID/maps` do.
//! Any other character stays what it is.

use std::{
    fmt::{self, Display, Formatter, Write as _},
    str,
};

/// Bytes for a place of their own: `/tmp/a\012b`. A backslash is left alone, as in
/// `/proc/PID/maps`.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        escape(self.0, f, |_| false)
    }
}

/// Bytes in quotes: `"/tmp/a\012b"`. Quotes and backslashes within get a backslash.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a [u8]);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        escape(self.0, f, |character| matches!(character, '"' | '\\'))?;
        f.write_char('"')
    }
}

/// Lines, each escaped as [`Escaped`] is.
pub fn lines(text: &[u8]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let bare = line.strip_suffix(b"\n");
        // Writing to a string cannot fail.
        let _ = write!(escaped, "{}", Escaped(bare.unwrap_or(line)));
        if bare.is_some() {
            escaped.push('\n');
        }
    }
    escaped
}

fn escape(bytes: &[u8], f: &mut Formatter<'_>, backslash: impl Fn(char) -> bool) -> fmt::Result {
    let plain = |&byte: &u8| matches!(byte, b' '..=b'~') && !backslash(byte.into());
    if let (true, Ok(text)) = (bytes.iter().all(plain), str::from_utf8(bytes)) {
        return f.write_str(text);
    }
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_harmful(character) {
                octal(character.encode_utf8(&mut [0; 4]).as_bytes(), f)?;
            } else {
                if backslash(character) {
                    f.write_char('\\')?;
                }
                f.write_char(character)?;
            }
        }
        octal(chunk.invalid(), f)?;
    }
    Ok(())
}

fn octal(bytes: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\{byte:03o}"))
}

/// Whether a terminal would act on a character, or a reader not see it.
pub(super) fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'                       // Arabic letter mark
                | '\u{200b}'..='\u{200f}'   // zero-width characters, marks of direction
                | '\u{2028}'..='\u{202e}'   // line and paragraph separators, embeddings, overrides
                | '\u{2060}'..='\u{206f}'   // word joiner, isolates, deprecated controls
                | '\u{feff}'                // byte order mark
                | '\u{fff9}'..='\u{fffb}'   // interlinear annotation
                | '\u{e0000}'..='\u{e007f}' // tags
        )
}

/// A task's name, without its padding.
pub fn comm(padded: &[u8; 16]) -> &[u8] {
    padded.split(|&byte| byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_octal_and_the_rest_stays() {
        assert_eq!(Escaped(b"/tmp/a\nb\x1b[31m\x7f").to_string(), r"/tmp/a\012b\033[31m\177");
        assert_eq!(Escaped("/tmp/é \\ \"x\"".as_bytes()).to_string(), "/tmp/é \\ \"x\"");
        assert_eq!(Escaped(b"\xff\xfea\xc3").to_string(), r"\377\376a\303");
        // C1 controls, alone and as UTF-8: 0x9b is what some terminals take for ESC [.
        assert_eq!(Escaped(b"\x9b31m \xc2\x9b31m").to_string(), r"\23331m \302\23331m");
        // Turning text round, and hiding it.
        assert_eq!(
            Escaped("a\u{202e}b\u{2066}c\u{200b}d\u{feff}".as_bytes()).to_string(),
            r"a\342\200\256b\342\201\246c\342\200\213d\357\273\277"
        );
    }

    #[test]
    fn nothing_gets_out_of_the_quotes() {
        assert_eq!(Quoted(br#"a" = 0\"#).to_string(), r#""a\" = 0\\""#);
        assert_eq!(Quoted(b"").to_string(), r#""""#);
    }

    #[test]
    fn no_byte_is_a_control_character_afterwards() {
        let all: Vec<u8> = (0..=255).collect();
        let pairs = (0..=255u8).flat_map(|a| (0x80..=0xbfu8).flat_map(move |b| [a, b]));
        for bytes in [all, pairs.collect()] {
            for text in [Escaped(&bytes).to_string(), Quoted(&bytes).to_string()] {
                assert!(!text.chars().any(char::is_control));
            }
        }
    }

    #[test]
    fn comm_ends_at_its_padding() {
        assert_eq!(comm(b"sleep\0\0\0\0\0\0\0\0\0\0\0"), b"sleep");
        assert_eq!(comm(b"0123456789abcdef"), b"0123456789abcdef");
        assert_eq!(comm(&[0; 16]), b"");
    }
}

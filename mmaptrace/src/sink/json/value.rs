//! How values become JSON.
//!
//! Lines are most of what a tracer does for who reads them: so the text between two values, with the
//! name of a field, is one constant, and text is looked at once for what must be escaped. Where
//! there is something to escape, which is rare, `serde_json` does it.

use std::{borrow::Cow, fmt::Display, io::Write as _, mem};

use crate::digits::Digits;

/// What a line is made of.
pub(super) trait Value {
    /// Appends it.
    fn write(&self, out: &mut Vec<u8>);

    /// Appends it as a field of an object that has others before; `key` is all up to the value:
    /// `,"size":`
    fn field(&self, key: &'static str, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_bytes());
        self.write(out);
    }
}

/// A structure whose fields may stand among those of another.
pub(super) trait Fields {
    /// Appends them, without braces.
    fn fields(&self, out: &mut Vec<u8>);
}

/// Text that needs no escaping: digits, letters.
#[derive(Clone, Copy)]
pub(super) struct Plain<'a>(pub(super) &'a str);

/// A string that goes out as it prints.
pub(super) struct Shown<T>(pub(super) T);

/// A field that is not there where it has no value.
pub(super) struct Maybe<T>(pub(super) Option<T>);

/// Fields of another structure among those of this one; not the first.
pub(super) struct Flat<T>(pub(super) T);

/// Structures that become objects, field by field; `= "key"` for a key that is no name in Rust.
macro_rules! object {
    ($(
        $(#[$meta:meta])*
        $vis:vis struct $name:ident $(<$life:lifetime>)? {
            $first_vis:vis $first:ident $(= $first_key:literal)?: $first_type:ty,
            $($field_vis:vis $field:ident $(= $key:literal)?: $type:ty,)*
        }
    )*) => {$(
        $(#[$meta])*
        $vis struct $name $(<$life>)? {
            $first_vis $first: $first_type,
            $($field_vis $field: $type,)*
        }

        impl $(<$life>)? Fields for $name $(<$life>)? {
            fn fields(&self, out: &mut Vec<u8>) {
                self.$first.field(concat!("\"", key!($first $($first_key)?), "\":"), out);
                $(self.$field.field(concat!(",\"", key!($field $($key)?), "\":"), out);)*
            }
        }

        impl $(<$life>)? Value for $name $(<$life>)? {
            fn write(&self, out: &mut Vec<u8>) {
                out.push(b'{');
                self.fields(out);
                out.push(b'}');
            }
        }
    )*};
}

/// An enum whose variants become objects, of which the first field tells the variant. A variant has
/// fields, or those of a structure, or none.
macro_rules! tagged {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident $(<$life:lifetime>)? by $tag:literal {
            $($variant:ident = $says:literal
                $(($it:ident: $inner:ty))?
                $({ $($field:ident: $type:ty),* $(,)? })?,)*
        }
    ) => {
        $(#[$meta])*
        $vis enum $name $(<$life>)? {
            $($variant $(($inner))? $({ $($field: $type),* })?,)*
        }

        impl $(<$life>)? Value for $name $(<$life>)? {
            fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $(($it))? $({ $($field),* })? => {
                        out.extend_from_slice(concat!("{\"", $tag, "\":\"", $says, "\"").as_bytes());
                        $(
                            out.push(b',');
                            $it.fields(out);
                        )?
                        $($($field.field(concat!(",\"", stringify!($field), "\":"), out);)*)?
                    })*
                }
                out.push(b'}');
            }
        }
    };
}

macro_rules! key {
    ($name:ident) => {
        stringify!($name)
    };
    ($name:ident $key:literal) => {
        $key
    };
}

pub(super) use {key, object, tagged};

impl Value for Plain<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(self.0.as_bytes());
        out.push(b'"');
    }
}

impl Value for str {
    fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        Plain(self).write(out);
        escape(out, start);
    }
}

impl<T: Display> Value for Shown<T> {
    fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.push(b'"');
        let written = write!(out, "{}", self.0);
        debug_assert!(written.is_ok(), "a vector takes all that is written");
        out.push(b'"');
        escape(out, start);
    }
}

/// Escapes the text that stands in quotes from `start` on.
fn escape(out: &mut Vec<u8>, start: usize) {
    let text = &out[start + 1..out.len() - 1];
    // Counting looks at many bytes together, where a search would look at one after the other.
    let special = text.iter().filter(|byte| matches!(byte, 0..b' ' | b'"' | b'\\')).count();
    if special > 0 {
        let escaped = serde_json::Value::from(String::from_utf8_lossy(text)).to_string();
        out.truncate(start);
        out.extend_from_slice(escaped.as_bytes());
    }
}

impl Value for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        Digits::decimal::<1>(*self).push_to(out);
    }
}

impl Value for i32 {
    fn write(&self, out: &mut Vec<u8>) {
        if *self < 0 {
            out.push(b'-');
        }
        u64::from(self.unsigned_abs()).write(out);
    }
}

impl Value for u32 {
    fn write(&self, out: &mut Vec<u8>) {
        u64::from(*self).write(out);
    }
}

impl Value for u16 {
    fn write(&self, out: &mut Vec<u8>) {
        u64::from(*self).write(out);
    }
}

impl Value for usize {
    fn write(&self, out: &mut Vec<u8>) {
        (*self as u64).write(out);
    }
}

impl Value for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }
}

impl Value for String {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_str().write(out);
    }
}

impl Value for Cow<'_, str> {
    fn write(&self, out: &mut Vec<u8>) {
        (**self).write(out);
    }
}

impl<T: Value + ?Sized> Value for &T {
    fn write(&self, out: &mut Vec<u8>) {
        (**self).write(out);
    }
}

impl<T: Value> Value for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.write(out),
            None => out.extend_from_slice(b"null"),
        }
    }
}

impl<T: Value> Value for Maybe<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn field(&self, key: &'static str, out: &mut Vec<u8>) {
        if let Some(value) = &self.0 {
            value.field(key, out);
        }
    }
}

impl<T: Value + Fields> Value for Flat<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn field(&self, _: &'static str, out: &mut Vec<u8>) {
        out.push(b',');
        self.0.fields(out);
    }
}

impl<T: Value> Value for [T] {
    fn write(&self, out: &mut Vec<u8>) {
        array(self, out);
    }
}

impl<T: Value, const LENGTH: usize> Value for [T; LENGTH] {
    fn write(&self, out: &mut Vec<u8>) {
        array(self, out);
    }
}

impl<T: Value> Value for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        array(self, out);
    }
}

/// Appends values one after the other.
pub(super) fn array(values: impl IntoIterator<Item = impl Value>, out: &mut Vec<u8>) {
    out.push(b'[');
    let mut first = true;
    for value in values {
        if !mem::take(&mut first) {
            out.push(b',');
        }
        value.write(out);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    object! {
        struct Outer<'a> {
            name: &'a str,
            inner: Flat<Inner>,
            kind = "in": Kind<'a>,
            left_out: Maybe<u64>,
            there: Maybe<u64>,
            list: Vec<Option<i32>>,
        }

        struct Inner {
            first: bool,
            second: [u16; 2],
        }
    }

    tagged! {
        enum Kind<'a> by "kind" {
            One = "one" (it: Inner),
            Two = "two" { text: Shown<char>, plain: Plain<'a> },
            Three = "three",
        }
    }

    fn text(value: &impl Value) -> String {
        let mut out = b"before ".to_vec();
        value.write(&mut out);
        String::from_utf8(out.split_off(b"before ".len())).expect("text")
    }

    #[test]
    fn objects_in_objects() {
        let outer = |kind| Outer {
            name: "a",
            inner: Flat(Inner { first: true, second: [1, 2] }),
            kind,
            left_out: Maybe(None),
            there: Maybe(Some(u64::MAX)),
            list: vec![Some(-7), None],
        };
        let two = outer(Kind::Two { text: Shown('"'), plain: Plain("p") });
        assert_eq!(
            text(&two),
            r#"{"name":"a","first":true,"second":[1,2],"in":{"kind":"two","text":"\"","plain":"p"},"#
                .to_owned()
                + r#""there":18446744073709551615,"list":[-7,null]}"#
        );
        let one = outer(Kind::One(Inner { first: false, second: [0; 2] }));
        assert!(text(&one).contains(r#""in":{"kind":"one","first":false,"second":[0,0]}"#));
        assert!(text(&outer(Kind::Three)).contains(r#""in":{"kind":"three"},"#));
    }

    #[test]
    fn text_is_escaped_as_serde_json_does() {
        let every: String = (0..=0x2ff).filter_map(char::from_u32).collect();
        for hostile in
            ["", "a", "\"", "a\\", "\n", "\u{7f}\u{2028}é", "a long one, to its end\t", &every]
        {
            assert_eq!(text(&hostile), json!(hostile).to_string());
            assert_eq!(text(&Shown(hostile)), json!(hostile).to_string());
        }
    }

    #[test]
    fn numbers_to_their_ends() {
        assert_eq!(text(&[i32::MIN, -1, 0, i32::MAX]), "[-2147483648,-1,0,2147483647]");
        assert_eq!(text(&(&[0, u64::MAX][..])), "[0,18446744073709551615]");
    }
}

//! Reads BTF, the form in which a kernel tells its types (`Documentation/bpf/btf.rst`), as far as it
//! takes to find members of structures.
//!
//! A kernel has a hundred thousand types and more, of which a few dozen are asked for: nothing is
//! kept of each but where it is.

use std::collections::HashMap;

/// Kinds of types.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FWD: u32 = 7;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const FLOAT: u32 = 16;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// All types of a kernel.
pub(super) struct TypeTable {
    bytes: Vec<u8>,
    /// Where the strings start in `bytes`.
    strings: usize,
    /// Where each type starts in `bytes`, by its id; the first is `void`, which is nowhere.
    types: Vec<usize>,
    /// The ids of structures and unions.
    structures: HashMap<Vec<u8>, usize>,
}

/// What all types start with: name, kind and number of parts, and a size or another type.
#[derive(Clone, Copy)]
struct Head {
    /// Where it is.
    at: usize,
    kind: u32,
    /// Of members, parameters and the like.
    parts: usize,
    /// Whether the offsets of members share their 32 bits with the size of a bit-field.
    has_bit_fields: bool,
    size_or_type: u32,
}

/// The length of the header of BTF, up to the end of what this reads of it.
const HEADER: u32 = 24;
/// The length of a [`Head`] in BTF.
const HEAD: usize = 12;
/// The length of a member of a structure.
const MEMBER: usize = 12;

impl TypeTable {
    /// From the bytes of BTF of this machine's byte order; `None` if they are not.
    pub(super) fn parse(bytes: Vec<u8>) -> Option<Self> {
        const MAGIC: [u8; 2] = 0xeb9f_u16.to_ne_bytes();
        let mut table =
            Self { bytes, strings: 0, types: vec![usize::MAX], structures: HashMap::new() };
        if !table.bytes.starts_with(&MAGIC) {
            return None;
        }
        let field = |at| table.number(at).map(|number| number as usize);
        let (header, first, length) = (field(4)?, field(8)?, field(12)?);
        let mut at = header.checked_add(first)?;
        let end = at.checked_add(length)?;
        table.strings = header.checked_add(field(16)?)?;
        while at < end {
            let head = table.head(at)?;
            if matches!(head.kind, kind::STRUCT | kind::UNION) {
                let name = table.text(at)?.to_vec();
                table.structures.entry(name).or_insert(table.types.len());
            }
            table.types.push(at);
            at += HEAD + parts_length(head)?;
        }
        // A type that reaches over the end is cut.
        (at == end).then_some(table)
    }

    /// The offset of a member, in bytes. `path` goes through members that are structures, by dots;
    /// members of anonymous members are found by their own name.
    pub(super) fn offset(&self, structure: &str, path: &str) -> Option<u32> {
        let mut structure = self.structure(structure)?;
        let mut bits = 0;
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            let (offset, type_id) = self.member(structure, name.as_bytes())?;
            bits += offset;
            if names.peek().is_some() {
                structure = self.resolved(type_id)?;
            }
        }
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// The id of a function.
    pub(super) fn function(&self, name: &str) -> Option<u32> {
        let is = |&at: &usize| {
            self.head(at).is_some_and(|head| head.kind == kind::FUNC) && self.is_named(at, name)
        };
        self.types.iter().position(is).map(|id| id as u32)
    }

    /// BTF that tells of tracepoints' types only, under the ids that they have here: all that a loader
    /// looks up, which would take and keep apart every type. The others are forward declarations.
    pub(super) fn tracepoints(&self) -> Vec<u8> {
        let (mut types, mut strings) = (Vec::<u8>::new(), vec![0_u8]);
        for &at in self.types.iter().skip(1) {
            let typedef = self.head(at).is_some_and(|head| head.kind == kind::TYPEDEF);
            let name = self.text(at).filter(|name| typedef && name.starts_with(b"btf_trace_"));
            let [text, kind] =
                name.map_or([0, kind::FWD], |_| [strings.len() as u32, kind::TYPEDEF]);
            types.extend([text, kind << 24, 0].map(u32::to_ne_bytes).as_flattened());
            if let Some(name) = name {
                strings.extend(name);
                strings.push(0);
            }
        }
        let mut bytes = self.bytes[..4].to_vec();
        let (length, end) = (types.len() as u32, strings.len() as u32);
        bytes.extend([HEADER, 0, length, length, end].map(u32::to_ne_bytes).as_flattened());
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    /// The number of parameters of a type that is declared as a pointer to a function.
    pub(super) fn parameters(&self, name: &str) -> Option<usize> {
        let heads = self.types.iter().filter_map(|&at| self.head(at));
        let mut named =
            heads.filter(|head| head.kind == kind::TYPEDEF && self.is_named(head.at, name));
        let pointer = self.resolved(named.next()?.size_or_type)?;
        let function = self.resolved(pointer.size_or_type)?;
        (pointer.kind == kind::PTR && function.kind == kind::FUNC_PROTO).then_some(function.parts)
    }

    /// The id of a structure or union.
    pub(super) fn structure_id(&self, name: &str) -> Option<u32> {
        self.structures.get(name.as_bytes()).map(|&id| id as u32)
    }

    fn structure(&self, name: &str) -> Option<Head> {
        self.head(*self.types.get(self.structure_id(name)? as usize)?)
    }

    /// The offset in bits and the type of a member.
    fn member(&self, structure: Head, name: &[u8]) -> Option<(u32, u32)> {
        if !matches!(structure.kind, kind::STRUCT | kind::UNION) {
            return None;
        }
        (0..structure.parts).find_map(|part| {
            let at = structure.at + HEAD + part * MEMBER;
            let (type_id, offset) = (self.number(at + 4)?, self.number(at + 8)?);
            let (bits, width) = if structure.has_bit_fields {
                (offset & 0xff_ffff, offset >> 24)
            } else {
                (offset, 0)
            };
            let own = self.text(at)?;
            if own.is_empty() {
                let (inner, type_id) = self.member(self.resolved(type_id)?, name)?;
                return Some((bits + inner, type_id));
            }
            (own == name && width == 0).then_some((bits, type_id))
        })
    }

    /// The type itself, without its other names and what qualifies it.
    fn resolved(&self, mut type_id: u32) -> Option<Head> {
        loop {
            let head = self.head(*self.types.get(type_id as usize)?)?;
            match head.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    type_id = head.size_or_type;
                }
                _ => return Some(head),
            }
        }
    }

    fn head(&self, at: usize) -> Option<Head> {
        let info = self.number(at.checked_add(4)?)?;
        Some(Head {
            at,
            kind: info >> 24 & 31,
            parts: (info & 0xffff) as usize,
            has_bit_fields: info >> 31 != 0,
            size_or_type: self.number(at + 8)?,
        })
    }

    /// The name that is told at `at`; empty: there is none.
    fn text(&self, at: usize) -> Option<&[u8]> {
        self.text_on(at)?.split(|&byte| byte == 0).next()
    }

    /// Whether that is `name`; no more is read than it takes to tell.
    fn is_named(&self, at: usize, name: &str) -> bool {
        let rest = self.text_on(at).and_then(|text| text.strip_prefix(name.as_bytes()));
        rest.is_some_and(|rest| rest.first() == Some(&0))
    }

    /// All strings from the one on that is told at `at`.
    fn text_on(&self, at: usize) -> Option<&[u8]> {
        self.bytes.get(self.strings.checked_add(self.number(at)? as usize)?..)
    }

    fn number(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    }
}

/// The length of what follows the head of a type; `None` for a kind that is not known.
fn parts_length(head: Head) -> Option<usize> {
    Some(match head.kind {
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION => MEMBER * head.parts,
        kind::DATASEC | kind::ENUM64 => 12 * head.parts,
        kind::ENUM | kind::FUNC_PROTO => 8 * head.parts,
        kind::PTR
        | kind::FWD
        | kind::TYPEDEF
        | kind::VOLATILE
        | kind::CONST
        | kind::RESTRICT
        | kind::FUNC
        | kind::FLOAT
        | kind::TYPE_TAG => 0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{TypeTable, kind};

    /// BTF of `strings`, each type a head (name, kind, parts, size or type) and numbers.
    fn table(strings: &[u8], types: &[([u32; 4], &[u32])]) -> Option<TypeTable> {
        let mut words = Vec::new();
        for ([name, kind, parts, rest], others) in types {
            words.extend([*name, kind << 24 | parts, *rest]);
            words.extend(*others);
        }
        let length = words.len() as u32 * 4;
        let mut bytes = 0xeb9f_u16.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for word in [24, 0, length, length, strings.len() as u32].iter().chain(&words) {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(strings);
        TypeTable::parse(bytes)
    }

    #[test]
    fn members_are_found_through_anonymous_ones_and_other_names() {
        // struct outer { int a; struct { int b; inner c; }; }; typedef struct inner { int a } inner
        const BIT_FIELDS: u32 = 1 << 7;
        let strings = b"\0int\0outer\0a\0b\0c\0inner\0call\0";
        let types: &[([u32; 4], &[u32])] = &[
            ([1, kind::INT, 0, 4], &[32]),
            ([17, kind::STRUCT, 1, 4], &[11, 1, 0]),
            ([17, kind::TYPEDEF, 0, 2], &[]),
            ([0, kind::STRUCT, 2, 8], &[13, 1, 0, 15, 3, 32]),
            ([5, kind::STRUCT | BIT_FIELDS, 2, 12], &[11, 1, 3 << 24, 0, 4, 32]),
            ([0, kind::FUNC_PROTO, 2, 0], &[0, 1, 0, 1]),
            ([0, kind::PTR, 0, 6], &[]),
            ([23, kind::TYPEDEF, 0, 7], &[]),
        ];
        let table = table(strings, types).expect("BTF");
        assert_eq!(table.offset("outer", "b"), Some(4));
        assert_eq!(table.offset("outer", "c.a"), Some(8));
        assert_eq!(table.offset("outer", "a"), None, "a bit-field");
        assert_eq!(table.offset("outer", "b.a"), None, "not in a number");
        assert_eq!(table.offset("other", "a"), None);
        assert_eq!(table.parameters("call"), Some(2));
        assert_eq!(table.parameters("inner"), None);
    }

    #[test]
    fn the_types_of_tracepoints_keep_their_ids() {
        let strings = b"\0int\0btf_trace_a\0btf_trace_b\0";
        let types: &[([u32; 4], &[u32])] = &[
            ([1, kind::INT, 0, 4], &[32]),
            ([5, kind::STRUCT, 1, 4], &[1, 1, 0]),
            ([17, kind::TYPEDEF, 0, 1], &[]),
        ];
        let tracepoints = table(strings, types).expect("BTF").tracepoints();
        let told = TypeTable::parse(tracepoints).expect("BTF");
        let heads = told.types[1..].iter().map(|&at| Some((told.head(at)?.kind, told.text(at)?)));
        let nothing = Some((kind::FWD, &b""[..]));
        let tracepoint = Some((kind::TYPEDEF, &b"btf_trace_b"[..]));
        assert!(heads.eq([nothing, nothing, tracepoint]));
    }

    #[test]
    fn what_is_cut_or_unknown_is_no_btf() {
        assert!(TypeTable::parse(Vec::new()).is_none());
        assert!(TypeTable::parse(b"\x9f\xeb\x01\0\x18".to_vec()).is_none());
        assert!(table(b"\0", &[([0, 31, 0, 0], &[])]).is_none());
        assert!(
            table(b"\0", &[([0, kind::STRUCT, 9, 0], &[]), ([0, kind::INT, 0, 0], &[])]).is_none()
        );
    }
}

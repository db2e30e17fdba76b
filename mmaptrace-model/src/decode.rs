//! Bytes of the ring to records. Never trusts a length or a kind: anything else is an error.

use mmaptrace_common::record::{self, Header, kind};
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// A record, borrowed from its bytes.
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    /// A commit, or one part of it.
    Commit(&'a record::Commit, &'a [record::Region]),
    /// A path: its components, the last one first, each ended by a NUL.
    Path(&'a record::Path, &'a [u8]),
    /// A name.
    Name(&'a record::Name, &'a [u8]),
    /// A call's return, and the text beside it.
    Call(&'a record::Call, &'a [u8]),
    /// A new image: the file name, then the arguments, each ended by a NUL.
    Exec(&'a record::Exec, &'a [u8], &'a [u8]),
    /// A new task.
    Fork(&'a record::Fork),
    /// A task's end.
    Exit(&'a record::Exit),
    /// An address space's end.
    End(&'a Header),
    /// A stack, the innermost address first.
    Stack(&'a record::Stack, &'a [u64]),
    /// The build id of a file.
    BuildId(&'a record::BuildId, &'a [u8]),
    /// Records of an address space were lost; of mm 0, of none that is there.
    Loss(&'a Header),
}

impl<'a> Record<'a> {
    /// What every record starts with.
    pub const fn header(&self) -> &'a Header {
        match self {
            Self::Commit(commit, _) => &commit.header,
            Self::Path(path, _) => &path.header,
            Self::Name(name, _) => &name.header,
            Self::Call(call, _) => &call.header,
            Self::Exec(exec, _, _) => &exec.header,
            Self::Fork(fork) => &fork.header,
            Self::Exit(exit) => &exit.header,
            Self::End(header) | Self::Loss(header) => header,
            Self::Stack(stack, _) => &stack.header,
            Self::BuildId(id, _) => &id.header,
        }
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than what its kind needs.
    #[error("record of kind {kind} is cut short at {len} bytes")]
    Short {
        /// Its kind, 0 if not even that is there.
        kind: u16,
        /// Its length, in bytes.
        len: usize,
    },
    /// A kind this version does not know.
    #[error("record of unknown kind {kind}")]
    Kind {
        /// The kind.
        kind: u16,
    },
    /// A length within it does not fit the bytes.
    #[error("record of kind {kind}: a length of {claimed} in {len} bytes")]
    Length {
        /// Its kind.
        kind: u16,
        /// What it claims, in bytes or regions.
        claimed: u64,
        /// The bytes there are.
        len: usize,
    },
    /// It does not start at a multiple of 8 bytes, as the ring's records do.
    #[error("record of kind {kind} is not aligned to 8 bytes")]
    Unaligned {
        /// Its kind.
        kind: u16,
    },
}

impl DecodeError {
    /// The record's kind, as far as it could be told, else 0.
    pub const fn kind(&self) -> u16 {
        match *self {
            Self::Short { kind, .. }
            | Self::Kind { kind }
            | Self::Length { kind, .. }
            | Self::Unaligned { kind } => kind,
        }
    }
}

/// The record at the start of `bytes`, which must be aligned to 8 bytes; what follows its length
/// is ignored.
///
/// # Errors
/// [`DecodeError`], if a length, the kind or the alignment is wrong. The values within are not
/// looked at.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, DecodeError> {
    let Ok((header, _)) = Header::read_from_prefix(bytes) else {
        return Err(DecodeError::Short { kind: 0, len: bytes.len() });
    };
    let cursor = Cursor { kind: header.kind, len: bytes.len() };
    let size = header.size as usize;
    let bytes = bytes.get(..size).ok_or_else(|| cursor.length(u64::from(header.size)))?;
    match header.kind {
        kind::COMMIT => {
            let (commit, rest) = cursor.fixed::<record::Commit>(bytes)?;
            let regions =
                <[record::Region]>::ref_from_prefix_with_elems(rest, commit.count as usize);
            let (regions, _) = regions.map_err(|_| cursor.length(u64::from(commit.count)))?;
            Ok(Record::Commit(commit, regions))
        }
        kind::PATH => {
            let (path, rest) = cursor.fixed::<record::Path>(bytes)?;
            Ok(Record::Path(path, cursor.text(rest, path.len)?.0))
        }
        kind::NAME => {
            let (name, rest) = cursor.fixed::<record::Name>(bytes)?;
            Ok(Record::Name(name, cursor.text(rest, name.len)?.0))
        }
        kind::CALL => {
            let (call, rest) = cursor.fixed::<record::Call>(bytes)?;
            Ok(Record::Call(call, cursor.text(rest, call.len)?.0))
        }
        kind::EXEC => {
            let (exec, rest) = cursor.fixed::<record::Exec>(bytes)?;
            let (path, rest) = cursor.text(rest, exec.path_len)?;
            Ok(Record::Exec(exec, path, cursor.text(rest, exec.argv_len)?.0))
        }
        kind::FORK => Ok(Record::Fork(cursor.fixed(bytes)?.0)),
        kind::EXIT => Ok(Record::Exit(cursor.fixed(bytes)?.0)),
        kind::END => Ok(Record::End(cursor.fixed(bytes)?.0)),
        kind::STACK => {
            let (stack, rest) = cursor.fixed::<record::Stack>(bytes)?;
            let count = stack.count as usize;
            let addresses = <[u64]>::ref_from_prefix_with_elems(rest, count).ok();
            let addresses = addresses.filter(|_| (1..=record::STACK_MAX).contains(&count));
            let (addresses, _) = addresses.ok_or_else(|| cursor.length(u64::from(stack.count)))?;
            Ok(Record::Stack(stack, addresses))
        }
        kind::BUILD_ID => {
            let (id, rest) = cursor.fixed::<record::BuildId>(bytes)?;
            Ok(Record::BuildId(id, cursor.text(rest, id.len)?.0))
        }
        kind::LOSS => Ok(Record::Loss(cursor.fixed(bytes)?.0)),
        kind => Err(DecodeError::Kind { kind }),
    }
}

/// What errors tell of the record at hand.
#[derive(Clone, Copy)]
struct Cursor {
    kind: u16,
    len: usize,
}

impl Cursor {
    fn fixed<T>(self, bytes: &[u8]) -> Result<(&T, &[u8]), DecodeError>
    where
        T: FromBytes + KnownLayout + Immutable,
    {
        if bytes.len() < size_of::<T>() {
            return Err(DecodeError::Short { kind: self.kind, len: bytes.len() });
        }
        // Long enough, so that only the alignment is left to be wrong.
        T::ref_from_prefix(bytes).map_err(|_| DecodeError::Unaligned { kind: self.kind })
    }

    fn text(self, bytes: &[u8], len: u32) -> Result<(&[u8], &[u8]), DecodeError> {
        bytes.split_at_checked(len as usize).ok_or_else(|| self.length(u64::from(len)))
    }

    const fn length(self, claimed: u64) -> DecodeError {
        DecodeError::Length { kind: self.kind, claimed, len: self.len }
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    /// A commit record with its regions, in 8-byte words so that its bytes are aligned.
    fn commit(count: u32, regions: usize) -> Vec<u64> {
        let size = (size_of::<record::Commit>() + regions * size_of::<record::Region>()) as u32;
        let header = Header { kind: kind::COMMIT, size, ..Header::default() };
        let commit = record::Commit { header, count, ..record::Commit::default() };
        let mut words = vec![0; size as usize / 8];
        words.as_mut_bytes()[..size_of::<record::Commit>()].copy_from_slice(commit.as_bytes());
        words
    }

    #[test]
    fn a_commit_has_its_regions_and_no_more() {
        let mut words = commit(2, 2);
        words.push(u64::MAX);
        let Ok(Record::Commit(commit, regions)) = decode(words.as_bytes()) else { panic!() };
        assert_eq!((commit.count, regions.len()), (2, 2));
    }

    #[test]
    fn lengths_are_checked() {
        let words = commit(3, 2);
        let len = words.as_bytes().len();
        let error = DecodeError::Length { kind: kind::COMMIT, claimed: 3, len };
        assert_eq!(decode(words.as_bytes()).err(), Some(error));
        let words = commit(2, 2);
        let error = DecodeError::Length { kind: kind::COMMIT, claimed: len as u64, len: len - 1 };
        assert_eq!(decode(&words.as_bytes()[..len - 1]).err(), Some(error));
        assert_eq!(decode(&[1; 39]).err(), Some(DecodeError::Short { kind: 0, len: 39 }));
    }

    #[test]
    fn a_size_below_the_fixed_part_is_short() {
        let header = Header { kind: kind::COMMIT, size: 40, ..Header::default() };
        let error = DecodeError::Short { kind: kind::COMMIT, len: 40 };
        assert_eq!(decode(header.as_bytes()).err(), Some(error));
    }

    #[test]
    fn unaligned_bytes_are_refused_and_do_not_panic() {
        let words = commit(1, 1);
        let mut shifted = vec![0_u64; words.len() + 1];
        let bytes = shifted.as_mut_bytes();
        bytes[1..=words.len() * 8].copy_from_slice(words.as_bytes());
        let error = DecodeError::Unaligned { kind: kind::COMMIT };
        assert_eq!(decode(&bytes[1..]).err(), Some(error));
    }

    #[test]
    fn a_stack_has_as_many_addresses_as_it_says_and_is_not_endless() {
        let stack = |count: u32, addresses: usize| {
            let size = (size_of::<record::Stack>() + 8 * addresses) as u32;
            let header = Header { kind: kind::STACK, size, ..Header::default() };
            let stack = record::Stack { header, key: 7, count, ..record::Stack::default() };
            let mut words = vec![0x1234_u64; size as usize / 8];
            words.as_mut_bytes()[..size_of::<record::Stack>()].copy_from_slice(stack.as_bytes());
            words
        };
        let words = stack(2, 3);
        let Ok(Record::Stack(_, addresses)) = decode(words.as_bytes()) else { panic!() };
        assert_eq!(addresses, [0x1234; 2]);
        for (claimed, there) in [(3, 2), (0, 2), (u32::MAX, 2), (128, 128)] {
            let words = stack(claimed, there);
            let claimed = u64::from(claimed);
            let len = words.as_bytes().len();
            let error = DecodeError::Length { kind: kind::STACK, claimed, len };
            assert_eq!(decode(words.as_bytes()).err(), Some(error));
        }
    }

    #[test]
    fn unknown_kinds_are_told() {
        let header = Header { kind: 77, size: 40, ..Header::default() };
        assert_eq!(decode(header.as_bytes()).err(), Some(DecodeError::Kind { kind: 77 }));
    }
}

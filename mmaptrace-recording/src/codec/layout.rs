//! What is known of each kind of record, to say beforehand what its words will be.
//!
//! Nothing here decides what can be stored: a word that is not as foreseen costs a few bytes, and a
//! kind that is not known is foreseen to be like the last record of its shape.

use std::mem::offset_of;

use mmaptrace_common::record::{Call, Commit, Exec, Header, Name, Path, Region, kind};

use super::columns::Fold;

/// Words (of 8 bytes) of records, by their places.
macro_rules! places {
    ($($name:ident = $record:ident.$field:ident;)*) => {
        $(pub(super) const $name: usize = offset_of!($record, $field) / 8;)*
    };
}

places! {
    KIND = Header.kind;
    TIME = Header.time;
    MM = Header.mm;
    TASK = Header.pid;
    LOST = Header.lost;
    ID = Commit.id;
    LO = Commit.lo;
    HI = Commit.hi;
    TOTAL_VM = Commit.total_vm;
    MAP_COUNT = Commit.map_count;
    START_BRK = Commit.start_brk;
    START_STACK = Commit.start_stack;
    CAUSE = Commit.cause;
    COMMIT_ARGS = Commit.args;
    RENAMES = Commit.renames;
    CALL_ARGS = Call.args;
    RESULT = Call.result;
    CALL_NR = Call.nr;
}

/// Words of a header.
pub(super) const HEADER: usize = size_of::<Header>() / 8;
/// Words of a region.
pub(super) const REGION: usize = size_of::<Region>() / 8;
/// Words of a commit without its regions.
pub(super) const COMMIT: usize = size_of::<Commit>() / 8;
/// Words of a call without its text.
const CALL: usize = size_of::<Call>() / 8;
/// The most words that are foreseen one by one: as many as a mask has bits.
const FORESEEN: usize = 64;

/// The columns of a block.
pub(super) mod column {
    /// What each item is: a mark, or the number of a shape.
    pub(in super::super) const SYMBOLS: usize = 0;
    /// Shapes, where they are first met.
    pub(in super::super) const SHAPES: usize = 1;
    /// Times.
    pub(in super::super) const TIMES: usize = 2;
    /// Which words are not as foreseen.
    pub(in super::super) const MASKS: usize = 3;
    /// Bytes as they are.
    pub(in super::super) const BYTES: usize = 4;
    /// What else marks tell.
    pub(in super::super) const MARKS: usize = 5;
    /// Which fields of a region are not as foreseen.
    pub(in super::super) const REGION_MASKS: usize = 6;
    /// Fields of regions.
    pub(in super::super) const REGIONS: usize = 7;
    /// Words of commits.
    pub(super) const COMMITS: usize = REGIONS + super::REGION;
    /// Words of calls.
    pub(super) const CALLS: usize = COMMITS + super::COMMIT;
    /// Words of all others, which share [`SHARED`] columns.
    pub(super) const OTHERS: usize = CALLS + super::CALL;
    /// See [`OTHERS`].
    pub(super) const SHARED: usize = 16;
    /// How many there are.
    pub(in super::super) const COUNT: usize = OTHERS + SHARED;
}

/// What a word is foreseen to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guess {
    /// It is part of the record's shape, or has a column of its own.
    Known,
    /// What it was in the last record of this shape.
    Last,
    /// What it was in the last commit of this space.
    Space,
    /// Likewise, and 2 more: the id of the next commit.
    Next,
    /// The kernel's count, as it was in the last commit of this space, and the number of regions
    /// that the record has room for.
    Counts,
    /// This argument of the thread's last commit, if that was in the same call.
    Argument(usize),
    /// The address of the first region that the thread's last commit changed, if the last result
    /// was an address.
    Address,
}

/// How one word is foreseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Which word.
    pub(super) place: usize,
    /// What it is foreseen to be.
    pub(super) guess: Guess,
    /// Where it goes if it is otherwise, and how.
    pub(super) column: usize,
    pub(super) fold: Fold,
}

/// What follows the words that are foreseen one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    Regions,
    Bytes,
}

/// What is known of the records of one shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Words that are foreseen one by one, the header's included.
    pub(super) words: usize,
    pub(super) tail: Tail,
    /// The word beside those of the header that is part of the shape.
    pub(super) shape: Option<usize>,
    guess: fn(usize) -> Guess,
    /// The column of its first word.
    columns: usize,
}

impl Layout {
    /// The layout of records of `kind` that have `len` bytes.
    pub(super) const fn of(kind: u16, len: usize) -> Self {
        match kind {
            kind::COMMIT if len >= size_of::<Commit>() => Self {
                words: COMMIT,
                tail: Tail::Regions,
                shape: Some(CAUSE),
                guess: of_commit,
                columns: column::COMMITS,
            },
            kind::CALL if len >= size_of::<Call>() => Self {
                words: CALL,
                tail: Tail::Bytes,
                shape: Some(CALL_NR),
                guess: of_call,
                columns: column::CALLS,
            },
            kind::PATH if len >= size_of::<Path>() => Self::other(size_of::<Path>() / 8),
            kind::NAME if len >= size_of::<Name>() => Self::other(size_of::<Name>() / 8),
            kind::EXEC if len >= size_of::<Exec>() => Self::other(size_of::<Exec>() / 8),
            _ => Self::other(if len / 8 < FORESEEN { len / 8 } else { FORESEEN }),
        }
    }

    const fn other(words: usize) -> Self {
        let (tail, shape, columns) = (Tail::Bytes, None, column::OTHERS);
        Self { words, tail, shape, guess: |_| Guess::Last, columns }
    }

    /// The words that are foreseen one by one and are not known anyway.
    pub(super) fn steps(self) -> impl Iterator<Item = Step> {
        (LOST..self.words).filter_map(move |place| {
            let address = self.tail == Tail::Regions && matches!(place, LO | HI);
            let fold = if address { Fold::Address } else { Fold::Count };
            let (guess, column) = (self.guess(place), self.column(place));
            (guess != Guess::Known).then_some(Step { place, guess, column, fold })
        })
    }

    /// What the word at a place is foreseen to be.
    fn guess(&self, place: usize) -> Guess {
        match place {
            KIND | TIME | MM | TASK => Guess::Known,
            LOST => Guess::Space,
            place if self.shape == Some(place) => Guess::Known,
            place => (self.guess)(place),
        }
    }

    /// The column of the word at a place.
    const fn column(&self, place: usize) -> usize {
        let shared = self.columns == column::OTHERS;
        self.columns + if shared { place % column::SHARED } else { place }
    }
}

fn of_commit(place: usize) -> Guess {
    match place {
        ID => Guess::Next,
        MAP_COUNT => Guess::Counts,
        TOTAL_VM | START_BRK..=START_STACK | RENAMES => Guess::Space,
        _ => Guess::Last,
    }
}

fn of_call(place: usize) -> Guess {
    match place {
        CALL_ARGS..RESULT => Guess::Argument(place - CALL_ARGS),
        RESULT => Guess::Address,
        _ => Guess::Last,
    }
}

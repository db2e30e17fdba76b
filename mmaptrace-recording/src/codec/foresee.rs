//! Foresees the words of each record from those before it in the block, and passes on only what is
//! otherwise. One description for both directions: a [`Coder`] writes differences, or reads them.

use std::{collections::HashMap, hash::BuildHasherDefault};

use super::{
    columns::Fold,
    layout::{
        COMMIT, COMMIT_ARGS, Guess, HI, ID, KIND, LO, LOST, Layout, MAP_COUNT, MM, REGION, RESULT,
        Step, TASK, TIME, Tail, column,
    },
    shape::{Mix, Shape},
};

/// One direction.
pub(super) trait Coder {
    /// What can go wrong.
    type Error;

    /// Begins a group of words.
    fn begin(&mut self, masks: usize) -> Result<(), Self::Error>;
    /// A word, its number in the group, and what it is foreseen to be.
    fn word(
        &mut self,
        bit: usize,
        column: usize,
        fold: Fold,
        foreseen: u64,
        word: &mut u64,
    ) -> Result<(), Self::Error>;
    /// Ends the group, and tells which were not as foreseen, by their numbers.
    fn end(&mut self, masks: usize) -> u64;
    /// A word that is never as foreseen.
    fn number(&mut self, column: usize, foreseen: u64, word: &mut u64) -> Result<(), Self::Error>;
    /// Bytes that cannot be foreseen.
    fn bytes(&mut self, words: &mut [u64]) -> Result<(), Self::Error>;
}

/// What is remembered within one block.
#[derive(Debug)]
pub(super) struct Foresight {
    time: u64,
    shapes: Vec<Known>,
    spaces: Numbers<u64>,
    threads: Numbers<u32>,
    /// The last commit of each space.
    commits: Vec<[u64; COMMIT]>,
    /// The last call of each thread that made a commit.
    calls: Vec<Made>,
    regions: Regions,
}

type Numbers<K> = HashMap<K, usize, BuildHasherDefault<Mix>>;

#[derive(Debug)]
struct Known {
    shape: Shape,
    layout: Layout,
    space: usize,
    thread: usize,
    steps: Vec<Step>,
    /// The last record of this shape.
    last: Vec<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Made {
    nr: u32,
    args: [u64; 6],
    /// The first region that the commit changed.
    address: u64,
    /// The last region that was not where one was before.
    region: [u64; REGION],
}

/// Regions that were seen in the block, by a hash of their start.
#[derive(Debug)]
struct Regions(Vec<Cached>);

#[derive(Clone, Copy, Debug, Default)]
struct Cached {
    space: usize,
    region: [u64; REGION],
}

const CACHE: usize = 2048;
/// Bits of an offset in a page.
const PAGE: u32 = 12;
/// Results from here on are addresses, if they are not errors.
const ADDRESSES: i64 = 4096;
/// Fields of a region, by their places.
const START: usize = 0;
const END: usize = 1;
const PGOFF: usize = 3;

impl Default for Foresight {
    fn default() -> Self {
        Self {
            time: 0,
            shapes: Vec::new(),
            spaces: Numbers::default(),
            threads: Numbers::default(),
            commits: Vec::new(),
            calls: Vec::new(),
            regions: Regions(vec![Cached::default(); CACHE]),
        }
    }
}

impl Foresight {
    /// Forgets all, for the next block.
    pub(super) fn clear(&mut self) {
        self.time = 0;
        self.shapes.clear();
        self.spaces.clear();
        self.threads.clear();
        self.commits.clear();
        self.calls.clear();
        self.regions.0.fill(Cached::default());
    }

    /// A shape by its number.
    pub(super) fn shape(&self, number: usize) -> Option<Shape> {
        self.shapes.get(number).map(|known| known.shape)
    }

    /// The time of a mark.
    pub(super) fn time<C: Coder>(&mut self, coder: &mut C, time: &mut u64) -> Result<(), C::Error> {
        coder.number(column::TIMES, self.time, time)?;
        self.time = *time;
        Ok(())
    }

    /// A shape that is new in this block, which is `shape` or to be read.
    pub(super) fn learn<C: Coder>(
        &mut self,
        coder: &mut C,
        mut shape: Shape,
    ) -> Result<Shape, C::Error> {
        let mut before = self.shapes.last().map(|known| known.shape).unwrap_or_default();
        for (field, before) in shape.fields().into_iter().zip(before.fields()) {
            coder.number(column::SHAPES, *before, field)?;
        }
        let layout = shape.layout();
        let spaces = self.spaces.len();
        let space = *self.spaces.entry(shape.mm).or_insert(spaces);
        if space == spaces {
            self.commits.push([0; COMMIT]);
        }
        let threads = self.threads.len();
        let thread = *self.threads.entry(shape.tid()).or_insert(threads);
        if thread == threads {
            self.calls.push(Made::default());
        }
        let (steps, last) = (layout.steps().collect(), vec![0; layout.words]);
        self.shapes.push(Known { shape, layout, space, thread, steps, last });
        Ok(shape)
    }

    /// A record of a known shape, whose `words` are its own or have room for them.
    pub(super) fn record<C: Coder>(
        &mut self,
        coder: &mut C,
        number: usize,
        words: &mut [u64],
    ) -> Result<(), C::Error> {
        let Known { shape, layout, space, thread, steps, last } = &mut self.shapes[number];
        let (commit, made) = (&mut self.commits[*space], &mut self.calls[*thread]);
        (words[KIND], words[MM], words[TASK]) = (shape.kind, shape.mm, shape.task);
        if let Some(place) = layout.shape {
            words[place] = shape.call;
        }
        coder.number(column::TIMES, self.time, &mut words[TIME])?;
        self.time = words[TIME];
        let (words, rest) = words.split_at_mut(layout.words);
        coder.begin(column::MASKS)?;
        let same_call = made.nr == shape.nr();
        for &Step { place, guess, column, fold } in &*steps {
            let foreseen = match guess {
                Guess::Argument(index) if same_call => made.args[index],
                Guess::Known | Guess::Last | Guess::Argument(_) => last[place],
                Guess::Space => commit[place],
                Guess::Next => commit[ID].wrapping_add(2),
                Guess::Counts => {
                    (commit[MAP_COUNT] & 0xffff_ffff) | ((rest.len() / REGION) as u64) << 32
                }
                Guess::Address if last[RESULT].cast_signed() < ADDRESSES => last[RESULT],
                Guess::Address => made.address,
            };
            coder.word(place - LOST, column, fold, foreseen, &mut words[place])?;
        }
        coder.end(column::MASKS);
        last.copy_from_slice(words);
        commit[LOST] = words[LOST];
        match layout.tail {
            Tail::Bytes => coder.bytes(rest),
            Tail::Regions => {
                commit.copy_from_slice(words);
                made.nr = shape.nr();
                made.args.copy_from_slice(&words[COMMIT_ARGS..COMMIT_ARGS + 6]);
                made.address = 0;
                let (regions, rest) = rest.as_chunks_mut::<REGION>();
                let mut free = words[LO];
                let mut left = regions.len();
                for region in regions {
                    left -= 1;
                    let end = (left == 0).then_some(words[HI]);
                    self.regions.region(coder, *space, (free, end), made, region)?;
                    free = region[END];
                }
                coder.bytes(rest)
            }
        }
    }
}

impl Regions {
    /// A region of a commit, foreseen to begin where the one before it ended, and to be what was
    /// there before; else, like the last new one of this thread. `end` is that of what was read, if
    /// this is the last region in it.
    fn region<C: Coder>(
        &mut self,
        coder: &mut C,
        space: usize,
        (free, end): (u64, Option<u64>),
        made: &mut Made,
        region: &mut [u64; REGION],
    ) -> Result<(), C::Error> {
        coder.begin(column::REGION_MASKS)?;
        coder.word(START, column::REGIONS, Fold::Address, free, &mut region[START])?;
        let start = region[START];
        let cached = &mut self.0[place(space, start)];
        let known = cached.space == space && cached.region[START] == start;
        let foreseen = if known { cached.region } else { made.new_at(start, end) };
        for field in END..REGION {
            let fold = if field == END { Fold::Address } else { Fold::Count };
            let column = column::REGIONS + field;
            coder.word(field, column, fold, foreseen[field], &mut region[field])?;
        }
        let as_foreseen = coder.end(column::REGION_MASKS) & !1 == 0;
        *cached = Cached { space, region: *region };
        if !known {
            made.region = *region;
        }
        if made.address == 0 && !(known && as_foreseen) {
            made.address = start;
        }
        Ok(())
    }
}

impl Made {
    /// What a new region at `start` is foreseen to be.
    fn new_at(&self, start: u64, end: Option<u64>) -> [u64; REGION] {
        let mut region = self.region;
        let moved = start.wrapping_sub(region[START]);
        region[START] = start;
        region[END] = end.unwrap_or_else(|| region[END].wrapping_add(moved));
        // Of anonymous memory it is the page's own number; of a file it goes on with the addresses,
        // and that is the same.
        region[PGOFF] = region[PGOFF].wrapping_add((moved.cast_signed() >> PAGE).cast_unsigned());
        region
    }
}

/// Where a region is remembered.
const fn place(space: usize, start: u64) -> usize {
    let mixed = (start >> PAGE ^ (space as u64) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 48) as usize % CACHE
}

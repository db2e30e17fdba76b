//! Where records come from, whichever the tier.

use std::{
    fmt::{self, Display, Formatter},
    ops::Deref,
    time::Duration,
};

use aya::maps::MapError;
use zerocopy::IntoBytes as _;

use super::{
    Degraded, LoadError, Probe, SeedError, Settings, Shared, load::asked_for, probe::to_refuse,
    ring::Item,
};

/// What the kernel's side can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Regions are read under the kernel's lock.
    Exact,
    /// Calls are seen, and regions are read in /proc after them.
    Degraded,
}

impl Tier {
    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Degraded => "degraded",
        }
    }

    /// The tier that developers ask for by name, to try it where a better one is to be had.
    fn forced() -> Result<Option<Self>, LoadError> {
        let tiers = [Self::Exact, Self::Degraded];
        let name = asked_for("MMAPTRACE_TIER", &tiers.map(Self::name))?;
        Ok(name.and_then(|name| tiers.into_iter().find(|tier| tier.name() == name)))
    }
}

/// What is counted of an address space that is followed; as headers of records tell it.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    /// Records that found no room so far. Comes back to 0.
    pub lost: u32,
    /// Which of those at its mm it is; 0: not told.
    pub generation: u32,
}

/// The kernel's side of a trace. Records of one address space come in order, and what is asked for
/// comes as records, too.
pub trait Source {
    /// Which tier it is.
    fn tier(&self) -> Tier;

    /// The maps that every tier has.
    fn shared(&self) -> &Shared;

    /// See [`Source::shared`].
    fn shared_mut(&mut self) -> &mut Shared;

    /// The next record, if there is one yet.
    fn next(&mut self) -> Option<Bytes<'_>>;

    /// Asks for a picture of the address space of a process, which is followed from then on. It is
    /// among the next records when this returns, or was lost. Its mmap lock is waited for no longer than
    /// `patience`.
    ///
    /// # Errors
    /// See [`SeedError`].
    fn seed(&mut self, pid: u32, patience: Duration) -> Result<(), SeedError>;

    /// What is counted of the space at an mm.
    ///
    /// # Errors
    /// [`MapError::KeyNotFound`]: none is followed, or it has ended. Others: the map cannot be accessed.
    fn tally(&self, mm: u64) -> Result<Tally, MapError>;

    /// Runs of programs that the kernel left out so far, for another was in the middle of the same
    /// program on that CPU: what they would have told is missing.
    fn left_out(&self) -> u64;

    /// How many calls have changed names of files, of which no address space tells.
    ///
    /// # Errors
    /// The map cannot be accessed.
    fn renames(&self) -> Result<u64, MapError> {
        Ok(0)
    }

    /// Whether what changes names of files is told: calls are hooked, and no worker of `io_uring` has
    /// been at it, who tells nobody when it is done. If not, a picture looks for all anew.
    ///
    /// # Errors
    /// The map cannot be accessed.
    fn names_are_certain(&self) -> Result<bool, MapError> {
        Ok(true)
    }

    /// Has the next picture look for all names anew.
    ///
    /// # Errors
    /// The map cannot be accessed.
    fn look_anew(&mut self) -> Result<(), MapError> {
        Ok(())
    }

    /// Takes it from here on that names of files may have changed with nobody telling.
    ///
    /// # Errors
    /// The map cannot be accessed.
    fn doubt_names(&mut self) -> Result<(), MapError> {
        Ok(())
    }

    /// Lets these names be told again when they are next met.
    ///
    /// # Errors
    /// The map cannot be accessed.
    fn forget_names(&mut self, keys: &[u64]) -> Result<(), MapError>;

    /// Lets these stacks be told again when they are next met.
    ///
    /// # Errors
    /// The map cannot be accessed.
    fn forget_stacks(&mut self, _keys: &[u64]) -> Result<(), MapError> {
        Ok(())
    }
}

/// The bytes of a record, aligned to 8.
pub enum Bytes<'a> {
    /// In the ring.
    Ring(Item<'a>),
    /// Made by this side.
    Made(Vec<u64>),
}

impl Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Ring(item) => item,
            Self::Made(words) => words.as_bytes(),
        }
    }
}

/// Loads and attaches the programs of the best tier that the kernel takes, and tells why that is not
/// the exact one. Nothing is followed yet, unless `settings.follow` says so.
///
/// # Errors
/// Why it takes not even the others.
pub fn open(settings: &Settings) -> Result<(Box<dyn Source>, Option<Why>), LoadError> {
    let forced = Tier::forced()?;
    // Whatever tier it comes to: a wrong word shows at once.
    to_refuse()?;
    let why = match forced {
        Some(Tier::Degraded) => Why::Forced,
        forced => match Probe::load(settings) {
            Err(error) if forced.is_none() && error.is_of_the_tier() => Why::Refused(error),
            probe => return Ok((Box::new(probe?), None)),
        },
    };
    match (Degraded::load(settings), why) {
        (Ok(degraded), why) => Ok((Box::new(degraded), Some(why))),
        // If even less is refused, what the better tier lacks is what is worth knowing.
        (Err(less), Why::Refused(error)) if less.is_of_the_tier() => Err(error),
        (Err(error), _) => Err(error),
    }
}

/// What the degraded tier does, and does not.
pub const DEGRADED: &str = "the regions are read in /proc after the calls, and not known to be \
                            exact; there are no stacks and no durations";

/// Why a tier is not the exact one.
#[derive(Debug)]
pub enum Why {
    /// It was asked for.
    Forced,
    /// The exact one cannot be had.
    Refused(LoadError),
}

/// One line for who starts a trace: what it is not, and why.
impl Display for Why {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forced => write!(f, "tier degraded, as MMAPTRACE_TIER asks for: {DEGRADED}"),
            Self::Refused(error) => {
                write!(f, "tier degraded: {DEGRADED}, for {error}; see: mmaptrace check")
            }
        }
    }
}

//! What the torture program is told: its arguments.

use std::fmt;

/// One run of the program, or what is left of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// A file of calls for one thread, instead of those of the seed.
    pub script: Option<String>,
    /// What the calls come from.
    pub seed: u64,
    /// Threads that make them.
    pub threads: u64,
    /// Calls of a thread in a phase.
    pub calls: u64,
    /// Phases of an image; the program stands still after each.
    pub phases: u64,
    /// Images of the program, each executed by the one before.
    pub images: u64,
    /// Which of them this is.
    pub image: u64,
    /// This image is one that a child executed.
    pub child: Option<Start>,
}

/// Where a child goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The phase of its parent.
    pub phase: u64,
    /// The thread of its parent.
    pub thread: u64,
    /// The next call.
    pub index: u64,
}

impl Setting {
    /// Its numbers, in the order of the arguments.
    pub fn numbers(&self) -> [u64; 10] {
        let Start { phase, thread, index } = self.child.unwrap_or_default();
        let child = u64::from(self.child.is_some());
        let Self { seed, threads, calls, phases, images, image, .. } = *self;
        [seed, threads, calls, phases, images, image, child, phase, thread, index]
    }

    /// From the program's arguments: the script or `-`, and the numbers.
    pub fn from_args(mut args: impl Iterator<Item = String>) -> Option<Self> {
        let script = args.next().filter(|script| script != "-");
        let numbers: Vec<u64> = args.map_while(|arg| arg.parse().ok()).collect();
        let [seed, threads, calls, phases, images, image, child, phase, thread, index] =
            numbers[..].try_into().ok()?;
        let child = (child != 0).then_some(Start { phase, thread, index });
        Some(Self { script, seed, threads, calls, phases, images, image, child })
    }
}

/// As the program's arguments.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.script.as_deref().unwrap_or("-"))?;
        self.numbers().iter().try_for_each(|number| write!(f, " {number}"))
    }
}

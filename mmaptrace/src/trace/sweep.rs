//! When names and stacks that nothing uses are looked for, to be forgotten.

/// How many are kept before it is looked for the first time.
const FIRST: usize = 4096;
/// How many more come before the next time, at least; and one part in so many of those that are kept, for
/// to look takes a look at each.
const NEXT: usize = 2048;
/// See [`NEXT`].
const PART: usize = 4;
/// How long a program of the kernel's side may take from where it looks whether something was sent to the
/// end of its record, in ns.
const UNDER_WAY: u64 = 100_000_000;

/// Names or stacks, in the eyes of who forgets them.
///
/// The kernel's side is told first to forget that it sent one, and the model forgets it the next time: what
/// the kernel's side wrote before it forgot has to be taken by then, or names what nobody knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    /// How many there may be.
    bound: usize,
    /// What has to be taken, up to a time in ns of `CLOCK_MONOTONIC`.
    after: u64,
}

impl Default for Sweep {
    fn default() -> Self {
        Self { bound: FIRST, after: 0 }
    }
}

impl Sweep {
    /// Whether it is time: there are `count`, and all records up to `taken` were taken, ns of
    /// `CLOCK_MONOTONIC`.
    pub(super) const fn is_due(self, count: usize, taken: u64) -> bool {
        count > self.bound && taken >= self.after
    }

    /// It was done, and the kernel's side was told by `now`; there are `count` left.
    pub(super) fn done(&mut self, count: usize, now: u64) {
        self.bound = count + NEXT.max(count / PART);
        self.after = now + UNDER_WAY;
    }
}

#[cfg(test)]
mod tests {
    use mmaptrace_common::record;
    use mmaptrace_model::Names;

    use super::{FIRST, Sweep, UNDER_WAY};

    #[test]
    fn it_is_not_done_again_before_what_was_under_way_is_taken() {
        let mut sweep = Sweep::default();
        assert!(!sweep.is_due(FIRST, 9) && sweep.is_due(FIRST + 1, 9));
        sweep.done(FIRST + 1, 10);
        assert!(!sweep.is_due(100 * FIRST, 10 + UNDER_WAY - 1));
        assert!(sweep.is_due(100 * FIRST, 10 + UNDER_WAY));
        assert!(!sweep.is_due(FIRST + 1, 10 + UNDER_WAY));
    }

    /// However many come and go, and some stay.
    #[test]
    fn what_is_kept_is_bounded() {
        let (mut names, mut sweep, mut now) = (Names::default(), Sweep::default(), 0);
        for key in 0..1_000_000 {
            names.insert_name(&record::Name { key, ..record::Name::default() }, b"");
            now += UNDER_WAY;
            if sweep.is_due(names.len(), now) {
                names.retain(|key| key < 1000);
                sweep.done(names.len(), now);
            }
            assert!(names.len() < 4 * FIRST, "{} of {key}", names.len());
        }
        assert!((0..1000).all(|key| names.get(key).is_some()));
    }
}

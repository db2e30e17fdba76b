//! Times: the kernel's monotonic nanoseconds as the clock on the wall tells them.

use std::{
    fmt::{self, Display, Formatter},
    iter,
};

use crate::{digits::Digits, machine, note};

use mmaptrace_recording::Start;

const NANOS: u64 = 1_000_000_000;

/// How the clocks lie to each other. Both are looked at once, when tracing starts: a clock set
/// later does not make times jump within one trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// What to add to `CLOCK_MONOTONIC` to get `CLOCK_REALTIME`, in ns.
    pub offset: i64,
    /// What to add to UTC to get local time, in seconds.
    pub utc_offset: i32,
}

/// Seconds since the epoch, with nine decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    seconds: u64,
    nanos: u32,
}

impl Clock {
    /// As it was when a trace began.
    pub const fn of(start: &Start) -> Self {
        Self { offset: start.clock_offset, utc_offset: start.utc_offset }
    }

    /// As it is now.
    pub fn of_now() -> Self {
        Self { offset: machine::clock_offset(), utc_offset: machine::utc_offset() }
    }

    /// By how much the clock on the wall is ahead now of what this takes it for.
    pub fn slip(&self) -> Slip {
        Slip(machine::clock_offset().saturating_sub(self.offset) / NANOS.cast_signed())
    }

    /// A time of `CLOCK_MONOTONIC`, in ns, as one since the epoch.
    pub fn epoch(&self, monotonic: u64) -> Epoch {
        let nanos = monotonic.saturating_add_signed(self.offset);
        Epoch { seconds: nanos / NANOS, nanos: (nanos % NANOS) as u32 }
    }

    /// A time of the local day: `10:01:25.576510`.
    pub fn of_day(&self, monotonic: u64) -> String {
        let (hours, minutes, seconds, micros) = self.local(monotonic);
        format!("{hours:02}:{minutes:02}:{seconds:02}.{micros:06}")
    }

    /// Hours, minutes, seconds and microseconds of the local day.
    fn local(&self, monotonic: u64) -> (u64, u64, u64, u32) {
        let Epoch { seconds, nanos } = self.epoch(monotonic);
        let day = seconds.saturating_add_signed(self.utc_offset.into()) % 86_400;
        (day / 3600, day / 60 % 60, day % 60, nanos / 1000)
    }
}

impl Epoch {
    /// Seconds, and the nanoseconds of the next.
    pub const fn parts(self) -> (u64, u32) {
        (self.seconds, self.nanos)
    }
}

impl Display for Epoch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(Digits::decimal::<1>(self.seconds).as_str())?;
        f.write_str(".")?;
        f.write_str(Digits::decimal::<9>(self.nanos.into()).as_str())
    }
}

/// By how many whole seconds the clock on the wall is ahead of what a [`Clock`] takes it for: the machine
/// has slept, or its clock was set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slip(pub i64);

impl Slip {
    /// Says so, if there is any.
    pub fn note(self) {
        if self != Self::default() {
            note(format_args!("{self}"));
        }
    }
}

impl Display for Slip {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (by, how) = (self.0.unsigned_abs(), if self.0 > 0 { "behind" } else { "ahead of" });
        write!(
            f,
            "the machine slept or its clock was set: times of day are {by} s {how} the clock from then on"
        )
    }
}

/// How a line of text tells the time, as strace's options of the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Times {
    /// Not at all.
    None,
    /// `-t`: seconds of the day.
    Seconds,
    /// `-tt`: microseconds of the day.
    #[default]
    Micros,
    /// `-ttt`: seconds since the epoch, with microseconds.
    Epoch,
    /// `-r`: since the line before.
    Relative,
}

/// A time at the start of a line, with the space after it.
pub(crate) struct Stamp {
    pub(crate) times: Times,
    pub(crate) clock: Clock,
    /// The time, ns of `CLOCK_MONOTONIC`.
    pub(crate) time: u64,
    /// The time of the line before, likewise.
    pub(crate) before: u64,
}

impl Stamp {
    /// Appends it.
    pub(crate) fn push(&self, out: &mut String) {
        let &Self { times, clock, time, before } = self;
        match times {
            Times::None => return,
            Times::Seconds | Times::Micros => {
                let (hours, minutes, seconds, micros) = clock.local(time);
                out.push_str(Digits::decimal::<2>(hours).as_str());
                out.push(':');
                out.push_str(Digits::decimal::<2>(minutes).as_str());
                out.push(':');
                out.push_str(Digits::decimal::<2>(seconds).as_str());
                if times == Times::Micros {
                    out.push('.');
                    out.push_str(Digits::decimal::<6>(micros.into()).as_str());
                }
            }
            Times::Epoch => {
                let Epoch { seconds, nanos } = clock.epoch(time);
                out.push_str(Digits::decimal::<1>(seconds).as_str());
                out.push('.');
                out.push_str(Digits::decimal::<6>(u64::from(nanos / 1000)).as_str());
            }
            Times::Relative => {
                // A line of a call that was held back may tell of an earlier time.
                let since = time.saturating_sub(before);
                let seconds = Digits::decimal::<1>(since / NANOS);
                out.extend(iter::repeat_n(' ', 6_usize.saturating_sub(seconds.as_str().len())));
                out.push_str(seconds.as_str());
                out.push('.');
                out.push_str(Digits::decimal::<6>(since % NANOS / 1000).as_str());
            }
        }
        out.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_strace_tells_the_time() {
        // 2024-11-21 09:46:40.123456789 UTC, an hour later on the wall.
        let clock = Clock { offset: 1_732_182_400_123_456_789 - 5_000, utc_offset: 3600 };
        let stamp = |stamp: Stamp| {
            let mut text = String::new();
            stamp.push(&mut text);
            text
        };
        let show = |times| stamp(Stamp { times, clock, time: 5_000, before: 4_000 });
        assert_eq!(clock.epoch(5_000).to_string(), "1732182400.123456789");
        assert_eq!(show(Times::None), "");
        assert_eq!(show(Times::Seconds), "10:46:40 ");
        assert_eq!(show(Times::Micros), "10:46:40.123456 ");
        assert_eq!(show(Times::Epoch), "1732182400.123456 ");
        assert_eq!(show(Times::Relative), "     0.000001 ");
        let west = Clock { offset: 3_600 * 1_000_000_000, utc_offset: -7_200 };
        assert_eq!(
            stamp(Stamp { times: Times::Seconds, clock: west, time: 86_400 * NANOS, before: 0 }),
            "23:00:00 "
        );
    }

    #[test]
    fn a_clock_that_was_set_is_told_of() {
        let told = "the machine slept or its clock was set: times of day are";
        assert_eq!(Slip(5).to_string(), format!("{told} 5 s behind the clock from then on"));
        assert_eq!(Slip(-60).to_string(), format!("{told} 60 s ahead of the clock from then on"));
        let now = Clock::of_now();
        let hour = 3600 * NANOS.cast_signed() + NANOS.cast_signed() / 2;
        let slip = |by| Clock { offset: now.offset + by, ..now }.slip();
        assert_eq!((slip(0), slip(-hour), slip(hour)), (Slip(0), Slip(3600), Slip(-3600)));
    }
}

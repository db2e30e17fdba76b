//! Moments, as the user names them, and where in the past they are.

use std::str::FromStr;

use anyhow::{Result, bail};
use mmaptrace_common::record::{Header, flag};
use mmaptrace_model::{
    Model,
    decode::{Record, decode},
};
use mmaptrace_recording::Item;
use zerocopy::FromBytes as _;

use super::Past;
use crate::sink::Clock;

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// `1732182400.123`, `2024-11-21T10:46:40+01:00`: ns since the epoch.
    Epoch(u64),
    /// `10:46:40.123`: ns since midnight, by the clock on the wall of where it was recorded; the
    /// first time it said so.
    OfDay(u64),
    /// `-5s`: ns before the end, or before now.
    BeforeEnd(u64),
    /// `+3.2s`: ns after the start.
    AfterStart(u64),
    /// `#123`: right after so many events, as the summary counts them.
    Event(u64),
    /// `exec`: right after the process last ran a new image.
    Exec,
    /// `exit`: right before the end of the process's address space.
    Exit,
}

impl Moment {
    /// The end of a recording, or now.
    pub const END: Self = Self::BeforeEnd(0);
}

/// Why a text is no moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a moment is HH:MM:SS[.frac], a date and time like 2024-11-21T10:46:40Z, seconds since the \
     epoch, -5s before the end, +3.2s after the start, #123 after so many events, exec, or exit"
)]
pub struct BadMoment;

impl FromStr for Moment {
    type Err = BadMoment;

    fn from_str(text: &str) -> Result<Self, BadMoment> {
        match text {
            "exec" => return Ok(Self::Exec),
            "exit" => return Ok(Self::Exit),
            _ => {}
        }
        let moment = match text.as_bytes().first() {
            Some(b'-') => duration(&text[1..]).map(Self::BeforeEnd),
            Some(b'+') => duration(&text[1..]).map(Self::AfterStart),
            Some(b'#') => digits(&text[1..]).map(Self::Event),
            _ if text.contains(['T', 't']) => date(text).map(Self::Epoch),
            _ if text.contains(':') => of_day(text).map(Self::OfDay),
            _ => seconds(text).map(Self::Epoch),
        };
        moment.ok_or(BadMoment)
    }
}

/// A number, of digits alone.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// `3.2` in ns. Digits beyond the ninth are passed over.
fn seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut nanos = 0;
    for place in 0..9 {
        let digit = fraction.as_bytes().get(place).copied().unwrap_or(b'0');
        nanos = 10 * nanos + u64::from(digit - b'0');
    }
    digits(whole)?.checked_mul(SECOND)?.checked_add(nanos)
}

/// `3.2s`, `5m`, `100ms`; seconds where there is no unit.
fn duration(text: &str) -> Option<u64> {
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let nanos = seconds(number)?;
    match &text[number.len()..] {
        "" | "s" => Some(nanos),
        "ms" => Some(nanos / 1000),
        "us" => Some(nanos / 1_000_000),
        "m" => nanos.checked_mul(60),
        "h" => nanos.checked_mul(3600),
        _ => None,
    }
}

/// `10:46:40.123` or `10:46` in ns.
fn of_day(text: &str) -> Option<u64> {
    let mut parts = text.splitn(3, ':');
    let (hours, minutes) = (digits(parts.next()?)?, digits(parts.next()?)?);
    let rest = seconds(parts.next().unwrap_or("0"))?;
    let whole = hours < 24 && minutes < 60 && rest < 61 * SECOND;
    whole.then(|| (hours * 3600 + minutes * 60) * SECOND + rest)
}

/// `2024-11-21T10:46:40.123+01:00` (RFC 3339) in ns since the epoch.
fn date(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(['T', 't'])?;
    let mut parts = date.splitn(3, '-').map(digits);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=days).contains(&day) {
        return None;
    }
    // Days since the epoch; the year begins in March, so that the leap day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    let days = days.checked_sub(719_469)?;
    let (time, offset) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) if time[at..].eq_ignore_ascii_case("z") => (&time[..at], 0),
        Some(at) => {
            let offset = of_day(&time[at + 1..])?.cast_signed();
            (&time[..at], if time[at..].starts_with('+') { -offset } else { offset })
        }
        None => return None,
    };
    days.checked_mul(DAY)?.checked_add(of_day(time)?)?.checked_add_signed(offset)
}

/// Where a moment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Right before the first item that is later: ns of `CLOCK_MONOTONIC`.
    Time(u64),
    /// Right after so many events.
    Events(u64),
    /// Right before the first item after so many events with which the address space of this process ends, or
    /// the process before it.
    End {
        /// How many.
        events: u64,
        /// Which.
        pid: u32,
    },
}

impl Point {
    /// Whether it lies before an item that `model` is to take next.
    pub(super) fn is_before(&self, model: &Model, item: &Item<'_>) -> bool {
        match *self {
            Self::Time(time) => time_of(item).is_some_and(|at| at > time),
            Self::Events(events) => model.totals().events >= events,
            Self::End { events, pid } => model.totals().events >= events && ends(model, item, pid),
        }
    }
}

/// Whether an item ends the address space of a process, or the process before it.
pub(super) fn ends(model: &Model, item: &Item<'_>, pid: u32) -> bool {
    let Item::Record(bytes) = item else { return false };
    let Some(space) = model.space_of(pid) else { return false };
    match decode(bytes) {
        Ok(Record::End(header)) => header.mm == space.mm(),
        Ok(Record::Exit(exit)) => exit.header.pid == pid && exit.header.flags & flag::GROUP != 0,
        Ok(_) | Err(_) => false,
    }
}

/// When an item came, ns of `CLOCK_MONOTONIC`.
pub(super) fn time_of(item: &Item<'_>) -> Option<u64> {
    match *item {
        Item::Record(bytes) => Header::read_from_prefix(bytes).ok().map(|(header, _)| header.time),
        Item::Tick { time } | Item::Dump { time, .. } => Some(time),
        Item::ForgetNames | Item::ForgetStacks => None,
    }
}

impl Past {
    /// When it ends, or now: ns of `CLOCK_MONOTONIC`.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn until(&mut self) -> Result<u64> {
        if let Some(now) = &self.now {
            return Ok(now.known.time);
        }
        let last = self.reader.last_where(|_| true)?;
        Ok(last.map_or(self.start().time, |place| place.until))
    }

    /// Where a moment is.
    ///
    /// # Errors
    /// Nowhere in this past, or it is one of a process ([`Moment::Exec`], [`Moment::Exit`]).
    pub fn point(&mut self, moment: &Moment) -> Result<Point> {
        let Clock { offset, utc_offset } = self.clock();
        let forgotten = self.reader.forgotten();
        let (start, end) = (self.start().time, self.until()?);
        let wall = |epoch: u64| i128::from(epoch) - i128::from(offset);
        let time = match *moment {
            Moment::Epoch(time) => wall(time),
            Moment::OfDay(of_day) => {
                let local = i128::from(offset) + i128::from(utc_offset) * i128::from(SECOND);
                let day = i128::from(DAY);
                let began = i128::from(start) + local;
                // That of the day it began, or of the next; the start is a little after the moment
                // at which the user began it.
                let mut at = began.div_euclid(day) * day + i128::from(of_day);
                if at < began - i128::from(SECOND) {
                    at += day;
                }
                at - local
            }
            Moment::BeforeEnd(time) => i128::from(end) - i128::from(time),
            Moment::AfterStart(time) => i128::from(start) + i128::from(time),
            Moment::Event(events) => {
                if let Some(place) = forgotten.filter(|place| events < place.events) {
                    bail!("{} begins after event {}", self.name, place.events);
                }
                return Ok(Point::Events(events));
            }
            Moment::Exec | Moment::Exit => bail!("exec and exit are moments of one process"),
        };
        let start = forgotten.map_or(start, |place| place.time);
        if time < i128::from(start) || time > i128::from(end) {
            let clock = self.clock();
            let told = u64::try_from(time + i128::from(offset)).unwrap_or(0);
            bail!(
                "that is {}.{:09}, and {} is from {} ({}) to {} ({})",
                told / SECOND,
                told % SECOND,
                self.name,
                clock.of_day(start),
                clock.epoch(start),
                clock.of_day(end),
                clock.epoch(end)
            );
        }
        Ok(Point::Time(time as u64))
    }

    /// Goes to where reading must begin to get to a point.
    pub(super) fn go_to(&mut self, point: &Point) -> Result<()> {
        let place = match *point {
            Point::Time(time) => self.reader.last_where(|place| place.time <= time)?,
            Point::Events(events) | Point::End { events, .. } => {
                self.reader.last_where(|place| place.events <= events)?
            }
        };
        match place {
            Some(place) => self.reader.go_to(&place),
            None => self.reader.rewind(),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Moment> {
        text.parse().ok()
    }

    #[test]
    fn moments_as_the_streams_print_them_and_as_people_do() {
        let epoch = Moment::Epoch(1_732_182_400_123_456_000);
        assert_eq!(parse("1732182400.123456"), Some(epoch));
        assert_eq!(parse("2024-11-21T09:46:40.123456Z"), Some(epoch));
        assert_eq!(parse("2024-11-21T10:46:40.123456+01:00"), Some(epoch));
        assert_eq!(parse("2024-02-29T00:00:00Z"), Some(Moment::Epoch(1_709_164_800 * SECOND)));
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(Moment::Epoch(0)));
        assert_eq!(parse("10:46:40.5"), Some(Moment::OfDay(38_800 * SECOND + SECOND / 2)));
        assert_eq!(parse("00:00"), Some(Moment::OfDay(0)));
        assert_eq!(parse("-5s"), Some(Moment::BeforeEnd(5 * SECOND)));
        assert_eq!(parse("-1.5"), Some(Moment::BeforeEnd(SECOND * 3 / 2)));
        assert_eq!(parse("+3.2s"), Some(Moment::AfterStart(3_200_000_000)));
        assert_eq!(parse("+250ms"), Some(Moment::AfterStart(250_000_000)));
        assert_eq!(parse("+2m"), Some(Moment::AfterStart(120 * SECOND)));
        assert_eq!(parse("#123"), Some(Moment::Event(123)));
        assert_eq!((parse("exec"), parse("exit")), (Some(Moment::Exec), Some(Moment::Exit)));
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            "-",
            "+",
            "#",
            "x",
            "5 s",
            "-5x",
            "--5",
            "+-5",
            "24:00:00",
            "10:60",
            "1:2:3:4",
            "2024-11-21T09:46:40",
            "2024-13-21T09:46:40Z",
            "1969-01-01T00:00:00Z",
            "#-1",
            "1e3",
            "99999999999999999999",
            "-99999999999999h",
            "1.2.3",
            "1732182400.123456789z",
            "2023-02-29T00:00:00Z",
            "2024-02-30T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2024-11-31T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

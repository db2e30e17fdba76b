//! The options of questions about the past.

use std::path::PathBuf;

use clap::Args;

use super::{FormatArg, size};
use crate::{
    config::{Command, Diff, Later, Report, Subject, Topic, When, Who},
    history::{Moment, Source},
};

/// Whose past.
#[derive(Debug, Args)]
struct PastArgs {
    /// A recording, else what a running tracer remembers
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The tracer's socket, else the newest tracer that has the process
    #[arg(long, value_name = "PATH", conflicts_with = "input")]
    socket: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct WhoArgs {
    /// An address, or several: 7f84c36bd010, 7f84c36bd000-7f84c36bf000, 7f84c36bd000+64K
    #[arg(value_parser = addresses, required_unless_present = "core")]
    address: Option<(u64, u64)>,
    /// The address of a crash, from its core file
    #[arg(long, value_name = "FILE", conflicts_with = "address")]
    core: Option<PathBuf>,
    /// Of this process only
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// As of a moment: 10:46:40.5, -5s, +3.2s, #123, exec, exit
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<Moment>,
    #[command(flatten)]
    past: PastArgs,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t = FormatArg::Text)]
    format: FormatArg,
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Of this process only
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// As of a moment: 10:46:40.5, -5s, +3.2s, #123, exec, exit
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<Moment>,
    /// Only stacks and the bytes they hold, for flame graphs
    #[arg(long, conflicts_with_all = ["wx", "format"])]
    folded: bool,
    /// What was writable and executable, at once or one after the other
    #[arg(long)]
    wx: bool,
    /// How many lines, at most (0: all)
    #[arg(long, value_name = "COUNT", default_value_t = 20, conflicts_with = "folded")]
    top: usize,
    #[command(flatten)]
    past: PastArgs,
    /// How the report is written
    #[arg(long, value_enum, default_value_t = FormatArg::Text)]
    format: FormatArg,
}

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// The earlier moment; needed unless there are two recordings or processes, whose last maps
    /// are compared
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<Moment>,
    /// The later moment, else the last map there is; 'now' is what /proc/PID/maps says now
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<To>,
    /// Of this process; a second one is that of the later moment
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Vec<u32>,
    /// A recording, or two: the earlier first; else what a running tracer remembers
    #[arg(short, long, value_name = "FILE")]
    input: Vec<PathBuf>,
    /// The tracer's socket, else the newest tracer that has the process
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// How the difference is written
    #[arg(long, value_enum, default_value_t = FormatArg::Text)]
    format: FormatArg,
}

/// The later moment.
#[derive(Clone, Copy, Debug)]
enum To {
    Now,
    Moment(Moment),
}

impl std::str::FromStr for To {
    type Err = <Moment as std::str::FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "now" { Ok(Self::Now) } else { text.parse().map(Self::Moment) }
    }
}

impl PastArgs {
    fn source(self, pid: Option<u32>) -> Source {
        match self.input {
            Some(file) => Source::File(file),
            None => Source::Tracer { pid, socket: self.socket },
        }
    }
}

pub(super) fn who(args: WhoArgs) -> Command {
    let subject = match (args.core, args.address) {
        (Some(core), _) => Subject::Core(core),
        (None, address) => {
            let (start, length) = address.unwrap_or_default();
            Subject::Address { start, length }
        }
    };
    Command::Who(Who {
        source: args.past.source(args.pid),
        subject,
        pid: args.pid,
        at: args.at,
        format: args.format.into(),
        colour: super::colour(),
    })
}

pub(super) fn report(args: ReportArgs) -> Command {
    Command::Report(Report {
        source: args.past.source(args.pid),
        pid: args.pid,
        at: args.at,
        topic: match (args.folded, args.wx) {
            (true, _) => Topic::Folded,
            (false, true) => Topic::Exposure,
            (false, false) => Topic::Growth,
        },
        top: if args.top == 0 { usize::MAX } else { args.top },
        format: args.format.into(),
    })
}

/// The two sides of a comparison.
pub(super) fn diff(args: DiffArgs) -> Result<Command, &'static str> {
    let DiffArgs { from, to, pid, input, socket, format } = args;
    let pids = match pid[..] {
        [] => [None; 2],
        [one] => [Some(one); 2],
        [one, other] => [Some(one), Some(other)],
        _ => return Err("there are two sides, and so at most two -p"),
    };
    let running = |pid| Source::Tracer { pid, socket: socket.clone() };
    let [old, new] = match &input[..] {
        [] => pids.map(running),
        [file] => [Source::File(file.clone()), Source::File(file.clone())],
        [one, other] => [Source::File(one.clone()), Source::File(other.clone())],
        _ => return Err("there are two sides, and so at most two -i"),
    };
    let to_now = matches!(to, Some(To::Now));
    if from.is_none() && !to_now && old == new {
        return Err("say from which moment on, with --from");
    }
    let to = match to {
        Some(To::Now) if input.len() > 1 => {
            return Err("two recordings are given, and 'now' would be a third side");
        }
        Some(To::Now) => Later::Now(pids[1]),
        Some(To::Moment(at)) => Later::Then(When { source: new, at: Some(at), pid: pids[1] }),
        None => Later::Then(When { source: new, at: None, pid: pids[1] }),
    };
    Ok(Command::Diff(Diff {
        from: When { source: old, at: from, pid: pids[0] },
        to,
        format: format.into(),
        colour: super::colour(),
    }))
}

/// One address and a length, in bytes; of an address alone the length is 1.
fn addresses(text: &str) -> Result<(u64, u64), String> {
    let hex = |text: &str| {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        u64::from_str_radix(digits, 16).map_err(|_| {
            "an address is a hexadecimal number, and several are START-END or START+SIZE".to_owned()
        })
    };
    if let Some((start, end)) = text.split_once('-') {
        let (start, end) = (hex(start)?, hex(end)?);
        let length = end.checked_sub(start).filter(|length| *length > 0);
        return Ok((start, length.ok_or("the end of the addresses is not after their start")?));
    }
    if let Some((start, length)) = text.split_once('+') {
        let length = match length.strip_prefix("0x") {
            Some(_) => hex(length)?,
            None => size(length)?,
        };
        return Ok((hex(start)?, length.max(1)));
    }
    Ok((hex(text)?, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_people_write_them() {
        assert_eq!(addresses("7f84c36bd010"), Ok((0x7f84_c36b_d010, 1)));
        assert_eq!(addresses("0x7f84c36bd010"), Ok((0x7f84_c36b_d010, 1)));
        assert_eq!(addresses("1000-3000"), Ok((0x1000, 0x2000)));
        assert_eq!(addresses("1000+64K"), Ok((0x1000, 0x10000)));
        assert_eq!(addresses("0x1000+0x10"), Ok((0x1000, 0x10)));
        assert!(addresses("main").is_err() && addresses("3000-1000").is_err());
        assert!(addresses("1000+").is_err() && addresses("-5s").is_err());
    }
}

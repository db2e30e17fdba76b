//! The command line, as clap sees it, and the [`Config`] it becomes. No other module sees clap.

mod ask;
mod export;

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use mmaptrace_common::syscalls::TABLE;

use crate::{
    config::{Command, Config, Dump, Format, Replay, Target, Trace, Viewing},
    control::DumpFormat,
    history::Moment,
    kernel::Stacks,
    sink::{Filter, Hidden, clock::Times},
};

use ask::{DiffArgs, ReportArgs, WhoArgs};
use export::ExportArgs;

const AFTER_HELP: &str = "\
Exit status:
    0  done        1  failed: cannot trace, no tracer to ask, a recording that is cut
    2  usage       3  --verify found a difference
    42 tracers run, and none has that PID: dump, who, report, diff, export
    With -- CMD: CMD's status or signal, also where -d ends the tracing or nobody
    reads the events any more; 125 mmaptrace failed, 126 CMD cannot be executed,
    127 CMD not found.

Signals:
    SIGUSR1 writes the maps of all traced processes into the stream; SIGINT and
    SIGTERM end the tracing and leave the processes as they are. With -- CMD the
    first SIGINT is left to CMD.";

/// Shows live how a process's address space changes, and mirrors it exactly.
#[derive(Debug, Parser)]
#[command(
    name = "mmaptrace",
    version,
    max_term_width = 100,
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true,
    override_usage = "\
mmaptrace [OPTIONS] -p PID [-p PID ...]
       mmaptrace [OPTIONS] -n NAME | --cgroup PATH | -a
       mmaptrace [OPTIONS] -- CMD [ARG ...]
       mmaptrace record -o FILE [OPTIONS] -p PID | ... | -- CMD [ARG ...]
       mmaptrace replay [OPTIONS] FILE
       mmaptrace dump [OPTIONS] PID
       mmaptrace who [OPTIONS] ADDRESS
       mmaptrace report [OPTIONS]
       mmaptrace diff --from TIME [OPTIONS]
       mmaptrace export --format FORMAT [OPTIONS]
       mmaptrace check"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Sub>,
    #[command(flatten)]
    trace: TraceArgs,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// Record what happens to a file, to be looked at later
    #[command(override_usage = "\
mmaptrace record -o FILE [OPTIONS] -p PID [-p PID ...]
       mmaptrace record -o FILE [OPTIONS] -n NAME | --cgroup PATH | -a
       mmaptrace record -o FILE [OPTIONS] -- CMD [ARG ...]")]
    Record(RecordArgs),
    /// Show a recording as it was, or would have been, shown live
    Replay(ReplayArgs),
    /// Print the map of a process, of now or of a past moment, as /proc/PID/maps does
    Dump(DumpArgs),
    /// Tell what ever happened to an address: who mapped, changed, moved and unmapped it
    Who(WhoArgs),
    /// Tell what was mapped and not unmapped, by where it was asked for
    Report(ReportArgs),
    /// Tell what one moment's map has that another's has not
    Diff(DiffArgs),
    /// Write a recording, or what a running tracer remembers, for other tools, or as a page
    Export(ExportArgs),
    /// Say what this kernel and user allow, and how to get what they do not
    Check,
}

#[derive(Debug, Args)]
#[group(id = "target", required = true, multiple = true)]
struct TargetArgs {
    /// Attach to a process; may be given several times
    #[arg(short, long = "pid", value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Vec<u32>,
    /// Trace every process of this name, running or yet to run
    #[arg(short, long, value_name = "NAME")]
    name: Option<OsString>,
    /// Trace the processes of a cgroup (version 2) and of those below it
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// Trace every process of the machine
    #[arg(short, long)]
    all: bool,
    /// Run a command and trace it and its children, from its first instruction on
    #[arg(last = true, value_name = "CMD")]
    launch: Vec<OsString>,
}

#[derive(Debug, Args)]
struct TraceArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// How much of the past to remember, for questions to this tracer (0: nothing)
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "32M")]
    history: u64,
    /// Write the events to a file instead of standard output (standard error with -- CMD)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    tracer: TracerArgs,
}

#[derive(Debug, Args)]
struct RecordArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The recording: a file, which is emptied if it is there
    #[arg(short, long, value_name = "FILE", required = true)]
    output: PathBuf,
    /// Show the events as well, on standard output (standard error with -- CMD)
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    tracer: TracerArgs,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// The recording
    #[arg(value_name = "FILE")]
    recording: PathBuf,
    /// Write the events to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    parts: PartsArgs,
    /// No summary, only errors
    #[arg(short, long)]
    quiet: bool,
}

/// How events are shown.
#[derive(Debug, Args)]
struct ViewArgs {
    /// How events are written
    #[arg(long, value_enum, default_value_t = FormatArg::Text)]
    format: FormatArg,
    /// Show only these calls and what they did, by name: mmap,munmap,...
    #[arg(short = 'e', long = "events", value_name = "CALLS", value_delimiter = ',')]
    events: Vec<String>,
    /// Show only effects of at least this size: 64K, 2M, 1G
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "0")]
    min_size: u64,
    /// Times in seconds (-t), microseconds (-tt, the default) or since the epoch (-ttt)
    #[arg(short = 't', action = ArgAction::Count, conflicts_with = "relative")]
    time: u8,
    /// Times since the line before
    #[arg(short, long)]
    relative: bool,
}

impl ViewArgs {
    /// Whether anything is asked for.
    const fn is_given(&self) -> bool {
        let Self { format, events, min_size, time, relative } = self;
        matches!(format, FormatArg::Json)
            || !events.is_empty()
            || *min_size > 0
            || *time > 0
            || *relative
    }
}

/// What of a recording is shown beside its events.
#[derive(Clone, Copy, Debug, Args)]
struct PartsArgs {
    /// Show how long calls took; without any of -T, -U and -K, all is shown that was recorded
    #[arg(short = 'T', long)]
    durations: bool,
    /// Show the stacks of the program
    #[arg(short = 'U', long)]
    user_stacks: bool,
    /// Show the stacks of the kernel
    #[arg(short = 'K', long)]
    kernel_stacks: bool,
}

impl PartsArgs {
    const fn hidden(self) -> Hidden {
        let Self { durations, user_stacks, kernel_stacks } = self;
        let some = durations || user_stacks || kernel_stacks;
        Hidden {
            user_stacks: some && !user_stacks,
            kernel_stacks: some && !kernel_stacks,
            durations: some && !durations,
        }
    }
}

/// What the tracer takes, and how.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
struct TracerArgs {
    /// Follow the children of traced processes (always on with -a and with -- CMD)
    #[arg(short, long)]
    follow: bool,
    /// Show how long each call took
    #[arg(short = 'T', long, conflicts_with = "low_overhead")]
    durations: bool,
    /// Show the stack of the program that made each change, by its frame pointers
    #[arg(short = 'U', long)]
    user_stacks: bool,
    /// Show the stack of the kernel under each change
    #[arg(short = 'K', long)]
    kernel_stacks: bool,
    /// End after this many seconds
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
    /// No summary and no notes, only errors
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Say more of what the tracer does
    #[arg(short, long)]
    verbose: bool,
    /// Hook no system calls: as exact, costs other calls nothing, shows none without an effect
    #[arg(long)]
    low_overhead: bool,
    /// What happens while the tracer is behind, for its reader or by itself
    #[arg(long, value_name = "WAY", value_enum, default_value_t = OnFullArg::Drop)]
    on_full: OnFullArg,
    /// Size of the buffer between kernel and tracer: a power of two
    #[arg(long, value_name = "SIZE", value_parser = buffer, default_value = "64M")]
    buffer: u32,
    /// Compare the model with /proc every so many seconds, and at the end
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = seconds,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1"
    )]
    verify: Option<Duration>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArg {
    /// Lines for people
    Text,
    /// One JSON object a line, see docs/json.md
    Json,
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Text => Self::Text,
            FormatArg::Json => Self::Json,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnFullArg {
    /// What finds no room in the buffer is lost, counted and told, and the model read again
    Drop,
    /// The traced processes wait, stopped as by ^Z; what finds no room while the tracer itself does
    /// not run is lost all the same; not with -a
    Wait,
}

#[derive(Debug, Args)]
struct DumpArgs {
    /// The process
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pid: u32,
    /// How the map is written
    #[arg(long, value_enum, default_value_t = DumpFormatArg::Maps)]
    format: DumpFormatArg,
    /// The map as it was then: HH:MM:SS[.frac], 2024-11-21T10:46:40Z, seconds since the epoch, -5s
    /// (before now, or the end), +3.2s (after the start), #123 (after so many events), exec, exit
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<Moment>,
    /// Look into a recording instead of asking a running tracer; without --at, at its end
    #[arg(short, long, value_name = "FILE", conflicts_with = "socket")]
    input: Option<PathBuf>,
    /// The tracer's socket, else the newest tracer that has the process
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Say beside each region how old it is and who made it, by which call
    #[arg(long, conflicts_with = "verbose")]
    blame: bool,
    /// Say on standard error at which commit, and whether the map is exact
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DumpFormatArg {
    /// As /proc/PID/maps
    Maps,
    /// As pmap
    Pmap,
    /// As pmap -x, with what is in memory as /proc/PID/smaps tells it at this moment
    PmapX,
    /// One JSON object
    Json,
}

/// What the command line asks for. Ends the process where it only asks for help, and where it is
/// wrong, with the exit code of usage errors.
pub fn parse() -> Config {
    let cli = Cli::parse();
    let command = match cli.command {
        Some(Sub::Check) => Command::Check,
        Some(Sub::Dump(args)) => Command::Dump(dump(args)),
        Some(Sub::Who(args)) => ask::who(args),
        Some(Sub::Report(args)) => ask::report(args),
        Some(Sub::Diff(args)) => ask::diff(args).unwrap_or_else(|message| usage(message)),
        Some(Sub::Export(args)) => Command::Export(args.into()),
        Some(Sub::Record(args)) => {
            if !args.print && args.view.is_given() {
                usage(
                    "how events are shown is asked for with --print; else they are only recorded",
                );
            }
            let viewing = args.print.then(|| viewing(args.view, None, Hidden::default()));
            Command::Trace(trace(args.target, &args.tracer, viewing, Some(args.output), 0))
        }
        Some(Sub::Replay(args)) => Command::Replay(Replay {
            recording: args.recording,
            viewing: viewing(args.view, args.output, args.parts.hidden()),
            quiet: args.quiet,
        }),
        None => {
            let TraceArgs { target, history, output, view, tracer } = cli.trace;
            let viewing = viewing(view, output, Hidden::default());
            Command::Trace(trace(target, &tracer, Some(viewing), None, history))
        }
    };
    Config { command }
}

fn dump(args: DumpArgs) -> Dump {
    let DumpArgs { pid, format, at, input, socket, blame, verbose } = args;
    let format = match format {
        DumpFormatArg::Maps => DumpFormat::Maps,
        DumpFormatArg::Pmap | DumpFormatArg::PmapX if blame => {
            usage("--blame has a format of its own, and json")
        }
        DumpFormatArg::Pmap => DumpFormat::Pmap,
        DumpFormatArg::PmapX if at.is_some() || input.is_some() => {
            usage("pmap-x tells what is in memory now; of the past there is pmap")
        }
        DumpFormatArg::PmapX => DumpFormat::PmapX,
        DumpFormatArg::Json => DumpFormat::Json,
    };
    Dump { pid, format, socket, input, at, blame, verbose }
}

/// `viewing`: how events are shown, if they are; `recording`: where they are recorded; `history`: how
/// much of them is remembered if they are not.
fn trace(
    target: TargetArgs,
    args: &TracerArgs,
    viewing: Option<Viewing>,
    recording: Option<PathBuf>,
    history: u64,
) -> Trace {
    if args.on_full == OnFullArg::Wait && target.all {
        usage(
            "with -a everything would wait, the reader of the events included: not with --on-full wait",
        );
    }
    Trace {
        target: Target {
            follow: args.follow || target.all || !target.launch.is_empty(),
            pids: target.pid,
            name: target.name.map(|name| {
                // All that the kernel keeps of a name (TASK_COMM_LEN).
                let mut name = name.into_vec();
                name.truncate(15);
                name
            }),
            cgroup: target.cgroup,
            all: target.all,
            launch: target.launch,
        },
        viewing,
        recording,
        history: history as usize,
        stacks: Stacks { user: args.user_stacks, kernel: args.kernel_stacks },
        durations: args.durations,
        duration: args.duration,
        quiet: args.quiet,
        verbose: args.verbose,
        calls: !args.low_overhead,
        buffer: args.buffer,
        wait: args.on_full == OnFullArg::Wait,
        verify: args.verify,
    }
}

/// `hidden`: what is not shown of what is known.
fn viewing(args: ViewArgs, output: Option<PathBuf>, hidden: Hidden) -> Viewing {
    if let Some(unknown) =
        args.events.iter().find(|name| !TABLE.iter().any(|row| row.name == **name))
    {
        let known: Vec<_> = TABLE.iter().map(|row| row.name).collect();
        usage(&format!("'{unknown}' is none of the calls: {}", known.join(" ")));
    }
    Viewing {
        output,
        format: args.format.into(),
        filter: Filter {
            calls: (!args.events.is_empty()).then(|| args.events.into_iter().collect()),
            min_size: args.min_size,
            hidden,
        },
        times: match (args.relative, args.time) {
            (true, _) => Times::Relative,
            (false, 1) => Times::Seconds,
            (false, 0 | 2) => Times::Micros,
            (false, _) => Times::Epoch,
        },
        colour: colour(),
    }
}

/// Whether colours are wanted where there is a terminal.
fn colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A usage error that clap cannot see.
fn usage(message: &str) -> ! {
    use clap::CommandFactory as _;
    Cli::command().error(clap::error::ErrorKind::ValueValidation, message).exit()
}

/// Bytes: a number with K, M, G or T (powers of 1024) behind it, or none.
fn size(text: &str) -> Result<u64, String> {
    let (number, shift) = match text.as_bytes().last().map(u8::to_ascii_uppercase) {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        Some(b'T') => (&text[..text.len() - 1], 40),
        Some(_) | None => (text, 0),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| "a size is a number with K, M, G or T behind it, or none".to_owned())
}

/// The ring's size: the kernel wants a power of two of whole pages.
fn buffer(text: &str) -> Result<u32, String> {
    let bytes = size(text)?;
    u32::try_from(bytes)
        .ok()
        .filter(|bytes| bytes.is_power_of_two() && (4096..=1 << 30).contains(bytes))
        .ok_or_else(|| "the buffer is a power of two from 4K to 1G".to_owned())
}

/// What clocks can count to without a thought: 31 years.
const LONGEST: Duration = Duration::from_secs(1_000_000_000);

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero() && *duration <= LONGEST)
        .ok_or_else(|| "seconds are a number above 0, like 10 or 0.5, and at most 1e9".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("64k"), Ok(65536));
        assert_eq!(size("1T"), Ok(1 << 40));
        assert!(size("K").is_err() && size("-1").is_err() && size("99999999T").is_err());
        assert_eq!(buffer("64M"), Ok(1 << 26));
        assert!(buffer("3M").is_err() && buffer("2K").is_err() && buffer("4G").is_err());
        assert!(seconds("0").is_err() && seconds("x").is_err() && seconds("1e19").is_err());
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let cli = Cli::try_parse_from(["mmaptrace", "-q", "--", "ls", "-l", "--", "-p"]);
        assert_eq!(cli.expect("valid").trace.target.launch, ["ls", "-l", "--", "-p"]);
        assert!(Cli::try_parse_from(["mmaptrace", "-q"]).is_err(), "nothing to trace");
        assert!(Cli::try_parse_from(["mmaptrace", "-p", "0"]).is_err());
    }
}

//! The options of `mmaptrace export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::{
    config::Export,
    export::{Format, Metric},
    history::{Moment, Source},
};

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// What to write, see docs/export.md
    #[arg(long, value_enum)]
    format: FormatArg,
    /// Where to write it, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A recording, else what a running tracer remembers
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// This process only; the tracer is the one that has it
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// The tracer's socket
    #[arg(long, value_name = "PATH", conflicts_with = "input")]
    socket: Option<PathBuf>,
    /// From this moment on: 10:46:40.5, -5s, +3.2s, #123
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<Moment>,
    /// Up to this moment
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<Moment>,
    /// What folded stacks count
    #[arg(long, value_enum, default_value_t = MetricArg::Live)]
    metric: MetricArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArg {
    /// A trace in Chrome's JSON, as ui.perfetto.dev opens it
    #[value(alias = "perfetto")]
    Chrome,
    /// Folded stacks: flamegraph.pl, inferno, speedscope
    Folded,
    /// A profile: go tool pprof
    Pprof,
    /// A table, one line an effect
    Csv,
    /// A page with a timeline, for any browser
    Html,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MetricArg {
    /// Bytes that are mapped at the end
    Live,
    /// Bytes that were ever mapped
    Mapped,
    /// How often the address space was changed
    Calls,
}

impl From<ExportArgs> for Export {
    fn from(args: ExportArgs) -> Self {
        let metric = match args.metric {
            MetricArg::Live => Metric::Live,
            MetricArg::Mapped => Metric::Mapped,
            MetricArg::Calls => Metric::Calls,
        };
        Self {
            source: match args.input {
                Some(recording) => Source::File(recording),
                None => Source::Tracer { pid: args.pid, socket: args.socket },
            },
            pid: args.pid,
            from: args.from,
            to: args.to,
            format: match args.format {
                FormatArg::Chrome => Format::Chrome,
                FormatArg::Folded => Format::Folded(metric),
                FormatArg::Pprof => Format::Pprof,
                FormatArg::Csv => Format::Csv,
                FormatArg::Html => Format::Html,
            },
            output: args.output,
        }
    }
}

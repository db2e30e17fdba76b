//! `cargo xtask`: what a developer of mmaptrace does, each in one command.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "made for a person to read")]

mod bench;
mod budget;
mod docs;
mod document;
#[path = "../../mmaptrace/build/ebpf.rs"]
mod ebpf;
mod package;
mod programs;
mod run;
mod setup;
mod tally;
mod test;
#[path = "../../mmaptrace/build/toolchain.rs"]
mod toolchain;
mod torture;
mod vm;
mod workspace;

use std::{ffi::OsString, process::ExitCode, time::Instant};

use anyhow::Result;
use clap::{Parser, Subcommand};

use vm::Selection;

/// What a developer of mmaptrace does, each in one command
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what the build needs and this machine lacks
    Setup,
    /// Set up, then build the tool
    Build {
        /// Build with optimizations
        #[arg(long)]
        release: bool,
    },
    /// Set up, build with optimizations, then run the tool as root
    #[command(after_help = "Example: cargo xtask run -- -- ls -l")]
    Run {
        /// Arguments for the tool
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Set up, then check everything, and count
    Test {
        /// Leave out the tests that trace, which need root
        #[arg(long)]
        no_root: bool,
    },
    /// Run the tests on other kernels, in machines that QEMU emulates
    Vm {
        /// A kernel: 5.10, 6.1, 6.12, newest; may be given several times [default: all]
        #[arg(long = "kernel", value_name = "KERNEL")]
        kernels: Vec<String>,
        /// A file of tests/tests; may be given several times [default: all]
        #[arg(long = "file", value_name = "FILE")]
        files: Vec<String>,
        /// Only tests whose names contain this
        #[arg(long, value_name = "TEST")]
        filter: Option<String>,
        /// No tests, but so many minutes of calls at random, on 5.10 in the degraded tier
        #[arg(long, value_name = "MINUTES", conflicts_with_all = ["files", "filter"])]
        torture: Option<u64>,
    },
    /// Measure what tracing costs, beside the peers, and write docs/performance.md (as root)
    Bench {
        /// A tenth of the work, and print the report instead
        #[arg(long)]
        quick: bool,
        /// Only a part, and print the report instead: traced, others, hooks, machine, kernels,
        /// process, stream, model
        #[arg(long, value_name = "PART")]
        only: Option<String>,
    },
    /// Hold the instructions that the tool's own path takes for an event to what is written down
    Budget {
        /// Write down what they are now
        #[arg(long)]
        write: bool,
    },
    /// Trace a program that makes every call there is, at random, and compare with the kernel
    Torture {
        /// What the calls come from; each run adds 1
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How long; 0: one run
        #[arg(long, default_value_t = 1)]
        minutes: u64,
        /// How many threads make them [default: 1 to 64, by turns]
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        threads: u64,
    },
    /// Trace real programs, compare with the kernel all the while, and write docs/exactness.md (as
    /// root)
    Programs,
    /// Write the tool's --help into the README
    Docs {
        /// Change nothing, and fail if the README differs
        #[arg(long)]
        check: bool,
    },
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().task {
        Task::Setup => setup::setup()?,
        Task::Build { release } => {
            setup::setup()?;
            run::build(release)?;
        }
        Task::Run { arguments } => {
            setup::setup()?;
            run::run(&arguments)?;
        }
        Task::Test { no_root } => {
            setup::setup()?;
            return test::test(no_root);
        }
        Task::Vm { kernels, files, filter, torture } => {
            setup::setup()?;
            let began = Instant::now();
            let tally = vm::vm(&Selection { kernels, files, more: &[], filter, torture })?;
            println!("{tally}, in {}", vm::took(began, torture));
            return Ok(tally.verdict());
        }
        Task::Bench { quick, only } => {
            setup::setup()?;
            bench::bench(quick, only.as_deref())?;
        }
        Task::Budget { write } => {
            setup::setup()?;
            budget::budget(write)?;
        }
        Task::Torture { seed, minutes, threads } => {
            setup::setup()?;
            return torture::torture(seed, minutes, threads);
        }
        Task::Programs => {
            setup::setup()?;
            programs::programs()?;
        }
        Task::Docs { check } => {
            setup::setup()?;
            docs::docs(&run::build(false)?, check)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

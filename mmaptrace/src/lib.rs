//! mmaptrace: shows live how a process's address space changes, and mirrors it exactly.
//!
//! ```text
//! args -> config -> trace: kernel (programs, ring, pictures) -> mmaptrace_model -> sink -> output
//!                     ^ control (mmaptrace dump)
//! ```

pub mod args;
pub mod ask;
pub mod check;
pub mod config;
pub mod control;
pub mod digits;
pub mod dump;
pub mod escape;
pub mod exit;
pub mod export;
pub mod flow;
pub mod history;
pub mod kernel;
pub mod launch;
pub mod machine;
pub mod output;
pub mod proc_maps;
pub mod replay;
pub mod sink;
pub mod symbols;
pub mod syscall;
pub mod trace;
pub mod view;

use std::{env, fmt, process::ExitCode};

use config::Command;
use control::client::NotTraced;
use exit::Exit;

/// The whole program.
pub fn main() -> ExitCode {
    if env::args_os().nth(1).is_some_and(|argument| argument == symbols::ARGUMENT) {
        // Nobody would see why it ends.
        let _ = symbols::read();
        return ExitCode::SUCCESS;
    }
    let config = args::parse();
    if config.command.tells_stdout() && output::is_stdout_closed() {
        note(format_args!("standard output is closed"));
        return Exit::Failure.end();
    }
    let (outcome, failure) = match config.command {
        Command::Check => (check::run(), Exit::Failure),
        Command::Replay(config) => (replay::run(&config), Exit::Failure),
        Command::Export(config) => (export::run(&config), Exit::Failure),
        Command::Dump(dump) => (dump::run(&dump), Exit::Failure),
        Command::Who(config) => (ask::who(&config), Exit::Failure),
        Command::Report(config) => (ask::report(&config), Exit::Failure),
        Command::Diff(config) => (ask::diff(&config), Exit::Failure),
        Command::Trace(trace) => {
            let launched = !trace.target.launch.is_empty();
            let failure = if launched { Exit::LaunchFailure } else { Exit::Failure };
            (trace::run(trace), failure)
        }
    };
    match outcome {
        Ok(exit) => exit.end(),
        Err(error) => {
            note(format_args!("{error:#}"));
            let failure = if error.is::<NotTraced>() { Exit::NoSuchProcess } else { failure };
            failure.end()
        }
    }
}

/// A line on standard error. That it cannot be written is nothing anyone could be told.
pub fn note(message: fmt::Arguments<'_>) {
    use std::io::Write as _;
    let line = format!("mmaptrace: {message}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

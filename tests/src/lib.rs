//! The harness of the tests that trace real programs with the real binary.
//!
//! A test starts a [`Victim`] (or any command, as a [`Process`]), a [`Tracer`] on it, lets the
//! victim do one thing, and compares the tracer's picture with `/proc/PID/maps` while the victim
//! stands still. Nothing here waits for an amount of time: every wait is for something that
//! happens, and [`PATIENCE`] is where a test gives up. Whatever a test started is killed when it
//! ends, however it ends.

mod browser;
mod case;
mod compare;
pub mod deeds;
mod often;
mod process;
mod programs;
pub mod raw;
mod replay;
mod scratch;
mod skip;
pub mod torture;
mod trace;
mod tracer;
mod victim;

pub use browser::Browser;
pub use case::Cases;
pub use compare::{children, difference, is_stopped, is_zombie, maps, settled};
pub use often::{is_emulated, often};
pub use process::{Finished, PATIENCE, Process, run, until};
pub use programs::{is_loaded, programs};
pub use replay::address;
pub use scratch::Scratch;
pub use skip::{has, is_root, skip};
pub use trace::{Trace, left_out};
pub use tracer::{
    Tracer, assert_exact, assert_exact_thread, dump, dump_as, is_degraded, mmaptrace, now,
};
pub use victim::{Outcome, Victim};

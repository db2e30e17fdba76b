//! Tortures: a program that makes every call of the table with all that may be an argument, many
//! at a time, held against `/proc/PID/maps` every few thousand calls.
//!
//! The calls are those of a seed ([`Generator`]), or of a file ([`Script`]). The program
//! (`src/bin/torture`) makes them; [`run()`] traces it and compares; [`shrink()`] finds the shortest
//! list of calls that still ends in a difference.

use std::path::{Path, PathBuf};

mod generate;
mod op;
mod run;
mod script;
mod setting;
mod shrink;

pub use generate::{
    ARENA, AT_EMPTY_PATH, Generator, IMAGE_FILE, Random, SEGMENTS, SLOTS, VDSO, share,
};
pub use op::{Abi, BLOCK, OTHERS, Op, TEXTS, Word};
pub use run::{Counts, Difference, Manner, PRETENDED, run, run_pretending};
pub use script::{At, Script};
pub use setting::{Setting, Start};
pub use shrink::shrink;

/// Where the lists of calls are kept that once ended in a difference: `MMAPTRACE_REGRESSIONS`, else
/// beside the tests.
pub fn regressions() -> PathBuf {
    let here = || Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    std::env::var_os("MMAPTRACE_REGRESSIONS").map_or_else(here, PathBuf::from)
}

/// Where this package's `torture` is: `MMAPTRACE_TORTURE`, else where it was built.
#[macro_export]
macro_rules! torture_path {
    () => {
        std::path::Path::new(
            &std::env::var_os("MMAPTRACE_TORTURE")
                .unwrap_or_else(|| env!("CARGO_BIN_EXE_torture").into()),
        )
    };
}

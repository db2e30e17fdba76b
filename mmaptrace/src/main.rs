//! `mmaptrace`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    mmaptrace::main()
}

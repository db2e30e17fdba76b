//! The talk with the test, which allocates nothing.

use std::fmt::{Arguments, Write};

use mmaptrace_tests::raw::call;

/// A short text, cut where it is too long; ends with a NUL.
pub(crate) struct Short {
    bytes: [u8; 96],
    length: usize,
}

impl Short {
    pub(crate) fn new(text: Arguments<'_>) -> Self {
        let mut short = Self { bytes: [0; 96], length: 0 };
        // What it cannot take it leaves out.
        let _ = short.write_fmt(text);
        short
    }

    /// Where it is, for the kernel.
    pub(crate) fn address(&self) -> usize {
        self.bytes.as_ptr().expose_provenance()
    }
}

impl Write for Short {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for &byte in text.as_bytes() {
            if self.length + 1 < self.bytes.len() {
                self.bytes[self.length] = byte;
                self.length += 1;
            }
        }
        Ok(())
    }
}

/// Says a line.
pub(crate) fn line(text: Arguments<'_>) {
    let mut line = Short::new(text);
    // There is room for it where the NUL is.
    line.bytes[line.length] = b'\n';
    let _ = call(libc::SYS_write, [1, line.address(), line.length + 1]);
}

/// Waits for the test's byte. At the end of standard input the test is over, and so are we.
pub(crate) fn wait() {
    let mut byte = 0_u8;
    if call(libc::SYS_read, [0, (&raw mut byte).expose_provenance(), 1]) != Ok(1) {
        crate::children::end(0);
    }
}

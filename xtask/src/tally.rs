//! Counts tests by what their runner prints.

use std::{
    fmt,
    io::{self, BufRead, Write},
    ops::AddAssign,
    process::ExitCode,
};

/// How many tests came to which end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Passed for the runner, even if they said that they do not run here.
    ran: usize,
    failed: usize,
    /// Said with a line that starts with `SKIP `, by a test that then returns.
    declined: usize,
    /// Not run at all.
    left_out: usize,
}

impl Tally {
    pub(crate) const PASSED: Self = Self { ran: 1, ..Self::EMPTY };
    pub(crate) const FAILED: Self = Self { failed: 1, ..Self::EMPTY };
    pub(crate) const LEFT_OUT: Self = Self { left_out: 1, ..Self::EMPTY };
    const EMPTY: Self = Self { ran: 0, failed: 0, declined: 0, left_out: 0 };

    /// Copies what a test runner prints to `out`, line by line, and counts.
    ///
    /// # Errors
    /// When reading or writing fails.
    pub(crate) fn of(mut printed: impl BufRead, mut out: impl Write) -> io::Result<Self> {
        let mut tally = Self::default();
        let mut line = Vec::new();
        while printed.read_until(b'\n', &mut line)? > 0 {
            out.write_all(&line)?;
            tally += Self::of_line(&String::from_utf8_lossy(&line));
            line.clear();
        }
        Ok(tally)
    }

    /// Counts a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
    fn of_line(line: &str) -> Self {
        if line.starts_with("SKIP ") {
            return Self { declined: 1, ..Self::EMPTY };
        }
        let Some((_, counts)) =
            line.strip_prefix("test result: ").and_then(|result| result.split_once(". "))
        else {
            return Self::EMPTY;
        };
        let count = |what: &str| {
            let pairs = counts.split(';').filter_map(|pair| pair.trim().split_once(' '));
            let mut named = pairs.filter(|&(_, name)| name == what);
            named.next().and_then(|(number, _)| number.parse().ok()).unwrap_or(0)
        };
        Self {
            ran: count("passed"),
            failed: count("failed"),
            declined: 0,
            left_out: count("ignored"),
        }
    }

    /// Whether any test failed.
    pub(crate) fn has_failures(self) -> bool {
        self.failed > 0
    }

    /// Whether no test ran.
    pub(crate) fn is_empty(self) -> bool {
        self.ran <= self.declined && self.failed == 0
    }

    /// Success, if some ran and none failed.
    pub(crate) fn verdict(self) -> ExitCode {
        if self.has_failures() || self.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.ran += other.ran;
        self.failed += other.failed;
        self.declined += other.declined;
        self.left_out += other.left_out;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ran, failed, declined, left_out } = self;
        let passed = ran.saturating_sub(*declined);
        write!(f, "{passed} passed, {failed} failed, {} skipped", declined + left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    fn count(printed: &str) -> String {
        let mut copy = Vec::new();
        let tally =
            Tally::of(printed.as_bytes(), &mut copy).expect("memory neither ends nor fills");
        assert_eq!(copy, printed.as_bytes(), "what is counted is also shown");
        tally.to_string()
    }

    #[test]
    fn results_of_all_binaries_add_up() {
        let printed = "\
running 3 tests
test a ... ok
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
   Doc-tests mmaptrace
test result: FAILED. 10 passed; 4 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.0s";
        assert_eq!(count(printed), "12 passed, 4 failed, 1 skipped");
    }

    #[test]
    fn a_test_that_declines_did_not_pass() {
        let printed = "\
SKIP attach: needs root
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        assert_eq!(count(printed), "2 passed, 0 failed, 1 skipped");
    }

    #[test]
    fn nothing_ran_when_all_declined() {
        let mut tally = Tally::LEFT_OUT;
        assert!(tally.is_empty());
        tally += Tally::of_line("SKIP attach: needs root");
        tally += Tally::of_line("test result: ok. 1 passed; 0 failed; 0 ignored");
        assert!(tally.is_empty());
        tally += Tally::PASSED;
        assert!(!tally.is_empty());
    }

    #[test]
    fn other_lines_count_for_nothing() {
        let printed = "5 passed; 1 failed\nnot a SKIP \ntest result: odd\n\u{fffd}\n";
        assert_eq!(count(printed), "0 passed, 0 failed, 0 skipped");
    }
}

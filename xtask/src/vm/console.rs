//! What the console of a machine tells of its tests.

use std::mem;

/// Starts a line before each test binary, whose name follows.
pub(crate) const BINARY: &str = "=== ";
/// The line after the last one.
pub(crate) const END: &str = "=== the end";

/// How a test came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It ran to its end.
    Passed,
    /// It failed, or took the machine with it.
    Failed,
    /// It said that it cannot run there, and why.
    Skipped(String),
}

/// All that was printed, line by line, understood.
#[derive(Debug, Default)]
pub(crate) struct Console {
    /// In order, by binary and name: `calls: mmap_fixed`.
    pub(crate) tests: Vec<(String, Outcome)>,
    /// What is said of failures.
    pub(crate) failures: Vec<String>,
    /// Whether the last line came.
    pub(crate) ended: bool,
    binary: String,
    /// Whether it has told of a test, or that it has none.
    has_told: bool,
    /// The test that runs, and why it says that it does not.
    running: Option<(String, Option<String>)>,
    in_failures: bool,
}

impl Console {
    /// Takes the next line.
    ///
    /// A test that runs alone is told in two steps: `test NAME ... ` when it starts, and, maybe
    /// after lines of its own, `ok` or `FAILED` when it has ended.
    pub(crate) fn line(&mut self, line: &str) {
        if line == END {
            self.stop();
            self.ended = true;
            return;
        }
        if let Some(name) = line.strip_prefix(BINARY) {
            self.stop();
            name.clone_into(&mut self.binary);
            self.has_told = false;
            return;
        }
        let mut said = line;
        if let Some((name, rest)) = line.strip_prefix("test ").and_then(|l| l.split_once(" ... ")) {
            self.end_test();
            self.has_told = true;
            self.running = Some((format!("{}: {name}", self.binary), None));
            said = rest;
        }
        match said {
            "ok" => self.result(Outcome::Passed),
            "FAILED" => self.result(Outcome::Failed),
            // One that is run by name only.
            _ if said.starts_with("ignored") => self.running = None,
            _ if said.starts_with("SKIP ") => {
                if let (Some((_, skipped)), Some((_, why))) =
                    (&mut self.running, said.split_once(": "))
                {
                    *skipped = Some(why.to_owned());
                }
            }
            "failures:" => self.in_failures = true,
            _ if said.starts_with("test result: ") => {
                (self.in_failures, self.has_told) = (false, true);
            }
            // A test that the machine's shell runs says why between its name and its result.
            _ if self.in_failures || (self.running.is_some() && !said.is_empty()) => {
                self.failures.push(said.to_owned());
            }
            _ => {}
        }
    }

    /// The machine is off, or runs another binary: what still ran has failed, and a binary that told of
    /// nothing was not even started.
    pub(crate) fn stop(&mut self) {
        self.end_test();
        let binary = mem::take(&mut self.binary);
        if !binary.is_empty() && !self.has_told {
            self.tests.push((format!("{binary}: (starts)"), Outcome::Failed));
        }
    }

    fn end_test(&mut self) {
        self.in_failures = false;
        self.result(Outcome::Failed);
    }

    fn result(&mut self, outcome: Outcome) {
        if let Some((name, skipped)) = mem::take(&mut self.running) {
            let outcome = match (outcome, skipped) {
                (Outcome::Passed, Some(why)) => Outcome::Skipped(why),
                (outcome, _) => outcome,
            };
            self.tests.push((name, outcome));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Console, Outcome};

    fn read(text: &str) -> Console {
        let mut console = Console::default();
        text.lines().for_each(|line| console.line(line));
        console
    }

    #[test]
    fn each_test_comes_out_as_it_says() {
        let console = read(
            "\
=== calls

running 3 tests
test good ... ok
test absent ... SKIP absent: UNSUPPORTED mseal 38
ok
test long ... ignored, takes a minute
test bad ... a line of a victim
FAILED

failures:

---- bad stdout ----
it went wrong

failures:
    bad

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out
=== names
test good ... ok
=== the end",
        );
        assert!(console.ended);
        let expected = [
            ("calls: good", Outcome::Passed),
            ("calls: absent", Outcome::Skipped("UNSUPPORTED mseal 38".to_owned())),
            ("calls: bad", Outcome::Failed),
            ("names: good", Outcome::Passed),
        ];
        assert_eq!(console.tests, expected.map(|(name, outcome)| (name.to_owned(), outcome)));
        assert!(console.failures.iter().any(|line| line == "it went wrong"));
    }

    #[test]
    fn a_binary_that_tells_of_nothing_has_failed() {
        let console = read(
            "=== calls\nsh: /tests/calls: not found\n=== names\ntest result: ok. 0 passed\n=== the end",
        );
        assert_eq!(console.tests, [("calls: (starts)".to_owned(), Outcome::Failed)]);
    }

    #[test]
    fn a_test_without_a_result_has_failed() {
        let mut console = read("=== calls\ntest hangs ... ");
        console.stop();
        assert!(!console.ended);
        assert_eq!(console.tests, [("calls: hangs".to_owned(), Outcome::Failed)]);
    }
}

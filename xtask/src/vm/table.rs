//! One table of all kernels: which test came out how on which.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::tally::Tally;

use super::{
    console::{Console, Outcome},
    kernels::{EXACT_ONLY, Kernel, ROOTLESS, Skip, Tier},
};

/// What was found on one kernel.
#[derive(Debug)]
pub(crate) struct Column {
    /// Its release.
    pub(crate) release: String,
    tests: BTreeMap<String, Cell>,
    /// What went wrong beside the tests.
    pub(crate) trouble: Option<String>,
}

/// How one test came out on one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cell {
    Passed,
    Failed,
    Skipped(String),
    /// Skipped, and the list does not say that it may.
    Unexpected(String),
}

impl Cell {
    fn of(name: &str, outcome: Outcome, kernel: &Kernel) -> Self {
        match outcome {
            Outcome::Passed => Self::Passed,
            Outcome::Failed => Self::Failed,
            Outcome::Skipped(why) => {
                let is = |&(test, part): &Skip| {
                    name.rsplit(' ').next() == Some(test) && why.contains(part)
                };
                // These are listed where they are left out, and counted there.
                let listed = kernel.tier == Tier::Degraded && why.starts_with(EXACT_ONLY);
                if listed || kernel.skips.iter().chain(ROOTLESS).any(is) {
                    Self::Skipped(why)
                } else {
                    Self::Unexpected(why)
                }
            }
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "FAILED",
            Self::Skipped(_) => "skipped",
            Self::Unexpected(_) => "SKIPPED",
        }
    }

    fn tally(&self) -> Tally {
        match self {
            Self::Passed => Tally::PASSED,
            Self::Failed | Self::Unexpected(_) => Tally::FAILED,
            Self::Skipped(_) => Tally::LEFT_OUT,
        }
    }
}

impl Column {
    /// From the console of a machine that ran `kernel`.
    pub(crate) fn of(kernel: &Kernel, release: String, console: Console, off: bool) -> Self {
        let trouble = match (off, console.ended) {
            (true, true) => None,
            (true, false) => Some("the machine ended in the middle"),
            (false, _) => Some("the time was up"),
        };
        let cell = |(name, outcome): (String, Outcome)| {
            let cell = Cell::of(&name, outcome, kernel);
            (name, cell)
        };
        Self {
            release,
            tests: console.tests.into_iter().map(cell).collect(),
            trouble: trouble.map(str::to_owned),
        }
    }

    /// A kernel that was not even booted.
    pub(crate) fn broken(kernel: &Kernel, why: String) -> Self {
        Self { release: kernel.name.to_owned(), tests: BTreeMap::new(), trouble: Some(why) }
    }

    /// Adds what another machine ran of the same kernel.
    pub(crate) fn join(&mut self, other: Self) {
        let Self { release, tests, trouble } = other;
        if self.tests.is_empty() {
            self.release = release;
        }
        self.tests.extend(tests);
        let both = self.trouble.take().into_iter().chain(trouble).collect::<Vec<_>>();
        self.trouble = (!both.is_empty()).then(|| both.join("; "));
    }

    /// How many came to which end.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        self.tests.values().for_each(|cell| tally += cell.tally());
        if self.trouble.is_some() {
            tally += Tally::FAILED;
        }
        tally
    }
}

/// Prints how each test came out, why those that skipped did, and the counts.
pub(crate) fn print(columns: &[Column]) -> Tally {
    let mut rows: BTreeMap<&str, Vec<Option<&Cell>>> = BTreeMap::new();
    for (at, column) in columns.iter().enumerate() {
        for (name, cell) in &column.tests {
            rows.entry(name).or_insert_with(|| vec![None; columns.len()])[at] = Some(cell);
        }
    }
    let width = rows.keys().map(|name| name.len()).max().unwrap_or(0);
    let widths: Vec<_> = columns.iter().map(|column| column.release.len().max(7)).collect();
    let print = |name: &str, words: &[&str]| {
        let mut line = format!("{name:width$}");
        for (word, width) in words.iter().zip(&widths) {
            // Writing to a string cannot fail.
            _ = write!(line, "  {word:width$}");
        }
        println!("{}", line.trim_end());
    };
    println!();
    print("", &columns.iter().map(|column| column.release.as_str()).collect::<Vec<_>>());
    for (name, cells) in &rows {
        let words: Vec<_> = cells.iter().map(|cell| cell.map_or("-", Cell::word)).collect();
        print(name, &words);
    }
    println!();
    print_reasons(&rows);
    let mut all = Tally::default();
    for column in columns {
        let tally = column.tally();
        let trouble = column.trouble.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
        println!("{}: {tally}{trouble}", column.release);
        all += tally;
    }
    all
}

/// Each reason with the tests that gave it.
fn print_reasons(rows: &BTreeMap<&str, Vec<Option<&Cell>>>) {
    let mut reasons: BTreeMap<(bool, &str), Vec<&str>> = BTreeMap::new();
    for (name, cells) in rows {
        for cell in cells.iter().flatten() {
            let (expected, why) = match cell {
                Cell::Skipped(why) => (true, why),
                Cell::Unexpected(why) => (false, why),
                Cell::Passed | Cell::Failed => continue,
            };
            let tests = reasons.entry((expected, why)).or_default();
            if !tests.contains(name) {
                tests.push(name);
            }
        }
    }
    for ((expected, why), tests) in &reasons {
        let word = if *expected { "skipped" } else { "SKIPPED, which is not expected" };
        println!("{word}: {why}");
        for name in tests {
            println!("    {name}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::kernels::KERNELS;

    #[test]
    fn a_skip_that_is_not_listed_is_a_failure() {
        let kernel = |tier| KERNELS.iter().find(|kernel| kernel.tier == tier).expect("one of each");
        let tally = |tier, name: &str, why: &str| {
            Cell::of(name, Outcome::Skipped(why.to_owned()), kernel(tier)).tally()
        };
        let (listed, part) = ROOTLESS[0];
        let listed = format!("file: {listed}");
        assert_eq!(tally(Tier::Exact, &listed, &format!("{part}, say")), Tally::LEFT_OUT);
        assert_eq!(tally(Tier::Exact, &listed, "another reason"), Tally::FAILED);
        assert_eq!(tally(Tier::Exact, "file: another_test", part), Tally::FAILED);
        assert_eq!(tally(Tier::Exact, "file: another_test", EXACT_ONLY), Tally::FAILED);
        assert_eq!(tally(Tier::Degraded, "file: another_test", EXACT_ONLY), Tally::LEFT_OUT);
    }
}

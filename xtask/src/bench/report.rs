//! What benchmarks found, as Markdown.

use std::fmt::{self, Write as _};

/// One part of the report: a heading, what was done, and a table of it.
#[derive(Debug)]
pub(crate) struct Section {
    title: &'static str,
    about: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    below: Option<String>,
}

impl Section {
    /// A section whose table has these columns.
    pub(crate) fn new(
        title: &'static str,
        about: impl Into<String>,
        head: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let head = head.into_iter().map(Into::into).collect();
        Self { title, about: about.into(), head, rows: Vec::new(), below: None }
    }

    /// Puts a paragraph below the table.
    pub(crate) fn below(self, text: String) -> Self {
        Self { below: Some(text), ..self }
    }

    /// Adds a row; what it lacks stays empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let mut cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        cells.resize(self.head.len(), String::new());
        self.rows.push(cells);
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |cells: &[String]| {
            cells.iter().fold("|".to_owned(), |mut line, cell| {
                let _ = write!(line, " {} |", cell.replace('|', "\\|"));
                line
            })
        };
        writeln!(f, "## {}\n\n{}\n", self.title, self.about)?;
        writeln!(f, "{}\n|{}", line(&self.head), "---|".repeat(self.head.len()))?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{}", line(row)))?;
        self.below.iter().try_for_each(|text| writeln!(f, "\n{text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Section;

    #[test]
    fn a_table_has_all_its_cells() {
        let mut section = Section::new("Title", "About.", ["a", "b"]);
        section.row(["1|2"]);
        assert_eq!(
            section.to_string(),
            "## Title\n\nAbout.\n\n| a | b |\n|---|---|\n| 1\\|2 |  |\n"
        );
    }
}

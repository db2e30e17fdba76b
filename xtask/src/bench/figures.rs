//! Figures of several runs: their median and their spread.

use std::fmt;

/// What one quantity came to in each round, in the order of the rounds.
#[derive(Debug, Default, Clone)]
pub(crate) struct Figures(Vec<f64>);

impl Figures {
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The middle one, or NaN if there are none.
    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Each divided by that of the same round of `base`, so that what slows the machine for a while
    /// slows both.
    pub(crate) fn ratios(&self, base: &Self) -> Self {
        Self(self.0.iter().zip(&base.0).map(|(figure, base)| figure / base).collect())
    }

    /// Each less that of the same round of `base`.
    pub(crate) fn differences(&self, base: &Self) -> Self {
        Self(self.0.iter().zip(&base.0).map(|(figure, base)| figure - base).collect())
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

impl FromIterator<f64> for Figures {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        Self(figures.into_iter().collect())
    }
}

/// `median (least-most)`, or a dash for none. The precision is that of the format, else it gives
/// three digits that tell something.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sorted = self.sorted();
        let (Some(least), Some(most)) = (sorted.first(), sorted.last()) else {
            return f.pad("-");
        };
        let median = self.median();
        let digits = f.precision().unwrap_or(match median.abs() {
            0.0..10.0 => 2,
            10.0..100.0 => 1,
            _ => 0,
        });
        write!(f, "{median:.digits$} ({least:.digits$}-{most:.digits$})")
    }
}

#[cfg(test)]
mod tests {
    use super::Figures;

    #[test]
    fn the_middle_and_the_spread() {
        let figures: Figures = [3.0, 1.0, 2.0].into_iter().collect();
        assert_eq!(figures.to_string(), "2.00 (1.00-3.00)");
        assert_eq!(format!("{figures:.0}"), "2 (1-3)");
        assert_eq!(Figures::default().to_string(), "-");
    }

    #[test]
    fn rounds_are_compared_with_themselves() {
        let base: Figures = [1.0, 2.0].into_iter().collect();
        let twice: Figures = [2.0, 4.0].into_iter().collect();
        assert_eq!(twice.ratios(&base).to_string(), "2.00 (2.00-2.00)");
        assert_eq!(format!("{:.0}", twice.differences(&base)), "2 (1-2)");
    }
}

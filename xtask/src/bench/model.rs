//! How the time that the model takes for an event grows with the number of regions.

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use super::{Bench, command::run, report::Section};
use crate::workspace::cargo;

/// Events that one iteration of the bench brings.
const EVENTS: f64 = 6.0;

/// One section, with a plot. The rounds are those of the bench itself.
pub(super) fn sections(_: &Bench) -> Result<Vec<Section>> {
    eprintln!("the model");
    let printed = run(&mut cargo(&["bench", "-q", "-p", "mmaptrace", "--bench", "model"]))?.out;
    let medians: Vec<_> = printed.lines().filter_map(median).collect();
    ensure!(!medians.is_empty(), "cargo bench printed no medians");
    let mut section = Section::new(
        "applying alone",
        "`cargo bench --bench model`: three commits and three calls that map, protect and unmap a page.",
        ["regions", "ns an event", "million events a second"],
    );
    for (regions, nanos) in &medians {
        section.row([regions.clone(), format!("{nanos:.0}"), format!("{:.1}", 1e3 / nanos)]);
    }
    let (regions, nanos): (Vec<_>, Vec<_>) = medians.into_iter().unzip();
    let nanos: Vec<_> = nanos.iter().map(|nanos| format!("{nanos:.0}")).collect();
    let mut plot = String::new();
    write!(
        plot,
        "```mermaid\nxychart-beta\n    title \"ns an event\"\n    x-axis \"regions\" [{}]\n    \
         y-axis \"ns\" 0 --> {}\n    line [{}]\n```",
        regions.join(", "),
        nanos.iter().filter_map(|nanos| nanos.parse::<u64>().ok()).max().unwrap_or(0) * 2,
        nanos.join(", "),
    )?;
    Ok(vec![section.below(plot)])
}

/// The regions and the median of a line, in ns an event:
/// `├─ 100  580.4 ns │ 640.7 ns │ 608.1 ns │ ...`, of which the third is the median.
fn median(line: &str) -> Option<(String, f64)> {
    let line = line.trim_start_matches(['├', '╰', '─', ' ']);
    let (regions, times) = line.split_once(' ')?;
    regions.parse::<u64>().ok()?;
    let (number, unit) = times.split('│').nth(2)?.trim().split_once(' ')?;
    let scale = match unit {
        "ns" => 1.0,
        "µs" => 1e3,
        "ms" => 1e6,
        _ => return None,
    };
    Some((regions.to_owned(), number.parse::<f64>().ok()? * scale / EVENTS))
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians_of_divan() {
        let line =
            "   ├─ 1000   600.7 ns      │ 27.33 µs      │ 650.4 ns      │ 919.5 ns      │ 100";
        let (regions, nanos) = median(line).expect("a median");
        assert_eq!((regions.as_str(), nanos.round()), ("1000", 108.0));
        assert_eq!(median("   │         11.32 Mitem/s │ 977.4 Kitem/s │ 10.89 Mitem/s"), None);
        assert_eq!(median("╰─ apply                   │               │"), None);
    }
}

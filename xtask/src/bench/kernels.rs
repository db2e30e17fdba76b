//! What tracing costs on kernels whose lock tells of more: there its tracepoint makes a string first
//! (up to 6.12), and page faults take it (before 6.4). Machines that are emulated tell no time, but
//! how many instructions things take.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::{Bench, report::Section};
use crate::vm;

/// The kernels.
const KERNELS: [&str; 3] = ["6.1", "6.12", "newest"];

/// Loads of a process that is not traced, and of one that is.
const OTHERS: [&str; 3] = ["getppid", "fault", "pair"];
const TRACED: [&str; 2] = ["pair", "mixed"];

/// What is printed before each figure: who is traced, and the load.
const SCRIPT: &str = "\
(sleep 1000 | load regions 1000 > /dev/null) &
sleep 1
idle=$(pidof load)
others() {
    echo figure $1 getppid $(load getppid 20000)
    echo figure $1 fault $(load fault 20000)
    echo figure $1 pair $(load pair 5000)
}
beside() {
    way=$1; shift
    mmaptrace -q --history 0 -o /dev/null -p $idle \"$@\" & tracer=$!
    sleep 5
    others $way
    kill -INT $tracer
    wait $tracer
}
traced() {
    way=$1; shift
    for load in 'pair 5000' 'mixed 6000'; do
        echo figure $way $load $(mmaptrace -q --history 0 -o /dev/null \"$@\" -- load $load)
    done
}
others bare
echo figure bare mixed $(load mixed 6000)
beside low --low-overhead
beside full
traced itself-low --low-overhead
traced itself
";

/// One section: instructions, kernel by kernel.
pub(super) fn sections(_: &Bench) -> Result<Vec<Section>> {
    let mut section = Section::new(
        "other kernels",
        "Instructions that an operation takes, all of them of the process that does it, in an emulated machine \
         (`qemu -icount`). The others: of a process that is not traced, while another is.",
        ["", "kernel", "bare", "`--low-overhead`", "`mmaptrace`", "more"],
    );
    eprintln!("other kernels");
    for (release, lines) in vm::counted(&KERNELS, SCRIPT)? {
        let figures = figures(&lines);
        let mut row = |what: &str, load: &str, ways: [&str; 2]| {
            let figure = |way: &str| {
                let figure = figures.get(&(way.to_owned(), load.to_owned()));
                figure.copied().with_context(|| format!("{release} did not count {way} {load}"))
            };
            let (bare, low, full) = (figure("bare")?, figure(ways[0])?, figure(ways[1])?);
            section.row([
                format!("{what} `{load}`"),
                release.clone(),
                format!("{bare:.0}"),
                format!("{low:.0} ({:+.1} %)", (low / bare - 1.0) * 100.0),
                format!("{full:.0} ({:+.1} %)", (full / bare - 1.0) * 100.0),
                format!("{:+.0}", full - bare),
            ]);
            anyhow::Ok(())
        };
        OTHERS.iter().try_for_each(|load| row("others:", load, ["low", "full"]))?;
        TRACED.iter().try_for_each(|load| row("traced:", load, ["itself-low", "itself"]))?;
    }
    Ok(vec![section])
}

/// Instructions an operation of CPU time, by who is traced and by load.
fn figures(lines: &[String]) -> BTreeMap<(String, String), f64> {
    let figure = |line: &String| {
        let words: Vec<_> = line.strip_prefix("figure ")?.split(' ').collect();
        // Of the traced the number of operations stands there, too.
        let ([way, load, ..], [.., cpu]) = (&words[..], &words[..]) else { return None };
        Some((((*way).to_owned(), (*load).to_owned()), cpu.parse().ok()?))
    };
    lines.iter().filter_map(figure).collect()
}

#[cfg(test)]
mod tests {
    use super::figures;

    #[test]
    fn the_last_number_counts() {
        let lines = ["figure bare pair 12.0 11.5", "noise", "figure itself pair 5000 40.0 30.5"];
        let figures: Vec<_> = figures(&lines.map(str::to_owned))
            .into_iter()
            .map(|((way, load), figure)| format!("{way} {load} {figure}"))
            .collect();
        assert_eq!(figures, ["bare pair 11.5", "itself pair 30.5"]);
    }
}

//! What tracing one process costs all others.

use std::{process::Command, thread::sleep, time::Duration};

use anyhow::{Result, ensure};

use super::{
    Bench,
    command::{Background, run},
    contestants::Contestant,
    figures::Figures,
    report::Section,
    times,
};

/// What another process does meanwhile, and how often.
const LOADS: [(&str, usize); 3] = [("getppid", 5_000_000), ("fault", 500_000), ("pair", 250_000)];

/// How long a tracer gets to attach: the peers do not say when they have.
const SETTLE: Duration = Duration::from_secs(3);

/// ns of CPU time an operation of each load took, round by round; or why there are none.
type Results = Result<[Figures; LOADS.len()]>;

/// One section: the contestants, each attached to a process that does nothing.
pub(super) fn sections(bench: &Bench) -> Result<Vec<Section>> {
    let own = Contestant::own(&bench.tool).into_iter().take(2);
    let contestants: Vec<_> =
        std::iter::once(Contestant::bare()).chain(own).chain(Contestant::peers()).collect();
    let mut results: Vec<Results> = contestants.iter().map(|_| Ok(Default::default())).collect();
    let idle = Background::until(Command::new(&bench.load).args(["regions", "1000"]), "mapped")?;
    for round in 1..=bench.rounds {
        for (contestant, results) in contestants.iter().zip(&mut results) {
            if let Ok(figures) = results {
                eprintln!("others, round {round}: {}", contestant.name);
                if let Err(error) = one(bench, contestant, &idle, figures) {
                    *results = Err(error);
                }
            }
        }
    }
    let mut section = Section::new(
        "what others pay",
        format!(
            "Each attached to an idle process of 1,000 regions, {} times each, in turn, while another process does \
             what it does. CPU time, against none attached in the same round.",
            bench.rounds
        ),
        ["", "getppid, ns more", "page fault", "mmap + munmap"],
    );
    let Ok(bare) = &results[0] else { return Ok(vec![section]) };
    for (contestant, results) in contestants.iter().zip(&results) {
        let name = format!("`{}`", contestant.name);
        section.row(match results {
            Ok([getppid, fault, pair]) => vec![
                name,
                format!("{:+.0}", getppid.differences(&bare[0])),
                format!("{:.3}", fault.ratios(&bare[1])),
                format!("{:.3}", pair.ratios(&bare[2])),
            ],
            Err(why) => vec![name, format!("not run: {why:#}")],
        });
    }
    Ok(vec![section])
}

fn one(
    bench: &Bench,
    contestant: &Contestant,
    idle: &Background,
    results: &mut [Figures],
) -> Result<()> {
    let mut command = contestant.attach(&bench.scratch.join("out"), idle.pid());
    let mut tracer = Background::start(&mut command)?;
    sleep(SETTLE);
    ensure!(contestant.gives.is_empty() || tracer.lives(), "it does not attach");
    for ((kind, operations), results) in LOADS.into_iter().zip(results) {
        results.push(times(&run(&mut bench.load(kind, operations, 1).0)?.out)?.1);
    }
    tracer.interrupt()?;
    Ok(())
}

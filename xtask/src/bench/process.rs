//! What attaching, asking and living beside a process take.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use super::{
    ATTACHED, Bench,
    command::{Background, Waiting, run},
    figures::Figures,
    report::Section,
    times,
};

/// As many regions as a process may have by default, nearly.
const REGIONS: &str = "60000";

pub(super) fn sections(bench: &Bench) -> Result<Vec<Section>> {
    Ok(vec![large(bench)?, asked(bench)?, at_rest(bench)?])
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// A process of many regions: attach, dump, detach, beside those who only read `/proc`.
fn large(bench: &Bench) -> Result<Section> {
    eprintln!("a process of {REGIONS} regions");
    let process =
        Background::until(Command::new(&bench.load).args(["regions", REGIONS]), "mapped")?;
    let pid = process.pid().to_string();
    let maps = format!("/proc/{pid}/maps");
    let (mut attach, mut detach, mut first) = <(Figures, Figures, Figures)>::default();
    let reads: [(&str, &[&str]); 4] = [
        ("mmaptrace dump", &["dump", &pid]),
        ("cat", &[&maps]),
        ("pmap", &[&pid]),
        ("pmap", &["-x", &pid]),
    ];
    let mut read = [const { Vec::new() }; 4];
    for _ in 0..bench.rounds {
        let began = Instant::now();
        let tracer =
            Background::until(Command::new(&bench.tool).args(["-v", "-p", &pid]), ATTACHED)?;
        attach.push(ms(began.elapsed()));
        for ((program, arguments), read) in reads.iter().zip(&mut read) {
            let mut command = match *program {
                "mmaptrace dump" => Command::new(&bench.tool),
                program => Command::new(program),
            };
            read.push(ms(run(command.args(*arguments))?.wall));
        }
        detach.push(ms(tracer.interrupt()?));
        let began = Instant::now();
        let command = Background::until(
            Command::new(&bench.tool).args([
                "--",
                bench.load.to_str().unwrap_or_default(),
                "regions",
                "1",
            ]),
            "mmap",
        )?;
        first.push(ms(began.elapsed()));
        drop(command);
    }
    let mut section = Section::new(
        "a process of 60,000 regions",
        "From the start of a command to what is waited for, or to its end.",
        ["", "ms"],
    );
    section.row(["`mmaptrace -p PID` until it follows", &attach.to_string()]);
    for ((program, arguments), read) in reads.iter().zip(read) {
        let what = if arguments.contains(&"-x") { " -x" } else { "" };
        let read: Figures = read.into_iter().collect();
        section.row([format!("`{program}{what}`"), read.to_string()]);
    }
    section.row(["detaching: ^C until it has ended", &detach.to_string()]);
    section.row(["`mmaptrace -- CMD` until the first call is shown", &first.to_string()]);
    Ok(section)
}

/// What being asked ten times a second costs a process of many regions.
fn asked(bench: &Bench) -> Result<Section> {
    const ASKED: [(&str, bool, &str); 5] = [
        ("nothing", false, ""),
        ("traced, nothing asked", true, ""),
        ("traced, `mmaptrace dump`", true, "\"$1\" dump \"$2\""),
        ("`cat /proc/PID/maps`", false, "cat \"/proc/$2/maps\""),
        ("`pmap -x`", false, "pmap -x \"$2\""),
    ];
    let mut taken = ASKED.map(|_| Figures::default());
    for round in 1..=bench.rounds {
        for ((name, traced, asking), taken) in ASKED.into_iter().zip(&mut taken) {
            eprintln!("asked, round {round}: {name}");
            taken.push(one_asked(bench, traced, asking)?);
        }
    }
    let mut section = Section::new(
        "a process that is looked at",
        format!(
            "`load pair` in a process of {REGIONS} regions, which is asked for them ten times a second, or as often as \
             can be; {} times each, in turn.",
            bench.rounds
        ),
        ["", "ns, on the wall", "against nothing", "against traced"],
    );
    for ((name, traced, _), figures) in ASKED.iter().zip(&taken) {
        section.row([
            (*name).to_owned(),
            format!("{figures:.0}"),
            format!("{:.2}", figures.ratios(&taken[0])),
            if *traced { format!("{:.2}", figures.ratios(&taken[1])) } else { String::new() },
        ]);
    }
    Ok(section)
}

fn one_asked(bench: &Bench, traced: bool, asking: &str) -> Result<f64> {
    let mut load = bench.load("pair", 300_000, 1).0;
    let load = Waiting::start(load.env("LOAD_REGIONS", REGIONS))?;
    let pid = load.pid().to_string();
    let mut tool = Command::new(&bench.tool);
    tool.args(["-v", "-p", &pid, "-o", "/dev/null"]);
    let tracer = traced.then(|| Background::until(&mut tool, ATTACHED)).transpose()?;
    let mut shell = Command::new("sh");
    let asking = format!("while sleep 0.1; do {asking}; done");
    shell.args(["-c", &asking, "sh"]).arg(&bench.tool).arg(&pid);
    let asker = Background::start(&mut shell)?;
    let (wall, _) = times(&load.go()?)?;
    drop((asker, tracer));
    Ok(wall)
}

/// What the tracer uses: time while nothing happens, memory while much does.
fn at_rest(bench: &Bench) -> Result<Section> {
    const IDLE: Duration = Duration::from_secs(10);
    eprintln!("the tracer at rest and at work");
    let mut section =
        Section::new("what the tracer uses", "One process of 1,000 regions.", ["", ""]);
    let process = Background::until(Command::new(&bench.load).args(["regions", "1000"]), "mapped")?;
    let mut tool = Command::new(&bench.tool);
    let tracer = Background::until(tool.args(["-v", "-p", &process.pid().to_string()]), ATTACHED)?;
    thread::sleep(IDLE / 10);
    let before = tracer.cpu_time()?;
    thread::sleep(IDLE);
    let used = tracer.cpu_time()?.saturating_sub(before);
    tracer.interrupt()?;
    section.row([
        format!("CPU time in {} idle seconds, ms", IDLE.as_secs()),
        format!("{:.0}", ms(used)),
    ]);
    let start = run(Command::new(&bench.tool).args(["-q", "-o", "/dev/null", "--", "/bin/true"]))?;
    section.row([
        "most memory of one that starts and ends, the ring included, MiB".to_owned(),
        format!("{:.1}", start.memory as f64 / f64::from(1 << 20)),
    ]);
    for history in ["0", "64M"] {
        for operations in [200_000, 2_000_000] {
            let (mut load, operations) = bench.load("pair", operations, 1);
            let load = Waiting::start(load.env("LOAD_REGIONS", "1000"))?;
            let mut tool = Command::new(&bench.tool);
            tool.args(["-v", "--history", history, "-o", "/dev/null"]);
            tool.args(["-p", &load.pid().to_string()]);
            // Once it is there: to load the programs takes more for a moment.
            let mut tool = Background::until(&mut tool, ATTACHED)?;
            let load = thread::spawn(|| load.go());
            let mut most = 0;
            while tool.lives() {
                most = most.max(tool.memory_without_ring().unwrap_or_default());
                thread::sleep(Duration::from_millis(20));
            }
            load.join().map_err(|_| anyhow!("the thread panicked"))??;
            section.row([
                format!(
                    "most memory beside the ring, {} calls, `--history {history}`, MiB",
                    2 * operations
                ),
                format!("{:.1}", most as f64 / f64::from(1 << 20)),
            ]);
        }
    }
    Ok(section)
}

//! The one course of most tests: cases of the victim, traced, compared, and their trace judged.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;

use crate::{Outcome, Scratch, Trace, Tracer, Victim, assert_exact, maps, skip};

/// Cases of the victim that one tracer sees, one doing its work after the other: on an emulated
/// kernel it takes far longer to start a tracer than to run a case.
#[derive(Debug)]
pub struct Cases {
    all: &'static [Case],
    /// How they came out, in the same order, once one of their tests has run them.
    ends: OnceLock<Vec<End>>,
}

/// A case by its name, and what its trace has to tell of: calls of a name, lines of a type, or commits of
/// a cause that is no call.
type Case = (&'static str, &'static [&'static str]);

/// How a case came out.
#[derive(Clone, Debug)]
enum End {
    Passed,
    /// The kernel lacks its call, as it said.
    Skipped(String),
    /// Why.
    Failed(String),
}

impl Cases {
    /// Cases that run together.
    pub const fn new(all: &'static [Case]) -> Self {
        Self { all, ends: OnceLock::new() }
    }

    /// Attaches to all cases of `victim`, following their children, lets each do its work, and
    /// holds that the dumps of it and of its children equal `/proc/PID/maps`; that nothing was
    /// lost, healed or in doubt, nor found by a later reading only; that the effects told fit one
    /// another and lead to what maps says; and that there is a line for each thing that has to be
    /// told.
    ///
    /// The first test of these cases does so for all. A case that this kernel lacks is held to all
    /// but the last, and said to be skipped.
    ///
    /// # Panics
    /// If any of it does not hold for the case of this name, or if there is none.
    pub fn check(&self, victim: &Path, name: &str) {
        let ends = self.ends.get_or_init(|| run_all(victim, self.all));
        let at = self.all.iter().position(|(case, _)| *case == name).expect("one of these cases");
        match &ends[at] {
            End::Passed => {}
            End::Skipped(why) => skip(name, why),
            End::Failed(why) => panic!("{name}: {why}"),
        }
    }
}

/// A case that stands still, ready or done, or that came to its end.
type Staged<T> = Result<T, End>;

fn run_all(program: &Path, cases: &[Case]) -> Vec<End> {
    let start = |&(name, _): &Case| {
        let scratch = Scratch::new();
        let started = attempt(|| Victim::start_if_supported(program, name, &[scratch.path()]))?;
        Ok((started.map_err(End::Skipped)?, scratch))
    };
    let mut victims: Vec<Staged<(Victim, Scratch)>> = cases.iter().map(start).collect();
    let pids: Vec<_> = victims.iter().flatten().map(|(victim, _)| victim.pid()).collect();
    if pids.is_empty() {
        return victims.into_iter().filter_map(Result::err).collect();
    }
    let tracer = attempt(|| Tracer::attach_all(&pids, &["-f"]));
    let work = |victim: &mut Staged<(Victim, Scratch)>| {
        let (victim, _) = victim.as_mut().map_err(|end| end.clone())?;
        tracer.as_ref().map_err(End::clone)?;
        attempt(|| Worked::of(victim))
    };
    let worked: Vec<Staged<Worked>> = victims.iter_mut().map(work).collect();
    let finished = tracer.and_then(|tracer| {
        attempt(|| {
            let trace = tracer.finish();
            let replay = trace.replay();
            (trace, replay)
        })
    });
    let mut finished = finished.map(|(trace, replay)| {
        let clean = attempt(|| trace.assert_clean());
        (trace, replay, clean)
    });
    let judge = |(worked, (_, tells)): (Staged<Worked>, &Case)| {
        let worked = worked?;
        let (trace, replay, clean) = finished.as_mut().map_err(|end| end.clone())?;
        let end = attempt(|| {
            replay.assert_leads_to(worked.pid, &worked.maps);
            worked.judge(trace, tells)
        })?;
        clean.clone().and(Ok(end))
    };
    let ends = worked.into_iter().zip(cases).map(judge);
    ends.map(|end: Staged<End>| end.unwrap_or_else(|end| end)).collect()
}

/// What a case has done.
struct Worked {
    pid: u32,
    outcome: Outcome,
    /// `/proc/PID/maps` after it.
    maps: Vec<u8>,
}

impl Worked {
    fn of(victim: &mut Victim) -> Self {
        let (pid, outcome) = (victim.pid(), victim.work());
        assert_exact(pid);
        for &child in &victim.children {
            assert_exact(child);
        }
        Self { pid, outcome, maps: maps(pid) }
    }

    /// Holds what the trace tells of it against what it has to tell.
    fn judge(self, trace: &Trace, tells: &[&str]) -> End {
        let family = trace.family(self.pid);
        // A reading in the middle of an exec tells of the new image before the exec does.
        let execs = family.iter().filter(|line| line["type"] == "exec");
        let images: BTreeSet<_> = execs.map(|line| line["space"].as_u64()).collect();
        // What the kernel has left out is counted, and found so.
        if trace.left_out() == 0 {
            let others = family.iter().filter(|line| !images.contains(&line["space"].as_u64()));
            others.for_each(|line| assert_corrects_nothing(line));
        }
        match self.outcome {
            Outcome::Done => {
                for &name in tells {
                    let told = family.iter().any(|line| tells_of(line, name));
                    assert!(told, "no line tells of {name}");
                }
                End::Passed
            }
            Outcome::Unsupported { call, errno } => {
                End::Skipped(format!("UNSUPPORTED {call} {errno}"))
            }
        }
    }
}

/// Whether a line is of a type, of a call of a name, or a commit of a cause that no type is named after.
/// What was there before is told by a commit as well, which does not count.
fn tells_of(line: &Value, name: &str) -> bool {
    let is_cause = matches!(name, "growth" | "kernel" | "worker");
    let call = line["type"] == "call" && line["call"]["name"] == name;
    let cause = line["type"] == "commit" && is_cause && line["cause"] == name;
    call || cause || line["type"] == name && line["cause"] != "seed"
}

/// Holds that a line is not of a reading that found what no commit had told of, but for the names of
/// files, which others may have changed, and for what a thread is about to tell: an unmapping takes
/// regions away, lets readers in, and tells of it when it is done.
fn assert_corrects_nothing(line: &Value) {
    if line["type"] != "commit" || line["cause"] != "seed" {
        return;
    }
    let nameless = |side: &Value| {
        let mut side = side.clone();
        side["name"] = Value::Null;
        side
    };
    for effect in line["effects"].as_array().expect("effects") {
        let name_only =
            effect["kind"] == "changed" && nameless(&effect["old"]) == nameless(&effect["new"]);
        let about_to_be_told = effect["kind"] == "removed";
        assert!(name_only || about_to_be_told, "only a later reading has found {effect}: {line}");
    }
}

/// What a piece of a test comes to.
fn attempt<T>(piece: impl FnOnce() -> T) -> Staged<T> {
    catch_unwind(AssertUnwindSafe(piece)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref().copied());
        End::Failed(text.unwrap_or("a panic").to_owned())
    })
}

/// One test for each case of the victim, of its name, with what its trace has to tell of. One
/// tracer sees all cases of a list that has a name, that of a static: see [`Cases`];
/// else each case has a tracer of its own.
#[macro_export]
macro_rules! cases {
    ($list:ident: $($case:ident: [$($tells:literal),*];)*) => {
        static $list: $crate::Cases = $crate::Cases::new(&[
            $((stringify!($case), &[$($tells),*]),)*
        ]);
        $(
            #[test]
            fn $case() {
                $crate::needs_root!(stringify!($case));
                $list.check($crate::victim_path!(), stringify!($case));
            }
        )*
    };
    ($($case:ident: [$($tells:literal),*];)*) => {$(
        #[test]
        fn $case() {
            const NAME: &str = stringify!($case);
            $crate::needs_root!(NAME);
            $crate::Cases::new(&[(NAME, &[$($tells),*])]).check($crate::victim_path!(), NAME);
        }
    )*};
}

//! The one course of most tests: a case of the victim, traced, compared, and its trace judged.

use std::path::Path;
use std::process::Command;

use crate::{Outcome, Scratch, Trace, Tracer, Victim, assert_exact, maps, skip};

/// Attaches to a case of `victim`, following its children, lets it do its work, and holds that
/// the dumps of it and of its children equal `/proc/PID/maps`; that nothing was lost, healed or
/// in doubt; that the effects told fit one another and lead to what maps says; and that there is a
/// line for each of `tells`: a call of that name, or a line of that type.
///
/// A case that this kernel lacks is held to all but the last, and said to be skipped.
///
/// # Panics
/// If any of it does not hold.
pub fn check_case(victim: &Path, case: &str, tells: &[&str]) {
    let scratch = Scratch::new();
    let mut victim = Victim::launch(Command::new(victim).arg(case).arg(scratch.path()));
    match victim.line().as_deref() {
        Some("READY") => {}
        Some(line) if line.starts_with("UNSUPPORTED ") => return skip(case, line),
        other => panic!("{case}: {other:?}"),
    }
    let tracer = Tracer::attach(victim.pid(), &["-f"]);
    let outcome = victim.work();
    assert_exact(victim.pid());
    for &child in &victim.children {
        assert_exact(child);
    }
    let trace = tracer.finish();
    trace.assert_clean();
    trace.assert_leads_to(victim.pid(), &maps(victim.pid()));
    match outcome {
        Outcome::Done => tells.iter().for_each(|name| assert_tells(&trace, name)),
        Outcome::Unsupported { call, errno } => skip(case, &format!("UNSUPPORTED {call} {errno}")),
    }
}

fn assert_tells(trace: &Trace, name: &str) {
    let told = trace.calls(name).chain(trace.of_type(name)).next();
    assert!(told.is_some(), "no line tells of {name}");
}

/// One test for each case of the victim, of its name, with what its trace has to tell of.
#[macro_export]
macro_rules! cases {
    ($($(#[$attribute:meta])* $case:ident: [$($tells:literal),*];)*) => {$(
        $(#[$attribute])*
        #[test]
        fn $case() {
            $crate::needs_root!(stringify!($case));
            $crate::check_case($crate::victim_path!(), stringify!($case), &[$($tells),*]);
        }
    )*};
}

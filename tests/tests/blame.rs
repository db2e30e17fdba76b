//! Blame: what is said of the past is what the program wrote down of it.

use std::collections::BTreeMap;
use std::path::Path;

use mmaptrace_tests::{
    Finished, Outcome, Scratch, Tracer, Victim, maps, mmaptrace, needs_root, run, skip, victim,
    victim_path,
};
use serde_json::Value;

/// The functions of the victim, the innermost first.
const CHAIN: [&str; 4] = ["stacks_leaf", "stacks_inner", "stacks_middle", "stacks_outer"];
const PAGE: u64 = 4096;

/// What the victim wrote down of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Deed {
    tid: u64,
    depth: usize,
    nr: i64,
    args: [u64; 6],
    result: i64,
}

impl Deed {
    fn parse(line: &str) -> Self {
        let words: Vec<_> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().expect("a number");
        Self {
            tid: number(0),
            depth: number(1) as usize,
            nr: number(2) as i64,
            args: std::array::from_fn(|at| number(3 + at)),
            result: words[9].parse().expect("a number"),
        }
    }

    /// Whether a line of JSON is of this deed.
    fn is(&self, line: &Value) -> bool {
        let raw: Vec<_> = self.args.iter().map(|arg| format!("{arg:#x}")).collect();
        let call = &line["call"];
        // Of six registers those that the call has.
        let count = call["args"].as_array().expect("arguments").len();
        let same = (0..count).all(|at| call["raw"][at] == raw[at].as_str());
        same && line["tid"] == self.tid && call["nr"] == self.nr
    }

    /// Holds that a stack is that of this deed.
    fn assert_stack(&self, stack: &Value) {
        let frames = stack["frames"].as_array().expect("frames");
        let names: Vec<_> =
            frames.iter().map(|frame| frame["symbol"].as_str().unwrap_or("?")).collect();
        assert_eq!(names[..self.depth], CHAIN[..self.depth], "{self:?}: {stack}");
        assert!(!CHAIN.contains(&names[self.depth]), "{self:?}: {stack}");
    }
}

fn deeds(scratch: &Scratch) -> Vec<Deed> {
    let log = std::fs::read_to_string(scratch.join("log")).expect("the victim's log");
    log.lines().map(Deed::parse).collect()
}

fn ask(args: &[&str]) -> Finished {
    let answer = run(&mut mmaptrace(args));
    assert_eq!(answer.code(), Some(0), "{args:?}: {}", answer.stderr);
    answer
}

/// The answer as JSON.
fn lines(args: &[&str]) -> Vec<Value> {
    let answer = ask(&[args, &["--format", "json"]].concat()).text();
    answer.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn of_type<'a>(lines: &'a [Value], name: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == name).collect()
}

/// Where a running tracer is asked.
fn socket(tracer: &mut Tracer) -> String {
    format!("/run/mmaptrace/{}.sock", tracer.process().pid())
}

/// A victim whose past is recorded.
struct Recorded {
    victim: Victim,
    scratch: Scratch,
    recorder: Tracer,
}

impl Recorded {
    /// Of a victim that gets the directory for its log.
    fn start(victim: impl Fn(&Path) -> Victim, options: &[&str]) -> Self {
        let scratch = Scratch::new();
        let victim = victim(scratch.path());
        let file = scratch.join("recording");
        let file = file.to_str().expect("a path");
        let args = [&["record", "-o", file], options].concat();
        let recorder = Tracer::attach_plainly(victim.pid(), &args);
        Self { victim, scratch, recorder }
    }

    fn file(&self) -> String {
        self.scratch.join("recording").to_str().expect("a path").to_owned()
    }

    /// Ends both.
    fn end(mut self) -> Scratch {
        self.victim.end();
        assert_eq!(self.recorder.process().wait().code(), Some(0), "{}", self.recorder.stderr());
        self.scratch
    }
}

/// What a page of the arena is, by the victim's own account.
#[derive(Clone, Debug, Default)]
struct Page {
    mapped: bool,
    prot: u64,
    created: Option<usize>,
    changed: Option<usize>,
    unmapped: Option<usize>,
    /// All deeds that were about it.
    about: Vec<usize>,
}

/// The arena, as the log tells it: private anonymous memory, no page of which leaves it.
fn account(deeds: &[Deed]) -> BTreeMap<u64, Page> {
    let [start, length, ..] = deeds[0].args;
    let mut pages: BTreeMap<u64, Page> = (start..start + length)
        .step_by(PAGE as usize)
        .map(|at| (at, Page { mapped: true, prot: 3, ..Page::default() }))
        .collect();
    for (index, deed) in deeds.iter().enumerate().skip(1) {
        let [at, length, third, _, to, _] = deed.args;
        let ok = deed.result >= 0;
        let from: Vec<_> = (at..at + length).step_by(PAGE as usize).collect();
        match deed.nr {
            libc::SYS_mmap => {
                for at in from {
                    let page = pages.get_mut(&at).expect("in the arena");
                    page.about.push(index);
                    *page = Page {
                        mapped: true,
                        prot: third,
                        created: Some(index),
                        changed: None,
                        unmapped: None,
                        about: std::mem::take(&mut page.about),
                    };
                }
            }
            libc::SYS_munmap => {
                for at in from {
                    let page = pages.get_mut(&at).expect("in the arena");
                    page.about.push(index);
                    if page.mapped {
                        page.mapped = false;
                        page.unmapped = Some(index);
                    }
                }
            }
            libc::SYS_mprotect => {
                for at in from {
                    let page = pages.get_mut(&at).expect("in the arena");
                    // It changes what comes before a hole, and fails there.
                    if !page.mapped {
                        break;
                    }
                    if page.prot != third {
                        (page.prot, page.changed) = (third, Some(index));
                        page.about.push(index);
                    } else if ok {
                        page.about.push(index);
                    }
                }
            }
            libc::SYS_mremap if ok => {
                let carried: Vec<_> = from.iter().map(|at| pages[at].clone()).collect();
                for at in &from {
                    let page = pages.get_mut(at).expect("in the arena");
                    page.about.push(index);
                    (page.mapped, page.unmapped) = (false, Some(index));
                }
                for (offset, old) in carried.into_iter().enumerate() {
                    let page = pages.get_mut(&(to + offset as u64 * PAGE)).expect("in the arena");
                    page.about.push(index);
                    *page = Page {
                        changed: Some(index),
                        unmapped: None,
                        about: std::mem::take(&mut page.about),
                        ..old
                    };
                }
            }
            _ => {}
        }
    }
    pages
}

/// Holds that what is said of every page of the arena is what the victim says.
fn assert_account(deeds: &[Deed], source: &[&str]) {
    for (at, page) in account(deeds) {
        let address = format!("{:x}", at + 0x123);
        let lines = lines(&[&["who", &address], source].concat());
        let [who] = of_type(&lines, "who")[..] else { panic!("one answer: {lines:?}") };
        assert_eq!(who["mapped"], page.mapped, "{page:?}: {who}");
        let said = |name: &str, expected: Option<usize>| match expected {
            Some(index) => {
                assert!(deeds[index].is(&who[name]), "{name}: {:?}: {who}", deeds[index]);
                deeds[index].assert_stack(&who[name]["stack"]);
            }
            None => assert!(who[name].is_null(), "{name}: {who}"),
        };
        if page.mapped {
            said("created", page.created);
            said("changed", page.changed);
        } else {
            said("unmapped", page.unmapped);
        }
        let commits = of_type(&lines, "commit");
        let mut about = page.about.iter().map(|index| &deeds[*index]).peekable();
        for call in of_type(&lines, "call") {
            if about.next_if(|deed| deed.is(call) && result(call) == deed.result).is_some() {
                continue;
            }
            // What was done to its neighbours, where that cut or joined the region it is in.
            let ids = call["commits"].as_array().expect("ids");
            let mut effects = commits
                .iter()
                .filter(|commit| ids.contains(&commit["id"]))
                .flat_map(|commit| commit["effects"].as_array().expect("effects"));
            let is_edge = |effect: &Value| effect["kind"] == "split" || effect["kind"] == "merged";
            assert!(effects.all(is_edge), "{at:x}: {call}");
        }
        assert_eq!(about.next(), None, "{at:x}: not told: {lines:#?}");
    }
}

/// What a call returned, as the register had it; an error is some negative number.
fn result(call: &Value) -> i64 {
    let text = call["result"].as_str().expect("a result");
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).expect("a number"),
        None if call["error"] == "ENOMEM" => -i64::from(libc::ENOMEM),
        None if call["error"] == "EFAULT" => -i64::from(libc::EFAULT),
        None if call["error"] == "EINVAL" => -i64::from(libc::EINVAL),
        None => text.parse().expect("a number"),
    }
}

/// Live, from a recording, and after the process is gone.
#[test]
fn who_says_of_each_page_what_the_program_wrote_down() {
    needs_root!("who_says_of_each_page_what_the_program_wrote_down");
    let mut recorded = Recorded::start(|log| victim!("deeds_logged", log), &["-U"]);
    let pid = recorded.victim.pid().to_string();
    let mut live = Tracer::attach(recorded.victim.pid(), &["-U"]);
    recorded.victim.work();
    let deeds = deeds(&recorded.scratch);
    assert_eq!(deeds.len(), 181);
    assert_account(&deeds, &["-p", &pid, "--socket", &socket(&mut live)]);
    live.finish().assert_clean();
    let file = recorded.file();
    let _scratch = recorded.end();
    assert_account(&deeds, &["-i", &file]);
    assert_account(&deeds, &["-i", &file, "-p", &pid, "--at", "exit"]);
}

/// With stacks it is one place in the program; without, what a thread of a name does.
#[test]
fn a_leak_is_the_first_line_of_the_report() {
    needs_root!("a_leak_is_the_first_line_of_the_report");
    for options in [&["-U"][..], &[]] {
        let mut recorded = Recorded::start(|log| victim!("deeds_leak", log), options);
        let pid = recorded.victim.pid().to_string();
        let mut live = Tracer::attach(recorded.victim.pid(), options);
        recorded.victim.work();
        let deeds = deeds(&recorded.scratch);
        assert_leak(&deeds, &["-p", &pid, "--socket", &socket(&mut live)], options);
        live.finish().assert_clean();
        let file = recorded.file();
        let _scratch = recorded.end();
        assert_leak(&deeds, &["-i", &file], options);
        let text = ask(&["report", "-i", &file]).text();
        let first = text.lines().nth(1).expect("a line after that of the heads");
        assert!(first.trim_start().starts_with("18.7M     300 "), "{text}");
        assert!(first.contains(" leaker: mmap rw-p anonymous"), "{text}");
        let folded = ask(&["report", "--folded", "-i", &file]).text();
        let first = folded.lines().next().expect("a line");
        assert!(first.ends_with(" 19660800"), "{folded}");
        let frames = "stacks_outer;stacks_middle;stacks_inner;stacks_leaf;";
        assert_eq!(first.contains(frames), !options.is_empty(), "{folded}");
    }
}

fn assert_leak(deeds: &[Deed], source: &[&str], options: &[&str]) {
    let report = lines(&[&["report"], source].concat());
    let sites = of_type(&report, "site");
    let leak = sites[0];
    assert_eq!((&leak["comm"], &leak["call"]), (&"leaker".into(), &"mmap".into()), "{leak}");
    assert_eq!((&leak["held"], &leak["regions"]), (&(300 << 16).into(), &300.into()), "{leak}");
    assert_eq!((&leak["peak"], &leak["mapped"]), (&leak["held"], &leak["regions"]), "{leak}");
    assert!(leak["lifetime"].is_null(), "{leak}");
    let churn = sites.iter().find(|site| site["churn"] == 100 * 2000 * PAGE);
    let churn = churn.expect("the churn, among the sites");
    assert_eq!((&churn["held"], &churn["regions"]), (&0.into(), &0.into()), "{churn}");
    assert_eq!((&churn["peak"], &churn["mapped"]), (&(2000 * PAGE).into(), &100.into()));
    assert!(churn["lifetime"]["mean"].as_u64() > Some(0), "{churn}");
    let most = sites.iter().max_by_key(|site| site["splits"].as_u64()).expect("sites");
    assert_eq!((&most["comm"], &most["call"]), (&"churner".into(), &"mprotect".into()));
    let [population] = of_type(&report, "population")[..] else { panic!("{report:?}") };
    assert!(population["regions"].as_u64() > Some(100), "{population}");
    if !options.is_empty() {
        let map = deeds.iter().find(|deed| deed.nr == libc::SYS_mmap).expect("a deed");
        for (site, depth) in [(leak, 4), (churn, 3), (most, 2)] {
            Deed { depth, ..map.clone() }.assert_stack(&site["stack"]);
        }
    }
}

/// Live, and from a recording.
#[test]
fn all_that_was_writable_and_executable_is_reported() {
    needs_root!("all_that_was_writable_and_executable_is_reported");
    let mut recorded = Recorded::start(|log| victim!("deeds_exposed", log), &["-U"]);
    let pid = recorded.victim.pid().to_string();
    let mut live = Tracer::attach(recorded.victim.pid(), &["-U"]);
    if let Outcome::Unsupported { call, errno } = recorded.victim.work() {
        return skip("deeds_exposed", &format!("UNSUPPORTED {call} {errno}"));
    }
    let deeds = deeds(&recorded.scratch);
    assert_exposed(&deeds, &["-p", &pid, "--socket", &socket(&mut live)]);
    live.finish().assert_clean();
    let file = recorded.file();
    let _scratch = recorded.end();
    assert_exposed(&deeds, &["-i", &file]);
    let text = ask(&["report", "--wx", "-i", &file]).text();
    for told in [": writable and executable at once\n", ": executable, then writable\n"] {
        assert!(text.contains(told), "{text}");
    }
    assert!(text.contains(" (READ_IMPLIES_EXEC)\n"), "{text}");
}

fn assert_exposed(deeds: &[Deed], source: &[&str]) {
    let report = lines(&[&["report", "--wx"], source].concat());
    let found = of_type(&report, "exposed");
    // By the number of the deed: how, and what made it the one and the other.
    let expected = [
        ("both", false, 0, 0),
        ("written_first", false, 1, 2),
        ("written_first", false, 3, 4),
        ("executed_first", false, 5, 6),
        ("both", true, 9, 9),
        ("implied", true, 10, 10),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, (how, implied, first, second)) in found.into_iter().zip(expected) {
        assert_eq!((&found["how"], &found["implied"]), (&how.into(), &implied.into()), "{found}");
        for (name, index) in [("first", first), ("second", second)] {
            let deed = &deeds[index];
            assert!(deed.is(&found[name]), "{deed:?}: {found}");
            deed.assert_stack(&found[name]["stack"]);
        }
        assert_eq!(found["region"]["size"], PAGE, "{found}");
    }
    let [shared] = of_type(&report, "shared")[..] else { panic!("{report:?}") };
    assert!(deeds[7].is(&shared["writable"]) && deeds[8].is(&shared["executable"]), "{shared}");
}

#[test]
fn what_was_never_writable_and_executable_is_not_reported() {
    needs_root!("what_was_never_writable_and_executable_is_not_reported");
    let mut recorded = Recorded::start(|log| victim!("deeds_leak", log), &[]);
    recorded.victim.work();
    let file = recorded.file();
    let _scratch = recorded.end();
    assert!(lines(&["report", "--wx", "-i", &file]).is_empty());
}

/// Between two moments, between a recording and another, and between a recording and now.
#[test]
fn a_difference_is_what_the_program_did_in_between() {
    needs_root!("a_difference_is_what_the_program_did_in_between");
    let mut recorded = Recorded::start(|log| victim!("deeds_between", log), &[]);
    let pid = recorded.victim.pid().to_string();
    let file = recorded.file();
    let before = now();
    recorded.victim.work();
    interrupt(recorded.recorder);
    let other = Scratch::new();
    let other_file = other.join("recording").to_str().expect("a path").to_owned();
    let args = ["record", "-o", &other_file];
    interrupt(Tracer::attach_plainly(recorded.victim.pid(), &args));
    let assert_difference = |source: &[&str]| {
        let lines = lines(&[&["diff", "--from", &before], source].concat());
        let [diff] = &lines[..] else { panic!("one line: {lines:?}") };
        let total = |name: &str| {
            let total = &diff["totals"][name];
            (total["regions"].as_u64(), total["bytes"].as_u64().map(|bytes| bytes / PAGE))
        };
        assert_eq!(total("added"), (Some(1), Some(5)), "{diff}");
        assert_eq!(total("removed"), (Some(1), Some(2)), "{diff}");
        assert_eq!(total("grown"), (Some(1), Some(6)), "{diff}");
        assert_eq!(total("protected"), (Some(1), Some(1)), "{diff}");
        for name in ["shrunk", "renamed", "replaced", "flagged"] {
            assert_eq!(total(name), (Some(0), Some(0)), "{name}: {diff}");
        }
        assert_eq!(
            diff["to"]["bytes"].as_u64(),
            diff["from"]["bytes"].as_u64().map(|it| it + 9 * PAGE)
        );
        // An edge on each side of the page with another protection.
        assert_eq!(diff["effects"].as_array().map(Vec::len), Some(6), "{diff}");
    };
    assert_difference(&["-i", &file]);
    assert_difference(&["-i", &file, "--to", "now"]);
    assert_difference(&["-i", &file, "--to", "now", "-p", &pid]);
    assert_difference(&["-i", &file, "-i", &other_file]);
    let text = ask(&["diff", "--from", &before, "-i", &file]).text();
    let totals = "1 added (20K), 1 removed (8K), 1 grown (24K), 1 re-protected (4K)";
    assert!(text.lines().any(|line| line == totals), "{text}");
    let same = ask(&["diff", "--from", &before, "--to", &before, "-i", &file]);
    assert!(same.text().contains("no difference"), "{}", same.text());
}

/// Of now, and of a process that is gone.
#[test]
fn beside_each_region_stands_who_made_it() {
    needs_root!("beside_each_region_stands_who_made_it");
    let mut recorded = Recorded::start(|log| victim!("deeds_between", log), &["-U"]);
    recorded.victim.work();
    let pid = recorded.victim.pid().to_string();
    let live = Tracer::attach(recorded.victim.pid(), &["-U"]);
    let maps = String::from_utf8_lossy(&maps(recorded.victim.pid())).into_owned();
    let deeds = deeds(&recorded.scratch);
    // All was there when this one came.
    let text = ask(&["dump", &pid, "--blame"]).text();
    assert!(text.lines().all(|line| line.ends_with("  before tracing began")), "{text}");
    live.finish().assert_clean();
    let file = recorded.file();
    let _scratch = recorded.end();
    let then = ["dump", &pid, "--blame", "-i", &file, "--at", "exit"];
    let text = ask(&then).text();
    let head = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let of_maps = maps.lines().filter(|line| !line.ends_with("[vsyscall]")).map(head);
    assert!(of_maps.eq(text.lines().map(head)), "{maps}\n{text}");
    let blame = lines(&then);
    let at = |address: u64| {
        let start = format!("{address:#x}");
        let found = blame.iter().find(|line| line["region"]["start"] == start.as_str());
        found.unwrap_or_else(|| panic!("no region at {start}: {blame:#?}"))
    };
    // The second and third mapping were there already; the fourth is new; the third is in three
    // parts, one of which has another protection.
    let [new, grown, protected] = [3, 5, 6].map(|index: usize| &deeds[index]);
    let region = at(new.args[0]);
    assert!(new.is(&region["created"]) && region["changed"].is_null(), "{region}");
    new.assert_stack(&region["created"]["stack"]);
    assert_eq!(region["parts"], 1, "{region}");
    let region = at(grown.args[0] - 3 * PAGE);
    assert!(grown.is(&region["created"]), "{region}");
    assert_eq!(region["parts"], 2, "what was there and what made it grow: {region}");
    let region = at(protected.args[0]);
    assert!(region["created"].is_null() && protected.is(&region["changed"]), "{region}");
    protected.assert_stack(&region["changed"]["stack"]);
    let line = text.lines().find(|line| line.starts_with(&format!("{:x}-", new.args[0])));
    let line = line.expect("its line");
    assert!(line.contains(" rw-p    20K ") && line.contains(&format!("{pid} victim: mmap(0x")));
}

/// This moment, as a recording tells it.
fn now() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after it");
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}

/// Ends a recorder, while what it records goes on.
fn interrupt(mut recorder: Tracer) {
    recorder.process().signal(libc::SIGINT);
    assert_eq!(recorder.process().wait().code(), Some(0), "{}", recorder.stderr());
}

/// One thread unmaps what another then writes to.
#[test]
fn a_crash_is_answered_with_who_took_the_memory_away() {
    needs_root!("a_crash_is_answered_with_who_took_the_memory_away");
    let mut recorded = Recorded::start(|log| victim!("deeds_crash", log), &["-U"]);
    let pid = recorded.victim.pid();
    recorded.victim.go();
    let status = recorded.victim.process().wait();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGSEGV));
    let [deed] = &deeds(&recorded.scratch)[..] else { panic!("one deed") };
    let file = recorded.file();
    assert_eq!(
        recorded.recorder.process().wait().code(),
        Some(0),
        "{}",
        recorded.recorder.stderr()
    );
    let address = format!("{:x}", deed.args[0] + 0x1234);
    let lines = lines(&["who", &address, "-i", &file]);
    let [who] = of_type(&lines, "who")[..] else { panic!("one answer: {lines:?}") };
    assert_eq!((&who["mapped"], &who["process"]["pid"]), (&false.into(), &pid.into()), "{who}");
    assert!(deed.is(&who["unmapped"]), "{who}");
    deed.assert_stack(&who["unmapped"]["stack"]);
    assert_eq!(who["end"]["status"]["signal"], "SIGSEGV", "{who}");
    let text = ask(&["who", &address, "-i", &file]).text();
    let said: Vec<_> = text.lines().take(4).collect();
    assert!(said[0].starts_with(&address) && said[0].ends_with(": not mapped"), "{text}");
    assert!(said[1].starts_with("  unmapped "), "{text}");
    assert!(said[1].contains(" before it was killed by SIGSEGV, "), "{text}");
    let by = format!("by thread {} worker-2: munmap(0x{:x}, 16384), ", deed.tid, deed.args[0]);
    assert!(said[2].contains(&by), "{text}");
    assert!(said[3].trim_start().starts_with("stacks_leaf"), "{text}");
}

/// The same, asked with nothing but the core file.
#[test]
fn a_core_file_tells_what_to_ask_for() {
    needs_root!("a_core_file_tells_what_to_ask_for");
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").expect("a pattern");
    if pattern.trim() != "core" {
        return skip("a_core_file_tells_what_to_ask_for", &format!("cores go to {pattern:?}"));
    }
    let scratch = Scratch::new();
    let file = scratch.join("recording").to_str().expect("a path").to_owned();
    let crash = "ulimit -c unlimited; echo | \"$0\" deeds_crash .";
    let script = format!("cd \"$1\"; {crash}; rm -f core.*; test -f core");
    let mut record = mmaptrace(&["record", "-U", "-q", "-o", &file, "--", "sh", "-c", &script]);
    let finished = run(record.arg(victim_path!()).arg(scratch.path()));
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    let [deed] = &deeds(&scratch)[..] else { panic!("one deed") };
    let core = scratch.join("core").to_str().expect("a path").to_owned();
    let text = ask(&["who", "--core", &core, "-i", &file]).text();
    let said: Vec<_> = text.lines().take(5).collect();
    let address = deed.args[0] + 0x1234;
    assert!(said[0].starts_with("SIGSEGV in thread "), "{text}");
    assert!(said[0].ends_with(&format!(" at {address:x}")), "{text}");
    assert!(said[3].contains(&format!("thread {} worker-2: munmap(", deed.tid)), "{text}");
}

/// An image that another took the place of.
#[test]
fn who_tells_of_images_that_are_gone() {
    needs_root!("who_tells_of_images_that_are_gone");
    let mut recorded = Recorded::start(|log| victim!("execve", log), &[]);
    let pid = recorded.victim.pid();
    let maps = String::from_utf8_lossy(&maps(pid)).into_owned();
    let heap = maps.lines().find(|line| line.ends_with("[heap]")).expect("a heap");
    let start = heap.split('-').next().expect("an address");
    recorded.victim.work();
    let file = recorded.file();
    let _scratch = recorded.end();
    let lines = lines(&["who", start, "-p", &pid.to_string(), "-i", &file]);
    let who = of_type(&lines, "who")[0];
    assert_eq!((&who["mapped"], &who["region"]["name"]), (&true.into(), &"[heap]".into()), "{who}");
    assert!(who["end"]["time"].is_string() && who["end"]["status"].is_null(), "{who}");
}

/// What is beside an address that never was anything: what it may have run out of.
#[test]
fn an_address_that_was_never_mapped_is_told_by_its_neighbours() {
    needs_root!("an_address_that_was_never_mapped_is_told_by_its_neighbours");
    let mut recorded = Recorded::start(|log| victim!("deeds_leak", log), &[]);
    recorded.victim.work();
    let pid = recorded.victim.pid().to_string();
    let file = recorded.file();
    let _scratch = recorded.end();
    let text = ask(&["who", "10000", "-p", &pid, "-i", &file]).text();
    assert!(text.starts_with("10000 in ") && text.contains(": never mapped"), "{text}");
    assert!(text.contains("  above    "), "{text}");
    let answer = ask(&["who", "10000", "-i", &file]);
    assert_eq!(answer.text(), "", "{}", answer.stderr);
    assert!(answer.stderr.contains("never mapped"), "{}", answer.stderr);
}

#[test]
fn questions_that_nothing_answers_say_why() {
    needs_root!("questions_that_nothing_answers_say_why");
    let mut recorded = Recorded::start(|log| victim!("deeds_leak", log), &[]);
    recorded.victim.work();
    let file = recorded.file();
    let _scratch = recorded.end();
    for (args, code, why) in [
        (&["who", "10000", "-p", "1", "-i", &file][..], 1, "process 1 was not traced"),
        (&["who", "10000", "--at", "exit", "-i", &file], 1, "say which, with -p"),
        (&["who", "zero", "-i", &file], 2, "hexadecimal"),
        (&["who", "--core", "/proc/self/exe", "-i", &file], 1, "no core file"),
        (&["diff", "-i", &file], 2, "--from"),
        (&["report", "--at", "00:00", "-i", &file], 1, "is from "),
        (&["report", "-i", "/nonexistent"], 1, "/nonexistent"),
        (&["report", "--socket", "/nonexistent/socket"], 1, "/nonexistent/socket"),
    ] {
        let answer = run(&mut mmaptrace(args));
        assert_eq!(answer.code(), Some(code), "{args:?}: {}", answer.stderr);
        assert!(answer.stderr.contains(why), "{args:?}: {}", answer.stderr);
        assert_eq!(answer.text(), "", "{args:?}");
    }
}

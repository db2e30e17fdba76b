//! Blame: what is said of addresses and regions is what the program wrote down of them.

use std::collections::BTreeMap;

use mmaptrace_tests::deeds::{Deed, Recorded, ask, deeds, lines, of_type, socket};
use mmaptrace_tests::{
    Scratch, Tracer, maps, mmaptrace, needs_root, run, skip, victim, victim_path,
};
use serde_json::Value;

const PAGE: u64 = 4096;

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
            let taken_to = page.unmapped.map(|index| &deeds[index]).and_then(|deed| {
                let [old, _, _, _, new, _] = deed.args;
                (deed.nr == libc::SYS_mremap).then(|| format!("0x{:x}", new + (at + 0x123 - old)))
            });
            assert_eq!(who["moved_to"].as_str(), taken_to.as_deref(), "{who}");
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

/// Of a tracer that was there when it was made.
#[test]
fn a_running_tracer_says_who_made_a_region() {
    needs_root!("a_running_tracer_says_who_made_a_region");
    let scratch = Scratch::new();
    let mut victim = victim!("deeds_between", scratch.path());
    let live = Tracer::attach(victim.pid(), &["-U"]);
    victim.work();
    let deeds = deeds(&scratch);
    let new = &deeds[3];
    let start = format!("{:#x}", new.args[0]);
    let blame = lines(&["dump", &victim.pid().to_string(), "--blame"]);
    let region = blame.iter().find(|line| line["region"]["start"] == start.as_str());
    let region = region.unwrap_or_else(|| panic!("no region at {start}: {blame:#?}"));
    assert!(new.is(&region["created"]) && region["changed"].is_null(), "{region}");
    new.assert_stack(&region["created"]["stack"]);
    live.finish().assert_clean();
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

//! The page of `mmaptrace export --format html`, in a real browser.

use std::path::PathBuf;

use mmaptrace_tests::{
    Browser, Scratch, Tracer, Victim, maps, mmaptrace, needs_root, run, skip, victim,
};
use serde_json::json;

/// Lets a victim do its work under a tracer, and exports what it remembers.
fn page(scratch: &Scratch, victim: &mut Victim) -> PathBuf {
    let tracer = Tracer::attach(victim.pid(), &["-U", "--history", "1G"]);
    victim.work();
    let page = scratch.join("page.html");
    let mut export = mmaptrace(&["export", "--format", "html", "-p", &victim.pid().to_string()]);
    let exported = run(export.arg("-o").arg(&page));
    assert_eq!((exported.code(), &*exported.stderr), (Some(0), ""));
    tracer.finish();
    page
}

/// Whether there is a browser; if not, says that a test is skipped.
fn can_look(name: &str) -> bool {
    let can = Browser::is_there();
    if !can {
        skip(name, "there is no chromium");
    }
    can
}

#[test]
fn a_page_does_what_is_asked_of_it() {
    needs_root!("a_page_does_what_is_asked_of_it");
    let scratch = Scratch::new();
    let mut victim = victim!("hostile_markup");
    if !can_look("a_page_does_what_is_asked_of_it") {
        return;
    }
    let page = page(&scratch, &mut victim);
    let mut browser = Browser::open(&page);
    let report = browser.run(include_str!("page/try.js"));
    let passed = report["passed"].as_array().map_or(0, Vec::len);
    assert_eq!(report["failed"], json!([]), "{report:#}");
    assert!(passed > 35, "{report:#}");
    assert_eq!(browser.complaints, [""; 0]);
}

/// Every control, in the order in which they stand.
#[test]
fn a_page_is_walked_with_tab() {
    needs_root!("a_page_is_walked_with_tab");
    let scratch = Scratch::new();
    let mut victim = victim!("munmap_middle");
    if !can_look("a_page_is_walked_with_tab") {
        return;
    }
    let page = page(&scratch, &mut victim);
    let mut browser = Browser::open(&page);
    browser.run("document.body.focus()");
    let mut stops = Vec::new();
    for _ in 0..8 {
        browser.press("Tab", 9);
        let stop = "const { id, tagName } = document.activeElement; return id || tagName";
        stops.push(browser.run(stop));
        let outlined = "return getComputedStyle(document.activeElement).outlineStyle";
        assert_eq!(browser.run(outlined), "solid", "{stops:?}");
    }
    let all = ["process", "search", "pace", "all", "theme", "canvas", "story", "SUMMARY"];
    assert_eq!(stops, all);
    assert_eq!(browser.complaints, [""; 0]);
}

/// What the page has at its end is what maps says.
#[test]
fn a_page_ends_with_what_maps_says() {
    needs_root!("a_page_ends_with_what_maps_says");
    let scratch = Scratch::new();
    let mut victim = victim!("storm_mixed");
    if !can_look("a_page_ends_with_what_maps_says") {
        return;
    }
    let page = page(&scratch, &mut victim);
    let report = Browser::open(&page).run(
        "const { pasts } = timeline.data;
         const alive = Array.from(timeline.layout.rows).filter((row) => pasts.fate[row] === FATES.alive);
         const lines = alive.map((row) => [pasts.start[row], pasts.end[row], permissions(pasts.perms[row])]);
         return lines.sort((a, b) => a[0] - b[0]);",
    );
    // A region is of one piece or of several.
    let mut found: Vec<(u64, u64, String)> = serde_json::from_value(report).expect("lines");
    let mut joined: Vec<(u64, u64, String)> = Vec::new();
    let text = String::from_utf8(maps(victim.pid())).expect("paths of ours");
    for line in text.lines().filter(|line| !line.contains("[vsyscall]")) {
        let (range, rest) = line.split_once(' ').expect("a range");
        let (start, end) = range.split_once('-').expect("a range");
        let [start, end] = [start, end].map(|it| u64::from_str_radix(it, 16).expect("hex"));
        let mut at = start;
        while at < end {
            let piece = found.remove(0);
            assert_eq!((piece.0, &*piece.2), (at, &rest[..4]), "{line}");
            at = piece.1;
        }
        joined.push((start, at, rest[..4].to_owned()));
        assert_eq!(at, end, "{line}");
    }
    assert_eq!(found, [], "the page has more than maps");
}

#[test]
fn a_hundred_thousand_events_are_shown() {
    needs_root!("a_hundred_thousand_events_are_shown");
    let scratch = Scratch::new();
    let mut victim = victim!("storm_same_addresses");
    if !can_look("a_hundred_thousand_events_are_shown") {
        return;
    }
    let page = page(&scratch, &mut victim);
    let mut browser = Browser::open(&page);
    let report = browser.run(
        "const colours = () => new Set(timeline.painter.pixels).size;
         const seen = [];
         for (const key of ['+', '+', 'e', 'ArrowRight', '0']) { press(key); await drawn(); seen.push(colours()); }
         return { changes: timeline.layout.deeds.length, rows: timeline.layout.rows.length, seen };",
    );
    // Each is a call and a change.
    assert!(report["changes"].as_u64() >= Some(64_000), "{report:#}");
    assert!(report["rows"].as_u64() >= Some(32_000), "{report:#}");
    let seen = report["seen"].as_array().expect("colours");
    assert!(seen.iter().all(|colours| colours.as_u64() > Some(3)), "{report:#}");
    assert_eq!(browser.complaints, [""; 0]);
}

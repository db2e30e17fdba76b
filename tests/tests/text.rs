//! The lines for people: each reads like strace's, with its effect under it, and piped each stands alone.

use mmaptrace_tests::{Scratch, Tracer, dump_as, needs_root, skip, victim};

const TEXT: &[&str] = &["--format", "text"];

#[test]
fn a_call_reads_like_straces_with_its_effect_under_it() {
    needs_root!("a_call_reads_like_straces_with_its_effect_under_it");
    let mut victim = victim!("munmap_middle");
    let tracer = Tracer::attach(victim.pid(), TEXT);
    victim.work();
    let text = tracer.finish_text();
    let mut lines = text.lines().skip_while(|line| !line.contains("munmap("));
    let call = lines.next().unwrap_or_else(|| panic!("no call:\n{text}"));
    assert!(call.contains(&format!("[{}", victim.pid())), "{call}");
    let (arguments, result) =
        call.split_once("munmap(0x").expect("an address").1.split_once(')').expect("an end");
    assert!(arguments.ends_with(", 8192"), "{call}");
    assert_eq!(result.trim_start(), "= 0", "{call}");
    let effect = lines.next().unwrap_or_else(|| panic!("no effect:\n{text}"));
    assert!(effect.contains(" - ") && effect.contains(" rw-p 8K"), "{effect}");
}

#[test]
fn a_failed_call_tells_its_error_and_no_effect() {
    needs_root!("a_failed_call_tells_its_error_and_no_effect");
    let mut victim = victim!("munmap_failing");
    let tracer = Tracer::attach(victim.pid(), TEXT);
    victim.work();
    let text = tracer.finish_text();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("munmap(")).collect();
    assert_eq!(lines.len(), 3, "{text}");
    let told = |line: &&str| line.ends_with("= -1 EINVAL (Invalid argument)");
    assert!(lines.iter().all(told), "{text}");
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn e_shows_only_these_calls() {
    needs_root!("e_shows_only_these_calls");
    let mut victim = victim!("munmap_then_same_address");
    let tracer = Tracer::attach(victim.pid(), &["--format", "text", "-e", "munmap"]);
    victim.work();
    let text = tracer.finish_text();
    assert_eq!(text.matches(" munmap(").count(), 4, "{text}");
    assert_eq!(text.matches(" mmap(").count(), 0, "{text}");
}

/// Names chosen to move a terminal's cursor, or to close a JSON string.
#[test]
fn hostile_names_stay_text() {
    needs_root!("hostile_names_stay_text");
    let scratch = Scratch::new();
    let mut victim = victim!("hostile_name", scratch.path());
    let json = Tracer::attach(victim.pid(), &[]);
    let tracer = Tracer::attach(victim.pid(), TEXT);
    victim.work();
    let dump = dump_as(victim.pid(), &["--format", "json"]);
    let value: serde_json::Value = serde_json::from_slice(&dump.stdout).expect("JSON");
    assert!(value.is_object());
    let trace = json.finish();
    trace.assert_clean();
    assert!(trace.calls("mmap").next().is_some());
    let stderr = tracer.stderr();
    let text = tracer.finish_text();
    assert!(text.contains("mmap("), "{text}");
    for text in [&text, &stderr, &trace.stderr] {
        let control = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(control), "{}", text.escape_debug());
        assert!(!text.contains('\u{fffd}'), "{}", text.escape_debug());
    }
}

#[test]
fn a_crowd_of_regions_is_told_each_time_it_comes_together() {
    let name = "a_crowd_of_regions_is_told_each_time_it_comes_together";
    needs_root!(name);
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").expect("the limit");
    let limit: u64 = limit.trim().parse().expect("a number");
    if limit > 200_000 {
        return skip(name, "vm.max_map_count is so high that nobody comes near");
    }
    let mut victim = victim!("crowd");
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    let trace = tracer.finish();
    trace.assert_clean();
    let told: Vec<_> = trace.of_type("crowded").collect();
    assert_eq!(told.len(), 2, "{told:?}");
    for line in told {
        assert_eq!((&line["process"], &line["limit"]), (&victim.pid().into(), &limit.into()));
        let percent = line["regions"].as_u64().expect("a number") * 100 / limit;
        assert_eq!(percent, 80, "{line}");
    }
}

//! The past for other tools: what each format holds, against what maps says and what the program
//! is known to have done.

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use mmaptrace_tests::{
    Finished, Outcome, Process, Scratch, Tracer, Victim, children, maps, mmaptrace, needs_root,
    run, skip, victim, victim_path,
};
use serde_json::Value;

/// The functions of the victim, the innermost first.
const CHAIN: [&str; 4] = ["stacks_leaf", "stacks_inner", "stacks_middle", "stacks_outer"];
const PAGE: u64 = 4096;

/// What `mmaptrace export` does.
fn try_export(format: &str, args: &[&str]) -> Finished {
    run(mmaptrace(&["export", "--format", format]).args(args))
}

/// What it writes, and that it has nothing to say.
#[track_caller]
fn export(format: &str, args: &[&str]) -> Finished {
    let finished = try_export(format, args);
    assert_eq!((finished.code(), &*finished.stderr), (Some(0), ""), "{format} {args:?}");
    finished
}

/// A case of the victim under a tracer, from its first instruction on. It has done its work, and
/// stands still.
struct Launched {
    tracer: Victim,
    pid: u32,
    scratch: Scratch,
}

impl Launched {
    fn new(args: &[&str], case: &str) -> Self {
        let scratch = Scratch::new();
        let mut command = mmaptrace(args);
        command.arg("-o").arg(scratch.join("out")).arg("--").arg(victim_path!());
        let mut tracer = Victim::launch(command.arg(case).arg(scratch.path()));
        tracer.expect_ready();
        assert_eq!(tracer.work(), Outcome::Done);
        let pid = children(tracer.pid())[0];
        Self { tracer, pid, scratch }
    }

    /// What the tracer that runs remembers.
    fn export(&self, format: &str) -> Finished {
        export(format, &["-p", &self.pid.to_string()])
    }

    /// Lets both end; where the tracer wrote.
    fn end(&mut self) -> PathBuf {
        assert_eq!(self.tracer.end().code(), Some(0));
        self.scratch.join("out")
    }
}

/// A recording of a case.
fn record(options: &[&str], case: &str) -> (Launched, PathBuf) {
    let mut launched = Launched::new(&[&["record", "-q"], options].concat(), case);
    let recording = launched.end();
    (launched, recording)
}

/// The regions of a map: first address, end, permissions and name. `[vsyscall]` is none.
fn regions(pid: u32) -> Vec<(u64, u64, String, String)> {
    let text = String::from_utf8(maps(pid)).expect("paths of ours");
    let region = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (start, end) = words[0].split_once('-').expect("a range");
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).expect("hex"));
        (start, end, words[1].to_owned(), words[5..].join(" "))
    };
    text.lines().map(region).filter(|(_, _, _, name)| name != "[vsyscall]").collect()
}

fn size(regions: &[(u64, u64, String, String)]) -> u64 {
    regions.iter().map(|(start, end, ..)| end - start).sum()
}

/// The lines of a table of words without quotes, by their columns.
fn table(csv: &str) -> Vec<BTreeMap<&str, &str>> {
    let mut lines = csv.split_terminator("\r\n");
    let titles: Vec<_> = lines.next().expect("titles").split(',').collect();
    lines.map(|line| titles.iter().copied().zip(columns(line)).collect()).collect()
}

/// The columns of a line; those in quotes with the quotes.
fn columns(line: &str) -> Vec<&str> {
    let mut quoted = false;
    line.split(|character| {
        quoted ^= character == '"';
        character == ',' && !quoted
    })
    .collect()
}

fn hex(text: &str) -> u64 {
    let digits = text.strip_prefix("0x").unwrap_or_else(|| panic!("no address: {text}"));
    u64::from_str_radix(digits, 16).expect("an address")
}

#[test]
fn a_table_of_effects_leads_to_maps() {
    needs_root!("a_table_of_effects_leads_to_maps");
    let mut launched = Launched::new(&[], "storm_mixed");
    let csv = launched.export("csv").text();
    let mut pages = BTreeMap::new();
    for line in table(&csv) {
        if line["start"].is_empty() || line["end"].is_empty() {
            continue;
        }
        for page in (hex(line["start"])..hex(line["end"])).step_by(PAGE as usize) {
            let now = || (line["perms"].to_owned(), line["name"].to_owned());
            let before = match line["effect"] {
                "added" => pages.insert(page, now()),
                "removed" => {
                    assert_eq!(pages.remove(&page), Some(now()), "{page:x}: {line:?}");
                    None
                }
                "changed" | "replaced" => {
                    let was = (line["was_perms"].to_owned(), line["was_name"].to_owned());
                    assert_eq!(pages.insert(page, now()), Some(was), "{page:x}: {line:?}");
                    None
                }
                other => panic!("an effect {other}"),
            };
            assert_eq!(before, None, "{page:x}: {line:?}");
        }
    }
    let expected = regions(launched.pid).into_iter().flat_map(|(start, end, perms, name)| {
        let pages = (start..end).step_by(PAGE as usize);
        pages.map(move |page| (page, (perms.clone(), name.clone())))
    });
    assert!(pages == expected.collect::<BTreeMap<_, _>>(), "the table does not lead to maps");
    launched.end();
}

#[test]
fn a_trace_has_tracks_of_each_kind_and_counters_that_maps_bear_out() {
    needs_root!("a_trace_has_tracks_of_each_kind_and_counters_that_maps_bear_out");
    let mut launched = Launched::new(&["-U"], "stacks_known");
    let trace: Value = serde_json::from_slice(&launched.export("chrome").stdout).expect("JSON");
    let entries = trace["traceEvents"].as_array().expect("an array");
    let of = |ph: &'static str| entries.iter().filter(move |entry| entry["ph"] == ph);
    for entry in entries {
        assert!(entry["ts"].is_number() && entry["name"].is_string(), "{entry}");
        assert_eq!(entry["pid"], launched.pid, "{entry}");
    }
    let regions = regions(launched.pid);
    let last = |name: &'static str| of("C").rfind(|entry| entry["name"] == name);
    let last = |name| &last(name).expect("a counter")["args"];
    assert_eq!(last("regions")["count"], regions.len());
    assert_eq!(last("size")["bytes"], size(&regions));
    let kinds = last("bytes of").as_object().expect("kinds");
    assert_eq!(kinds.values().filter_map(Value::as_u64).sum::<u64>(), size(&regions));

    let begun: BTreeMap<_, _> = of("b").map(|entry| (entry["id"].as_u64(), entry)).collect();
    let alive = of("e").filter(|end| end["args"]["then"] == "there at the end of the trace");
    let mut alive_sizes = BTreeMap::new();
    for end in alive {
        let begin = begun[&end["id"].as_u64()];
        let kind = end["name"].as_str().expect("a kind");
        assert_eq!((&begin["name"], &begin["cat"]), (&end["name"], &end["cat"]));
        *alive_sizes.entry(kind).or_insert(0) += begin["args"]["bytes"].as_u64().expect("bytes");
    }
    for (kind, size) in kinds {
        assert_eq!(
            alive_sizes.get(&**kind).copied().unwrap_or(0),
            size.as_u64().expect("bytes"),
            "{kind}"
        );
    }

    // What the victim mapped, protected, and unmapped from functions that are known.
    let gone: Vec<_> = of("e").filter(|end| end["args"]["by"]["stack"].is_array()).collect();
    let known = gone.iter().filter(|end| {
        let frames = end["args"]["by"]["stack"].as_array().expect("a stack");
        frames.iter().zip(CHAIN).all(|(frame, name)| frame == name)
    });
    let fates: Vec<_> = known.map(|end| end["args"]["then"].as_str().expect("a fate")).collect();
    assert_eq!(fates, ["changed", "unmapped", "unmapped"]);
    let failed = of("i").find(|entry| {
        entry["args"]["call"].as_str().is_some_and(|call| call.contains("= -1 EINVAL"))
    });
    assert_eq!(failed.expect("a call that failed")["name"], "mprotect");
    launched.end();
}

#[test]
fn folded_stacks_count_what_maps_has() {
    needs_root!("folded_stacks_count_what_maps_has");
    let mut launched = Launched::new(&["-U"], "stacks_known");
    let count = |metric: &str| {
        let pid = launched.pid.to_string();
        let text = export("folded", &["-p", &pid, "--metric", metric]).text();
        let line = |line: &str| {
            let (stack, count) = line.rsplit_once(' ').expect("a count");
            (stack.to_owned(), count.parse::<u64>().expect("a count"))
        };
        text.lines().map(line).collect::<BTreeMap<_, _>>()
    };
    let live = count("live");
    assert_eq!(live.values().sum::<u64>(), size(&regions(launched.pid)));
    let chain = CHAIN.iter().rev().copied().collect::<Vec<_>>().join(";");
    let known = |stacks: BTreeMap<String, u64>, call: &str| {
        let suffix = format!(";{chain};{call}");
        stacks.into_iter().find(|(stack, _)| stack.ends_with(&suffix)).map(|(_, count)| count)
    };
    assert_eq!(known(live, "mmap"), None, "all of it was unmapped");
    assert_eq!(known(count("mapped"), "mmap"), Some(2 * PAGE));
    let calls = ["mmap", "mprotect", "munmap"].map(|call| known(count("calls"), call));
    assert_eq!(calls, [Some(1); 3]);
    launched.end();
}

/// Read by the tool that the format is of.
#[test]
fn a_profile_is_one_to_pprof() {
    needs_root!("a_profile_is_one_to_pprof");
    if !Command::new("go").arg("version").output().is_ok_and(|output| output.status.success()) {
        return skip("a_profile_is_one_to_pprof", "there is no go");
    }
    let (launched, recording) = record(&["-U"], "stacks_known");
    let profile = launched.scratch.join("profile");
    let [from, to] = [&recording, &profile].map(|path| path.to_str().expect("UTF-8"));
    export("pprof", &["-i", from, "-o", to]);
    let pprof = |args: &[&str]| {
        let mut command = Command::new("go");
        // It keeps a cache, and looks for symbols where it may.
        command.env("HOME", launched.scratch.path()).env("PPROF_TMPDIR", launched.scratch.path());
        let finished = run(command.args(["tool", "pprof", "-symbolize=none"]).args(args).arg(to));
        assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
        finished.text()
    };
    let raw = pprof(&["-raw"]);
    assert!(raw.contains("live/bytes[dflt] mapped/bytes calls/count"), "{raw}");
    let json = run(mmaptrace(&["replay", "-q", "--format", "json"]).arg(&recording)).text();
    let build_id = json.lines().find_map(|line| {
        let commit: Value = serde_json::from_str(line).expect("JSON");
        let frame = &commit["stack"]["user"]["frames"][0];
        (frame["symbol"] == CHAIN[0]).then(|| frame["build_id"].as_str().expect("an id").to_owned())
    });
    let (_, mappings) = raw.split_once("\nMappings\n").expect("mappings");
    let mapping = mappings.lines().find(|line| line.contains("/victim ")).expect("the victim's");
    assert!(mapping.contains(&build_id.expect("a stack that is known")), "{mapping}");
    let calls = pprof(&["-sample_index=calls", "-traces"]);
    let known = CHAIN.map(|name| calls.find(name).unwrap_or_else(|| panic!("no {name}: {calls}")));
    assert!(known.is_sorted(), "{calls}");
    let total = pprof(&["-sample_index=mapped", "-unit=bytes", "-focus=stacks_leaf", "-top"]);
    assert!(total.contains(" 8192B "), "{total}");
}

#[test]
fn a_range_of_time_is_that_part_of_the_whole() {
    needs_root!("a_range_of_time_is_that_part_of_the_whole");
    let (_launched, recording) = record(&[], "munmap_middle");
    let file = recording.to_str().expect("UTF-8");
    let whole = export("csv", &["-i", file]).text();
    let lines: Vec<_> = whole.split_inclusive("\r\n").collect();
    // The first line of a change, when no call is under way.
    let commit = |line: usize| columns(lines[line])[15];
    let begins = |line: &usize| !commit(*line).is_empty() && commit(*line) != commit(line - 1);
    let at = (lines.len() / 2..lines.len()).find(begins).expect("a change");
    let before = earlier(columns(lines[at])[0]);
    let early = export("csv", &["-i", file, "--to", &before]).text();
    let late = export("csv", &["-i", file, "--from", &before]).text();
    assert_eq!(early, lines[..at].concat());
    assert_eq!(late, lines[0].to_owned() + &lines[at..].concat());
}

/// A nanosecond before.
fn earlier(time: &str) -> String {
    let (seconds, nanos) = time.split_once('.').expect("a fraction");
    let nanos: u32 = nanos.parse().expect("nanoseconds");
    format!("{seconds}.{:09}", nanos - 1)
}

#[test]
fn one_process_of_several() {
    needs_root!("one_process_of_several");
    let (launched, recording) = record(&[], "fork");
    let file = recording.to_str().expect("UTF-8");
    let pids = |csv: &str| {
        let mut pids: Vec<u32> =
            table(csv).iter().filter_map(|line| line["process"].parse().ok()).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    };
    let all = pids(&export("csv", &["-i", file]).text());
    assert!(all.len() > 1 && all.contains(&launched.pid), "{all:?}");
    let own = launched.pid.to_string();
    assert_eq!(pids(&export("csv", &["-i", file, "-p", &own]).text()), [launched.pid]);
    let trace = export("chrome", &["-i", file, "-p", &own]).stdout;
    let trace: Value = serde_json::from_slice(&trace).expect("JSON");
    let counters = trace["traceEvents"].as_array().expect("an array").iter();
    for counter in counters.filter(|entry| entry["ph"] == "C") {
        assert_eq!(counter["pid"], launched.pid, "{counter}");
    }
}

#[test]
fn hostile_names_stay_names() {
    needs_root!("hostile_names_stay_names");
    let mut victim = victim!("hostile_markup");
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    let pid = victim.pid().to_string();
    for format in ["chrome", "folded", "csv", "html"] {
        let text = export(format, &["-p", &pid]).text();
        let control = |character: char| character.is_control() && !"\r\n".contains(character);
        assert_eq!(text.find(control), None, "{format}");
        match format {
            "chrome" => drop(serde_json::from_str::<Value>(&text).expect("JSON")),
            "folded" => {
                assert!(text.contains(r#"<b>\073a,"='& 1 ("#), "{text}");
                for line in text.lines() {
                    assert!(line.rsplit_once(' ').is_some_and(|(_, n)| n.parse::<u64>().is_ok()));
                }
            }
            "csv" => {
                let lines = table(&text);
                assert!(lines.iter().all(|line| line.len() == 17));
                let name = r#""/memfd:</script><img src=x onerror=""document.title='gone'"">;,\012=1 (deleted)""#;
                assert!(lines.iter().any(|line| line["name"] == name), "{text}");
            }
            _ => {
                assert_eq!(text.matches("</script>").count(), 2);
                assert!(!text.contains("onerror") && !text.contains("<b>"));
            }
        }
    }
    tracer.finish().assert_clean();
}

#[test]
fn a_recording_that_is_cut_is_exported_to_its_cut() {
    needs_root!("a_recording_that_is_cut_is_exported_to_its_cut");
    let (launched, recording) = record(&[], "storm_mixed");
    let bytes = std::fs::read(&recording).expect("a recording");
    let cut = launched.scratch.join("cut");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).expect("room");
    let [whole, half] = [&recording, &cut].map(|path| {
        let finished = try_export("csv", &["-i", path.to_str().expect("UTF-8")]);
        (finished.code(), finished.text(), finished.stderr)
    });
    assert_eq!((whole.0, &*whole.2), (Some(0), ""));
    assert_eq!(half.0, Some(1));
    assert!(half.2.starts_with("mmaptrace: ") && half.2.contains("end early"), "{}", half.2);
    let (begun, _) = half.1.rsplit_once("\r\n").expect("lines");
    assert!(begun.len() > 1000 && begun.len() < whole.1.len());
    let page = try_export("html", &["-i", cut.to_str().expect("UTF-8")]).text();
    assert!(page.contains("the events end early"), "the page tells as well");
}

#[test]
fn what_cannot_be_exported() {
    needs_root!("what_cannot_be_exported");
    let fails = |args: &[&str], code: i32, words: &str| {
        let finished = run(mmaptrace(&["export"]).args(args));
        assert_eq!(finished.code(), Some(code), "{args:?}: {}", finished.stderr);
        assert!(finished.stderr.to_lowercase().contains(words), "{args:?}: {}", finished.stderr);
        assert!(finished.stdout.is_empty(), "{args:?}");
    };
    fails(&[], 2, "--format");
    fails(&["--format", "svg"], 2, "possible values");
    fails(&["--format", "csv", "--from", "yesterday"], 2, "a moment is");
    fails(&["--format", "csv", "-i", "/no/such/file"], 1, "/no/such/file");
    fails(&["--format", "csv", "-i", "/etc/passwd"], 1, "/etc/passwd");
    fails(&["--format", "csv", "--socket", "/no/such/file"], 1, "tracer");
    let (_launched, recording) = record(&[], "stand_still");
    let file = recording.to_str().expect("UTF-8");
    fails(&["--format", "csv", "-i", file, "--from", "1"], 1, "that is 1.");
    fails(&["--format", "csv", "-i", file, "-o", file], 1, "the recording itself");
    export("folded", &["-i", file]);
    let none = try_export("folded", &["-i", file, "-p", "4000000"]);
    assert_eq!(none.code(), Some(1));
    assert!(none.stderr.contains("process 4000000 was not traced"), "{}", none.stderr);
    fails(&["--format", "csv", "-i", file, "-o", "/no/such/file"], 1, "/no/such/file");
    fails(&["--format", "csv", "-i", file, "-o", "/dev/full"], 1, "no space left");
    let itself = run(mmaptrace(&["replay", "-o"]).args([file, file]));
    assert_eq!(itself.code(), Some(1));
    assert!(itself.stderr.contains("the recording itself"), "{}", itself.stderr);
    let out = recording.with_file_name("other");
    std::fs::write(&out, "kept").expect("a file");
    let other = out.to_str().expect("UTF-8");
    fails(&["--format", "csv", "-i", file, "-o", other, "--to", "1"], 1, "that is 1.");
    assert_eq!(std::fs::read_to_string(&out).expect("it"), "kept");
    let victim = victim!("stand_still");
    let recorder = Tracer::record(&[victim.pid()], &[]);
    let (pid, recorded) = (victim.pid().to_string(), recorder.recording().display().to_string());
    fails(&["--format", "csv", "-p", &pid, "-o", &recorded], 1, "the recording itself");
    recorder.finish();
    let tracer = Tracer::attach(victim.pid(), &["--history", "0"]);
    fails(&["--format", "csv", "-p", &pid], 1, "histor");
    tracer.finish();
}

/// Who reads the output may have seen enough.
#[test]
fn a_reader_that_leaves() {
    needs_root!("a_reader_that_leaves");
    let (launched, recording) = record(&[], "storm_mixed");
    let error = launched.scratch.join("error");
    for format in ["chrome", "csv"] {
        let mut export = mmaptrace(&["export", "--format", format, "-i"]);
        export.arg(&recording).stdout(Stdio::piped());
        export.stderr(std::fs::File::create(&error).expect("a file"));
        let mut export = Process::spawn(&mut export);
        let mut reader = export.child().stdout.take().expect("a pipe");
        reader.read_exact(&mut [0]).expect("a byte");
        drop(reader);
        assert_eq!(export.wait().code(), Some(0), "{format}");
        assert_eq!(std::fs::read_to_string(&error).expect("its standard error"), "", "{format}");
    }
}

/// Whatever was not read at each change is told to be so.
#[test]
fn the_degraded_tier_is_told() {
    needs_root!("the_degraded_tier_is_told");
    let scratch = Scratch::new();
    let recording = scratch.join("recording");
    let mut record = mmaptrace(&["record", "-q", "-o"]);
    record.arg(&recording).args(["--", "true"]).env("MMAPTRACE_TIER", "degraded");
    assert_eq!(run(&mut record).code(), Some(0));
    let file = recording.to_str().expect("UTF-8");
    for format in ["chrome", "folded", "csv", "html"] {
        let finished = try_export(format, &["-i", file]);
        let fault = "not exact: the tracer was in its degraded tier";
        assert_eq!(
            (finished.code(), &*finished.stderr),
            (Some(0), &*format!("mmaptrace: {fault}\n"))
        );
        assert_eq!(
            finished.text().contains(fault),
            matches!(format, "chrome" | "html"),
            "{format}"
        );
    }
}

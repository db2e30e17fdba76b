//! The JSON that programs read, held against a schema declared a second time here: a field that is
//! added, renamed or dropped in the sink fails this test until `docs/json.md` and the schema agree.

use std::{collections::BTreeSet, num::NonZeroU64, sync::Arc};

use mmaptrace::{
    sink::{Clock, Dump, Filter, Json, Sink, Start, Summary, View, json},
    symbols::{Backtrace, Cut, NamedFrame, Symbol},
};
use mmaptrace_model::{
    Backing, Effect, Event, Flags, Region, RegionName,
    event::{Cause, Doubt, SpaceId, Stacks, Syscall, Task},
    history::Crowded,
    process::Process,
    stack::{Frame, Place},
};
use schema::Line;

/// The schema. Every struct refuses fields that it does not know.
mod schema {
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
    #[expect(dead_code, reason = "a schema: most fields are there to be parsed")]
    pub(crate) enum Line {
        Start {
            time: String,
            version: String,
            kernel: String,
            tier: String,
        },
        Commit {
            time: String,
            space: u64,
            process: Option<u32>,
            pid: u32,
            tid: u32,
            comm: String,
            comm_bytes: Option<String>,
            id: u64,
            cause: String,
            call: Option<Syscall>,
            effects: Vec<Effect>,
            brk: Option<Move>,
            exact: bool,
            stack: Option<Stacks>,
        },
        Call {
            time: String,
            space: u64,
            pid: u32,
            tid: u32,
            comm: String,
            comm_bytes: Option<String>,
            call: Syscall,
            result: String,
            error: Option<String>,
            commits: Vec<u64>,
            duration: Option<u64>,
            stack: Option<Stacks>,
        },
        Exec {
            time: String,
            space: u64,
            pid: u32,
            tid: u32,
            comm: String,
            comm_bytes: Option<String>,
            old_tid: Option<u32>,
            path: String,
            path_bytes: Option<String>,
            argv: Vec<String>,
            argv_bytes: Option<Vec<String>>,
            cut: bool,
        },
        Fork {
            time: String,
            space: u64,
            pid: u32,
            tid: u32,
            comm: String,
            comm_bytes: Option<String>,
            child: Task,
            shared: bool,
        },
        Exit {
            time: String,
            pid: u32,
            tid: u32,
            comm: String,
            comm_bytes: Option<String>,
            status: Status,
            last: bool,
            commits: Vec<u64>,
        },
        EndSpace {
            time: String,
            space: u64,
            process: Option<u32>,
        },
        Doubt {
            time: String,
            space: u64,
            process: Option<u32>,
            after: u64,
            why: Doubt,
        },
        Healed {
            time: String,
            space: u64,
            process: Option<u32>,
            id: u64,
            differences: u64,
            lost: u64,
        },
        Crowded {
            time: String,
            space: u64,
            process: Option<u32>,
            regions: u64,
            limit: u64,
        },
        Lost {
            time: String,
            records: u64,
        },
        Malformed {
            kind: u16,
            len: u64,
        },
        Dump {
            time: String,
            pid: u32,
            commit: u64,
            exact: bool,
            doubt: Option<Doubt>,
            vsyscall: bool,
            regions: Vec<Region>,
        },
        End {
            time: String,
            events: u64,
            lost: u64,
            healed: u64,
            exact: bool,
            regions: u64,
            differences: Option<u64>,
            command: Option<Status>,
            processes: Vec<Process>,
            forgotten: u64,
        },
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "as above")]
    pub(crate) struct Stacks {
        user: Option<Stack>,
        kernel: Option<Stack>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "as above")]
    pub(crate) struct Stack {
        frames: Vec<Frame>,
        cut: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "as above")]
    pub(crate) struct Frame {
        address: String,
        r#in: String,
        path: Option<String>,
        path_bytes: Option<String>,
        offset: Option<String>,
        build_id: Option<String>,
        symbol: Option<String>,
        symbol_offset: Option<String>,
        source: Option<Source>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "as above")]
    pub(crate) struct Source {
        path: String,
        line: u32,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "a schema")]
    pub(crate) struct Task {
        pid: u32,
        tid: u32,
        comm: String,
        comm_bytes: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "a schema")]
    pub(crate) struct Syscall {
        name: String,
        abi: String,
        nr: i32,
        args: Vec<String>,
        raw: [String; 6],
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "a schema")]
    pub(crate) struct Move {
        from: String,
        to: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "a schema")]
    pub(crate) struct Range {
        start: String,
        end: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "a schema")]
    pub(crate) struct Region {
        start: String,
        end: String,
        size: u64,
        perms: String,
        flags: Vec<String>,
        offset: String,
        dev: String,
        inode: String,
        name: Option<String>,
        name_bytes: Option<String>,
        #[serde(default)]
        name_unknown: bool,
    }

    #[derive(Debug, Deserialize)]
    #[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
    #[expect(dead_code, reason = "a schema")]
    pub(crate) enum Effect {
        Added { pages: Region, within: Range },
        Removed { pages: Region, within: Range },
        Replaced { old: Region, new: Region },
        Changed { old: Region, new: Region, was_within: Range, within: Range },
        Split { at: String, was: Range },
        Merged { at: String, into: Range },
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "a schema")]
    pub(crate) struct Status {
        code: Option<u32>,
        signal: Option<String>,
        core: bool,
    }

    #[derive(Debug, Deserialize)]
    #[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
    #[expect(dead_code, reason = "a schema")]
    pub(crate) enum Doubt {
        Unseeded,
        Lost { records: u64 },
        Hole { commits: u64 },
        Truncated,
        Contradiction { at: String },
        Count { kernel: u64, model: u64 },
        Pages { kernel: u64, model: u64 },
        Malformed,
        Unlocked,
        Cut,
        NoPicture,
        Name { at: String },
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "a schema")]
    pub(crate) struct Process {
        pid: u32,
        comm: String,
        comm_bytes: Option<String>,
        events: u64,
        lost: u64,
        healed: u64,
        exact: bool,
        regions: u64,
        status: Option<Status>,
    }
}

/// A model of one space, in which every path is one that bites.
struct Fake;

const PATH: &[u8] = b"/tmp/\xff\n\x1b\"\\{}";

impl View for Fake {
    fn name(&self, _: SpaceId, region: &Region) -> RegionName<'_> {
        match region.backing {
            Backing::Anonymous => RegionName::Heap,
            Backing::File { .. } => RegionName::Path(PATH),
            Backing::Special { .. } => RegionName::Special(b"[vdso]"),
            Backing::Named { .. } => RegionName::Anon(b"arena \xff"),
            Backing::NamedShared { .. } => RegionName::Unknown,
        }
    }

    fn stack(&self, _: SpaceId, key: NonZeroU64) -> Option<Arc<Backtrace>> {
        let file = Place::File { key: 1, path: PATH.into(), offset: 0x1150, dev: 1, ino: 2 };
        let line = Some(("grow.c".into(), 17));
        let frame = |place, name: Option<&str>| NamedFrame {
            frame: Frame { address: u64::MAX, place },
            symbol: name.map(|name| {
                Arc::new(Symbol { name: name.to_owned(), offset: 0x2a, line: line.clone() })
            }),
            build_id: name.map(|_| [0xab, 0x1f].into()),
        };
        let frames = vec![
            frame(file, Some("gr\x1bow")),
            frame(Place::Special { name: b"[vdso]".as_slice().into(), offset: 7 }, None),
            frame(Place::Anonymous { start: 0x1000, end: 0x2000 }, None),
            frame(Place::Unmapped, None),
            frame(Place::Kernel, None),
        ];
        (key.get() == 1).then(|| Arc::new(Backtrace { frames, cut: Some(Cut::FramePointer) }))
    }

    fn owner(&self, _: SpaceId) -> Option<Task> {
        Some(TASK)
    }
}

const SPACE: SpaceId = SpaceId(3);
const TASK: Task = Task { pid: 4711, tid: 4713, comm: *b"work\n\xffr\0\0\0\0\0\0\0\0\0" };
const CALL: Syscall = Syscall { nr: 11, compat: false, args: [0x1000, 0x1000, 0, 0, 0, 0] };
const CLOCK: Clock = Clock { offset: 1_732_182_400_000_000_000, utc_offset: 0 };

const fn region(backing: Backing) -> Region {
    let flags = Flags(0x10_0073);
    Region { start: 0x7fff_ffff_e000, end: 0x7fff_ffff_f000, flags, pgoff: u64::MAX >> 12, backing }
}

const FILE: Region = region(Backing::File { dev: 0xfe << 20 | 1, ino: u64::MAX, path: 1 });
const ANONYMOUS: Region = region(Backing::Anonymous);

fn effects() -> Vec<Effect> {
    let within = (0x7fff_ffff_0000, 0x7fff_ffff_f000);
    let added = [
        FILE,
        ANONYMOUS,
        region(Backing::Special { name: 1 }),
        region(Backing::Named { name: 1 }),
        region(Backing::NamedShared { dev: 1, ino: 2, name: 1 }),
    ];
    let mut effects: Vec<_> =
        added.into_iter().map(|pages| Effect::Added { pages, within }).collect();
    effects.extend([
        Effect::Removed { pages: FILE, within },
        Effect::Replaced { old: ANONYMOUS, new: FILE },
        Effect::Changed { old: FILE, new: FILE, was_within: within, within },
        Effect::Split { at: 0x1000, was: within },
        Effect::Merged { at: 0x1000, into: within },
    ]);
    effects
}

/// Every event there is, with every cause and every doubt.
fn events() -> Vec<Event> {
    let (time, space, task) = (123_456_789, SPACE, TASK);
    let causes = [
        Cause::Call(CALL),
        Cause::Fault,
        Cause::Growth(Some(CALL)),
        Cause::Growth(None),
        Cause::Kernel,
        Cause::Worker,
        Cause::Remote(Some(CALL)),
        Cause::Remote(None),
        Cause::Seed,
        Cause::Fork,
        Cause::Exec,
    ];
    let doubts = [
        Doubt::Unseeded,
        Doubt::Lost(3),
        Doubt::Hole(2),
        Doubt::Truncated,
        Doubt::Contradiction { at: 0x1000 },
        Doubt::Count { kernel: 30, model: 29 },
        Doubt::Pages { kernel: 300, model: 299 },
        Doubt::Malformed,
        Doubt::Unlocked,
        Doubt::Cut,
        Doubt::NoPicture,
        Doubt::Name { at: 0x1000 },
    ];
    let argv = [b"ls".as_slice(), b"\xff\xfe", b"\n\"", b""];
    let mut events: Vec<_> = causes
        .into_iter()
        .map(|cause| Event::Commit {
            time,
            space,
            task,
            id: 1234,
            cause,
            effects: effects().into(),
            brk: Some((0x1000, 0x2000)),
            exact: false,
            stacks: Stacks { user: NonZeroU64::new(1), kernel: NonZeroU64::new(2) },
        })
        .collect();
    for result in [0, -12, -512, -524] {
        let commits = vec![1234];
        let text = Arc::from(*b"");
        events.push(Event::Call {
            time,
            space,
            task,
            call: CALL,
            result,
            text,
            commits: commits.into(),
            stacks: Stacks::default(),
            duration: (result == 0).then_some(1500),
        });
    }
    events.extend(doubts.map(|why| Event::Doubt { time, space, after: 1234, why }));
    events.extend([
        Event::Exec {
            time,
            space,
            task,
            old_tid: Some(4714),
            path: Arc::from(PATH),
            argv: argv.map(Arc::from).into(),
            cut: true,
        },
        Event::Fork { time, space, task, child: TASK, shared: true },
        Event::Exit { time, task, status: Some(0x8b), last: true, commits: [2][..].into() },
        Event::Healed { time, space, id: 1240, differences: 2, lost: 3 },
        Event::Lost { time, records: 4 },
        Event::Malformed { kind: 77, len: 3 },
        Event::End { time, space },
    ]);
    events
}

fn dump() -> Dump<'static> {
    const REGIONS: &[(Region, RegionName<'static>)] =
        &[(FILE, RegionName::Path(PATH)), (ANONYMOUS, RegionName::None)];
    let doubt = Some(Doubt::Hole(1));
    Dump { pid: 4711, time: 5, commit: 1234, doubt, vsyscall: Some(REGIONS[0].0), regions: REGIONS }
}

fn summary() -> Summary {
    let process = Process {
        pid: 4711,
        comm: TASK.comm,
        space: None,
        events: 12,
        lost: 0,
        healed: 0,
        exact: true,
        regions: 29,
        status: Some(9),
    };
    Summary {
        time: 7,
        events: 12,
        exact: true,
        differences: Some(0),
        command: Some(0x300),
        processes: vec![process.clone(), Process { status: None, ..process }],
        ..Summary::default()
    }
}

fn trace(filter: Filter) -> String {
    let mut out = Vec::new();
    let mut json = Json::new(&mut out, CLOCK, filter);
    let start = Start { time: 1, version: "0.1.0", kernel: "6.18.44", tier: "exact" };
    json.start(&start).expect("a vector takes all");
    for event in events() {
        json.event(&event, &Fake).expect("a vector takes all");
    }
    let crowded = Crowded { time: 7, space: SpaceId(1), regions: 52424, limit: 65530 };
    json.crowded(&crowded, &Fake).expect("a vector takes all");
    json.dump(&dump()).expect("a vector takes all");
    json.end(&summary()).expect("a vector takes all");
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn parse(line: &str) -> Line {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
}

fn kind(line: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
    value["type"].as_str().expect("a type").to_owned()
}

const TYPES: [&str; 14] = [
    "call",
    "commit",
    "crowded",
    "doubt",
    "dump",
    "end",
    "end_space",
    "exec",
    "exit",
    "fork",
    "healed",
    "lost",
    "malformed",
    "start",
];

#[test]
fn every_line_is_of_the_schema() {
    let trace = trace(Filter::default());
    let kinds: BTreeSet<_> = trace.lines().map(kind).collect();
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), TYPES);
    assert_eq!(trace.lines().count(), events().len() + 4, "a line each, whatever the names");
    for line in trace.lines() {
        parse(line);
    }
    assert!(matches!(trace.lines().next().map(parse), Some(Line::Start { .. })));
    assert!(matches!(trace.lines().last().map(parse), Some(Line::End { exact: true, .. })));
}

#[test]
fn the_documents_examples_are_of_the_schema() {
    let document = include_str!("../../docs/json.md");
    let examples: Vec<_> = document.lines().filter(|line| line.starts_with("{\"type\"")).collect();
    for example in &examples {
        parse(example);
    }
    let kinds: BTreeSet<_> = examples.iter().map(|example| kind(example)).collect();
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), TYPES);
}

#[test]
fn the_schema_refuses_what_it_does_not_know() {
    for line in trace(Filter::default()).lines() {
        let unknown = line.replacen('{', "{\"surprise\":1,", 1);
        assert!(serde_json::from_str::<Line>(&unknown).is_err(), "{unknown}");
    }
}

#[test]
fn bytes_that_are_not_text_are_there_in_hexadecimal() {
    let trace = trace(Filter::default());
    let of = |kind: &str| {
        let start = format!("{{\"type\":\"{kind}\"");
        let line = trace.lines().find(|line| line.starts_with(&start)).expect("of each type");
        serde_json::from_str::<serde_json::Value>(line).expect("JSON")
    };
    let commit = of("commit");
    assert_eq!(commit["comm"], "work\n\u{fffd}r");
    assert_eq!(commit["comm_bytes"], "776f726b0aff72");
    let pages = |index: usize| &commit["effects"][index]["pages"];
    assert_eq!(pages(0)["name"], "/tmp/\u{fffd}\n\x1b\"\\{}");
    assert_eq!(pages(0)["name_bytes"], "2f746d702fff0a1b225c7b7d");
    assert_eq!((&pages(1)["name"], pages(1).get("name_bytes")), (&"[heap]".into(), None));
    assert_eq!(pages(3)["name"], "[anon:arena \u{fffd}]");
    assert_eq!(pages(3)["name_bytes"], "5b616e6f6e3a6172656e6120ff5d");
    assert_eq!((pages(4)["name"].is_null(), &pages(4)["name_unknown"]), (true, &true.into()));
    let exec = of("exec");
    assert_eq!(exec["argv"][1], "\u{fffd}\u{fffd}");
    assert_eq!(exec["argv_bytes"], serde_json::json!(["6c73", "fffe", "0a22", ""]));
}

#[test]
fn a_stack_tells_where_each_frame_lies_and_what_is_not_known() {
    let trace = trace(Filter::default());
    let commit: serde_json::Value =
        serde_json::from_str(trace.lines().nth(1).expect("a commit")).expect("JSON");
    let user = &commit["stack"]["user"];
    assert_eq!(user["cut"], "frame_pointer");
    let frame = &user["frames"][0];
    assert_eq!((&frame["in"], &frame["address"]), (&"file".into(), &"0xffffffffffffffff".into()));
    assert_eq!((&frame["offset"], &frame["build_id"]), (&"0x1150".into(), &"ab1f".into()));
    assert_eq!((&frame["symbol"], &frame["symbol_offset"]), (&"gr\x1bow".into(), &"0x2a".into()));
    assert_eq!(frame["source"], serde_json::json!({"path": "grow.c", "line": 17}));
    assert_eq!(commit["stack"]["kernel"], serde_json::json!({"frames": [], "cut": "lost"}));
    let calls: Vec<_> = trace.lines().filter(|line| kind(line) == "call").collect();
    assert!(calls[0].contains("\"duration\":1500") && !calls[0].contains("\"stack\""));
    assert!(!calls[1].contains("\"duration\""));
}

#[test]
fn what_a_double_cannot_hold_is_a_string() {
    let trace = trace(Filter::default());
    let commit: serde_json::Value =
        serde_json::from_str(trace.lines().nth(1).expect("a commit")).expect("JSON");
    assert_eq!(commit["time"], "1732182400.123456789");
    let pages = &commit["effects"][0]["pages"];
    assert_eq!(pages["start"], "0x7fffffffe000");
    assert_eq!(pages["inode"], "18446744073709551615");
    assert_eq!(pages["offset"], "0xfffffffffffff000");
    assert_eq!(pages["dev"], "fe:01");
    assert_eq!(pages["flags"], serde_json::json!(["rd", "wr", "mr", "mw", "me", "ac"]));
    assert_eq!(commit["call"]["args"], serde_json::json!(["0x1000", "4096"]));
}

#[test]
fn filters_leave_the_calls_asked_for() {
    let calls = Some(["mmap".to_owned()].into());
    let shown = trace(Filter { calls, ..Filter::default() });
    let kinds: BTreeSet<_> = shown.lines().map(kind).collect();
    for hidden in ["call", "commit", "exec", "fork"] {
        assert!(!kinds.contains(hidden), "{hidden}");
    }
    assert!(kinds.contains("doubt") && kinds.contains("exit"));
    // All effects are too small, and with them the call that had them.
    let shown = trace(Filter { min_size: 1 << 40, ..Filter::default() });
    assert!(!shown.contains("\"type\":\"commit\""));
    // The first return goes with them; the others had no effects.
    assert_eq!(shown.matches("\"type\":\"call\"").count(), 3);
}

#[test]
fn a_dump_by_itself_is_the_line_of_the_stream() {
    let mut out = Vec::new();
    json::write_dump(&mut out, &dump(), CLOCK).expect("a vector takes all");
    let line = String::from_utf8(out).expect("UTF-8");
    assert!(trace(Filter::default()).contains(&line));
    assert!(matches!(parse(&line), Line::Dump { exact: false, .. }));
}

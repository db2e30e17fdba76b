use std::{num::NonZeroU64, sync::Arc};

use mmaptrace_model::{
    Effect, RegionName,
    event::{Commits, Doubt, Stacks},
};

use super::*;
use crate::sink::{
    clock::Times,
    testing::{Fake, MUNMAP, SPACE, TASK, commit, region, task},
};

const TERMINAL: Style = Style {
    colour: false,
    standalone: false,
    escape_dumps: true,
    times: Times::None,
    returns: true,
};

fn text(style: Style) -> Text<Vec<u8>> {
    Text::new(Vec::new(), style, Clock::default(), Filter::default())
}

impl Text<Vec<u8>> {
    fn take(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.out)).expect("UTF-8")
    }

    /// What an event prints at once.
    fn show(&mut self, event: &Event) -> String {
        self.event(event, &Fake::new()).expect("a vector takes all");
        self.take()
    }
}

fn unmapped() -> Vec<Effect> {
    vec![Effect::Removed { pages: region(0x3000, 0x4000, "rw-p"), within: (0x3000, 0x4000) }]
}

fn returned(commits: Vec<u64>) -> Event {
    let (call, text) = (MUNMAP, Arc::from(*b""));
    Event::Call {
        time: 9,
        space: SPACE,
        task: TASK,
        call,
        result: 0,
        text,
        commits: commits.into(),
        stacks: Stacks::default(),
        duration: None,
    }
}

#[test]
fn effects_stand_under_their_call() {
    let mut text = text(TERMINAL);
    assert_eq!(text.show(&commit(2, Cause::Call(MUNMAP), unmapped())), "");
    assert!(text.holds());
    assert_eq!(
        text.show(&returned(vec![2])),
        "[4711/4713 worker] munmap(0x3000, 4096) = 0\n  - 3000-4000 rw-p 4K\n"
    );
    assert!(!text.holds());
}

#[test]
fn piped_each_line_stands_alone() {
    let mut text = text(Style { standalone: true, times: Times::Micros, ..TERMINAL });
    text.show(&commit(2, Cause::Call(MUNMAP), unmapped()));
    assert_eq!(
        text.show(&returned(vec![2])),
        "00:00:00.000000 [4711/4713 worker] munmap(0x3000, 4096) = 0\n\
         00:00:00.000000 [4711/4713 worker] munmap: - 3000-4000 rw-p 4K\n"
    );
}

const USER: Stacks = Stacks { user: NonZeroU64::new(1), kernel: None };

/// The frames of `testing::backtrace`.
const FRAMES: &str = "  > [kernel](do_mmap+0x3d5) [0xffffffff811b2c45]
  > /usr/bin/sleep(gr\\033ow+0x2a) [0x115a] at src/work\\012er.c:17
  > /tmp/\\377 [0x115a]
  > ? [0x4015a]
  > [vdso] [0x7]
  > anon 6000-7000 [0x6015]
  > ? [0x8015]
  > (stack cut short: no frame pointers?)
";

fn with(mut event: Event, of: Stacks) -> Event {
    if let Event::Commit { stacks, .. } | Event::Call { stacks, .. } = &mut event {
        *stacks = of;
    }
    event
}

#[test]
fn a_stack_stands_under_the_effects() {
    let mut text = text(TERMINAL);
    text.show(&with(commit(2, Cause::Call(MUNMAP), unmapped()), USER));
    assert_eq!(
        text.show(&returned(vec![2])),
        format!("[4711/4713 worker] munmap(0x3000, 4096) = 0\n  - 3000-4000 rw-p 4K\n{FRAMES}")
    );
    text.show(&with(commit(4, Cause::Fault, unmapped()), Stacks { user: None, kernel: USER.user }));
    // A fault has nothing to wait for.
    let lost = Stacks { user: NonZeroU64::new(9), kernel: None };
    let fault = text.show(&with(commit(6, Cause::Fault, unmapped()), lost));
    assert!(fault.ends_with("  > (stack lost)\n"), "{fault}");
}

#[test]
fn a_call_without_an_effect_has_its_stack_from_its_commit_or_its_own() {
    let mut text = text(TERMINAL);
    text.show(&with(commit(2, Cause::Call(MUNMAP), Vec::new()), USER));
    assert!(!text.holds());
    let call = format!("[4711/4713 worker] munmap(0x3000, 4096) = 0\n{FRAMES}");
    assert_eq!(text.show(&returned(vec![2])), call);
    assert_eq!(text.show(&with(returned(Vec::new()), USER)), call);
    assert_eq!(text.show(&returned(Vec::new())).lines().count(), 1);
}

#[test]
fn how_long_a_call_took_stands_behind_its_result() {
    let mut event = returned(Vec::new());
    if let Event::Call { duration, .. } = &mut event {
        *duration = Some(2_000_012_999);
    }
    let line = text(TERMINAL).show(&event);
    assert!(line.ends_with("= 0 <2.000012>\n"), "{line}");
}

#[test]
fn the_result_is_in_straces_column() {
    let mut text = text(TERMINAL);
    let short = task(1, 1, *b"a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let call = Syscall { nr: 12, compat: false, args: [0; 6] };
    let line = text.show(&Event::Call {
        time: 9,
        space: SPACE,
        task: short,
        call,
        result: 0x1000,
        text: Arc::from(*b""),
        commits: Commits::new(),
        stacks: Stacks::default(),
        duration: None,
    });
    assert_eq!(line, "[1 a] brk(NULL)                         = 0x1000\n");
    assert_eq!(line.find("= "), Some(40));
}

#[test]
fn a_long_call_is_shown_before_it_returns() {
    let mut text = text(TERMINAL);
    text.show(&commit(2, Cause::Call(MUNMAP), unmapped()));
    text.tick(1 + PATIENCE).expect("a vector takes all");
    assert_eq!(text.take(), "");
    text.tick(2 + PATIENCE).expect("a vector takes all");
    assert_eq!(
        text.take(),
        "[4711/4713 worker] munmap(0x3000, 4096 <unfinished ...>\n  - 3000-4000 rw-p 4K\n"
    );
    text.tick(3 + PATIENCE).expect("a vector takes all");
    assert_eq!((text.take().as_str(), text.holds()), ("", false));
    assert_eq!(text.show(&returned(vec![2])), "[4711/4713 worker] <... munmap resumed>) = 0\n");
}

#[test]
fn a_call_that_never_returns() {
    let exit = |commits: Vec<u64>| {
        let commits = commits.into();
        Event::Exit { time: 9, task: TASK, status: Some(9), last: true, commits }
    };
    let mut text = text(TERMINAL);
    text.show(&commit(2, Cause::Call(MUNMAP), unmapped()));
    assert_eq!(
        text.show(&exit(vec![2])),
        "[4711/4713 worker] munmap(0x3000, 4096) = ?\n  - 3000-4000 rw-p 4K\n\
         [4711/4713 worker] +++ killed by SIGKILL +++\n"
    );
    assert_eq!(text.show(&exit(vec![])), "[4711/4713 worker] +++ killed by SIGKILL +++\n");
}

#[test]
fn a_lost_return_does_not_take_effects_along() {
    let mut text = text(TERMINAL);
    let other = Syscall { nr: 150, compat: false, args: [0x5000, 0x1000, 0, 0, 0, 0] };
    text.show(&commit(2, Cause::Call(other), unmapped()));
    assert_eq!(
        text.show(&returned(vec![])),
        "[4711/4713 worker] munlock(0x5000, 4096 <unfinished ...>\n  - 3000-4000 rw-p 4K\n\
         [4711/4713 worker] munmap(0x3000, 4096) = 0\n"
    );
    text.show(&commit(4, Cause::Call(other), unmapped()));
    assert!(
        text.show(&commit(6, Cause::Call(MUNMAP), unmapped()))
            .starts_with("[4711/4713 worker] munlock(0x5000, 4096 <unfinished ...>\n")
    );
    text.end(&Summary::default()).expect("a vector takes all");
    assert!(text.take().starts_with("[4711/4713 worker] munmap(0x3000, 4096 <unfinished ...>\n"));
}

#[test]
fn without_returns_a_commit_shows_its_call() {
    let mut text = text(Style { returns: false, ..TERMINAL });
    assert_eq!(
        text.show(&commit(2, Cause::Call(MUNMAP), unmapped())),
        "[4711/4713 worker] munmap(0x3000, 4096)\n  - 3000-4000 rw-p 4K\n"
    );
    assert_eq!(text.show(&commit(4, Cause::Call(MUNMAP), vec![])), "");
}

#[test]
fn what_no_call_explains_has_its_cause() {
    let mut text = text(TERMINAL);
    let read = Syscall { nr: 0, compat: false, args: [0; 6] };
    let mut first = |cause| {
        let shown = text.show(&commit(2, cause, unmapped()));
        assert!(shown.ends_with("\n  - 3000-4000 rw-p 4K\n"), "{shown}");
        shown.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(first(Cause::Growth(Some(read))), "[4711/4713 worker] (stack growth in read)");
    assert_eq!(first(Cause::Growth(None)), "[4711/4713 worker] (stack growth)");
    assert_eq!(first(Cause::Fault), "[4711/4713 worker] (page fault)");
    assert_eq!(first(Cause::Kernel), "[4711/4713 worker] (kernel thread worker)");
    assert_eq!(first(Cause::Worker), "[4711/4713 worker] (io_uring worker)");
    assert_eq!(
        first(Cause::Remote(Some(MUNMAP))),
        "[4711/4713 worker] (by 4711 worker: munmap(0x3000, 4096))"
    );
    assert_eq!(first(Cause::Seed), "[4711/4713 worker] (read again)");
    assert_eq!(text.show(&commit(2, Cause::Kernel, vec![])), "");
}

#[test]
fn someone_elses_doing_is_told_of_the_owner() {
    let mut text = text(TERMINAL);
    let gdb = task(99, 99, *b"gdb\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let mut event = commit(2, Cause::Remote(None), unmapped());
    if let Event::Commit { task, .. } = &mut event {
        *task = gdb;
    }
    assert!(text.show(&event).starts_with("[4711/4713 worker] (by 99 gdb)\n"));
}

#[test]
fn a_new_image_stands_under_its_exec() {
    let mut text = text(TERMINAL);
    let exec = Event::Exec {
        time: 9,
        space: SPACE,
        task: TASK,
        old_tid: None,
        path: Arc::from(*b"/bin/ls"),
        argv: vec![Arc::from(*b"ls"), Arc::from(*b"-l\n\"")],
        cut: false,
    };
    assert_eq!(
        text.show(&exec),
        "[4711/4713 worker] execve(\"/bin/ls\", [\"ls\", \"-l\\012\\\"\"], ...) = 0\n"
    );
    let image = vec![Effect::Added { pages: region(0, 0x1000, "r--p"), within: (0, 0x1000) }];
    assert_eq!(text.show(&commit(0, Cause::Exec, image.clone())), "  + 0-1000 r--p 4K\n");
    text.show(&returned(vec![]));
    assert_eq!(
        text.show(&commit(0, Cause::Exec, image)),
        "[4711/4713 worker] (exec)\n  + 0-1000 r--p 4K\n"
    );
}

#[test]
fn new_tasks() {
    let mut text = text(TERMINAL);
    let mut fork = |child, shared| {
        text.show(&Event::Fork { time: 9, space: SPACE, task: TASK, child, shared })
    };
    assert_eq!(fork(task(4712, 4712, [0; 16]), false), "[4711/4713 worker] fork -> 4712\n");
    assert_eq!(fork(task(4712, 4712, [0; 16]), true), "[4711/4713 worker] vfork -> 4712\n");
    assert_eq!(fork(task(4711, 4714, [0; 16]), true), "[4711/4713 worker] thread -> 4714\n");
}

#[test]
fn doubt_is_hard_to_miss() {
    let mut text = text(TERMINAL);
    let why = Doubt::Lost(3);
    assert_eq!(
        text.show(&Event::Doubt { time: 9, space: SPACE, after: 1234, why }),
        "!!! 4711 worker: model in doubt after commit 1234: 3 records lost; reading again\n"
    );
    assert_eq!(
        text.show(&Event::Healed { time: 9, space: SPACE, id: 1240, differences: 2, lost: 3 }),
        "!!! 4711 worker: exact again from commit 1240 (2 differences, 3 records lost)\n"
    );
    assert_eq!(
        text.show(&Event::Lost { time: 9, records: 1 }),
        "!!! 1 record lost, of what has ended\n"
    );
    assert_eq!(
        text.show(&Event::Malformed { kind: 77, len: 3 }),
        "!!! a record that cannot be read: kind 77, 3 bytes\n"
    );
    let crowded = Crowded { time: 9, space: SPACE, regions: 52424, limit: 65530 };
    text.crowded(&crowded, &Fake::new()).expect("a vector takes all");
    assert_eq!(text.take(), "!!! 4711 worker: 52424 regions, 80 % of vm.max_map_count (65530)\n");
}

#[test]
fn filters_calls_and_sizes() {
    let calls = Some(["mmap".to_owned()].into());
    let mut text = text(TERMINAL);
    text.filter = Filter { calls, ..Filter::default() };
    text.show(&commit(2, Cause::Call(MUNMAP), unmapped()));
    assert_eq!(text.show(&returned(vec![2])), "");
    text.filter = Filter { min_size: 0x2000, ..Filter::default() };
    text.show(&commit(2, Cause::Call(MUNMAP), unmapped()));
    assert_eq!((text.show(&returned(vec![2])).as_str(), text.holds()), ("", false));
    // It had no effect to be too small.
    assert_eq!(text.show(&returned(vec![])), "[4711/4713 worker] munmap(0x3000, 4096) = 0\n");
}

#[test]
fn a_dump_is_raw_or_harmless() {
    let regions = [(region(0x1000, 0x2000, "r--p"), RegionName::Path(b"/\x1b[2J"))];
    let dump = Dump {
        pid: 7,
        time: 9,
        commit: 12,
        doubt: Some(Doubt::Unseeded),
        vsyscall: None,
        regions: &regions,
    };
    let line = "00001000-00002000 r--p 00000000 00:00 0                                  ";
    for (escape_dumps, name) in [(true, r"/\033[2J"), (false, "/\x1b[2J")] {
        let mut text = text(Style { escape_dumps, ..TERMINAL });
        text.dump(&dump).expect("a vector takes all");
        assert_eq!(
            text.take(),
            format!(
                "=== maps of 7 at commit 12, NOT EXACT: not read yet\n{line}{name}\n\
                 === end of maps of 7\n"
            )
        );
    }
}

#[test]
fn a_name_cannot_forge_a_line() {
    let mut text = text(TERMINAL);
    let mut event = returned(vec![]);
    if let Event::Call { task, .. } = &mut event {
        task.comm = *b"x\n!!! 1 y: z\x1b[2J";
    }
    let shown = text.show(&event);
    assert_eq!(shown.lines().count(), 1, "{shown}");
    assert!(!shown.contains('\x1b'));
}

//! Stacks: the functions that made each change, in their order, and what is said where that cannot
//! be known.

use mmaptrace_tests::{Scratch, Trace, Tracer, assert_exact, children, needs_root, victim};
use serde_json::Value;

const STACKS: &[&str] = &["-U", "-K"];
/// The functions of the victim, the innermost first.
const CHAIN: [&str; 4] = ["stacks_leaf", "stacks_inner", "stacks_middle", "stacks_outer"];

/// The frames of a stack.
fn frames(stack: &Value) -> &[Value] {
    stack["frames"].as_array().unwrap_or_else(|| panic!("no frames: {stack}"))
}

/// The functions of a stack, `?` where one is not known.
fn functions(stack: &Value) -> Vec<&str> {
    frames(stack).iter().map(|frame| frame["symbol"].as_str().unwrap_or("?")).collect()
}

/// The commits of a call.
fn commits<'a>(trace: &'a Trace, call: &str) -> impl Iterator<Item = &'a Value> {
    trace.of_type("commit").filter(move |commit| commit["call"]["name"] == call)
}

fn only<'a>(mut lines: impl Iterator<Item = &'a Value>) -> &'a Value {
    let first = lines.next().expect("a line");
    assert!(lines.next().is_none(), "more than one");
    first
}

#[test]
fn each_change_names_the_functions_that_made_it() {
    needs_root!("each_change_names_the_functions_that_made_it");
    let mut victim = victim!("stacks_known");
    let tracer = Tracer::attach(victim.pid(), STACKS);
    victim.work();
    assert_exact(victim.pid());
    let trace = tracer.finish();
    trace.assert_clean();
    for call in ["mmap", "mprotect", "munmap"] {
        let commit = only(commits(&trace, call));
        let user = &commit["stack"]["user"];
        assert_eq!(functions(user)[..4], CHAIN, "{call}: {user}");
        for frame in &frames(user)[..4] {
            assert_eq!(frame["in"], "file", "{frame}");
            let path = frame["path"].as_str().expect("a path");
            assert!(path.ends_with("/victim"), "{frame}");
            assert_eq!(frame["build_id"], frames(user)[0]["build_id"], "{frame}");
        }
        let kernel = functions(&commit["stack"]["kernel"]);
        assert!(kernel.contains(&"do_syscall_64"), "{call}: {kernel:?}");
        let own = match call {
            // The entry of mmap may have no frame of its own.
            "mmap" => "vm_mmap_pgoff",
            "mprotect" => "__x64_sys_mprotect",
            _ => "__x64_sys_munmap",
        };
        assert!(kernel.contains(&own), "{call}: {kernel:?}");
        let hook = |name: &&str| name.contains("bpf") || name.contains("trace");
        assert!(!kernel.iter().any(hook), "{call}: {kernel:?}");
    }
    // Its commit has it, or it has it itself.
    let stacks = |call: &Value| call.get("stack").map(|stack| functions(&stack["user"]).len());
    let [done, failed] = trace.calls("mprotect").collect::<Vec<_>>()[..] else {
        panic!("two calls")
    };
    assert_eq!((stacks(done), &failed["error"]), (None, &"EINVAL".into()));
    assert_eq!(functions(&failed["stack"]["user"])[..4], CHAIN);
}

/// `dlclose` from within: the code is gone when the commit is told, and its file all the same.
#[test]
fn a_stack_is_of_the_code_that_its_call_took_away() {
    needs_root!("a_stack_is_of_the_code_that_its_call_took_away");
    let scratch = Scratch::new();
    let mut victim = victim!("stacks_code_unmapped", scratch.path());
    let tracer = Tracer::attach(victim.pid(), STACKS);
    victim.work();
    assert_exact(victim.pid());
    let trace = tracer.finish();
    trace.assert_clean();
    let user = &only(commits(&trace, "munmap"))["stack"]["user"];
    assert_eq!(functions(user)[..3], ["stacks_leaf_and_leave", "?", "stacks_run"], "{user}");
    let gone = &frames(user)[1];
    let path = scratch.join("code");
    assert_eq!((gone["path"].as_str(), &gone["offset"]), (path.to_str(), &"0x6".into()), "{gone}");
}

/// What the files of a program hold may be the end of whoever reads them.
#[test]
fn a_reader_of_symbols_that_is_lost_takes_nothing_with_it_but_names() {
    needs_root!("a_reader_of_symbols_that_is_lost_takes_nothing_with_it_but_names");
    let mut victim = victim!("stacks_known");
    let mut tracer = Tracer::attach(victim.pid(), STACKS);
    let readers = children(tracer.process().pid());
    assert!(!readers.is_empty(), "nobody reads");
    for reader in readers {
        // SAFETY: a plain call, of processes that the tracer started.
        assert_eq!(unsafe { libc::kill(reader.cast_signed(), libc::SIGKILL) }, 0);
    }
    victim.work();
    assert_exact(victim.pid());
    let trace = tracer.finish();
    trace.assert_clean();
    assert!(trace.stderr.contains("no names of functions in the kernel"), "{}", trace.stderr);
    assert!(trace.stderr.contains("/victim: "), "{}", trace.stderr);
    let user = &only(commits(&trace, "mmap"))["stack"]["user"];
    assert!(functions(user).iter().all(|name| *name == "?"), "{user}");
    assert!(frames(user).len() > CHAIN.len(), "{user}");
}

#[test]
fn a_stack_that_is_cut_short_says_so() {
    needs_root!("a_stack_that_is_cut_short_says_so");
    let cut = |trace: &Trace| {
        let user = &only(commits(trace, "munmap"))["stack"]["user"];
        let functions: Vec<_> = functions(user).into_iter().map(str::to_owned).collect();
        (user["cut"].clone(), functions)
    };
    let mut victim = victim!("stacks_no_frames");
    let tracer = Tracer::attach(victim.pid(), &["-U"]);
    victim.work();
    let (why, functions) = cut(&tracer.finish());
    assert_eq!(why, "frame_pointer");
    assert_eq!(functions, ["stacks_leaf", "stacks_lost"]);
    let mut victim = victim!("stacks_deep");
    let tracer = Tracer::attach(victim.pid(), &["-U"]);
    victim.work();
    let (why, functions) = cut(&tracer.finish());
    assert_eq!((why, functions.len()), ("depth".into(), 127));
    assert_eq!(functions[0], "stacks_leaf");
    assert!(functions[1..].iter().all(|name| name == "stacks_deep"));
    let mut victim = victim!("stacks_unmapped");
    let tracer = Tracer::attach(victim.pid(), &["-U"]);
    victim.work();
    let (why, functions) = cut(&tracer.finish());
    assert_eq!(why, "frame_pointer");
    assert_eq!(functions, ["stacks_elsewhere"]);
}

#[test]
fn frames_stand_under_the_effects_and_times_behind_the_result() {
    needs_root!("frames_stand_under_the_effects_and_times_behind_the_result");
    let mut victim = victim!("stacks_known");
    let tracer = Tracer::attach(victim.pid(), &["--format", "text", "-U", "-T", "-e", "mprotect"]);
    victim.work();
    let text = tracer.finish_text();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains("mprotect(0x") && lines[0].ends_with('>'), "{text}");
    let took = lines[0].rsplit_once(" = 0 <0.").expect("a time").1;
    assert_eq!(took.len(), "000012>".len(), "{text}");
    assert!(lines[1].contains("mprotect: ~ "), "{text}");
    assert!(lines[2].contains("/victim(stacks_leaf+0x"), "{text}");
    assert!(lines[5].contains("/victim(stacks_outer+0x"), "{text}");
}

#[test]
fn nothing_is_told_of_stacks_and_times_that_nobody_asked_for() {
    needs_root!("nothing_is_told_of_stacks_and_times_that_nobody_asked_for");
    let mut victim = victim!("stacks_known");
    let tracer = Tracer::attach(victim.pid(), &[]);
    victim.work();
    let trace = tracer.finish();
    let told = |line: &Value| line.get("stack").is_some() || line.get("duration").is_some();
    assert!(trace.calls("munmap").next().is_some());
    assert!(!trace.lines.iter().any(told));
}

/// What takes stacks is dead code to the verifier where they are not asked for, and it drops dead
/// code.
#[test]
fn stacks_that_nobody_asked_for_are_not_in_the_programs() {
    needs_root!("stacks_that_nobody_asked_for_are_not_in_the_programs");
    let victim = victim!("stacks_known");
    let sizes = |options: &[&str]| {
        let mut tracer = Tracer::attach(victim.pid(), options);
        let pid = tracer.process().pid();
        let sizes = ["release_", "call_exit"].map(|name| size_of_program(pid, name));
        tracer.finish();
        sizes
    };
    let [without, user, kernel] = [sizes(&[]), sizes(&["-U"]), sizes(&["-K"])];
    assert!(without[0] < user[0] && without[0] < kernel[0], "{without:?} {user:?} {kernel:?}");
    // Returns have no stack of the kernel.
    assert!(without[1] < user[1] && without[1] == kernel[1], "{without:?} {user:?} {kernel:?}");
}

/// The bytes of a program of a process's, as the verifier left it.
fn size_of_program(pid: u32, name: &str) -> u32 {
    let infos = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("descriptors");
    let infos = infos.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
    let id =
        |info: String| info.lines().find_map(|line| line.strip_prefix("prog_id:\t")?.parse().ok());
    let ids: Vec<u32> = infos.filter_map(id).collect();
    let mut programs = aya::programs::loaded_programs().filter_map(Result::ok);
    let program = programs.find(|program| {
        ids.contains(&program.id()) && program.name_as_str().is_some_and(|it| it.starts_with(name))
    });
    program.and_then(|program| program.size_translated()).expect("the program")
}

#[test]
fn a_call_took_as_long_as_it_says() {
    needs_root!("a_call_took_as_long_as_it_says");
    let mut victim = victim!("stacks_known");
    let tracer = Tracer::attach(victim.pid(), &["-T"]);
    victim.work();
    let trace = tracer.finish();
    let durations: Vec<_> = trace.of_type("call").map(|call| call["duration"].as_u64()).collect();
    assert_eq!(durations.len(), 4);
    // More than nothing, and less than the whole test.
    assert!(durations.iter().all(|it| it.is_some_and(|ns| ns > 0 && ns < 60_000_000_000)));
}

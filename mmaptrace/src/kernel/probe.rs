//! The eBPF programs: loaded, attached, and the maps they share with this side.

use std::{
    panic::resume_unwind,
    process,
    thread::{self, Scope, ScopedJoinHandle},
    time::Duration,
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapData, MapError},
    programs::{BtfTracePoint, Program, ProgramError},
};
use mmaptrace_common::{
    control, kfunc,
    layout::{ABSENT, Layout},
    ring,
};
use zerocopy::IntoBytes as _;

use super::{
    SeedError, Shared, Source, Tier,
    btf::Types,
    left_out::LeftOut,
    load::{
        LoadError, Settings, Stacks, asked_for, forget, map, object_error, refused,
        refused_because, release,
    },
    maps::{Place, Renames, Space},
    readers::Readers,
    seed,
    source::{Bytes, Tally},
};
use crate::machine;

/// The object, built by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/mmaptrace-ebpf"));

/// The programs, attached for as long as this lives.
pub struct Probe {
    /// Keeps programs and links.
    _ebpf: Ebpf,
    pub(super) shared: Shared,
    renames: Array<MapData, Renames>,
    places: Array<MapData, Place>,
    spaces: HashMap<MapData, u64, Space>,
    names: HashMap<MapData, u64, u64>,
    stacks: HashMap<MapData, u64, u64>,
    left_out: LeftOut,
    pub(super) readers: Readers,
    /// See [`Source::names_are_certain`].
    certain_names: bool,
}

/// Those of `mmap_lock_released` with two arguments, and with three.
const COMMITS: [&str; 2] = ["release_2", "release_3"];
/// The one that tells of renames by workers of `io_uring`, and its tracepoint.
const WORKERS: (&str, &str) = ("work_queued", "io_uring_queue_async_work");
/// Program, tracepoint; `mmap_lock_released` is chosen by its number of arguments.
const PROGRAMS: [(&str, &str); 6] = [
    ("unmapped_area", "vm_unmapped_area"),
    ("task_fork", "sched_process_fork"),
    ("task_exec", "sched_process_exec"),
    ("task_exit", "sched_process_exit"),
    ("call_enter", "sys_enter"),
    ("call_exit", "sys_exit"),
];
/// Programs that the order and the ranges of commits hang on, those that make up for what the kernel
/// leaves out of them where it can preempt them, and their tracepoints.
const TWICE: [(&str, &str, &str); 2] = [
    ("release_2", "release_2_again", "mmap_lock_released"),
    ("unmapped_area", "unmapped_area_again", "vm_unmapped_area"),
];
/// Stacks whose keys are remembered, and threads whose calls are.
const REMEMBERED: u32 = 1 << 14;
/// Bytes of the kernel's ring buffer that only wakes: the least there is.
const WAKE_UPS: u32 = 4096;

impl Probe {
    /// Loads and attaches the programs. Nothing is followed yet, unless `settings.follow` says so.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(settings: &Settings) -> Result<Self, LoadError> {
        let (mut loader, types) = thread::scope(|scope| {
            // The first thing it does is to take apart all types of the kernel, asked to or not.
            let loader = spawn(scope, EbpfLoader::new)?;
            let types = Types::of_running_kernel()?;
            Ok::<_, LoadError>((joined(loader), types))
        })?;
        let commits = match types.tracepoint_arguments("mmap_lock_released") {
            Some(2) => COMMITS[0],
            Some(3) => COMMITS[1],
            Some(_) | None => return Err(LoadError::Tracepoint("mmap_lock_released")),
        };
        if !seed::is_possible() {
            return Err(LoadError::Call("process_vm_readv"));
        }
        let preemptible = release() >= PREEMPTIBLE;
        let (object, words) = object(&types, preemptible);
        let name_key = [machine::random(), machine::random()];
        let mut layout = Layout {
            words,
            exit_tells_last: u32::from(types.tracepoint_arguments("sched_process_exit") == Some(2)),
            growth_locked: u32::from(release() >= GROWTH_LOCKED),
            file_backing: file_backing(&types),
            backing_as_opened: u32::from(release() >= BACKING_AS_OPENED),
            tracer: process::id(),
            user_stacks: u32::from(settings.stacks.user),
            kernel_stacks: u32::from(settings.stacks.kernel),
            durations: u32::from(settings.durations),
            // How long a call took shows at its return only.
            early_returns: u32::from(settings.calls && !settings.durations),
            vsyscall: u32::from(has_vsyscall()),
            ring: settings.ring_bytes,
            ..types.layout()?
        };
        settings.follow.set(&mut layout);
        // A map that nothing will use still takes its room.
        let room = |used| if used { REMEMBERED } else { 1 };
        let mut ebpf = loader
            .btf(Some(&types.btf))
            .override_global("LAYOUT", layout.as_bytes(), true)
            .override_global("NAME", &settings.follow.padded_name()[..], true)
            .override_global("NAME_KEY", &name_key[..], true)
            .map_max_entries("RING", WAKE_UPS)
            .map_max_entries("SEGMENTS", ring::segments(settings.ring_bytes))
            .map_max_entries("STACKS", room(settings.stacks != Stacks::default()))
            .map_max_entries("ENTERED", room(settings.durations))
            .load(&object)
            .map_err(|error| object_error(&error))?;
        settings.follow.set_cgroup(&mut ebpf)?;
        let shared = Shared::of(&mut ebpf, settings.ring_bytes)?;
        let renames = map(&mut ebpf, "RENAMES")?;
        let places = map(&mut ebpf, "PLACES")?;
        let spaces = map(&mut ebpf, "SPACES")?;
        let names = map(&mut ebpf, "NAMES")?;
        let stacks = map(&mut ebpf, "STACKS")?;
        // The hook that ends things before those that begin them, so that nothing followed is
        // missed when it goes.
        let mut programs = vec![(commits, "mmap_lock_released")];
        programs.extend(PROGRAMS.into_iter().filter(|(program, _)| match *program {
            "call_exit" => settings.calls,
            "call_enter" => settings.calls && settings.durations,
            _ => true,
        }));
        if preemptible {
            programs.extend(TWICE.map(|(_, program, tracepoint)| (program, tracepoint)));
        }
        verify(&mut ebpf, &programs, &types.btf)?;
        for (program, _) in programs {
            attach(&mut ebpf, program)?;
        }
        let tells_names = settings.calls && sees_workers(&mut ebpf, &types, &layout);
        let left_out =
            LeftOut::of(&ebpf, |name| preemptible && TWICE.iter().any(|row| row.0 == name))?;
        let certain_names = true;
        let mut probe = Self {
            _ebpf: ebpf,
            shared,
            renames,
            places,
            spaces,
            names,
            stacks,
            left_out,
            readers: Readers::default(),
            certain_names,
        };
        if !tells_names {
            probe.doubt_names().map_err(|error| LoadError::Object(error.to_string()))?;
        }
        Ok(probe)
    }
}

impl Probe {
    /// What the programs keep of a space; [`MapError::KeyNotFound`] if they do not follow it.
    fn space(&self, mm: u64) -> Result<control::Space, MapError> {
        let Place(place) = self.places.get(&control::place(mm), 0)?;
        if place.mm == mm { Ok(place.space) } else { Ok(self.spaces.get(&mm, 0)?.0) }
    }
}

impl Source for Probe {
    fn tier(&self) -> Tier {
        Tier::Exact
    }

    fn shared(&self) -> &Shared {
        &self.shared
    }

    fn shared_mut(&mut self) -> &mut Shared {
        &mut self.shared
    }

    fn next(&mut self) -> Option<Bytes<'_>> {
        self.shared.ring.take().map(Bytes::Ring)
    }

    fn seed(&mut self, pid: u32, patience: Duration) -> Result<(), SeedError> {
        self.picture(pid, patience)
    }

    fn tally(&self, mm: u64) -> Result<Tally, MapError> {
        let control::Space { lost, generation, .. } = self.space(mm)?;
        Ok(Tally { lost, generation })
    }

    fn renames(&self) -> Result<u64, MapError> {
        Ok(self.renames.get(&0, 0)?.0.calls)
    }

    fn names_are_certain(&self) -> Result<bool, MapError> {
        Ok(self.certain_names && self.renames.get(&0, 0)?.0.untold == 0)
    }

    fn look_anew(&mut self) -> Result<(), MapError> {
        self.shared.update(|control| control.anew = 1)
    }

    fn doubt_names(&mut self) -> Result<(), MapError> {
        self.certain_names = false;
        self.shared.update(|control| control.uncertain_names = 1)
    }

    fn left_out(&self) -> u64 {
        self.left_out.count()
    }

    fn forget_names(&mut self, keys: &[u64]) -> Result<(), MapError> {
        forget(&mut self.names, keys)
    }

    fn forget_stacks(&mut self, keys: &[u64]) -> Result<(), MapError> {
        forget(&mut self.stacks, keys)
    }
}

/// Attaches the program that tells of renames by workers of `io_uring`; `false`: there may be some, and
/// it cannot be.
fn sees_workers(ebpf: &mut Ebpf, types: &Types, layout: &Layout) -> bool {
    let Some(arguments) = types.tracepoint_arguments(WORKERS.1) else { return true };
    let is_known = arguments == 2 && layout.io_opcode != ABSENT && layout.io_link != ABSENT;
    is_known && verify(ebpf, &[WORKERS], &types.btf).is_ok() && attach(ebpf, WORKERS.0).is_ok()
}

/// Has the kernel verify the programs of these tracepoints, all at a time: each takes milliseconds.
fn verify(
    ebpf: &mut Ebpf,
    programs: &[(&'static str, &'static str)],
    btf: &Btf,
) -> Result<(), LoadError> {
    let place = |name: &str| programs.iter().position(|row| row.0 == name);
    thread::scope(|scope| {
        let mut verdicts = Vec::new();
        for (name, program) in ebpf.programs_mut() {
            let Some(place) = place(name) else { continue };
            let (name, tracepoint) = programs[place];
            let load = move || {
                btf_tracepoint(program, name)?.load(tracepoint, btf).map_err(|error| match error {
                    ProgramError::Btf(_) => LoadError::Tracepoint(tracepoint),
                    error => refused(name, &error),
                })
            };
            verdicts.push((place, spawn(scope, load)?));
        }
        // Of several errors always the same is told.
        verdicts.sort_by_key(|&(place, _)| place);
        verdicts.into_iter().try_for_each(|(_, verdict)| joined(verdict))
    })
}

/// Does `work` on a thread of its own.
fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, LoadError> {
    let thread = thread::Builder::new().spawn_scoped(scope, work);
    thread.map_err(|error| LoadError::Object(format!("cannot start a thread: {error}")))
}

/// What a thread has found; if it has panicked, so does this one.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

fn attach(ebpf: &mut Ebpf, name: &'static str) -> Result<(), LoadError> {
    let program =
        ebpf.program_mut(name).ok_or_else(|| LoadError::Object(format!("no program {name}")))?;
    if to_refuse()? == Some(name) {
        return Err(refused_because(name, "MMAPTRACE_REFUSE asks for it".to_owned()));
    }
    btf_tracepoint(program, name)?.attach().map_err(|error| refused(name, &error))?;
    Ok(())
}

/// The program that developers want to be taken for refused.
///
/// # Errors
/// It is none of those that this side attaches.
pub(super) fn to_refuse() -> Result<Option<&'static str>, LoadError> {
    let names = PROGRAMS.iter().map(|row| row.0).chain(TWICE.iter().map(|row| row.1));
    let names: Vec<_> = names.chain(COMMITS).chain([WORKERS.0]).collect();
    asked_for("MMAPTRACE_REFUSE", &names)
}

fn btf_tracepoint<'a>(
    program: &'a mut Program,
    name: &'static str,
) -> Result<&'a mut BtfTracePoint, LoadError> {
    program.try_into().map_err(|error: ProgramError| refused(name, &error))
}

/// The object, with the calls of the kernel's functions that the programs need here, and
/// [`Layout::words`]. What this kernel needs no call for, and what it has no function for, is left out.
fn object(types: &Types, preemptible: bool) -> (Vec<u8>, u32) {
    // They keep other tasks from the CPU, where tracepoints do not; without them `Source::left_out` tells
    // what comes of that.
    const ALONE: [(u64, &str); 4] = [
        (kfunc::PREEMPT_DISABLE, "bpf_preempt_disable"),
        (kfunc::PREEMPT_ENABLE, "bpf_preempt_enable"),
        (kfunc::IRQ_SAVE, "bpf_local_irq_save"),
        (kfunc::IRQ_RESTORE, "bpf_local_irq_restore"),
    ];
    // To look for one takes a look at every type.
    let ids = ALONE.map(|(_, name)| preemptible.then(|| types.function(name)).flatten());
    let there = ids.iter().all(Option::is_some);
    let mut object = OBJECT.to_vec();
    let mut fill = |placeholder: u64, id: Option<u32>| {
        let instruction = id.map_or(kfunc::NOTHING, kfunc::call);
        for word in object.chunks_exact_mut(8).filter(|it| **it == placeholder.to_le_bytes()) {
            word.copy_from_slice(&instruction.to_le_bytes());
        }
    };
    for ((placeholder, _), id) in ALONE.iter().zip(ids) {
        fill(*placeholder, id.filter(|_| there));
    }
    let words = types.words().filter(|_| release() >= CASTS);
    let cast = words.and_then(|_| types.function("bpf_rdonly_cast"));
    fill(kfunc::RDONLY_CAST, cast);
    (object, words.filter(|_| cast.is_some()).unwrap_or(ABSENT))
}

/// Since then tracepoints leave preemption on (`__DECLARE_TRACE`, `include/linux/tracepoint.h`).
const PREEMPTIBLE: (u8, u8) = (7, 0);
/// The oldest that tests run on of those with `bpf_rdonly_cast`, which there is since 6.2. Elsewhere what is
/// read is copied.
const CASTS: (u8, u8) = (6, 12);
/// Since then a stack grows under the write lock (commit 8d7071af8907).
const GROWTH_LOCKED: (u8, u8) = (6, 5);
/// Since then maps has the device and inode of what was opened (`file_user_inode`, `fs/proc/task_mmu.c`).
const BACKING_AS_OPENED: (u8, u8) = (6, 8);
/// Since then `FMODE_BACKING` is another bit of `f_mode`.
const BACKING_MOVED: (u8, u8) = (6, 14);

/// `FMODE_BACKING` (`include/linux/fs.h`), a constant, of which BTF tells nothing: bit 25, and bit 24
/// since files have a mode for who watches them, which was taken into older kernels as well (6.12.117
/// has it) and which a function of then tells of.
fn file_backing(types: &Types) -> u32 {
    let moved = || types.function("file_set_fsnotify_mode").is_some();
    if release() >= BACKING_MOVED || moved() { 1 << 24 } else { 1 << 25 }
}

/// Whether this kernel gives 64-bit programs the `[vsyscall]` page: it then gives it to this one.
fn has_vsyscall() -> bool {
    std::fs::read("/proc/self/maps")
        .is_ok_and(|maps| maps.windows(10).any(|window| window == b"[vsyscall]"))
}

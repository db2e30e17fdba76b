//! The eBPF programs: loaded, attached, and the maps they share with this side.

use std::{
    fs::File,
    io::{self, ErrorKind},
    path::PathBuf,
    process,
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, CgroupArray, HashMap, MapData, MapError, RingBuf},
    programs::{BtfTracePoint, ProgramError},
};
use mmaptrace_common::{control, layout::Layout};
use zerocopy::IntoBytes as _;

use super::{
    btf::{BtfError, Types},
    maps::{Control, Faults, Process, Renames, Space},
};

/// The object, built by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/mmaptrace-ebpf"));

/// Which processes are followed besides those named one by one.
#[derive(Debug, Default)]
pub struct Follow {
    /// Every one.
    pub all: bool,
    /// Those whose name (`/proc/PID/comm`, 15 bytes at most) is this when they exec.
    pub name: Option<Vec<u8>>,
    /// Those in this cgroup (version 2) or below it.
    pub cgroup: Option<PathBuf>,
    /// The children of followed ones.
    pub children: bool,
}

/// How the programs are loaded.
#[derive(Debug)]
pub struct Settings {
    /// Size of the ring buffer, in bytes: a power of two, and of pages.
    pub ring_bytes: u32,
    /// Whether returns of calls are reported. Without them the model is as exact, other system
    /// calls cost nothing, and calls without an effect are not seen.
    pub calls: bool,
    /// Which stacks are taken with each commit and call.
    pub stacks: Stacks,
    /// Whether it is told when calls began.
    pub durations: bool,
    /// Which processes are followed.
    pub follow: Follow,
}

/// Which stacks are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stacks {
    /// Those of the programs, by their frame pointers.
    pub user: bool,
    /// Those in the kernel, of commits.
    pub kernel: bool,
}

/// Why the programs could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel does not tell its types.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// Not root, or the kernel is locked down.
    #[error("the kernel permits no eBPF program: {0}")]
    Permission(#[source] io::Error),
    /// A hook is missing: the kernel is older than 6.1.
    #[error("this kernel has no tracepoint {0}")]
    Tracepoint(&'static str),
    /// The verifier refused one, or it could not be attached.
    #[error("the kernel refuses the program {name}: {why}")]
    Refused {
        /// The program.
        name: &'static str,
        /// The kernel's words, the last line of the verifier's log.
        why: String,
    },
    /// The object or a map.
    #[error("cannot load the eBPF object: {0}")]
    Object(String),
    /// The cgroup cannot be opened.
    #[error("cannot open the cgroup {path}")]
    Cgroup {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl LoadError {
    /// What the user can do about it.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Permission(_) => Some(
                "run it as root (sudo), with CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE, on a kernel \
                 that is not locked down",
            ),
            Self::Btf(BtfError::Read(_)) => {
                Some("the kernel must be built with CONFIG_DEBUG_INFO_BTF, and /sys be mounted")
            }
            Self::Tracepoint(_) => Some("it takes Linux 6.1 or later; see: mmaptrace check"),
            Self::Refused { .. } => Some("see: mmaptrace check"),
            Self::Btf(BtfError::Parse(_) | BtfError::Missing { .. } | BtfError::Far { .. })
            | Self::Object(_)
            | Self::Cgroup { .. } => None,
        }
    }
}

/// The programs, attached for as long as this lives.
pub struct Probe {
    /// Keeps programs and links.
    _ebpf: Ebpf,
    /// The records.
    pub ring: RingBuf<MapData>,
    pub(super) control: Array<MapData, Control>,
    faults: Array<MapData, Faults>,
    renames: Array<MapData, Renames>,
    spaces: HashMap<MapData, u64, Space>,
    processes: HashMap<MapData, u32, Process>,
    names: HashMap<MapData, u64, u64>,
    stacks: HashMap<MapData, u64, u64>,
}

/// Program, tracepoint; `mmap_lock_released` is chosen by its number of arguments.
const PROGRAMS: [(&str, &str); 6] = [
    ("unmapped_area", "vm_unmapped_area"),
    ("task_fork", "sched_process_fork"),
    ("task_exec", "sched_process_exec"),
    ("task_exit", "sched_process_exit"),
    ("call_enter", "sys_enter"),
    ("call_exit", "sys_exit"),
];
/// Stacks whose keys are remembered, and threads whose calls are.
const REMEMBERED: u32 = 1 << 14;

impl Probe {
    /// Loads and attaches the programs. Nothing is followed yet, unless `settings.follow` says so.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(settings: &Settings) -> Result<Self, LoadError> {
        let types = Types::of_running_kernel()?;
        let commits = match types.tracepoint_arguments("mmap_lock_released") {
            Some(2) => "release_2",
            Some(3) => "release_3",
            Some(_) | None => return Err(LoadError::Tracepoint("mmap_lock_released")),
        };
        let follow = &settings.follow;
        let layout = Layout {
            exit_tells_last: u32::from(types.tracepoint_arguments("sched_process_exit") == Some(2)),
            growth_locked: u32::from(release() >= GROWTH_LOCKED),
            file_backing: if release() >= BACKING_MOVED { 1 << 24 } else { 1 << 25 },
            tracer: process::id(),
            follow_all: u32::from(follow.all),
            follow_name: u32::from(follow.name.is_some()),
            follow_cgroup: u32::from(follow.cgroup.is_some()),
            follow_children: u32::from(follow.children),
            user_stacks: u32::from(settings.stacks.user),
            kernel_stacks: u32::from(settings.stacks.kernel),
            durations: u32::from(settings.durations),
            // How long a call took shows at its return only.
            early_returns: u32::from(settings.calls && !settings.durations),
            vsyscall: u32::from(has_vsyscall()),
            ..types.layout()?
        };
        let mut name = [0; 16];
        if let Some(wanted) = &follow.name {
            let length = wanted.len().min(15);
            name[..length].copy_from_slice(&wanted[..length]);
        }
        // A map that nothing will use still takes its room.
        let room = |used| if used { REMEMBERED } else { 1 };
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&types.btf))
            .override_global("LAYOUT", layout.as_bytes(), true)
            .override_global("NAME", &name[..], true)
            .map_max_entries("RING", settings.ring_bytes)
            .map_max_entries("STACKS", room(settings.stacks != Stacks::default()))
            .map_max_entries("ENTERED", room(settings.durations))
            .load(OBJECT)
            .map_err(|error| object_error(&error))?;
        if let Some(path) = &follow.cgroup {
            let cgroup = File::open(path)
                .map_err(|source| LoadError::Cgroup { path: path.clone(), source })?;
            // Borrowed: the map must be there when the programs that use it are loaded.
            let map = ebpf.map_mut("CGROUP").ok_or_else(|| no_map("CGROUP"))?;
            let mut array = CgroupArray::try_from(map).map_err(|error| map_error(&error))?;
            array.set(0, cgroup, 0).map_err(|error| map_error(&error))?;
        }
        let probe = Maps {
            ring: map(&mut ebpf, "RING")?,
            control: map(&mut ebpf, "CONTROL")?,
            faults: map(&mut ebpf, "FAULTS")?,
            renames: map(&mut ebpf, "RENAMES")?,
            spaces: map(&mut ebpf, "SPACES")?,
            processes: map(&mut ebpf, "PROCESSES")?,
            names: map(&mut ebpf, "NAMES")?,
            stacks: map(&mut ebpf, "STACKS")?,
        };
        // The hook that ends things before those that begin them, so that nothing followed is
        // missed when it goes.
        attach(&mut ebpf, commits, "mmap_lock_released", &types.btf)?;
        for (program, tracepoint) in PROGRAMS {
            let wanted = match program {
                "call_exit" => settings.calls,
                "call_enter" => settings.calls && settings.durations,
                _ => true,
            };
            if wanted {
                attach(&mut ebpf, program, tracepoint, &types.btf)?;
            }
        }
        let Maps { ring, control, faults, renames, spaces, processes, names, stacks } = probe;
        Ok(Self { _ebpf: ebpf, ring, control, faults, renames, spaces, processes, names, stacks })
    }

    /// Follows a process by its PID: what it execs, and its children if so set.
    ///
    /// # Errors
    /// The map is full.
    pub fn follow_process(&mut self, pid: u32) -> Result<(), MapError> {
        self.processes.insert(pid, Process::default(), 0)
    }

    /// Ends what [`Probe::follow_process`] began.
    pub fn unfollow_process(&mut self, pid: u32) {
        // If it is not there it is not followed.
        let _ = self.processes.remove(&pid);
    }

    /// Lets the programs send these names again when they next meet them.
    ///
    /// # Errors
    /// The map cannot be accessed.
    pub fn forget_names(&mut self, keys: &[u64]) -> Result<(), MapError> {
        forget(&mut self.names, keys)
    }

    /// Lets the programs send these stacks again when they next meet them.
    ///
    /// # Errors
    /// The map cannot be accessed.
    pub fn forget_stacks(&mut self, keys: &[u64]) -> Result<(), MapError> {
        forget(&mut self.stacks, keys)
    }

    /// Tells the programs that the reader sleeps until it is woken (`true`), or comes by on its
    /// own.
    ///
    /// # Errors
    /// The map cannot be accessed.
    pub fn set_idle(&mut self, idle: bool) -> Result<(), MapError> {
        self.update(|control| control.idle = u32::from(idle))
    }

    /// How many calls have changed names of files, of which no address space tells.
    ///
    /// # Errors
    /// The map cannot be accessed.
    pub fn renames(&self) -> Result<u64, MapError> {
        Ok(self.renames.get(&0, 0)?.0.calls)
    }

    /// What went wrong that no record tells.
    ///
    /// # Errors
    /// The map cannot be accessed.
    pub fn faults(&self) -> Result<control::Faults, MapError> {
        Ok(self.faults.get(&0, 0)?.0)
    }

    /// The records of a followed mm that found no room, so far.
    pub fn lost(&self, mm: u64) -> u64 {
        self.spaces.get(&mm, 0).map_or(0, |space| space.0.lost)
    }

    /// Reads, changes and writes the settings. The programs change `idle` as well: overwriting it
    /// with an older value costs a wake-up.
    pub(super) fn update(
        &mut self,
        change: impl FnOnce(&mut control::Control),
    ) -> Result<(), MapError> {
        let mut control = self.control.get(&0, 0)?;
        change(&mut control.0);
        self.control.set(0, control, 0)
    }
}

fn forget(sent: &mut HashMap<MapData, u64, u64>, keys: &[u64]) -> Result<(), MapError> {
    for key in keys {
        match sent.remove(key) {
            Ok(()) => {}
            // The kernel had forgotten it already, to make room.
            Err(MapError::SyscallError(error)) if error.io_error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

struct Maps {
    ring: RingBuf<MapData>,
    control: Array<MapData, Control>,
    faults: Array<MapData, Faults>,
    renames: Array<MapData, Renames>,
    spaces: HashMap<MapData, u64, Space>,
    processes: HashMap<MapData, u32, Process>,
    names: HashMap<MapData, u64, u64>,
    stacks: HashMap<MapData, u64, u64>,
}

fn map<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, LoadError>
where
    T: TryFrom<aya::maps::Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| no_map(name))?;
    T::try_from(map).map_err(|error| map_error(&error))
}

fn no_map(name: &str) -> LoadError {
    LoadError::Object(format!("no map {name}"))
}

fn map_error(error: &MapError) -> LoadError {
    LoadError::Object(chain(error))
}

fn attach(
    ebpf: &mut Ebpf,
    name: &'static str,
    tracepoint: &'static str,
    btf: &Btf,
) -> Result<(), LoadError> {
    let program =
        ebpf.program_mut(name).ok_or_else(|| LoadError::Object(format!("no program {name}")))?;
    let program: &mut BtfTracePoint =
        program.try_into().map_err(|e: ProgramError| refused(name, &e))?;
    program.load(tracepoint, btf).map_err(|e| match e {
        ProgramError::Btf(_) => LoadError::Tracepoint(tracepoint),
        error => refused(name, &error),
    })?;
    program.attach().map_err(|e| refused(name, &e))?;
    Ok(())
}

fn refused(name: &'static str, error: &ProgramError) -> LoadError {
    if let ProgramError::LoadError { io_error, verifier_log } = error {
        let log = verifier_log.to_string();
        if io_error.kind() == io::ErrorKind::PermissionDenied && log.trim().is_empty() {
            return LoadError::Permission(io::Error::from(io_error.kind()));
        }
        // After the reason come lines of statistics.
        let statistics = ["processed ", "verification time ", "stack depth "];
        let reason = log.lines().rev().find(|line| {
            !line.trim().is_empty() && !statistics.iter().any(|head| line.starts_with(head))
        });
        return LoadError::Refused {
            name,
            why: format!("{io_error}: {}", reason.unwrap_or("it gave no reason")),
        };
    }
    LoadError::Refused { name, why: chain(error) }
}

fn object_error(error: &aya::EbpfError) -> LoadError {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(e) = source {
        if let Some(io) = e.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::PermissionDenied
        {
            return LoadError::Permission(io::Error::from(io.kind()));
        }
        source = e.source();
    }
    LoadError::Object(chain(error))
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Since then a stack grows under the write lock (commit 8d7071af8907).
const GROWTH_LOCKED: (u8, u8) = (6, 5);
/// Since then `FMODE_BACKING` is bit 24 of `f_mode` (`include/linux/fs.h`): a constant, of which BTF
/// tells nothing.
const BACKING_MOVED: (u8, u8) = (6, 14);

/// The running kernel's version.
fn release() -> (u8, u8) {
    procfs::sys::kernel::Version::current().map_or((0, 0), |version| (version.major, version.minor))
}

/// Whether this kernel gives 64-bit programs the `[vsyscall]` page: it then gives it to this one.
fn has_vsyscall() -> bool {
    std::fs::read("/proc/self/maps")
        .is_ok_and(|maps| maps.windows(10).any(|window| window == b"[vsyscall]"))
}

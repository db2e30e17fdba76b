//! How the programs of a tier are loaded, and why they may not be.

use std::{
    env,
    fs::{self, File},
    io::{self, ErrorKind},
    path::PathBuf,
};

use aya::{
    Ebpf,
    maps::{CgroupArray, HashMap, MapData, MapError},
    programs::ProgramError,
};
use mmaptrace_common::layout::Layout;

use super::btf::BtfError;
use crate::machine::is_root;

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

impl Follow {
    /// Sets what of it the programs take as constants.
    pub(super) fn set(&self, layout: &mut Layout) {
        layout.follow_all = u32::from(self.all);
        layout.follow_name = u32::from(self.name.is_some());
        layout.follow_cgroup = u32::from(self.cgroup.is_some());
        layout.follow_children = u32::from(self.children);
    }

    /// The name, NUL-padded.
    pub(super) fn padded_name(&self) -> [u8; 16] {
        let mut padded = [0; 16];
        if let Some(name) = &self.name {
            let length = name.len().min(15);
            padded[..length].copy_from_slice(&name[..length]);
        }
        padded
    }

    /// Puts the cgroup into its map. To be called before the programs that use it are loaded.
    pub(super) fn set_cgroup(&self, ebpf: &mut Ebpf) -> Result<(), LoadError> {
        let Some(path) = &self.cgroup else { return Ok(()) };
        let cgroup =
            File::open(path).map_err(|source| LoadError::Cgroup { path: path.clone(), source })?;
        // Borrowed: the map must be there when the programs that use it are loaded.
        let map = ebpf.map_mut("CGROUP").ok_or_else(|| no_map("CGROUP"))?;
        let mut array = CgroupArray::try_from(map).map_err(|error| map_error(&error))?;
        array.set(0, cgroup, 0).map_err(|error| map_error(&error))
    }
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
    /// The kernel lets nobody look into it, root included (`man 7 kernel_lockdown`).
    #[error("the kernel is locked down: its memory is confidential, also for eBPF programs")]
    Lockdown,
    /// Maps count as locked memory, which Linux before 5.11 limits by user.
    #[error("the kernel permits too little locked memory for the buffer")]
    LockedMemory,
    /// A hook is missing: the kernel is older than Linux 6.1.
    #[error("this kernel has no tracepoint {0}")]
    Tracepoint(&'static str),
    /// A call that makes the kernel take pictures is missing, or this process may not make it.
    #[error("this kernel has no call {0}")]
    Call(&'static str),
    /// The verifier refused one, or it could not be attached.
    #[error("the kernel refuses the program {name}: {why}")]
    Refused {
        /// The program.
        name: &'static str,
        /// The kernel's words, the last line of the verifier's log.
        why: String,
    },
    /// What developers ask for by a variable of the environment is nothing that there is.
    #[error("{variable} is '{value}', which is none of: {known}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        known: String,
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
    /// Whether another tier may do what this one cannot.
    pub(super) const fn is_of_the_tier(&self) -> bool {
        match self {
            Self::Btf(_) | Self::Tracepoint(_) | Self::Call(_) | Self::Refused { .. } => true,
            Self::Permission(_)
            | Self::Lockdown
            | Self::LockedMemory
            | Self::Variable { .. }
            | Self::Object(_)
            | Self::Cgroup { .. } => false,
        }
    }

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
            Self::Lockdown => {
                Some("boot it without lockdown=confidentiality, or without secure boot")
            }
            Self::LockedMemory => {
                Some("run it with CAP_SYS_RESOURCE, after ulimit -l unlimited, or with --buffer 1M")
            }
            Self::Tracepoint(_) => Some("the exact tier takes Linux 6.1 or later"),
            Self::Call(_) => Some(
                "the kernel must be built with CONFIG_CROSS_MEMORY_ATTACH, and no filter be set",
            ),
            Self::Refused { .. } => Some("see: mmaptrace check"),
            Self::Btf(BtfError::Parse(_) | BtfError::Missing { .. } | BtfError::Far { .. })
            | Self::Variable { .. }
            | Self::Object(_)
            | Self::Cgroup { .. } => None,
        }
    }
}

/// What developers ask for by a variable of the environment, of what there is; `None`: nothing, as where
/// it is empty.
///
/// # Errors
/// There is no such thing: a wrong word would else be taken for none.
pub(super) fn asked_for(
    variable: &'static str,
    known: &[&'static str],
) -> Result<Option<&'static str>, LoadError> {
    let Some(value) = env::var_os(variable).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let found = known.iter().copied().find(|&known| value == known);
    found.map(Some).ok_or_else(|| LoadError::Variable {
        variable,
        value: value.display().to_string().escape_debug().to_string(),
        known: known.join(", "),
    })
}

pub(super) fn map<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, LoadError>
where
    T: TryFrom<aya::maps::Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| no_map(name))?;
    T::try_from(map).map_err(|error| map_error(&error))
}

pub(super) fn no_map(name: &str) -> LoadError {
    LoadError::Object(format!("no map {name}"))
}

pub(super) fn map_error(error: &MapError) -> LoadError {
    LoadError::Object(chain(error))
}

pub(super) fn refused(name: &'static str, error: &ProgramError) -> LoadError {
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
        return refused_because(
            name,
            format!("{io_error}: {}", reason.unwrap_or("it gave no reason")),
        );
    }
    LoadError::Refused { name, why: chain(error) }
}

/// That the kernel does not take the program of this name, for a reason that it gives; or that it takes
/// none, which says more.
pub(super) fn refused_because(name: &'static str, why: String) -> LoadError {
    if is_locked_down() { LoadError::Lockdown } else { LoadError::Refused { name, why } }
}

pub(super) fn object_error(error: &aya::EbpfError) -> LoadError {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(e) = source {
        if let Some(io) = e.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::PermissionDenied
        {
            let is_map = matches!(error, aya::EbpfError::MapError(_));
            return if is_map && release() < MAPS_NOT_LOCKED && is_root() {
                LoadError::LockedMemory
            } else {
                LoadError::Permission(io::Error::from(io.kind()))
            };
        }
        source = e.source();
    }
    LoadError::Object(chain(error))
}

/// Since then maps are accounted to cgroups (commit 3ac1f01b43b6).
const MAPS_NOT_LOCKED: (u8, u8) = (5, 11);

/// Whether programs may not read the kernel's memory, whoever loads them.
fn is_locked_down() -> bool {
    fs::read_to_string("/sys/kernel/security/lockdown")
        .is_ok_and(|modes| modes.contains("[confidentiality]"))
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

pub(super) fn forget(sent: &mut HashMap<MapData, u64, u64>, keys: &[u64]) -> Result<(), MapError> {
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

/// The running kernel's version.
pub(super) fn release() -> (u8, u8) {
    procfs::sys::kernel::Version::current().map_or((0, 0), |version| (version.major, version.minor))
}

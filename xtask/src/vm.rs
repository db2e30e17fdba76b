//! Runs the tests on other kernels, in machines that QEMU emulates.

mod build;
mod console;
mod image;
mod kernels;
mod machine;
mod packages;
mod table;

use std::{
    fs::{self, File},
    io::Write as _,
    iter,
    num::NonZero,
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

pub(crate) use self::image::LOCKDOWN;
use self::{
    build::Programs,
    console::Console,
    kernels::{FLAVOUR, KERNELS, Kernel, Tier},
    machine::{Pace, Qemu},
    packages::Packages,
    table::Column,
};
use crate::{tally::Tally, workspace::target_dir};

/// How long a machine may run, beside its torture.
const PATIENCE: Duration = Duration::from_mins(30);
/// Modules that tests need, in the order of loading: file name up to the first dot, and parameters.
///
/// KVM is there for a driver that maps in an ioctl: that for AMD's processors, whose virtualization
/// QEMU emulates, maps the page of the interrupt controller when it makes a processor; if it is told
/// that there is a virtual one, which is used only once a guest runs.
const MODULES: [(&str, &str); 4] =
    [("overlay", ""), ("irqbypass", ""), ("kvm", ""), ("kvm-amd", "avic=1 force_avic=1")];

/// How long tests on all kernels may take before that is worth a warning: what takes longer is not run.
const LONG: Duration = Duration::from_mins(15);

/// Machines that share the files of an exact kernel.
const SHARES: usize = 3;

/// What to run on what; where nothing is named, all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Kernels, by name.
    pub(crate) kernels: Vec<String>,
    /// The files of tests.
    pub(crate) files: Vec<String>,
    /// Files that run beside those, on one kernel each, which is named first.
    pub(crate) more: &'static [(&'static str, &'static str)],
    /// A part of the names of tests.
    pub(crate) filter: Option<String>,
    /// Minutes of calls at random in place of tests.
    pub(crate) torture: Option<u64>,
}

impl Selection {
    fn has_file(&self, name: &str) -> bool {
        self.files.is_empty() || self.files.iter().any(|file| file == name)
    }

    /// What a kernel runs of it.
    fn of(&self, kernel: &Kernel) -> Self {
        let more = self.more.iter().filter(|(name, _)| *name == kernel.name);
        let mut all = Self { more: &[], ..self.clone() };
        all.files.extend(more.map(|&(_, file)| file.to_owned()));
        all
    }

    /// What each machine of a kernel runs, so that there are enough of about the same length for all
    /// processors to be busy to the end: one would do, but takes a quarter of an hour for all files.
    fn shares(&self, kernel: &Kernel, programs: &Programs) -> Vec<Self> {
        let names = programs.tests.keys().map(String::as_str).chain([LOCKDOWN]);
        let names: Vec<_> = names.filter(|name| self.has_file(name)).map(str::to_owned).collect();
        let few = names.len() <= SHARES || self.filter.is_some();
        if few || self.torture.is_some() || kernel.tier == Tier::Degraded {
            return vec![self.clone()];
        }
        let deal = |share| names.iter().skip(share).step_by(SHARES).cloned().collect();
        (0..SHARES).map(|share| Self { files: deal(share), ..self.clone() }).collect()
    }
}

/// Boots kernels, runs tests there, and prints how each came out.
///
/// # Errors
/// When the tests cannot be built, or the emulator not be had. A kernel that cannot be had has
/// failed, and the others run.
pub(crate) fn vm(selection: &Selection) -> Result<Tally> {
    let kernels = select(&selection.kernels)?;
    let programs = build::build()?;
    let mut packages = Packages::cached()?;
    let qemu = Qemu::find(&mut packages)?;
    let files: Vec<_> = kernels.iter().map(|kernel| Files::of(kernel, &mut packages)).collect();
    let machines = kernels.iter().zip(&files).flat_map(|(kernel, files)| {
        let selection = selection.of(kernel);
        // What cannot be booted fails once.
        let shares = match files {
            Ok(_) => selection.shares(kernel, &programs),
            Err(_) => vec![selection],
        };
        shares.into_iter().enumerate().map(move |(number, share)| (*kernel, files, number, share))
    });
    // The newest first, for they take longest.
    let machines = machines.collect::<Vec<_>>().into_iter().rev().collect();
    let columns = at_once(machines, |(kernel, files, number, share)| {
        let name = format!("{}-{number}", kernel.name);
        let column = match files {
            Ok(files) => run(kernel, &name, files, &qemu, &programs, &share),
            Err(error) => Err(anyhow!("{error:#}")),
        };
        (kernel, column.unwrap_or_else(|error| Column::broken(kernel, format!("{error:#}"))))
    });
    let mut joined: Vec<(&Kernel, Column)> = Vec::new();
    for (kernel, column) in columns.into_iter().rev() {
        match joined.last_mut().filter(|(last, _)| last.name == kernel.name) {
            Some((_, whole)) => whole.join(column),
            None => joined.push((kernel, column)),
        }
    }
    Ok(table::print(&joined.into_iter().map(|(_, column)| column).collect::<Vec<_>>()))
}

/// How long it was since tests, or a `torture`, began; warns, on a line of its own, if that is long for tests.
pub(crate) fn took(began: Instant, torture: Option<u64>) -> String {
    let took = began.elapsed();
    if took > LONG && torture.is_none() {
        let (limit, name) = (LONG.as_secs() / 60, "cargo xtask vm --file");
        println!("WARNING: this took more than {limit} minutes; a part of it: {name} FILE");
    }
    let seconds = took.as_secs();
    format!("{} min {} s", seconds / 60, seconds % 60)
}

/// Boots kernels, by name, in machines whose clocks count instructions, and runs a script there: what
/// each is, and the lines that it printed.
///
/// # Errors
/// When a machine cannot be had, or did not come to the end of the script.
pub(crate) fn counted(names: &[&str], script: &str) -> Result<Vec<(String, Vec<String>)>> {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let programs = build::without_tests()?;
    let mut packages = Packages::cached()?;
    let qemu = Qemu::find(&mut packages)?;
    let directory = target_dir()?.join("vm");
    fs::create_dir_all(&directory)?;
    let files = select(&names)?.into_iter().map(|kernel| Files::of(kernel, &mut packages));
    let count = |files: Result<Files>| {
        let files = files?;
        let initrd = directory.join(format!("{}-counted.cpio", files.release));
        image::write(&initrd, &programs, &files.busybox, &files.modules, script)?;
        let mut lines = Vec::new();
        let machine = qemu.boot(&files.kernel, &initrd, Pace::Counted)?;
        machine.watch(PATIENCE, |line| lines.push(line.to_owned()));
        ensure!(lines.iter().any(|line| line == console::END), "{} stopped", files.release);
        Ok((files.release, lines))
    };
    at_once(files.collect(), count).into_iter().collect()
}

/// The rows of these names.
fn select(names: &[String]) -> Result<Vec<&'static Kernel>> {
    let known = || KERNELS.iter().map(|kernel| kernel.name).collect::<Vec<_>>().join(", ");
    for name in names {
        if !KERNELS.iter().any(|kernel| kernel.name == name) {
            bail!("there is no kernel {name}; there are {}", known());
        }
    }
    let is_wanted = |kernel: &&Kernel| names.is_empty() || names.iter().any(|n| n == kernel.name);
    Ok(KERNELS.iter().filter(is_wanted).collect())
}

/// Does `work` on all, as many at once as there are processors: a machine keeps little more than one
/// busy, for its tests run one after the other. What comes of it is in the same order.
fn at_once<T: Send, R: Send>(all: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let left = Mutex::new(all.into_iter().enumerate());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let mut done: Vec<_> = thread::scope(|scope| {
        let work = || iter::from_fn(next).map(|(at, one)| (at, work(one))).collect::<Vec<_>>();
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let done = workers.into_iter().map(ScopedJoinHandle::join);
        done.flat_map(|done| done.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    done.sort_by_key(|&(at, _)| at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Boots one kernel, in the machine of this name.
fn run(
    kernel: &Kernel,
    name: &str,
    files: &Files,
    qemu: &Qemu,
    programs: &Programs,
    selection: &Selection,
) -> Result<Column> {
    let directory = target_dir()?.join("vm");
    fs::create_dir_all(&directory)?;
    let initrd = directory.join(format!("{name}.cpio"));
    let log = directory.join(format!("{name}.log"));
    let script = image::script(programs, kernel.tier, selection);
    image::write(&initrd, programs, &files.busybox, &files.modules, &script)?;
    let mut file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    eprintln!("vm: {} boots; see {}", files.release, log.display());
    let start = Instant::now();
    let mut console = Console::default();
    let patience = PATIENCE + Duration::from_mins(selection.torture.unwrap_or(0));
    let off = qemu.boot(&files.kernel, &initrd, Pace::Fast)?.watch(patience, |line| {
        // The log is for people; the tests do not fail for it.
        _ = writeln!(file, "{:7.1} {line}", start.elapsed().as_secs_f64());
        console.line(line);
    });
    console.stop();
    let failures = console.failures.join("\n");
    let column = Column::of(kernel, files.release.clone(), console, off);
    let (release, tally, seconds) = (&column.release, column.tally(), start.elapsed().as_secs());
    println!("\n=== {release} ===\n{failures}\n{tally} in {seconds} s");
    Ok(column)
}

/// What a machine is made of, unpacked.
struct Files {
    /// As `uname -r` says there.
    release: String,
    kernel: PathBuf,
    /// In the order of loading, with their parameters.
    modules: Vec<(PathBuf, &'static str)>,
    busybox: PathBuf,
}

impl Files {
    fn of(kernel: &Kernel, packages: &mut Packages) -> Result<Self> {
        let package = packages.newest(kernel.package, FLAVOUR)?;
        let root = packages.unpacked(&package)?;
        // The newest have their modules in a package of their own.
        let others = match package.strip_prefix("linux-binary-") {
            Some(version) => packages.unpacked(&format!("linux-modules-{version}"))?,
            None => root.clone(),
        };
        let busybox = packages.unpacked("busybox-static")?.join("bin");
        let find = |root: &Path, name: &str| {
            find(root, name).with_context(|| format!("no {name} in {package}"))
        };
        let modules = MODULES
            .iter()
            .map(|&(module, parameters)| Ok((find(&others, &format!("{module}.ko"))?, parameters)));
        Ok(Self {
            release: package.split('-').skip(2).collect::<Vec<_>>().join("-"),
            kernel: find(&root, "vmlinuz")?,
            modules: modules.collect::<Result<_>>()?,
            busybox: find(&busybox, "busybox")?,
        })
    }
}

/// A file below `directory` whose name starts with `name`.
fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(directory).ok()?.flatten().map(|e| e.path()).collect();
    entries.sort();
    let fits = |path: &&PathBuf| {
        path.is_file() && path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(name))
    };
    entries.iter().find(fits).cloned().or_else(|| {
        let mut below = entries.iter().filter(|path| path.is_dir() && !path.is_symlink());
        below.find_map(|path| find(path, name))
    })
}

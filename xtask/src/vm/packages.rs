//! Debian's packages, unpacked into the cache, where they stay. Nothing is installed, so that no
//! root is needed and nothing stands in the way of what is.
//!
//! Names and versions change as Debian moves on, so they are looked up: by this machine's apt, on
//! the mirror it uses, with lists of its own, for they are of other releases as well.

use std::{
    env,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{toolchain::cache_dir, workspace::succeed};

/// The releases that have the kernels. A mirror that no longer has one only costs its kernel.
const RELEASES: [&str; 3] = ["bullseye", "bookworm", "sid"];
/// Those of them with updates beside them.
const SECURED: [&str; 2] = ["bullseye-security", "bookworm-security"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What was fetched, and a way to fetch more.
#[derive(Debug)]
pub(crate) struct Packages {
    directory: PathBuf,
    /// Whether the lists are as new as this process.
    updated: bool,
}

impl Packages {
    /// Those of this user's cache.
    ///
    /// # Errors
    /// When there is no place for a cache.
    pub(crate) fn cached() -> Result<Self> {
        let cache =
            cache_dir().context("neither XDG_CACHE_HOME nor a home directory to cache in")?;
        let directory = cache.join("vm");
        for part in ["apt/lists/partial", "apt/cache/archives/partial"] {
            fs::create_dir_all(directory.join(part)).context("cannot make the cache")?;
        }
        Ok(Self { directory, updated: false })
    }

    /// The newest package whose name is `prefix`, a version, `suffix`: of those in the cache, else
    /// of those that Debian has.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn newest(&mut self, prefix: &str, suffix: &str) -> Result<String> {
        let fits = |name: &String| {
            let version = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
            version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
        };
        let entries = fs::read_dir(&self.directory)?.flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        if let Some(name) = names.filter(fits).max_by_key(|name| numbers(name)) {
            return Ok(name);
        }
        self.update()?;
        let names = output(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        let names = names.lines().map(str::to_owned).filter(fits);
        let newest = names.max_by_key(|name| numbers(name));
        newest.with_context(|| format!("Debian has no package {prefix}*{suffix}"))
    }

    /// Where the contents of a package are.
    ///
    /// # Errors
    /// When it is not there and cannot be fetched.
    pub(crate) fn unpacked(&mut self, name: &str) -> Result<PathBuf> {
        self.fetched(name, |_| Ok(vec![name.to_owned()]))
    }

    /// Where the contents of a package are, and of all it needs that this machine lacks.
    ///
    /// # Errors
    /// As for [`Self::unpacked`].
    pub(crate) fn unpacked_with_dependencies(&mut self, name: &str) -> Result<PathBuf> {
        self.fetched(name, |packages| {
            let mut apt = packages.apt("apt-get");
            apt.args(["install", "--simulate", "--no-install-recommends", name]);
            let plan = output(&mut apt)?;
            // `Inst NAME [VERSION THAT IS HERE] (VERSION RELEASE ...)`.
            let new = plan.lines().filter_map(|line| {
                let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
                Some(format!("{}={}", name.split(' ').next()?, rest.split(' ').next()?))
            });
            Ok(new.collect())
        })
    }

    fn fetched(
        &mut self,
        name: &str,
        wanted: impl FnOnce(&Self) -> Result<Vec<String>>,
    ) -> Result<PathBuf> {
        let place = self.directory.join(name);
        if place.is_dir() {
            return Ok(place);
        }
        self.update()?;
        eprintln!("vm: fetching {name}");
        let part = self.directory.join(format!("{name}.part"));
        let (archives, root) = (part.join("archives"), part.join("root"));
        // What an earlier run did not finish.
        _ = fs::remove_dir_all(&part);
        fs::create_dir_all(&archives)?;
        let mut apt = self.apt("apt-get");
        apt.arg("download").args(wanted(self)?).current_dir(&archives);
        output(&mut apt).with_context(|| format!("cannot fetch {name}"))?;
        for archive in fs::read_dir(&archives)?.flatten() {
            succeed(Command::new("dpkg-deb").arg("--extract").arg(archive.path()).arg(&root))?;
        }
        fs::rename(&root, &place)?;
        fs::remove_dir_all(&part)?;
        Ok(place)
    }

    /// Reads what Debian has, once.
    fn update(&mut self) -> Result<()> {
        if self.updated {
            return Ok(());
        }
        ensure!(
            Path::new("/etc/debian_version").exists(),
            "the kernels are Debian's, and are fetched with its apt; this is another system"
        );
        eprintln!("vm: reading what Debian has");
        self.write_sources()?;
        // Of a release that is gone it complains, and reads the others.
        self.apt("apt-get").args(["update", "-qq"]).status().context("cannot run apt-get")?;
        self.updated = true;
        Ok(())
    }

    /// The releases, on the mirrors that this machine uses.
    fn write_sources(&self) -> Result<()> {
        let mut ask = Command::new("apt-get");
        ask.args(["indextargets", "--format", "$(LABEL) $(SITE)", "Created-By: Packages"]);
        let targets = output(&mut ask)?;
        let site = |label: &str| {
            targets.lines().find_map(|line| {
                let (found, site) = line.rsplit_once(' ')?;
                (found == label).then(|| site.to_owned())
            })
        };
        let Some(mirror) = site("Debian") else {
            bail!("apt knows no mirror of Debian; run: apt-get update");
        };
        let mut releases = RELEASES.map(str::to_owned).to_vec();
        if let Some(own) = codename() {
            // What is to run here has to be made for this machine's release; of that, the newest.
            let pin = format!("Package: *\nPin: release n={own}*\nPin-Priority: 990\n");
            fs::write(self.preferences(), pin)?;
            releases.retain(|release| *release != own);
            releases.extend([format!("{own}-backports"), own]);
        }
        let mut file = File::create(self.sources())?;
        let mut write = |mirror: &str, releases: String| {
            writeln!(file, "Types: deb\nURIs: {mirror}\nSuites: {releases}\nComponents: main")?;
            writeln!(file, "Signed-By: {KEYRING}\n")
        };
        write(&mirror, releases.join(" "))?;
        if let Some(mirror) = site("Debian-Security") {
            write(&mirror, SECURED.join(" "))?;
        }
        Ok(())
    }

    fn sources(&self) -> PathBuf {
        self.directory.join("apt/debian.sources")
    }

    fn preferences(&self) -> PathBuf {
        self.directory.join("apt/preferences")
    }

    /// A program of apt that knows the lists here and no others.
    fn apt(&self, program: &str) -> Command {
        let apt = self.directory.join("apt");
        let mut command = Command::new(program);
        let paths = [
            ("Dir::Etc::sourcelist", self.sources()),
            ("Dir::Etc::sourceparts", "/dev/null".into()),
            ("Dir::Etc::preferences", self.preferences()),
            ("Dir::Etc::preferencesparts", "/dev/null".into()),
            ("Dir::State::Lists", apt.join("lists")),
            ("Dir::Cache", apt.join("cache")),
        ];
        for (name, path) in paths {
            command.arg("-o").arg(format!("{name}={}", path.display()));
        }
        command.args(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none"]);
        command.env("LC_ALL", "C").stdin(Stdio::null());
        command
    }
}

/// The program `name` if it is on PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.is_file())
}

/// What this machine's release is called.
fn codename() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(name.trim_matches('"').to_owned())
}

/// What a command prints.
fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program} failed ({})", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The numbers in a name: of names that differ in a version only, in the versions' order.
fn numbers(name: &str) -> Vec<u64> {
    let parts = name.split(|c: char| !c.is_ascii_digit());
    parts.filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn versions_are_in_order() {
        let names = [
            "linux-image-6.1.0-0.deb11.52-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.12.95+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
        ];
        assert!(names.is_sorted_by_key(|name| numbers(name)));
    }
}

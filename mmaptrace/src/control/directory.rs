//! The directory of the sockets, which only the tracer's user can enter.

use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use crate::machine::{is_root, user};

/// Where the sockets of this user's tracers are: `/run/mmaptrace` for root, else
/// `$XDG_RUNTIME_DIR/mmaptrace`.
pub fn path() -> PathBuf {
    match env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) if !is_root() => Path::new(&directory).join("mmaptrace"),
        Some(_) | None => PathBuf::from("/run/mmaptrace"),
    }
}

/// Makes the directory if it is not there, and sees that nobody else can enter it.
///
/// # Errors
/// It cannot be made, or is not this user's alone.
pub fn prepare(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(e),
    }
    // Not following links: whoever could plant one could choose the place.
    let metadata = fs::symlink_metadata(path)?;
    let private = metadata.is_dir() && metadata.uid() == user() && metadata.mode() & 0o777 == 0o700;
    if private {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it must be a directory of this user, and closed to others (chmod 700)",
        ))
    }
}

/// The sockets in the directory, newest first.
pub fn sockets(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "sock"))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn only_a_private_directory_will_do() {
        let base = env::temp_dir().join(format!("mmaptrace-directory-{}", std::process::id()));
        fs::create_dir(&base).expect("a place");
        let directory = base.join("sockets");
        prepare(&directory).expect("made");
        prepare(&directory).expect("found as it was made");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("opened");
        assert!(prepare(&directory).is_err(), "others can enter it");
        let link = base.join("link");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).expect("closed");
        symlink(&directory, &link).expect("a link");
        assert!(prepare(&link).is_err(), "a link may lead anywhere");
        fs::remove_dir_all(&base).expect("it was there");
    }
}

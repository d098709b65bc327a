// SPDX-License-Identifier: Apache-2.0
//! Removing the two directories for good, once nothing of any task is in them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use shimkeeper_core::{HasKind, Kind};

use super::{DirsError, StateDirs};
use crate::fs::{Dir, FsError, remove_tree};
use crate::mounts::{self, MountError};

/// Why the directories stay.
#[derive(Debug, thiserror::Error)]
pub enum RemoveDirsError {
    /// A bundle is left, and its shim may live.
    #[error("the bundle {} is still there", path.display())]
    Bundle {
        /// The bundle.
        path: PathBuf,
    },
    /// Where a bundle would be is something that none of ours is, so nobody here knows what it is.
    #[error("{} holds {count} entries that are no bundles", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// How many there are.
        count: usize,
    },
    /// What is mounted there may be another's data.
    #[error("{} is still mounted", path.display())]
    Mounted {
        /// The mount point.
        path: PathBuf,
    },
    /// Nobody knows what is mounted there.
    #[error(transparent)]
    Mounts(MountError),
    /// A directory cannot be listed.
    #[error(transparent)]
    Dirs(DirsError),
    /// A file operation failed. What was reached before is gone.
    #[error(transparent)]
    Fs(FsError),
}

impl StateDirs {
    /// Removes both directories with everything in them, whoever put it there; those already gone are fine.
    ///
    /// Nothing is touched while there is a bundle, or while anything is mounted at or below one of them. No mount is
    /// ever entered, and no link followed. Blocking file operations.
    ///
    /// # Errors
    /// [`RemoveDirsError`] naming what is in the way.
    pub fn remove(&self) -> Result<(), RemoveDirsError> {
        self.has_no_bundle()?;
        self.sandboxes().has_no_bundle()?;
        let dirs = [self.state(), self.root()];
        for dir in dirs {
            is_not_mounted_in(dir)?;
        }
        dirs.into_iter().try_for_each(remove_dir)
    }

    fn has_no_bundle(&self) -> Result<(), RemoveDirsError> {
        let bundles = match self.bundles() {
            Ok(bundles) => bundles,
            Err(DirsError::Fs(error)) if error.is(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(RemoveDirsError::Dirs(error)),
        };
        if let Some(key) = bundles.found.first() {
            return Err(RemoveDirsError::Bundle { path: self.bundle_dir(key) });
        }
        if bundles.skipped > 0 {
            let path = self.paths.state_tasks.clone();
            return Err(RemoveDirsError::Foreign { path, count: bundles.skipped });
        }
        Ok(())
    }
}

fn is_not_mounted_in(dir: &Path) -> Result<(), RemoveDirsError> {
    match mounts::mounted_at_or_below(dir) {
        Ok(found) => found.into_iter().next().map_or(Ok(()), |path| Err(RemoveDirsError::Mounted { path })),
        // Its parent is gone, and it with it.
        Err(MountError::Path { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(RemoveDirsError::Mounts(error)),
    }
}

fn remove_dir(dir: &Path) -> Result<(), RemoveDirsError> {
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
        return Err(RemoveDirsError::Fs(FsError::new("remove", dir, Errno::INVAL)));
    };
    match Dir::open(parent).and_then(|parent| remove_tree(&parent, OsStr::new(name))) {
        Ok(()) => Ok(()),
        Err(error) if error.is(Errno::NOENT) => Ok(()),
        // Mounted since it was looked at.
        Err(error) if error.is(Errno::XDEV) || error.is(Errno::BUSY) => {
            Err(RemoveDirsError::Mounted { path: error.path().to_owned() })
        }
        Err(error) => Err(RemoveDirsError::Fs(error)),
    }
}

impl HasKind for RemoveDirsError {
    fn kind(&self) -> Kind {
        match self {
            Self::Bundle { .. } | Self::Foreign { .. } | Self::Mounted { .. } => Kind::FailedPrecondition,
            Self::Mounts(error) => error.kind(),
            Self::Dirs(error) => error.kind(),
            Self::Fs(error) => error.kind(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::dirs::TASKS;
    use crate::test_support::{Mounts, root_or_skip};

    fn prepared() -> (tempfile::TempDir, StateDirs) {
        let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir().unwrap();
        let dirs = StateDirs::new(dir.path().join("s"), dir.path().join("r")).unwrap();
        dirs.prepare().unwrap();
        (dir, dirs)
    }

    #[test]
    fn everything_goes_and_links_lead_nowhere() {
        let (dir, dirs) = prepared();
        let victim = dir.path().join("victim");
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("precious"), "x").unwrap();
        symlink(&victim, dirs.state().join("link")).unwrap();
        fs::create_dir_all(dirs.state().join(TASKS).join("ns/.half-removed")).unwrap();
        fs::create_dir_all(dirs.root().join(TASKS).join("ns/scratch")).unwrap();
        dirs.remove().unwrap();
        assert!(!dirs.state().exists() && !dirs.root().exists());
        assert!(victim.join("precious").exists());
        dirs.remove().expect("what is gone is fine");
    }

    #[test]
    fn a_bundle_keeps_everything() {
        let (_dir, dirs) = prepared();
        let bundle = dirs.state().join(TASKS).join("ns/web");
        fs::create_dir_all(&bundle).unwrap();
        let error = dirs.remove().unwrap_err();
        assert_eq!(error.kind(), Kind::FailedPrecondition);
        assert!(matches!(&error, RemoveDirsError::Bundle { path } if *path == bundle), "{error}");
        assert!(bundle.exists() && dirs.root().exists());
        let foreign = bundle.with_file_name("not an id");
        fs::rename(&bundle, &foreign).unwrap();
        assert!(matches!(dirs.remove(), Err(RemoveDirsError::Foreign { count: 1, .. })));
        fs::remove_dir(foreign).unwrap();
        let sandbox = dirs.sandboxes().bundle_dir(&shimkeeper_core::TaskKey::parse("ns", "pod").unwrap());
        fs::create_dir_all(&sandbox).unwrap();
        assert!(matches!(dirs.remove(), Err(RemoveDirsError::Bundle { path }) if path == sandbox));
    }

    #[test]
    fn what_is_mounted_keeps_everything_and_is_named() {
        if !root_or_skip("bind-mounts") {
            return;
        }
        let (dir, dirs) = prepared();
        let real = dir.path().canonicalize().unwrap();
        let victim = real.join("victim");
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("precious"), "x").unwrap();
        for at in [real.join("r"), real.join("s/a b")] {
            let mounts = Mounts::new();
            fs::create_dir_all(&at).unwrap();
            mounts.bind(&victim, &at);
            let error = dirs.remove().unwrap_err();
            assert!(matches!(&error, RemoveDirsError::Mounted { path } if *path == at), "{error}");
            assert!(victim.join("precious").exists() && dirs.state().join(TASKS).exists());
        }
        dirs.remove().unwrap();
        assert!(victim.join("precious").exists());
    }
}

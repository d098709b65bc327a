// SPDX-License-Identifier: Apache-2.0
//! A bundle: the directory that is handed to a shim, and that tells us after a restart what there was.
//!
//! The shim may write to it, so nothing in it is trusted: its path is computed from the parsed key and never
//! read from the `work` link, links in it are not followed, and a FIFO in the place of a file is not waited for.
//! All of this blocks on the file system; async callers use a blocking thread.

mod again;
mod draft;
mod removal;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use shimkeeper_core::{HasKind, Kind, TaskKey};

use crate::dirs::{self, StateDirs};
use crate::fs::{Dir, Durability, FsError};
use crate::mounts::MountError;

pub use draft::{BundleDraft, BundleSpec};
pub use removal::Swept;

/// The bundle of one task, which exists.
#[derive(Clone, Debug)]
pub struct Bundle {
    dirs: StateDirs,
    key: TaskKey,
    /// Its directory, where it is held open.
    held: Option<Arc<Dir>>,
}

/// The bundles of one tree, with the directory that they are in held open: for reading many in a row.
#[derive(Debug)]
pub struct Bundles {
    dirs: StateDirs,
    tasks: Dir,
}

/// Why a bundle could not be made, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The id is taken.
    #[error("the bundle of {key} already exists")]
    AlreadyExists {
        /// Whose.
        key: TaskKey,
    },
    /// There is none.
    #[error("{key} has no bundle")]
    NotFound {
        /// Whose.
        key: TaskKey,
    },
    /// Somebody removed the directory that it would be made in.
    #[error("{} was removed while it is in use", path.display())]
    DirsGone {
        /// The directory of all bundles, or of all scratch directories.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error(transparent)]
    Fs(FsError),
    /// What is mounted in it could not be unmounted.
    #[error(transparent)]
    Mount(MountError),
    /// A mount kept appearing in it; nothing is deleted across one.
    #[error("{} is mounted in the way of removing a bundle", path.display())]
    Mounted {
        /// The mount point.
        path: PathBuf,
    },
    /// Making the bundle failed, and so did undoing that.
    #[error("{error}; and what was made stays: {undoing}")]
    Stays {
        /// What failed first.
        error: Box<BundleError>,
        /// Why it could not be undone.
        undoing: Box<BundleError>,
    },
    /// Removing the bundle failed, and so did removing its scratch directory.
    #[error("{bundle}; and the scratch directory stays, too: {work}")]
    Both {
        /// What happened to the bundle.
        bundle: Box<BundleError>,
        /// What happened to the scratch directory.
        work: Box<BundleError>,
    },
}

const ROOTFS: &str = "rootfs";
const WORK: &str = "work";
const CONFIG: &str = "config.json";

/// Longest file of ours that is read from a bundle, in bytes. `config.json` is not read by us.
const MAX_FILE: usize = 1 << 20;

// === impl Bundle ===

impl Bundle {
    /// The bundle of this task.
    ///
    /// # Errors
    /// [`BundleError::NotFound`] if there is none.
    pub fn open(dirs: &StateDirs, key: &TaskKey) -> Result<Self, BundleError> {
        match dirs.state_tasks() {
            Ok(tasks) => Ok(Bundles { dirs: dirs.clone(), tasks }.get(key)?.released()),
            Err(error) => Err(BundleError::of_opening(error, key)),
        }
    }

    /// The bundle with its directory open, so that what is done to it in a row is cheap. Not to be kept for longer: see
    /// [`Bundle::released`].
    ///
    /// # Errors
    /// [`BundleError`] if it cannot be opened, such as because it is gone.
    pub fn opened(&self) -> Result<Self, BundleError> {
        Ok(Self { held: Some(self.handle()?), ..self.clone() })
    }

    /// The bundle with its directory not open: held open, it could not be unmounted, and costs a descriptor.
    #[must_use]
    pub fn released(self) -> Self {
        Self { held: None, ..self }
    }

    /// Whose it is.
    pub fn key(&self) -> &TaskKey {
        &self.key
    }

    /// Where it is.
    pub fn dir(&self) -> PathBuf {
        self.dirs.bundle_dir(&self.key)
    }

    /// The state directory that it is in.
    pub fn state(&self) -> &Path {
        self.dirs.state()
    }

    /// The shim's scratch directory.
    pub fn work_dir(&self) -> PathBuf {
        self.dirs.work_dir(&self.key)
    }

    /// Where the shim mounts the container's root file system.
    pub fn rootfs(&self) -> PathBuf {
        self.dir().join(ROOTFS)
    }

    /// Reads a regular file in it, at most 1 MiB; `None` if it is not there.
    ///
    /// # Errors
    /// [`BundleError::Fs`], also for a link, a FIFO or a device under that name.
    pub fn read_file(&self, name: &str) -> Result<Option<Vec<u8>>, BundleError> {
        Ok(self.handle()?.read(name, MAX_FILE)?)
    }

    /// When a file in it was last written to; `None` if it is not there or that cannot be found out.
    pub fn written_at(&self, name: &str) -> Option<SystemTime> {
        let stat = self.handle().ok()?.stat(name).ok()??;
        let seconds = Duration::from_secs(u64::try_from(stat.st_mtime).ok()?);
        Some(SystemTime::UNIX_EPOCH + seconds + Duration::from_nanos(stat.st_mtime_nsec))
    }

    /// Puts a file in it, whole or not at all, with exactly this mode.
    ///
    /// # Errors
    /// [`BundleError::Fs`]; the old file is still there then.
    pub fn write_file_atomic(
        &self,
        name: &str,
        bytes: &[u8],
        mode: u32,
        durability: Durability,
    ) -> Result<(), BundleError> {
        Ok(self.handle()?.write_atomic(name, bytes, mode, durability)?)
    }

    /// Adds to a file in it that is `len` bytes long. Cheaper than to replace it, and not as sure: when this fails, a
    /// piece may have been added.
    ///
    /// # Errors
    /// [`BundleError::Fs`], also if the file is gone, or is longer or shorter.
    pub fn append_to_file(
        &self,
        name: &str,
        len: u64,
        bytes: &[u8],
        durability: Durability,
    ) -> Result<(), BundleError> {
        if let Some(dir) = &self.held {
            return Ok(dir.append(name, len, bytes, durability)?);
        }
        let path = dirs::relative(&self.key).join(name);
        Ok(self.dirs.in_state_tasks(|tasks| tasks.append(&path, len, bytes, durability))?)
    }

    /// Opened anew each time, unless it is held open.
    pub(crate) fn handle(&self) -> Result<Arc<Dir>, FsError> {
        if let Some(dir) = &self.held {
            return Ok(Arc::clone(dir));
        }
        let path = dirs::relative(&self.key);
        self.dirs.in_state_tasks(|tasks| tasks.open_dir(&path)).map(Arc::new)
    }
}

// === impl Bundles ===

impl Bundles {
    /// Those of these directories.
    ///
    /// # Errors
    /// [`BundleError`] if they are in no directory that can be opened.
    pub fn open(dirs: &StateDirs) -> Result<Self, BundleError> {
        Ok(Self { dirs: dirs.clone(), tasks: dirs.state_tasks()? })
    }

    /// The bundle of this task, with its directory open, so that what is done to it in a row is cheap. Not to be kept for
    /// longer: see [`Bundle::released`].
    ///
    /// # Errors
    /// As [`Bundle::open`].
    pub fn get(&self, key: &TaskKey) -> Result<Bundle, BundleError> {
        match self.tasks.open_dir(dirs::relative(key)) {
            Ok(dir) => Ok(Bundle { dirs: self.dirs.clone(), key: key.clone(), held: Some(Arc::new(dir)) }),
            Err(error) => Err(BundleError::of_opening(error, key)),
        }
    }
}

// === impl BundleError ===

impl BundleError {
    fn of_opening(error: FsError, key: &TaskKey) -> Self {
        if error.is(Errno::NOENT) { Self::NotFound { key: key.clone() } } else { Self::Fs(error) }
    }

    /// Of opening what is made before there is any bundle.
    fn of_dirs(error: FsError) -> Self {
        if error.is(Errno::NOENT) {
            Self::DirsGone { path: error.path().to_owned() }
        } else {
            Self::Fs(error)
        }
    }

    /// The path that is in the way, where there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::AlreadyExists { .. } | Self::NotFound { .. } => None,
            Self::Fs(error) => Some(error.path()),
            Self::Mount(error) => error.path(),
            Self::Mounted { path } | Self::DirsGone { path } => Some(path),
            Self::Both { bundle: error, .. } | Self::Stays { error, .. } => error.path(),
        }
    }
}

impl From<FsError> for BundleError {
    fn from(error: FsError) -> Self {
        Self::Fs(error)
    }
}

impl From<MountError> for BundleError {
    fn from(error: MountError) -> Self {
        Self::Mount(error)
    }
}

impl HasKind for BundleError {
    fn kind(&self) -> Kind {
        match self {
            Self::AlreadyExists { .. } => Kind::AlreadyExists,
            Self::NotFound { .. } => Kind::NotFound,
            Self::Fs(error) => error.kind(),
            Self::Mount(error) => error.kind(),
            Self::Mounted { .. } | Self::DirsGone { .. } => Kind::FailedPrecondition,
            Self::Both { bundle: error, .. } | Self::Stays { error, .. } => error.kind(),
        }
    }
}

#[cfg(test)]
mod tests;

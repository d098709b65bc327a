// SPDX-License-Identifier: Apache-2.0
//! What is mounted below a bundle, and how to get rid of it before anything is deleted.
//!
//! The kernel's table is the only truth here and is read again after every change.

mod mountinfo;

use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use shimkeeper_core::{HasKind, Kind};

use crate::identity::read_virtual;

pub use mountinfo::{MountPoint, MountinfoError, parse_mountinfo};

/// Why mounts could not be listed or removed.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The table of mounts cannot be read, so nobody knows what is mounted.
    #[error("cannot read {TABLE}")]
    Read {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The table of mounts does not parse, so nobody knows what is mounted.
    #[error("cannot understand {TABLE}")]
    Parse {
        /// Where.
        #[source]
        source: MountinfoError,
    },
    /// The path is not one below which anything could be mounted.
    #[error("cannot look below {}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A mount stays, even when detached lazily.
    #[error("cannot unmount {}", path.display())]
    Unmount {
        /// The mount point.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

const TABLE: &str = "/proc/self/mountinfo";

/// How often the table is read again. Every round but the last removes something, or detaches lazily.
const MAX_ROUNDS: usize = 32;

/// What to look for, seen from a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    AtOrBelow,
    Below,
}

/// Unmounts everything at and below the path, deepest first, until nothing is left; returns how much it was.
///
/// What is busy at the first try is detached lazily at the second. No link is followed: neither the path's last
/// component, nor one that somebody in the container puts on the way to a mount.
///
/// # Errors
/// [`MountError`] naming the mount that stays.
pub fn unmount_recursive(path: &Path) -> Result<usize, MountError> {
    unmount_all(path, Scope::AtOrBelow)
}

/// Like [`unmount_recursive`], for what is below the path but not at it.
pub(crate) fn unmount_below(path: &Path) -> Result<usize, MountError> {
    unmount_all(path, Scope::Below)
}

/// The mount points strictly below the path.
#[cfg(test)]
pub(crate) fn mounted_below(path: &Path) -> Result<Vec<PathBuf>, MountError> {
    find(&real_path(path)?, Scope::Below)
}

/// The mount points at the path and below it.
pub(crate) fn mounted_at_or_below(path: &Path) -> Result<Vec<PathBuf>, MountError> {
    find(&real_path(path)?, Scope::AtOrBelow)
}

fn unmount_all(path: &Path, scope: Scope) -> Result<usize, MountError> {
    let path = real_path(path)?;
    let mut removed = 0;
    let mut lazily = false;
    let mut stays = None;
    for _ in 0..MAX_ROUNDS {
        let mounts = find(&path, scope)?;
        let Some(first) = mounts.first() else { return Ok(removed) };
        let mut progress = 0;
        let mut busy = None;
        for mount in &mounts {
            match unmount(mount, lazily) {
                Ok(()) => progress += 1,
                // Went with another one, or changed its name; the next reading tells.
                Err(Errno::INVAL | Errno::NOENT) => {}
                Err(errno) => busy = Some((mount.clone(), errno)),
            }
        }
        removed += progress;
        let (path, errno) = busy.unwrap_or_else(|| (first.clone(), Errno::INVAL));
        stays = Some(MountError::Unmount { path, source: errno.into() });
        if lazily && progress == 0 {
            break;
        }
        lazily = lazily || progress < mounts.len();
    }
    Err(stays.expect("every round that does not return leaves a reason"))
}

/// Reached through a handle of its parent, so that only the last component is looked up by name, and that one
/// without following a link. A handle of the mount itself would make it busy.
fn unmount(mount: &Path, lazily: bool) -> Result<(), Errno> {
    let (parent, name) = mount.parent().zip(mount.file_name()).ok_or(Errno::INVAL)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let handle = rustix::fs::openat2(rustix::fs::CWD, parent, flags, Mode::empty(), resolve)?;
    let by_handle =
        Path::new("/proc/self/fd").join(std::os::fd::AsRawFd::as_raw_fd(&handle).to_string()).join(name);
    let detach = if lazily { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    rustix::mount::unmount(by_handle, UnmountFlags::NOFOLLOW | detach)
}

/// Deepest first, and of several on one path the latest first.
fn find(path: &Path, scope: Scope) -> Result<Vec<PathBuf>, MountError> {
    let table = read_virtual(TABLE, u64::MAX).map_err(|source| MountError::Read { source })?;
    let table = parse_mountinfo(&table).map_err(|source| MountError::Parse { source })?;
    let mut found: Vec<PathBuf> = table
        .into_iter()
        .rev()
        .map(|mount| mount.path)
        .filter(|at| at.starts_with(path) && (scope == Scope::AtOrBelow || at != path))
        .collect();
    found.sort_by_key(|at| std::cmp::Reverse(at.components().count()));
    Ok(found)
}

/// As the kernel's table spells it: without links on the way. The last component is kept as it is.
fn real_path(path: &Path) -> Result<PathBuf, MountError> {
    let failed = |source| MountError::Path { path: path.to_owned(), source };
    let (parent, name) = path.parent().zip(path.file_name()).ok_or_else(|| failed(Errno::INVAL.into()))?;
    Ok(parent.canonicalize().map_err(failed)?.join(name))
}

// === impl MountError ===

impl MountError {
    /// The path that is in the way, where there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Read { .. } | Self::Parse { .. } => None,
            Self::Path { path, .. } | Self::Unmount { path, .. } => Some(path),
        }
    }
}

impl HasKind for MountError {
    fn kind(&self) -> Kind {
        match self {
            Self::Parse { .. } => Kind::Internal,
            Self::Read { source } | Self::Path { source, .. } => Kind::of_io(source),
            Self::Unmount { source, .. } => match Kind::of_io(source) {
                Kind::PermissionDenied => Kind::PermissionDenied,
                _ => Kind::FailedPrecondition,
            },
        }
    }
}

#[cfg(test)]
mod tests;

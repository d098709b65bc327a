// SPDX-License-Identifier: Apache-2.0
//! Files in directories that a shim can write to: nothing in them is followed, and a file is whole or not there.
//!
//! Below a directory handle everything is opened with `openat2` so that neither `..` nor a symbolic link planted
//! on the way can lead out of it. That needs Linux 5.6; there is no weaker way to fall back to.

mod dir;
mod remove;

use std::io;
use std::path::{Path, PathBuf};

use shimkeeper_core::{HasKind, Kind};

pub(crate) use dir::Dir;
pub(crate) use remove::remove_tree;

/// A file operation that failed: what was tried, on which path.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}", path.display())]
pub struct FsError {
    verb: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// What a written file survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A crash of this process, but not of the machine. Enough for what nobody needs after a reboot.
    Process,
    /// A crash of the machine: the file and its directory are synced before this returns.
    Machine,
}

/// Puts a file in place whole: written under another name, then renamed over the old one.
///
/// The mode is exact, whatever the umask. On failure the old file, if there was one, is still there, and
/// nothing else is left behind.
///
/// # Errors
/// [`FsError`] naming the step that failed.
pub fn write_atomic(
    dir: &Path,
    name: &str,
    bytes: &[u8],
    mode: u32,
    durability: Durability,
) -> Result<(), FsError> {
    Dir::open(dir)?.write_atomic(name, bytes, mode, durability)
}

// === impl FsError ===

impl FsError {
    pub(crate) fn new(verb: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self { verb, path: path.into(), source: source.into() }
    }

    /// What the operation was about.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the system said.
    pub fn io(&self) -> &io::Error {
        &self.source
    }

    pub(crate) fn is(&self, errno: rustix::io::Errno) -> bool {
        self.source.raw_os_error() == Some(errno.raw_os_error())
    }
}

impl HasKind for FsError {
    fn kind(&self) -> Kind {
        use rustix::io::Errno;
        // A link, a file or a mount stands where a plain directory belongs.
        if [Errno::LOOP, Errno::NOTDIR, Errno::ISDIR, Errno::XDEV].into_iter().any(|errno| self.is(errno)) {
            return Kind::FailedPrecondition;
        }
        Kind::of_io(&self.source)
    }
}

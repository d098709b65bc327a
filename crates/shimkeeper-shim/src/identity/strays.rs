// SPDX-License-Identifier: Apache-2.0
//! Shims whose bundle somebody else has removed. A shim works in its bundle, and the kernel keeps the name of a directory
//! that is gone for whoever works in it: that, and the mark of its launch, tell whose it was. One that stands still is left
//! out: there is no bundle that would be held up by it.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use shimkeeper_core::{Incarnation, TaskKey};

use super::reader::Reader;
use super::{IdentityError, ProcessIdentity, REMOVED, mark_of, processes};
use crate::StateDirs;

/// A process that was launched for a bundle that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Which one.
    pub process: ProcessIdentity,
    /// Whose bundle it was.
    pub key: TaskKey,
    /// The launch that it comes from.
    pub mark: Incarnation,
}

/// The directory that bundles are in, as the kernel names it.
struct Tree {
    path: PathBuf,
    device: u64,
}

/// Every process that was launched for a bundle in these directories which is not there any more, and that no other such
/// process has started. It takes about 10 µs for each process of the machine. Blocking, but not for ever.
///
/// # Errors
/// [`IdentityError`] if it cannot be found out which processes there are.
pub fn strays(dirs: &StateDirs) -> Result<Vec<Stray>, IdentityError> {
    let Some(tree) = Tree::of(dirs) else { return Ok(Vec::new()) };
    let found: Vec<Stray> = processes()?.into_iter().filter_map(|pid| tree.stray(pid)).collect();
    // A runtime that the shim has called comes and goes. Where nobody can tell, it may be one.
    let is_of_another = |stray: &Stray| {
        let mut others =
            found.iter().filter(|other| other.process != stray.process && other.key == stray.key);
        others.any(|other| stray.process.descends_from(&other.process).unwrap_or(true))
    };
    Ok(found.iter().filter(|stray| !is_of_another(stray)).cloned().collect())
}

impl Tree {
    fn of(dirs: &StateDirs) -> Option<Self> {
        let path = fs::canonicalize(dirs.bundles_dir()).ok()?;
        let device = fs::metadata(&path).ok()?.dev();
        Some(Self { path, device })
    }

    fn stray(&self, pid: u32) -> Option<Stray> {
        let link = format!("/proc/{pid}/cwd");
        let key = self.key(&fs::read_link(&link).ok()?)?;
        let process = ProcessIdentity::of(pid).ok()??;
        // In another mount namespace the same name may mean another directory: a manager in a container has such.
        // And what is mounted there may answer nobody.
        let device = move || fs::metadata(link).ok().map(|dir| dir.dev());
        if Reader::default().look(&process, device)? != Some(self.device) {
            return None;
        }
        let mark = mark_of(&process)?;
        Some(Stray { process, key, mark })
    }

    /// Whose bundle this was, if it was one of this tree and is gone.
    fn key(&self, cwd: &Path) -> Option<TaskKey> {
        let path = cwd.as_os_str().as_bytes().strip_suffix(REMOVED)?;
        let path = path.strip_prefix(self.path.as_os_str().as_bytes())?.strip_prefix(b"/")?;
        let (namespace, id) = std::str::from_utf8(path).ok()?.split_once('/')?;
        TaskKey::parse(namespace, id).ok()
    }
}

// SPDX-License-Identifier: Apache-2.0
//! A bundle that somebody else removed while its shim runs, made again. Shims and OCI runtimes open files in it by its path
//! for every call, so that without the directory nothing can be asked of the container, not even to end.

use shimkeeper_core::{Incarnation, TaskKey};

use super::draft::{PRIVATE, namespace_dir};
use super::{Bundle, BundleError, ROOTFS, WORK};
use crate::dirs::{self, StateDirs, TRAVERSABLE};
use crate::fs::{Dir, Durability, FsError, remove_tree};

const FILE_MODE: u32 = 0o600;

impl Bundle {
    /// The bundle of this task, which is not there.
    pub fn missing(dirs: &StateDirs, key: &TaskKey) -> Self {
        Self { dirs: dirs.clone(), key: key.clone(), held: None }
    }

    /// Whether its directory is there.
    ///
    /// # Errors
    /// [`BundleError::Fs`] if that cannot be found out.
    pub fn is_there(&self) -> Result<bool, BundleError> {
        Ok(self.dirs.state_tasks()?.stat(dirs::relative(&self.key))?.is_some())
    }

    /// Makes it again, unless it is there, with these files in it; whether it was missing. Its spec, and what the shim had
    /// put in it, are lost. Its scratch directory is left as it is, there or not: that may be on a disk, and whoever needs
    /// the bundle must not wait for one.
    ///
    /// # Errors
    /// [`BundleError::Fs`]; nothing was made then.
    pub fn make_again(&self, files: &[(&str, &[u8])]) -> Result<bool, BundleError> {
        if self.is_there()? {
            return Ok(false);
        }
        let namespace = namespace_dir(&self.dirs.state_tasks()?, &self.key)?;
        // Whole or not at all: with half of its files, its shim's `delete` would look for the container elsewhere.
        let aside = format!(".{}-{}", self.key.id, Incarnation::fresh());
        let made = self
            .fill(&namespace, &aside, files)
            .and_then(|()| namespace.rename(&aside, self.key.id.as_str()));
        if let Err(error) = made {
            let _ = remove_tree(&namespace, aside.as_ref());
            return Err(BundleError::Fs(error));
        }
        Ok(true)
    }

    /// Puts a file in it, unless it has one of this name.
    ///
    /// # Errors
    /// [`BundleError::Fs`].
    pub fn add_file(&self, name: &str, bytes: &[u8]) -> Result<(), BundleError> {
        let dir = self.handle()?;
        if dir.stat(name)?.is_none() {
            dir.write_atomic(name, bytes, FILE_MODE, Durability::Process)?;
        }
        Ok(())
    }

    fn fill(&self, namespace: &Dir, aside: &str, files: &[(&str, &[u8])]) -> Result<(), FsError> {
        namespace.make_dir(aside, PRIVATE)?;
        let dir = namespace.open_dir(aside)?;
        dir.make_dir(ROOTFS, TRAVERSABLE)?;
        dir.make_symlink(&self.work_dir(), WORK)?;
        for (name, bytes) in files {
            dir.write_atomic(name, bytes, FILE_MODE, Durability::Process)?;
        }
        Ok(())
    }
}

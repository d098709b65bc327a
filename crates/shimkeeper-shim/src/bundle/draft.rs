// SPDX-License-Identifier: Apache-2.0
//! A bundle in the making: it is undone when dropped, from its first directory on.

use std::fmt;
use std::mem::take;

use rustix::io::Errno;
use shimkeeper_core::TaskKey;

use super::{Bundle, BundleError, CONFIG, ROOTFS, WORK, removal};
use crate::dirs::{StateDirs, TRAVERSABLE};
use crate::failpoint;
use crate::fs::{Dir, Durability, FsError};
use crate::open_files;

/// What goes into a bundle.
#[derive(Clone, Copy)]
pub struct BundleSpec<'a> {
    /// The container's OCI spec, byte for byte; empty if there is none.
    pub json: &'a [u8],
    /// The host's group id of the container's group 0, if the container has a user namespace: that group must
    /// be able to pass through the bundle to its root file system.
    pub container_root_host_gid: Option<u32>,
}

/// A bundle that is removed again unless it is kept.
///
/// Dropping blocks on the file system, and unmounts what a shim has mounted in it by then.
#[must_use = "dropping a draft removes the bundle"]
#[derive(Debug)]
pub struct BundleDraft {
    bundle: Bundle,
    made_bundle: bool,
    made_work: bool,
}

pub(super) const PRIVATE: u32 = 0o700;
const PRIVATE_BUT_FOR_GROUP: u32 = 0o710;
const CONFIG_MODE: u32 = 0o644;

// === impl BundleDraft ===

impl BundleDraft {
    /// Makes the bundle of a task, and its scratch directory.
    ///
    /// Making the directory is what reserves the id on disk: of several callers one succeeds.
    ///
    /// # Errors
    /// [`BundleError::AlreadyExists`] if there is one; [`BundleError::Stays`] if something is left behind, which no other
    /// error does.
    pub fn create(dirs: &StateDirs, key: &TaskKey, spec: &BundleSpec<'_>) -> Result<Self, BundleError> {
        let bundle = Bundle { dirs: dirs.clone(), key: key.clone(), held: None };
        let mut draft = Self { bundle, made_bundle: false, made_work: false };
        let Err(error) = draft.build(spec) else { return Ok(draft) };
        Err(match draft.undo() {
            Ok(()) => error,
            Err(undoing) => BundleError::Stays { error: error.into(), undoing: undoing.into() },
        })
    }

    /// The bundle, for what is done before it is decided whether it stays.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The bundle stays.
    pub fn keep(mut self) -> Bundle {
        self.made_bundle = false;
        self.made_work = false;
        self.bundle.clone()
    }

    fn build(&mut self, spec: &BundleSpec<'_>) -> Result<(), BundleError> {
        let key = self.bundle.key.clone();
        let dir = self.make_bundle_dir(&key, spec.container_root_host_gid)?;
        failpoint::hit("C1");
        self.make_work_dir(&key)?;
        dir.make_dir(ROOTFS, TRAVERSABLE)?;
        dir.make_symlink(&self.bundle.work_dir(), WORK)?;
        failpoint::hit("C2");
        if !spec.json.is_empty() {
            dir.write_atomic(CONFIG, spec.json, CONFIG_MODE, Durability::Process)?;
        }
        Ok(())
    }

    fn make_bundle_dir(&mut self, key: &TaskKey, gid: Option<u32>) -> Result<Dir, BundleError> {
        let tasks = self.bundle.dirs.state_tasks().map_err(BundleError::of_dirs)?;
        if open_files::run_short(&tasks) {
            return Err(BundleError::Fs(tasks.error(
                "have more files open for",
                key.id.as_str(),
                Errno::MFILE,
            )));
        }
        let namespace = namespace_dir(&tasks, key)?;
        match namespace.make_dir(key.id.as_str(), PRIVATE) {
            Ok(()) => self.made_bundle = true,
            Err(error) if error.is(Errno::EXIST) => {
                return Err(BundleError::AlreadyExists { key: key.clone() });
            }
            Err(error) => return Err(BundleError::Fs(error)),
        }
        if let Some(gid) = gid.filter(|gid| *gid != 0) {
            namespace.give_to_group(key.id.as_str(), gid, PRIVATE_BUT_FOR_GROUP)?;
        }
        Ok(namespace.open_dir(key.id.as_str())?)
    }

    fn make_work_dir(&mut self, key: &TaskKey) -> Result<(), BundleError> {
        let namespace = namespace_dir(&self.bundle.dirs.root_tasks().map_err(BundleError::of_dirs)?, key)?;
        let made = namespace.make_dir(key.id.as_str(), TRAVERSABLE);
        if made.as_ref().is_err_and(|error| error.is(Errno::EXIST)) {
            // Left by an earlier life of the id: this one starts with an empty one.
            removal::remove(&namespace, key.id.as_str())?;
            namespace.make_dir(key.id.as_str(), TRAVERSABLE)?;
        } else {
            made?;
        }
        self.made_work = true;
        Ok(())
    }

    /// Removes what was made, once: what cannot be removed is left to whoever looks for bundles.
    fn undo(&mut self) -> Result<(), BundleError> {
        let (made_work, made_bundle) = (take(&mut self.made_work), take(&mut self.made_bundle));
        if made_work {
            removal::remove_work_dir(&self.bundle)?;
        }
        // Last, because it is what reserves the id.
        if made_bundle {
            removal::remove_bundle_dir(&self.bundle)?;
        }
        Ok(())
    }
}

impl Drop for BundleDraft {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let key = &self.bundle.key;
            tracing::warn!(
                namespace = %key.namespace, task = %key.id, %error, cause,
                "an abandoned draft of a bundle stays"
            );
        }
    }
}

impl fmt::Debug for BundleSpec<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BundleSpec")
            .field("json_bytes", &self.json.len())
            .field("container_root_host_gid", &self.container_root_host_gid)
            .finish()
    }
}

pub(super) fn namespace_dir(tasks: &Dir, key: &TaskKey) -> Result<Dir, FsError> {
    tasks.ensure_dir(key.namespace.as_str(), TRAVERSABLE)?;
    tasks.open_dir(key.namespace.as_str())
}

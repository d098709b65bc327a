// SPDX-License-Identifier: Apache-2.0
//! Removing bundles. Nothing mounted in one is ever deleted from: unmount, move aside, delete without entering a
//! mount, and where one is in the way all the same, unmount and delete again.
//!
//! The name is free as soon as the directory is moved aside to a hidden name that is met only once; what a crash
//! leaves under such a name is swept at the next start. What cannot be deleted gets its name back, by which whoever tries
//! again finds it. containerd uses one hidden name per id, and an id whose
//! removal was interrupted is unusable for ever.
//!
//! containerd gives up on a `rootfs` that is not empty once unmounted, for fear of deleting through a mount it does
//! not see; the id is taken for ever then. Here no mount can be entered, seen or not, so what is left in the plain
//! directory, such as mount points that a failed creation made, is removed with it.

use std::ffi::OsStr;

use rustix::io::Errno;
use shimkeeper_core::{Incarnation, TaskKey};

use super::{Bundle, BundleError};
use crate::dirs::StateDirs;
use crate::failpoint;
use crate::fs::{Dir, FsError, remove_tree};
use crate::mounts;

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Swept {
    /// How many leftovers are gone.
    pub removed: usize,
    /// Why the others stay.
    pub failed: Vec<BundleError>,
}

/// How often unmounting and deleting are tried before a mount that keeps appearing is reported.
const ATTEMPTS: usize = 3;

impl Bundle {
    /// Removes the bundle and the shim's scratch directory, unmounting what is mounted in them. What is already
    /// gone is fine. Both are tried even if one fails.
    ///
    /// The bundle goes last: it is what reserves the id, and whoever takes the id next makes a scratch directory of
    /// the same name.
    ///
    /// # Errors
    /// [`BundleError`] naming what is in the way. To be called again then.
    pub fn remove(&self) -> Result<(), BundleError> {
        let work = remove_work_dir(self);
        failpoint::hit("D7");
        match (remove_bundle_dir(self), work) {
            (Ok(()), Ok(())) => Ok(()),
            (Err(error), Ok(())) | (Ok(()), Err(error)) => Err(error),
            (Err(bundle), Err(work)) => Err(BundleError::Both { bundle: bundle.into(), work: work.into() }),
        }
    }
}

impl StateDirs {
    /// Removes what interrupted removals left in both trees, containerd's included.
    ///
    /// For the start, before anything else is removed. One that stays never keeps another from going.
    pub fn sweep_trash(&self) -> Swept {
        let mut swept = Swept::default();
        for tasks in [self.state_tasks(), self.root_tasks()] {
            if let Err(error) =
                tasks.map_err(BundleError::from).and_then(|tasks| sweep_tree(&tasks, &mut swept))
            {
                swept.failed.push(error);
            }
        }
        swept
    }
}

impl StateDirs {
    /// Removes what an interrupted removal left of a task that has no bundle any more.
    ///
    /// # Errors
    /// [`BundleError`] naming what is in the way.
    pub fn remove_leftovers(&self, key: &TaskKey) -> Result<(), BundleError> {
        for tasks in [self.state_tasks()?, self.root_tasks()?] {
            let namespace = match tasks.open_dir(key.namespace.as_str()) {
                Ok(namespace) => namespace,
                Err(error) if error.is(Errno::NOENT) => continue,
                Err(error) => return Err(BundleError::Fs(error)),
            };
            for entry in namespace.entries()?.iter().filter(|entry| is_leftover_of(&entry.name, key)) {
                delete(&namespace, &entry.name)?;
            }
        }
        Ok(())
    }

    /// Removes the scratch directory of a task that has no bundle.
    ///
    /// # Errors
    /// [`BundleError`] naming what is in the way.
    pub fn remove_work_dir(&self, key: &TaskKey) -> Result<(), BundleError> {
        remove_work_dir(&Bundle { dirs: self.clone(), key: key.clone(), held: None })
    }
}

pub(super) fn remove_bundle_dir(bundle: &Bundle) -> Result<(), BundleError> {
    let namespace = bundle.dirs.state_tasks().and_then(|tasks| tasks.open_dir(bundle.key.namespace.as_str()));
    remove_in(namespace, bundle)
}

/// The scratch directory is the one computed from the key: the `work` link in the bundle belongs to the shim,
/// and could point at anything by now.
pub(super) fn remove_work_dir(bundle: &Bundle) -> Result<(), BundleError> {
    let namespace = bundle.dirs.root_tasks().and_then(|tasks| tasks.open_dir(bundle.key.namespace.as_str()));
    // Mostly a shim has put nothing in it. An empty directory on which nothing is mounted goes at once, and no other.
    if let Ok(namespace) = &namespace
        && namespace.remove_dir(bundle.key.id.as_str()).is_ok()
    {
        return Ok(());
    }
    remove_in(namespace, bundle)
}

fn remove_in(namespace: Result<Dir, FsError>, bundle: &Bundle) -> Result<(), BundleError> {
    match namespace {
        Ok(namespace) => remove(&namespace, bundle.key.id.as_str()),
        Err(error) if error.is(Errno::NOENT) => Ok(()),
        Err(error) => Err(BundleError::Fs(error)),
    }
}

/// Removes one directory of a namespace.
pub(super) fn remove(namespace: &Dir, name: &str) -> Result<(), BundleError> {
    if namespace.stat(name)?.is_none() {
        return Ok(());
    }
    mounts::unmount_below(&namespace.path().join(name))?;
    failpoint::hit("D5");
    let aside = format!(".{name}-{}", Incarnation::fresh());
    match namespace.rename(name, &aside) {
        Ok(()) => {
            failpoint::hit("D6");
            delete(namespace, OsStr::new(&aside)).inspect_err(|_| {
                let _ = namespace.rename(&aside, name);
            })
        }
        Err(error) if error.is(Errno::NOENT) => Ok(()),
        Err(error) if error.is(Errno::BUSY) => {
            Err(BundleError::Mounted { path: namespace.path().join(name) })
        }
        // A full disk may have no room for a new name; deleting needs none.
        Err(error) if error.is(Errno::NOSPC) || error.is(Errno::DQUOT) => delete(namespace, OsStr::new(name)),
        Err(error) => Err(BundleError::Fs(error)),
    }
}

/// Deletes a directory. The kernel itself refuses to go into a mount, so the table of mounts, which is long on a busy
/// host, is read only once it has refused.
fn delete(namespace: &Dir, name: &OsStr) -> Result<(), BundleError> {
    let path = namespace.path().join(name);
    let mut in_the_way = path.clone();
    for _ in 0..ATTEMPTS {
        match remove_tree(namespace, name) {
            Ok(()) => return Ok(()),
            Err(error) if error.is(Errno::BUSY) || error.is(Errno::XDEV) => {
                error.path().clone_into(&mut in_the_way);
            }
            Err(error) => return Err(BundleError::Fs(error)),
        }
        mounts::unmount_below(&path)?;
    }
    Err(BundleError::Mounted { path: in_the_way })
}

fn sweep_tree(tasks: &Dir, swept: &mut Swept) -> Result<(), BundleError> {
    for namespace in tasks.entries()?.iter().filter(|entry| !is_hidden(&entry.name)) {
        // Not a directory, or gone by now: nothing of ours is in it.
        let Ok(namespace) = tasks.open_dir(&namespace.name) else { continue };
        for leftover in namespace.entries()?.iter().filter(|entry| is_hidden(&entry.name)) {
            match delete(&namespace, &leftover.name) {
                Ok(()) => swept.removed += 1,
                Err(error) => swept.failed.push(error),
            }
        }
    }
    Ok(())
}

fn is_leftover_of(name: &OsStr, key: &TaskKey) -> bool {
    let life = || name.to_str()?.strip_prefix('.')?.strip_prefix(key.id.as_str())?.strip_prefix('-');
    life().is_some_and(|life| life.parse::<Incarnation>().is_ok())
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

// SPDX-License-Identifier: Apache-2.0
//! Walks directories for what a manager makes in them. Links are not followed: a `work` link leads elsewhere.

use std::fs::{self, DirEntry};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Sockets and FIFOs.
#[derive(Debug, Default)]
pub(super) struct Special {
    pub(super) sockets: Vec<PathBuf>,
    pub(super) fifos: Vec<PathBuf>,
}

impl Special {
    /// Adds what is below `dir`.
    pub(super) fn collect(&mut self, dir: &Path) {
        for entry in sorted(dir) {
            match entry.file_type() {
                Ok(kind) if kind.is_socket() => self.sockets.push(entry.path()),
                Ok(kind) if kind.is_fifo() => self.fifos.push(entry.path()),
                // A root file system is the container's, and may be large.
                Ok(kind) if kind.is_dir() && entry.file_name() != "rootfs" => self.collect(&entry.path()),
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// What is in the directories in `dir`: what is meant, and what is hidden.
pub(super) fn grandchildren(dir: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let namespaces = sorted(dir).into_iter().map(|namespace| namespace.path());
    let entries = namespaces.flat_map(|namespace| sorted(&namespace)).map(|entry| entry.path());
    entries.partition(|path| !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")))
}

/// The control groups below one, in every hierarchy that is mounted.
pub(crate) fn cgroups_below(path: &str) -> Vec<PathBuf> {
    let below = places(path).into_iter().flat_map(|place| sorted(&place));
    below
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Removes a control group that runtimes made and left; it stays where it is in use.
pub(crate) fn remove_cgroups(path: &str) {
    for place in places(path) {
        let _ = fs::remove_dir(place);
    }
}

/// Where a control group is, or would be, in every hierarchy.
fn places(path: &str) -> Vec<PathBuf> {
    let mount = Path::new("/sys/fs/cgroup");
    let path = path.trim_start_matches('/');
    let hierarchies =
        sorted(mount).into_iter().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let below = hierarchies.map(|hierarchy| hierarchy.path().join(path));
    std::iter::once(mount.join(path)).chain(below).collect()
}

fn sorted(dir: &Path) -> Vec<DirEntry> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut entries: Vec<DirEntry> = entries.filter_map(Result::ok).collect();
    entries.sort_by_key(DirEntry::file_name);
    entries
}

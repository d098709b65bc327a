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

/// The entries of every namespace in `dir`: those that are meant, and the hidden ones.
pub(super) fn entries(dir: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let namespaces = sorted(dir).into_iter().map(|namespace| namespace.path());
    let entries = namespaces.flat_map(|namespace| sorted(&namespace)).map(|entry| entry.path());
    entries.partition(|path| !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")))
}

/// The directories of a control group in every hierarchy that is mounted.
pub(super) fn cgroups(path: &str) -> Vec<PathBuf> {
    let mount = Path::new("/sys/fs/cgroup");
    let path = path.trim_start_matches('/');
    let hierarchies =
        sorted(mount).into_iter().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let places = hierarchies.map(|hierarchy| hierarchy.path().join(path));
    std::iter::once(mount.join(path)).chain(places).filter(|place| place.is_dir()).collect()
}

fn sorted(dir: &Path) -> Vec<DirEntry> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut entries: Vec<DirEntry> = entries.filter_map(Result::ok).collect();
    entries.sort_by_key(DirEntry::file_name);
    entries
}

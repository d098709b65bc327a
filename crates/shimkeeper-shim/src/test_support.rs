// SPDX-License-Identifier: Apache-2.0
//! What several tests of this crate need: mounts that are gone afterwards, and directories to work in.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::mount::{MountFlags, UnmountFlags};
use shimkeeper_core::TaskKey;

use crate::{Bundle, BundleDraft, BundleSpec, StateDirs};

/// Whether the test may run; says why not.
pub(crate) fn root_or_skip(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: the test {what}, which takes root");
    }
    root
}

/// Mounts that a test made; those still there are detached when it ends, also by a panic.
#[derive(Debug, Default)]
pub(crate) struct Mounts(Mutex<Vec<PathBuf>>);

impl Mounts {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn tmpfs(&self, at: &Path) {
        self.sized_tmpfs(at, "1m");
    }

    pub(crate) fn sized_tmpfs(&self, at: &Path, size: &str) {
        let data = std::ffi::CString::new(format!("size={size}")).unwrap();
        rustix::mount::mount("shimkeeper-test", at, "tmpfs", MountFlags::empty(), data.as_c_str()).unwrap();
        self.0.lock().unwrap().push(at.to_owned());
    }

    pub(crate) fn bind(&self, from: &Path, at: &Path) {
        rustix::mount::mount_bind(from, at).unwrap();
        self.0.lock().unwrap().push(at.to_owned());
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        let mounts = self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        for at in mounts.iter().rev() {
            let _ = rustix::mount::unmount(at.as_path(), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        }
    }
}

/// A bundle of `ns/id` in a directory that goes with the first of the pair.
pub(crate) fn a_bundle() -> (tempfile::TempDir, Bundle) {
    let dir = tempfile::tempdir().unwrap();
    let dirs = StateDirs::new(dir.path().join("state"), dir.path().join("root")).unwrap();
    dirs.prepare().unwrap();
    let key = TaskKey::parse("ns", "id").unwrap();
    let spec = BundleSpec { json: b"{}", container_root_host_gid: None };
    let bundle = BundleDraft::create(&dirs, &key, &spec).unwrap().keep();
    (dir, bundle)
}

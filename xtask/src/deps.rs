// SPDX-License-Identifier: Apache-2.0
//! `deps`: what the demo and the tests need besides this repository. Makes what is missing, quickly does nothing else.
//!
//! ```text
//! <target>/deps/rootfs/                 root file system of the containers
//!               shims/1.7/bin/…         other containerd generations (only with --tests)
//!               shims/2.1/bin/…
//!               docker/newer/dockerd      a dockerd of a newer release (only with --tests)
//!               clients/…               clients of others' (only with --tests)
//! ```
//! The directory is `SHIMKEEPER_DEPS` where that is set. Whatever stands at its final name is complete: everything is
//! made under another name first and renamed.

mod apt_sources;
mod archive;
mod clients;
mod dockerd;
mod elf;
mod generations;
mod packages;
mod rootfs;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

/// What is going to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A container on this machine's own shim.
    Demo,
    /// All tests, also those against other generations.
    Tests,
}

/// Makes sure that everything is there and gives the directory it is in.
pub(crate) fn ensure(workspace: &Workspace, need: Need) -> Result<PathBuf> {
    let deps = workspace.deps_dir();
    fs::create_dir_all(&deps).with_context(|| format!("cannot make {}", deps.display()))?;
    packages::ensure(&deps, need)?;
    rootfs::ensure(&deps)?;
    if need == Need::Tests {
        generations::ensure(&deps)?;
        dockerd::ensure(&deps)?;
        clients::ensure(workspace, &deps)?;
    }
    Ok(deps)
}

/// A directory being filled: published under its final name, or removed.
#[derive(Debug)]
struct Staging {
    path: PathBuf,
}

impl Staging {
    fn new(deps: &Path, purpose: &str) -> Result<Self> {
        let path = deps.join(format!("{purpose}.tmp-{}", std::process::id()));
        // A process of the same number may have been killed here before.
        remove(&path)?;
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn publish(self, to: &Path) -> Result<()> {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        remove(to)?;
        fs::rename(&self.path, to)
            .with_context(|| format!("cannot rename {} to {}", self.path.display(), to.display()))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After publish it is not there; otherwise there is nobody left to tell.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

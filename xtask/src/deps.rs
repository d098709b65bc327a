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
mod staging;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

pub(crate) use packages::Need;

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

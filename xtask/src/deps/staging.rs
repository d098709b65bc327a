// SPDX-License-Identifier: Apache-2.0
//! How what is made here comes to be complete or not there at all: under another name first.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A directory being filled: published under its final name, or removed.
#[derive(Debug)]
pub(super) struct Staging {
    path: PathBuf,
}

impl Staging {
    pub(super) fn new(deps: &Path, purpose: &str) -> Result<Self> {
        let path = deps.join(format!("{purpose}.tmp-{}", std::process::id()));
        // A process of the same number may have been killed here before.
        remove(&path)?;
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn publish(self, to: &Path) -> Result<()> {
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

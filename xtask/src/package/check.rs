// SPDX-License-Identifier: Apache-2.0
//! Installs a package on a copy of this machine that nobody else sees, and starts the daemon from what is installed.
//!
//! The copy is an overlay over the root directory, its upper layer in memory, in a mount namespace of its own; what is
//! started is in a process namespace that ends with the script. Nothing of either is left, however it ends.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// What is done there, as a shell would be told.
const SCRIPT: &str = include_str!("check.sh");

pub(crate) fn run(package: &Path) -> Result<()> {
    if shell::find("ctr").is_none() {
        bail!("ctr is needed to check a package, and is not here");
    }
    let script = package.with_extension("check.sh");
    fs::write(&script, SCRIPT).with_context(|| format!("cannot write {}", script.display()))?;
    let mut command =
        shell::as_root("unshare").context("installing needs root, and there is no sudo here")?;
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--", "/bin/sh"]).arg(&script).arg(package);
    let checked = shell::run(&mut command);
    fs::remove_file(&script).with_context(|| format!("cannot remove {}", script.display()))?;
    checked
}

// SPDX-License-Identifier: Apache-2.0
//! Clients of others' that the tests run and this workspace does not build, because others' tools are needed for it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::deps::staging::Staging;
use crate::workspace::Workspace;

/// The one there is: its directory in the repository, and the name of its binary.
const CLIENT: (&str, &str) = ("clients/containerd-client", "shimkeeper-containerd-client");

/// Builds it, which is quickly done where nothing has changed.
pub(super) fn ensure(workspace: &Workspace, deps: &Path) -> Result<()> {
    let (source, binary) = CLIENT;
    let target = workspace.target.join("clients");
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--quiet", "--locked", "--manifest-path"]);
    cargo.arg(workspace.root.join(source).join("Cargo.toml")).arg("--target-dir").arg(&target);
    let status = cargo.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("{source} cannot be built ({status})");
    }
    let staging = Staging::new(deps, "clients")?;
    let (from, to) = (target.join("debug").join(binary), staging.path().join(binary));
    fs::copy(&from, &to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    staging.publish(&deps.join("clients"))
}

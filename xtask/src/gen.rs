// SPDX-License-Identifier: Apache-2.0
//! `gen`: runs the protobuf generator, which is a program of its own so that nobody who types another command compiles
//! a protobuf compiler first.

use anyhow::Result;

use crate::shell;
use crate::workspace::Workspace;

/// Makes the sources, or with `check` compares them.
pub(crate) fn run(workspace: &Workspace, check: bool) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--quiet", "--package", "shimkeeper-protogen", "--"]);
    shell::run(cargo.args(check.then_some("--check")))
}

// SPDX-License-Identifier: Apache-2.0
//! `bench`: builds the measuring harness the way it must be built, and hands it the arguments.

use anyhow::Result;

use crate::deps::{self, Need};
use crate::shell;
use crate::workspace::Workspace;

/// Runs `shimkeeper-bench` with `arguments`.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    deps::ensure(workspace, Need::Demo)?;
    let mut cargo = workspace.cargo();
    shell::run(cargo.args(["run", "--profile", "bench", "-p", "shimkeeper-bench", "--"]).args(arguments))
}

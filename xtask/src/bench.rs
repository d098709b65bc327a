// SPDX-License-Identifier: Apache-2.0
//! `bench`: builds the measuring harness, and what it measures as users get it, and hands it the arguments.

use anyhow::Result;

use crate::deps::{self, Need};
use crate::shell;
use crate::workspace::Workspace;

/// Commands of the harness that measure the library, for which there is no daemon to be built.
const ALONE: [&str; 7] = ["floor", "soak", "adoption", "adopt-once", "help", "--help", "-h"];

/// Runs `shimkeeper-bench` with `arguments`.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let is_alone = arguments.iter().any(|argument| ALONE.contains(&argument.as_str()));
    deps::ensure(workspace, if is_alone { Need::Demo } else { Need::Tests })?;
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--profile", "bench", "-p", "shimkeeper-bench", "--"]);
    if !is_alone {
        shell::run(workspace.cargo().args(["build", "--release", "-p", "shimkeeper-cli"]))?;
        cargo.arg("--shimkeeper").arg(workspace.target.join("release/shimkeeper"));
    }
    shell::run(cargo.args(arguments))
}

// SPDX-License-Identifier: Apache-2.0
//! Programs of the Rust world that not everybody has: the installed one, else one built below the target directory.

use std::path::PathBuf;

use anyhow::Result;

use crate::shell;
use crate::workspace::Workspace;

/// Finds `name`, or builds it, once, with these flags for `cargo install`.
pub(crate) fn ensure(workspace: &Workspace, name: &str, flags: &[&str]) -> Result<PathBuf> {
    if let Some(program) = shell::find(name) {
        return Ok(program);
    }
    let tools = workspace.target.join("tools");
    let program = tools.join("bin").join(name);
    if !program.exists() {
        println!("{name}: is built into {} (once; this takes minutes)", tools.display());
        let mut cargo = workspace.cargo();
        // Not among our own artefacts, whose settings it must not share.
        cargo.env("CARGO_TARGET_DIR", tools.join("build"));
        cargo.args(["install", "--locked", "--quiet", name]).args(flags).arg("--root").arg(&tools);
        shell::run(&mut cargo)?;
    }
    Ok(program)
}

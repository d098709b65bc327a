// SPDX-License-Identifier: Apache-2.0
//! `ci`: everything that must hold before a change lands, each step timed.

use std::process::Command;

use anyhow::Result;

use crate::steps::Steps;
use crate::workspace::{Package, Workspace};
use crate::{shell, test, tidy, tools};

/// Runs every check; all of them, also after one has failed.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut steps = Steps::default();
    let cargo = |arguments: &[&str]| shell::run(workspace.cargo().args(arguments));
    steps.step("fmt", || cargo(&["fmt", "--all", "--check"]));
    steps.step("clippy", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])
    });
    // The workspace as a whole asks for features that one crate may have forgotten to ask for.
    steps.step("each crate by itself", || {
        let check =
            |package: &Package| cargo(&["check", "--package", &package.name, "--all-targets", "--quiet"]);
        workspace.packages.iter().try_for_each(check)
    });
    // What the workspace is not built with, and would rot.
    steps.step("traces: clippy", || {
        cargo(
            &[&["clippy"], &test::TRACES[..], &["--all-targets", "--quiet", "--", "-D", "warnings"]].concat(),
        )
    });
    steps.step("tidy", || tidy::run(workspace));
    steps.step("deny", || deny(workspace));
    steps.step("doc", || doc(workspace));
    test::add_steps(&mut steps, workspace, &[]);
    steps.finish()
}

fn doc(workspace: &Workspace) -> Result<()> {
    let mut command = workspace.cargo();
    command.env("RUSTDOCFLAGS", "-D warnings");
    shell::run(command.args(["doc", "--workspace", "--no-deps", "--quiet"]))
}

/// Licences, banned crates and sources always; known vulnerabilities where their list can be had.
fn deny(workspace: &Workspace) -> Result<()> {
    let program = tools::ensure(workspace, "cargo-deny", &[])?;
    let deny = || {
        let mut command = Command::new(&program);
        command.current_dir(&workspace.root);
        command
    };
    shell::run(deny().args(["check", "bans", "licenses", "sources"]))?;
    if let Err(error) = shell::output(deny().args(["fetch", "db"])) {
        println!("deny: the list of advisories cannot be fetched, so they were NOT checked: {error}");
        return Ok(());
    }
    shell::run(deny().args(["check", "--disable-fetch", "advisories"]))
}

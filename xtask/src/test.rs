// SPDX-License-Identifier: Apache-2.0
//! `test`: everything that must be there, the rules, every test, and a look at what was left behind.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::deps::{self, Need};
use crate::leaks::Snapshot;
use crate::steps::Steps;
use crate::workspace::Workspace;
use crate::{package, shell, tidy};

/// What the workspace is not built with by itself: spans for a collector of traces.
pub(crate) const TRACES: [&str; 4] = ["--package", "shimkeeper-daemon", "--features", "otel"];

/// Runs all of it; `arguments` go to the test runner, and then select what is run.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let mut steps = Steps::default();
    steps.step("tidy", || tidy::run(workspace));
    add_steps(&mut steps, workspace, arguments);
    steps.finish()
}

/// Adds the steps that run tests.
pub(crate) fn add_steps(steps: &mut Steps, workspace: &Workspace, arguments: &[String]) {
    // Without what they run against, the tests would fail one by one with less to say.
    if !steps.step("deps", || deps::ensure(workspace, Need::Tests).map(drop)) {
        return;
    }
    let before = Snapshot::take();
    // Tests start programs of the workspace that cargo does not rebuild for them.
    if steps.step("build", || shell::run(workspace.cargo().args(["build", "--workspace", "--bins"]))) {
        steps.step("tests", || shell::run(&mut test_command(workspace, arguments)));
        if arguments.is_empty() {
            steps.step("doc tests", || {
                shell::run(workspace.cargo().args(["test", "--workspace", "--doc", "--quiet"]))
            });
            steps.step("traces", || {
                shell::run(workspace.cargo().args(["test", "--quiet"]).args(TRACES).arg("spans::"))
            });
            steps.step("package", || package::check(workspace));
        }
    }
    steps.step("leaks", || before.check());
}

fn test_command(workspace: &Workspace, arguments: &[String]) -> Command {
    let mut command = workspace.cargo();
    if has_nextest(workspace) {
        command.args(["nextest", "run", "--workspace"]);
        if std::env::var_os("CI").is_some() {
            command.args(["--profile", "ci"]);
        }
    } else {
        command.args(["test", "--workspace", "--all-targets"]);
    }
    command.args(arguments);
    command
}

fn has_nextest(workspace: &Workspace) -> bool {
    let mut command = workspace.cargo();
    command.args(["nextest", "--version"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

// SPDX-License-Identifier: Apache-2.0
//! `demo`: a container on a real shim, from nothing but this repository, and what there was to see.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::deps::{self, Need};
use crate::leaks::{Snapshot, count_running};
use crate::shell;
use crate::workspace::Workspace;

const SHIM: &str = "containerd-shim-runc-v2";
const HOSTNAME: &str = "shimkeeper-demo";
/// An exit code that nothing but the script would produce.
const EXIT_CODE: i32 = 7;
/// What the container runs: who am I, where am I, who else is here, and a code to give back.
const SCRIPT: &str = "echo \"hello from $(hostname), kernel $(uname -sr)\"; ps; exit 7";

/// Makes what is missing, builds the command, runs the container, says what was seen.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let deps = deps::ensure(workspace, Need::Demo)?;
    println!("demo: building the command (a cold build takes a minute or two)");
    shell::run(workspace.cargo().args(["build", "--quiet", "--package", "shimkeeper-cli"]))?;
    let program = workspace.target.join("debug/shimkeeper");
    let arguments = arguments(&deps.join("rootfs"));

    let before = Snapshot::take();
    let daemons = count_running("containerd");
    println!("\n$ shimkeeper {}\n", shown(&arguments));
    let started = Instant::now();
    let code = run_container(&program, &arguments)?;
    let took = started.elapsed();

    if code != Some(EXIT_CODE) {
        bail!("the script ends with {EXIT_CODE}, but `shimkeeper run` ended with {}", shown_code(code));
    }
    explain(took, daemons)?;
    before.check()
}

fn arguments(rootfs: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        ["run", "--hostname", HOSTNAME, "--trace-phases", "--rootfs"].map(Into::into).into();
    arguments.push(rootfs.into());
    arguments.extend(["--", "/bin/sh", "-c", SCRIPT].map(Into::into));
    arguments
}

fn run_container(program: &Path, arguments: &[OsString]) -> Result<Option<i32>> {
    let mut command = shell::as_root(program).context("a container needs root, and there is no sudo here")?;
    let status = command.args(arguments).stdin(Stdio::null()).status();
    Ok(status.with_context(|| format!("cannot run {}", program.display()))?.code())
}

fn explain(took: Duration, daemons_before: usize) -> Result<()> {
    let shim = shell::find(SHIM).with_context(|| format!("{SHIM} is gone"))?;
    let daemons = count_running("containerd");
    println!("\nWhat you saw:");
    println!("  shim       {}: {}", shim.display(), version(Command::new(&shim).arg("-v")));
    if let Some(runc) = shell::find("runc") {
        println!("  runtime    {}: {}", runc.display(), version(Command::new(&runc).arg("--version")));
    }
    println!(
        "  container  its own host name and process table on this machine's kernel, {} ms in all",
        took.as_millis()
    );
    println!("  exit code  the script ended with {EXIT_CODE}, and so did `shimkeeper run`");
    if daemons > daemons_before {
        bail!("a containerd daemon was started: {daemons_before} before, {daemons} after");
    }
    println!("  no daemon  containerd processes on this machine: {daemons_before} before, {daemons} after");
    Ok(())
}

/// The first line that names a version.
fn version(command: &mut Command) -> String {
    let said = shell::output(command).unwrap_or_default();
    let line = said.lines().find(|line| line.to_ascii_lowercase().contains("version"));
    said.lines()
        .find(|line| line.contains("Version:"))
        .or(line)
        .unwrap_or("version unknown")
        .trim()
        .to_owned()
}

fn shown(arguments: &[OsString]) -> String {
    let quoted = |word: &OsString| {
        let word = word.to_string_lossy();
        if word.contains(char::is_whitespace) { format!("'{word}'") } else { word.into_owned() }
    };
    arguments.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

fn shown_code(code: Option<i32>) -> String {
    code.map_or_else(|| "a signal".to_owned(), |code| code.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_ends_with_the_code_that_is_expected() {
        assert!(SCRIPT.ends_with(&format!("exit {EXIT_CODE}")));
    }

    #[test]
    fn what_is_shown_can_be_typed() {
        let line = shown(&arguments(Path::new("/r")));
        assert!(
            line.starts_with("run --hostname shimkeeper-demo --trace-phases --rootfs /r -- /bin/sh -c 'echo"),
            "{line}"
        );
        assert_eq!(SCRIPT.matches('\'').count(), 0);
    }

    #[test]
    fn the_version_is_taken_from_the_right_line() {
        let of = |text: &str| version(Command::new("printf").arg(text));
        assert_eq!(of("shim-v2:\\n  Version:  1.6\\n"), "Version:  1.6");
        assert_eq!(of("runc version 1.1\\nspec: 1\\n"), "runc version 1.1");
        assert_eq!(of("nothing\\n"), "version unknown");
    }
}

// SPDX-License-Identifier: Apache-2.0
//! A newer dockerd than the distribution's, unpacked next to the build and never installed, from a newer suite.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::deps::archive::Archive;
use crate::deps::staging::Staging;
use crate::shell;

/// The suite that has it: its dockerd runs on the libraries of the release before.
const SUITE: &str = "trixie";
const PACKAGE: &str = "docker.io";

/// Where it is.
fn program(deps: &Path) -> PathBuf {
    deps.join("docker/newer/dockerd")
}

/// Fetches it if it is not there yet.
pub(super) fn ensure(deps: &Path) -> Result<()> {
    let program = program(deps);
    if program.is_file() {
        return Ok(());
    }
    println!("deps: fetching the dockerd of {SUITE} (unpacked, not installed)");
    fetch(deps, &program).with_context(|| {
        format!(
            "a newer dockerd, which only the tests need, could not be fetched.\n\
             Put one of release 26 or later (that runs on this system) here:\n    {}",
            program.display()
        )
    })
}

fn fetch(deps: &Path, to: &Path) -> Result<()> {
    // Dropped, and with it the package lists, however this ends.
    let work = Staging::new(deps, "apt")?;
    let archive = Archive::open(work.path(), SUITE)?;
    let tree = archive.unpack(PACKAGE, &archive.newest_version(PACKAGE)?)?;
    let staging = Staging::new(deps, "docker")?;
    let found = staging.path().join("dockerd");
    fs::rename(tree.join("usr/sbin/dockerd"), &found).context("the package has no usr/sbin/dockerd")?;
    let version = shell::output(Command::new(&found).arg("--version"));
    println!("deps:   {}", version.context("it does not run on this machine")?.trim());
    staging.publish(to.parent().context("it is in a directory")?)
}

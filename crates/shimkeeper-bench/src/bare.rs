// SPDX-License-Identifier: Apache-2.0
//! The floor below the floor: what the kernel itself takes for a container, without a shim and without a runtime.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use shimkeeper_testkit::deps;

use crate::error::BenchError;
use crate::site::Site;

/// Where the kernel's groups are found: all at once (version 2), or by hierarchy below it (version 1).
const ROOT: &str = "/sys/fs/cgroup";

/// One container from no groups to no groups; the start-up of the process that makes it is not in the time.
pub(crate) fn lifecycle(site: &Site) -> Result<Duration, BenchError> {
    let groups = groups(&format!("{}-bare", site.dirs.cgroup().trim_start_matches('/')));
    let began = Instant::now();
    let made = groups.iter().try_for_each(std::fs::create_dir_all);
    let making = began.elapsed();
    let ran = made.and_then(|()| run(&groups));
    let began = Instant::now();
    let removed = groups.iter().try_for_each(std::fs::remove_dir);
    let removing = began.elapsed();
    let ran = ran.map_err(|e| BenchError::io("make a container by system calls", e))?;
    removed.map_err(|e| BenchError::io("remove a control group", e))?;
    Ok(making + ran + removing)
}

fn run(groups: &[PathBuf]) -> io::Result<Duration> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("bare-once").arg("--rootfs").arg(deps::rootfs());
    for group in groups {
        command.arg("--cgroup").arg(group);
    }
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    said.trim()
        .parse()
        .map(Duration::from_nanos)
        .map_err(|_| io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// A group of this name in every hierarchy.
fn groups(name: &str) -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").exists() {
        return vec![root.join(name)];
    }
    let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten();
    let is_one = |path: &PathBuf| path.join("tasks").exists() && !path.is_symlink();
    // A new group of processors is empty until somebody says which, and takes nobody in before.
    let takes_all = |path: &PathBuf| !path.ends_with("cpuset");
    hierarchies
        .map(|entry| entry.path())
        .filter(is_one)
        .filter(takes_all)
        .map(|path| path.join(name))
        .collect()
}

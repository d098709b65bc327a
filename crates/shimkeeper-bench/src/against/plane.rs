// SPDX-License-Identifier: Apache-2.0
//! Everything that one daemon and what it launches use: a control group around all of it.
//!
//! ```text
//! <cgroup>/plane     the daemon, and its shims and their helpers after it
//! <cgroup>/<id>      containers, by the path in their specs
//! ```
//! The kernel adds up processor time over a whole subtree, also that of what has ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::against::error::AgainstError;

const MOUNT: &str = "/sys/fs/cgroup";
const PLANE: &str = "plane";

/// The control group of a side.
#[derive(Debug)]
pub(crate) struct Plane {
    dir: PathBuf,
    is_unified: bool,
}

impl Plane {
    /// Makes it. The parent is removed by whoever owns the name.
    pub(crate) fn new(cgroup: &str) -> Result<Self, AgainstError> {
        let mount = Path::new(MOUNT);
        let is_unified = mount.join("cgroup.controllers").exists();
        let hierarchy = if is_unified { mount.to_owned() } else { mount.join("cpuacct") };
        let dir = hierarchy.join(cgroup.trim_start_matches('/'));
        let this = Self { dir, is_unified };
        fs::create_dir_all(this.inner())
            .map_err(AgainstError::file("make the control group", this.inner()))?;
        Ok(this)
    }

    fn inner(&self) -> PathBuf {
        self.dir.join(PLANE)
    }

    /// What a process writes its number to in order to get in.
    pub(crate) fn entrance(&self) -> PathBuf {
        self.inner().join("cgroup.procs")
    }

    /// Processor time of everybody until now.
    pub(crate) fn cpu(&self) -> Result<Duration, AgainstError> {
        let file = self.dir.join(if self.is_unified { "cpu.stat" } else { "cpuacct.usage" });
        let text = fs::read_to_string(&file).map_err(AgainstError::file("read", &file))?;
        parse(&text).ok_or_else(|| AgainstError::Unexpected(format!("{} says {text:?}", file.display())))
    }

    /// How many containers have a control group.
    pub(crate) fn containers(&self) -> usize {
        let groups = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let is_container = |entry: &fs::DirEntry| {
            entry.file_name() != PLANE && entry.file_type().is_ok_and(|kind| kind.is_dir())
        };
        groups.filter(is_container).count()
    }

    /// The daemon, shims and their helpers, as far as they live. Containers are elsewhere.
    pub(crate) fn processes(&self) -> Result<Vec<u32>, AgainstError> {
        let file = self.entrance();
        let text = fs::read_to_string(&file).map_err(AgainstError::file("read", &file))?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // It stays where it is in use, and is found by whoever looks for leaks.
        let _ = fs::remove_dir(self.inner());
    }
}

/// Nanoseconds on a line, or microseconds with a name.
fn parse(text: &str) -> Option<Duration> {
    match text.lines().find_map(|line| line.strip_prefix("usage_usec ")) {
        Some(micros) => micros.trim().parse().ok().map(Duration::from_micros),
        None => text.trim().parse().ok().map(Duration::from_nanos),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generations_of_control_groups_are_read() {
        assert_eq!(parse("1500\n"), Some(Duration::from_nanos(1500)));
        assert_eq!(parse("usage_usec 7\nuser_usec 3\n"), Some(Duration::from_micros(7)));
        assert_eq!(parse("user_usec 3\n"), None);
    }
}

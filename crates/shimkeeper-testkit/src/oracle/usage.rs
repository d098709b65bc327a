// SPDX-License-Identifier: Apache-2.0
//! I8: what a process uses, to be compared with what it used before.

use std::fs;

/// What a process uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Resident memory, in KiB.
    pub resident: usize,
}

impl Usage {
    /// Of a process that lives.
    pub fn of(pid: u32) -> Option<Self> {
        let count = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).ok().map(Iterator::count);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let resident = resident.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Self { descriptors: count("fd")?, threads: count("task")?, resident })
    }

    /// Of this process.
    ///
    /// # Panics
    /// If `/proc` cannot be read.
    pub fn now() -> Self {
        Self::of(std::process::id()).expect("a process can look at itself")
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn counts_what_is_open() {
        let mut child = Command::new("sleep").arg("600").stdin(Stdio::piped()).spawn().unwrap();
        let usage = Usage::of(child.id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(usage.descriptors >= 3 && usage.resident > 0, "{usage:?}");
        assert_eq!(usage.threads, 1);
        assert_eq!(Usage::of(child.id()), None);
    }
}

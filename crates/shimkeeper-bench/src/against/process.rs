// SPDX-License-Identifier: Apache-2.0
//! What a daemon does while nobody asks anything of it: its threads, and how often they wake up.

use std::fs;
use std::path::Path;

use crate::against::error::AgainstError;

/// The threads of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Threads {
    pub(crate) count: usize,
    /// How often any of them was put on a processor anew, whether it had waited or was interrupted.
    pub(crate) switches: u64,
}

impl Threads {
    pub(crate) fn of(pid: u32) -> Result<Self, AgainstError> {
        let dir = Path::new("/proc").join(pid.to_string()).join("task");
        let entries = fs::read_dir(&dir).map_err(AgainstError::file("list", &dir))?;
        let mut threads = Self::default();
        for entry in entries.flatten() {
            // One that has ended meanwhile does not count.
            if let Ok(status) = fs::read_to_string(entry.path().join("status")) {
                threads.count += 1;
                threads.switches += switches(&status);
            }
        }
        Ok(threads)
    }
}

fn switches(status: &str) -> u64 {
    let value = |line: &str| line.split_once("ctxt_switches:")?.1.trim().parse::<u64>().ok();
    status.lines().filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_switches_count() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(switches(status), 42);
        assert!(Threads::of(std::process::id()).unwrap().switches > 0);
    }
}

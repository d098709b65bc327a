// SPDX-License-Identifier: Apache-2.0
//! Who lives: processes that cannot be mistaken for those that get their pid later, and the inits of a test's
//! containers, whether or not anybody lists them.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::time::Duration;

use crate::TestDirs;
use crate::leftovers::cgroups_below;

/// A process, as distinct from any other that has or had its pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Living {
    pid: u32,
    start_time: u64,
}

impl Living {
    /// The process that has this pid now, unless it is dead.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything, and ends with the last parenthesis.
        let mut fields = stat.rsplit(')').next()?.split_ascii_whitespace();
        let state = fields.next()?;
        let start_time = fields.nth(18)?.parse().ok()?;
        (!matches!(state, "Z" | "X")).then_some(Self { pid, start_time })
    }

    /// Its pid.
    pub fn pid(self) -> u32 {
        self.pid
    }

    /// Whether it lives.
    pub fn lives(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// The first processes of a test's containers that live, by the name of their cgroup (`namespace.id`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inits(pub BTreeMap<String, Living>);

impl Inits {
    /// Looks into the cgroups of these directories' containers.
    pub fn of(dirs: &TestDirs) -> Self {
        let mut inits = BTreeMap::new();
        for cgroup in cgroups_below(&dirs.cgroup()) {
            let Some(name) = cgroup.file_name().and_then(|name| name.to_str()) else { continue };
            let procs = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
            let living = procs.lines().filter_map(|pid| Living::of(pid.parse().ok()?));
            // A process of a container is older than those that were put in later.
            if let Some(first) = living.min_by_key(|process| (process.start_time, process.pid)) {
                inits.insert(name.to_owned(), first);
            }
        }
        Self(inits)
    }
}

/// I2: fails if `call` takes longer than its deadline and a second.
///
/// # Panics
/// That is how it fails.
///
/// # Cancel safety
/// That of `call`.
pub async fn in_time<T>(what: &str, deadline: Duration, call: impl Future<Output = T>) -> T {
    let allowed = deadline + Duration::from_secs(1);
    let answer = tokio::time::timeout(allowed, call).await;
    answer.unwrap_or_else(|_| panic!("{what} takes longer than its deadline of {deadline:?} and a second"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_dead_do_not_live() {
        let me = Living::of(std::process::id()).unwrap();
        assert!(me.lives());
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let living = Living::of(child.id()).unwrap();
        child.kill().unwrap();
        // A zombie until it is waited for: dead all the same.
        while living.lives() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(!living.lives());
    }
}

// SPDX-License-Identifier: Apache-2.0
//! What a test run leaves behind. A manager of processes that leaks in its own tests leaks everywhere.
//!
//! Two looks at the machine, before and after; whatever is in the second and not in the first is a leak. Nothing is
//! cleaned up here: the finding is the point.

mod look;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

pub(crate) use look::{Trace, count_running};

/// How long what was asked to end may take to be gone; a shim leaves its socket a moment after its last answer.
const GRACE: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Everything of ours at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    traces: BTreeSet<Trace>,
}

impl Snapshot {
    /// Looks around.
    pub(crate) fn take() -> Self {
        Self { traces: look::around() }
    }

    /// What is there now and was not there then, after a time of grace.
    pub(crate) fn leaks_since(&self) -> Vec<Trace> {
        let deadline = Instant::now() + GRACE;
        loop {
            let leaks = self.added_by(&Self::take());
            if leaks.is_empty() || Instant::now() >= deadline {
                return leaks;
            }
            // Not a guess at how long something takes: the looks themselves are the wait for it.
            std::thread::park_timeout(BETWEEN_LOOKS);
        }
    }

    /// An error that lists every leak.
    pub(crate) fn check(&self) -> Result<()> {
        let leaks = self.leaks_since();
        if leaks.is_empty() {
            println!("leaks: no process, mount, socket, cgroup or file was left behind");
            return Ok(());
        }
        for leak in &leaks {
            println!("leaks: {leak}");
        }
        bail!("{} thing(s) were left behind", leaks.len());
    }

    fn added_by(&self, later: &Self) -> Vec<Trace> {
        later.traces.difference(&self.traces).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::look::Kind;
    use super::*;

    fn snapshot(list: &[(Kind, &str)]) -> Snapshot {
        let trace = |(kind, identity): &(Kind, &str)| Trace { kind: *kind, identity: (*identity).to_owned() };
        Snapshot { traces: list.iter().map(trace).collect() }
    }

    #[test]
    fn only_what_is_new_leaks() {
        let before = snapshot(&[(Kind::Mount, "/old"), (Kind::Cgroup, "/gone")]);
        let after = snapshot(&[(Kind::Mount, "/old"), (Kind::Mount, "/new")]);
        let leaks = before.added_by(&after);
        assert_eq!(leaks.iter().map(Trace::to_string).collect::<Vec<_>>(), ["a mount: /new"]);
        assert!(after.added_by(&after).is_empty());
    }
}

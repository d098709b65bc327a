// SPDX-License-Identifier: Apache-2.0
//! Where the time of a creation went.

use std::time::{Duration, Instant};

/// A part of making a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Checks, the bundle, the record, the log, the pipes.
    Bundle,
    /// The shim binary's `start` action.
    Launch,
    /// Connecting, and the shim's first answer.
    Dial,
    /// The `Create` call: the OCI runtime sets the container up.
    Create,
}

impl Phase {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::Launch => "launch",
            Self::Dial => "dial",
            Self::Create => "create",
        }
    }
}

/// How long each part took, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phases(Vec<(Phase, Duration)>);

impl Phases {
    pub(crate) fn add(&mut self, phase: Phase, took: Duration) {
        self.0.push((phase, took));
    }

    /// Adds the time since `lap` and starts the next lap.
    pub(crate) fn lap(&mut self, phase: Phase, lap: &mut Instant) {
        let now = Instant::now();
        self.add(phase, now - *lap);
        *lap = now;
    }

    /// The parts and their times.
    pub fn iter(&self) -> impl Iterator<Item = (Phase, Duration)> {
        self.0.iter().copied()
    }

    /// The time of one part, if it was come to.
    pub fn get(&self, phase: Phase) -> Option<Duration> {
        self.iter().find(|(p, _)| *p == phase).map(|(_, took)| took)
    }
}

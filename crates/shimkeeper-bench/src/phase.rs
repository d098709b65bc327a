// SPDX-License-Identifier: Apache-2.0
//! The parts of a lifecycle, cut at the same places on both sides.

use std::time::{Duration, Instant};

/// A part of a lifecycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Bundle,
    Launch,
    Dial,
    Create,
    Start,
    Run,
    End,
}

impl Phase {
    pub(crate) const ALL: [Self; 7] =
        [Self::Bundle, Self::Launch, Self::Dial, Self::Create, Self::Start, Self::Run, Self::End];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::Launch => "launch",
            Self::Dial => "dial",
            Self::Create => "create",
            Self::Start => "start",
            Self::Run => "run",
            Self::End => "end",
        }
    }

    /// What is in it, for people.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Bundle => "checks, directories, config.json",
            Self::Launch => "the shim's `start`",
            Self::Dial => "connect (library: and Connect)",
            Self::Create => "Create",
            Self::Start => "Start",
            Self::Run => "Start answered to exit known",
            Self::End => "Delete, Shutdown, process gone, files gone",
        }
    }
}

/// How long each part of one lifecycle took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Laps {
    times: [Duration; Phase::ALL.len()],
}

impl Laps {
    pub(crate) fn add(&mut self, phase: Phase, took: Duration) {
        self.times[phase as usize] += took;
    }

    /// Adds the time since `lap`, and starts the next.
    pub(crate) fn lap(&mut self, phase: Phase, lap: &mut Instant) {
        let now = Instant::now();
        self.add(phase, now - *lap);
        *lap = now;
    }

    pub(crate) fn get(&self, phase: Phase) -> Duration {
        self.times[phase as usize]
    }

    pub(crate) fn total(&self) -> Duration {
        self.times.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laps_add_up() {
        let mut laps = Laps::default();
        for (phase, ms) in Phase::ALL.into_iter().zip(1..) {
            laps.add(phase, Duration::from_millis(ms));
        }
        assert_eq!(laps.get(Phase::End), Duration::from_millis(7));
        assert_eq!(laps.total(), Duration::from_millis(28));
    }
}

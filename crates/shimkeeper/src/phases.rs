// SPDX-License-Identifier: Apache-2.0
//! Where the time of a creation went.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// A part of making a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Checks, the bundle, the record, the log, the pipes.
    Bundle,
    /// Waiting until others, which came before, have been made.
    Turn,
    /// The shim binary's `start` action.
    Launch,
    /// Connecting, and the shim's first answer.
    Dial,
    /// The `Create` call: the OCI runtime sets the container up.
    Create,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Bundle, Self::Turn, Self::Launch, Self::Dial, Self::Create];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::Turn => "turn",
            Self::Launch => "launch",
            Self::Dial => "dial",
            Self::Create => "create",
        }
    }
}

/// How long each part took, in order, in whole microseconds. Every task keeps its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases([Option<NonZeroU32>; Phase::ALL.len()]);

impl Phases {
    /// Adds to a part; one that was come to takes a microsecond at least.
    pub(crate) fn add(&mut self, phase: Phase, took: Duration) {
        let total = self.get(phase).unwrap_or_default().saturating_add(took);
        let micros = u32::try_from(total.as_micros()).unwrap_or(u32::MAX);
        self.0[phase as usize] = Some(NonZeroU32::new(micros).unwrap_or(NonZeroU32::MIN));
    }

    /// Adds the time since `lap` and starts the next lap.
    pub(crate) fn lap(&mut self, phase: Phase, lap: &mut Instant) {
        let now = Instant::now();
        self.add(phase, now - *lap);
        *lap = now;
    }

    /// The parts and their times.
    pub fn iter(&self) -> impl Iterator<Item = (Phase, Duration)> {
        Phase::ALL.into_iter().filter_map(|phase| Some((phase, self.get(phase)?)))
    }

    /// The time of one part, if it was come to.
    pub fn get(&self, phase: Phase) -> Option<Duration> {
        self.0[phase as usize].map(|micros| Duration::from_micros(micros.get().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_were_come_to_are_there_in_order_and_add_up() {
        let mut phases = Phases::default();
        assert_eq!((phases.iter().count(), phases.get(Phase::Dial)), (0, None));
        phases.add(Phase::Create, Duration::from_nanos(1));
        phases.add(Phase::Launch, Duration::from_millis(2));
        phases.add(Phase::Launch, Duration::from_millis(3));
        phases.add(Phase::Dial, Duration::MAX);
        let all: Vec<_> = phases.iter().collect();
        let micros = Duration::from_micros;
        let most = micros(u32::MAX.into());
        assert_eq!(all, [(Phase::Launch, micros(5000)), (Phase::Dial, most), (Phase::Create, micros(1))]);
    }
}

// SPDX-License-Identifier: Apache-2.0
//! Ends that the journal has from a manager before. One that is killed after an exit was kept, and before it was noted
//! that it was, leaves its successor to tell it again. Who listens hears it twice then; who reads by number must not.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use shimkeeper_events::{Envelope, Journal, Replayed, TaskEvent};

/// How far back they are looked for, in numbers. Notes follow the journal within a moment.
const BACK: u64 = 1024;

/// The ends that were kept last, by a hash of what they are about.
#[derive(Debug, Default)]
pub(super) struct Known {
    hasher: RandomState,
    ends: HashSet<u64>,
}

impl Known {
    /// Those at the end of a journal. What cannot be read is not known, and comes twice at worst.
    pub(super) fn of(journal: &Journal) -> Self {
        let mut known = Self::default();
        let Ok(replay) = journal.replay(journal.last().saturating_sub(BACK)) else { return known };
        for item in replay.map_while(Result::ok) {
            if let Replayed::Event(event) = item
                && let Some(end) = known.end(&event)
            {
                known.ends.insert(end);
            }
        }
        known
    }

    /// Whether it is an end that is known, which is told of once.
    pub(super) fn has(&mut self, event: &Envelope) -> bool {
        !self.ends.is_empty() && self.end(event).is_some_and(|end| self.ends.remove(&end))
    }

    /// The end that an event tells. Without a process id it may be another's.
    fn end(&self, event: &Envelope) -> Option<u64> {
        let (task, event) = TaskEvent::decode(event).ok()??;
        let (process, pid, deleted) = match event {
            TaskEvent::Exit { process, pid, .. } => (process, pid, false),
            TaskEvent::Delete { process, pid, .. } => (process, pid, true),
            _ => return None,
        };
        (pid != 0).then(|| self.hasher.hash_one((task, process, pid, deleted)))
    }
}

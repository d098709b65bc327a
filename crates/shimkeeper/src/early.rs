// SPDX-License-Identifier: Apache-2.0
//! What a shim reports of a task before it has answered that it made it.
//!
//! Ids are used again, and a shim that serves several tasks may still be telling of an earlier life of one. Which life a
//! report is of is known by the pid of its init; so reports wait for that, while the shim does not wait for us.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shimkeeper_events::Envelope;

use crate::ledger::Fact;
use crate::rare::Rare;

/// More reports than a task has by then, of this life and of earlier ones.
const MOST: usize = 256;

/// The reports that wait.
#[derive(Debug, Default)]
pub(crate) struct Early(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    /// The task is made already, or was found: nothing waits.
    #[default]
    Over,
    Waiting(Rare<Vec<(Fact, Arc<Envelope>)>>),
}

impl Early {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on reports wait.
    pub(crate) fn begin(&self) {
        *self.lock() = State::Waiting(Rare::NONE);
    }

    /// Takes a report that has to wait; gives back one that has not to.
    pub(crate) fn take(&self, fact: Fact, envelope: &Arc<Envelope>) -> Option<Fact> {
        match &mut *self.lock() {
            State::Over => Some(fact),
            // No exec is added before its task is made, so these are of an earlier life.
            State::Waiting(_) if matches!(fact, Fact::ExecAdded(_) | Fact::ExecStarted(..)) => None,
            State::Waiting(reports) => {
                let reports = reports.make();
                if reports.len() < MOST {
                    reports.push((fact, envelope.clone()));
                }
                None
            }
        }
    }

    /// Nothing waits any more: the reports that did, in their order.
    pub(crate) fn end(&self) -> Vec<(Fact, Arc<Envelope>)> {
        match std::mem::take(&mut *self.lock()) {
            State::Over => Vec::new(),
            State::Waiting(mut reports) => reports.take().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use shimkeeper_core::TaskKey;

    use super::*;

    #[test]
    fn reports_wait_in_order_until_the_task_is_made() {
        let key = TaskKey::parse("ns", "a").unwrap();
        let envelope = Arc::new(Envelope::exec_added(&key, &"e".parse().unwrap()));
        let early = Early::default();
        assert_eq!(early.take(Fact::Other, &envelope), Some(Fact::Other));
        early.begin();
        for fact in
            [Fact::Created { pid: 7 }, Fact::ExecAdded("e".parse().unwrap()), Fact::Started { pid: 7 }]
        {
            assert_eq!(early.take(fact, &envelope), None);
        }
        let facts: Vec<_> = early.end().into_iter().map(|(fact, _)| fact).collect();
        assert_eq!(facts, [Fact::Created { pid: 7 }, Fact::Started { pid: 7 }]);
        assert_eq!(early.take(Fact::Started { pid: 7 }, &envelope), Some(Fact::Started { pid: 7 }));
    }
}

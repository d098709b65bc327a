// SPDX-License-Identifier: Apache-2.0
//! Records what a manager publishes, for the oracle and for the cases.

use shimkeeper::events::{Filters, TaskEvent};
use shimkeeper::{Manager, TaskKey};
use shimkeeper_testkit::oracle::{self, Seen, word};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::host::{SOON, within};

/// A manager's events so far.
pub(crate) struct Story {
    events: watch::Receiver<Vec<Seen>>,
    /// Ends when the manager leaves.
    recorder: TaskTracker,
}

impl Story {
    /// Of a manager, from now on.
    pub(crate) fn record(manager: &Manager) -> Self {
        let mut subscription = manager.events(Filters::default()).unwrap();
        let (sender, events) = watch::channel(Vec::new());
        let recorder = TaskTracker::new();
        recorder.spawn(async move {
            while let Some(envelope) = subscription.next().await.unwrap() {
                if let Some(seen) = Seen::read(&envelope) {
                    sender.send_modify(|events| events.push(seen));
                }
            }
        });
        recorder.close();
        Self { events, recorder }
    }

    /// What happened to a task so far, in one word each: `start`, `exec-started e`.
    pub(crate) fn of(&self, task: &TaskKey) -> Vec<String> {
        self.events_of(task).iter().map(word).collect()
    }

    /// Waits until a task has this event.
    pub(crate) async fn wait_for(&self, task: &TaskKey, event: &str) {
        let mut events = self.events.clone();
        let is_it = |seen: &Seen| seen.key == *task && word(&seen.event) == event;
        let seen = events.wait_for(|events| events.iter().any(is_it));
        within(SOON, seen).await.unwrap();
    }

    /// The events of a task.
    pub(crate) fn events_of(&self, task: &TaskKey) -> Vec<TaskEvent> {
        let events = self.events.borrow();
        events.iter().filter(|seen| seen.key == *task).map(|seen| seen.event.clone()).collect()
    }

    /// Takes in what is still to come once the manager has left, and checks all of it.
    pub(crate) async fn end(&self) {
        self.recorder.wait().await;
        oracle::complete(&self.events.borrow());
    }
}

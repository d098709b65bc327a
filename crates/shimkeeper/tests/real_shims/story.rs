// SPDX-License-Identifier: Apache-2.0
//! Records what a manager publishes, and checks that every task's events are a life: created once, then started,
//! then ended, then deleted, each once and in this order, its execs within.

use std::collections::HashMap;

use shimkeeper::events::{Filters, TaskEvent};
use shimkeeper::{ExecId, Manager, ProcessKey, TaskKey};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::host::{SOON, within};

/// A manager's events so far.
pub(crate) struct Story {
    events: watch::Receiver<Vec<(TaskKey, TaskEvent)>>,
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
                if let Some(event) = TaskEvent::decode(&envelope).unwrap() {
                    sender.send_modify(|events| events.push(event));
                }
            }
        });
        recorder.close();
        Self { events, recorder }
    }

    /// What happened to a task so far, in one word each: `start`, `exec-started e`.
    pub(crate) fn of(&self, task: &TaskKey) -> Vec<String> {
        self.events.borrow().iter().filter(|(key, _)| key == task).map(|(_, event)| word(event)).collect()
    }

    /// Waits until a task has this event.
    pub(crate) async fn wait_for(&self, task: &TaskKey, event: &str) {
        let mut events = self.events.clone();
        let seen = events.wait_for(|events| events.iter().any(|(key, e)| key == task && word(e) == event));
        within(SOON, seen).await.unwrap();
    }

    /// The events of a task.
    pub(crate) fn events_of(&self, task: &TaskKey) -> Vec<TaskEvent> {
        let events = self.events.borrow();
        events.iter().filter(|(key, _)| key == task).map(|(_, event)| event.clone()).collect()
    }

    /// Takes in what is still to come once the manager has left, and checks all of it.
    pub(crate) async fn end(&self) {
        self.recorder.wait().await;
        let mut lives: HashMap<TaskKey, Vec<TaskEvent>> = HashMap::new();
        for (key, event) in self.events.borrow().iter() {
            let life = lives.entry(key.clone()).or_default();
            life.push(event.clone());
            if matches!(event, TaskEvent::Delete { process: ProcessKey::Init, .. }) {
                check_life(key, &std::mem::take(life));
            }
        }
        lives.retain(|_, rest| !rest.is_empty());
        assert!(lives.is_empty(), "without an end: {lives:?}");
    }
}

/// An event in a word.
fn word(event: &TaskEvent) -> String {
    match event {
        TaskEvent::Create { .. } => "create".into(),
        TaskEvent::Start { .. } => "start".into(),
        TaskEvent::Exit { process, status, .. } => format!("exit{} {status}", of(process)),
        TaskEvent::Delete { process, .. } => format!("delete{}", of(process)),
        TaskEvent::Oom => "oom".into(),
        TaskEvent::ExecAdded { exec } => format!("exec-added {exec}"),
        TaskEvent::ExecStarted { exec, .. } => format!("exec-started {exec}"),
        TaskEvent::Paused => "paused".into(),
        TaskEvent::Resumed => "resumed".into(),
        TaskEvent::Checkpointed { .. } => "checkpointed".into(),
        other => format!("{other:?}"),
    }
}

fn of(process: &ProcessKey) -> String {
    match process {
        ProcessKey::Init => String::new(),
        ProcessKey::Exec(id) => format!(" {id}"),
    }
}

/// Where an event stands in the life of its process.
fn rank(event: &TaskEvent) -> Option<(ProcessKey, u8)> {
    let exec = |id: &ExecId| ProcessKey::Exec(id.clone());
    Some(match event {
        TaskEvent::Create { .. } => (ProcessKey::Init, 0),
        TaskEvent::ExecAdded { exec: id } => (exec(id), 0),
        TaskEvent::Start { .. } => (ProcessKey::Init, 1),
        TaskEvent::ExecStarted { exec: id, .. } => (exec(id), 1),
        TaskEvent::Exit { process, .. } => (process.clone(), 2),
        TaskEvent::Delete { process, .. } => (process.clone(), 3),
        _ => return None,
    })
}

/// `events` end with the task's deletion.
fn check_life(key: &TaskKey, events: &[TaskEvent]) {
    let words: Vec<_> = events.iter().map(word).collect();
    assert_eq!(words.first().map(String::as_str), Some("create"), "{key}: {words:?}");
    let mut reached: HashMap<ProcessKey, u8> = HashMap::new();
    let mut init_ended = None;
    for event in events {
        let Some((process, rank)) = rank(event) else { continue };
        let before = reached.insert(process.clone(), rank);
        // An exec's id may be used again once the process has ended, or was deleted unstarted, which nobody is told.
        let is_new_exec = rank == 0 && before != Some(1) && process != ProcessKey::Init;
        assert!(before < Some(rank) || is_new_exec, "{key}: {event:?} is out of order in {words:?}");
        assert!(init_ended.is_none() || rank == 3, "{key}: {event:?} is after the end of init in {words:?}");
        if let TaskEvent::Exit { process: ProcessKey::Init, status, pid, .. } = event {
            init_ended = Some((*status, *pid));
        }
        if let TaskEvent::Delete { process: ProcessKey::Init, status, pid, .. } = event
            && let Some(exit) = init_ended
        {
            assert_eq!((*status, *pid), exit, "{key}: exit and delete tell the same");
        }
    }
    for (process, reached) in &reached {
        let has = |step| events.iter().any(|event| rank(event) == Some((process.clone(), step)));
        assert!(has(2) || !has(1), "{key}: {process} came to {reached} in {words:?}");
        // A container whose init is killed before it starts has an exit, if the shim sees it in time.
        let may_end_unstarted = *process == ProcessKey::Init;
        assert!(has(1) || !has(2) || may_end_unstarted, "{key}: {process} never started in {words:?}");
    }
}

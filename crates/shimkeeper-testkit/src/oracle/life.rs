// SPDX-License-Identifier: Apache-2.0
//! An event of a task, as a subscriber sees it, and where it stands in the life of its process.

use shimkeeper_core::{ProcessKey, TaskKey};
use shimkeeper_events::{Envelope, TaskEvent};

/// A task's event, as a subscriber sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whose.
    pub key: TaskKey,
    /// What happened.
    pub event: TaskEvent,
}

/// How far a process has come, as far as the public was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    #[default]
    Nothing,
    Made,
    Started,
    Exited,
    Deleted,
}

impl Seen {
    /// Reads an envelope; `None` if it is not about a task.
    ///
    /// # Panics
    /// If it says that it is and cannot be read.
    pub fn read(envelope: &Envelope) -> Option<Self> {
        let decoded = TaskEvent::decode(envelope).expect("what is published can be read");
        decoded.map(|(key, event)| Self { key, event })
    }

    /// Whether a process of whichever task ended.
    pub fn is_exit_of(&self, wanted: &ProcessKey) -> bool {
        matches!(&self.event, TaskEvent::Exit { process, .. } if process == wanted)
    }

    /// Whose step this is, and which.
    pub(super) fn step(&self) -> Option<(ProcessKey, Step)> {
        Some(match &self.event {
            TaskEvent::Create { .. } => (ProcessKey::Init, Step::Made),
            TaskEvent::Start { .. } => (ProcessKey::Init, Step::Started),
            TaskEvent::ExecAdded { exec } => (ProcessKey::Exec(exec.clone()), Step::Made),
            TaskEvent::ExecStarted { exec, .. } => (ProcessKey::Exec(exec.clone()), Step::Started),
            TaskEvent::Exit { process, .. } => (process.clone(), Step::Exited),
            TaskEvent::Delete { process, .. } => (process.clone(), Step::Deleted),
            _ => return None,
        })
    }

    /// The pid and the status it tells of, if it tells of an end.
    pub(super) fn end(&self) -> Option<(u32, u32)> {
        match self.event {
            TaskEvent::Exit { pid, status, .. } | TaskEvent::Delete { pid, status, .. } => {
                Some((pid, status))
            }
            _ => None,
        }
    }
}

/// An event in a word or two: `create`, `exec-started e`, `exit 137`.
pub fn word(event: &TaskEvent) -> String {
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

// SPDX-License-Identifier: Apache-2.0
//! What must be true after every fault, whatever it was: nothing is left, every started process has exactly one exit,
//! in order, and a refusal says what it is.

use std::collections::BTreeMap;
use std::error::Error as _;

use shimkeeper::events::{Envelope, TaskEvent};
use shimkeeper::{Error, Kind, ProcessKey, TaskKey};
use shimkeeper_testkit::{Leftovers, TestDirs};

/// A task's event, as a subscriber sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) key: TaskKey,
    pub(crate) event: TaskEvent,
}

impl Seen {
    pub(crate) fn read(envelope: &Envelope) -> Option<Self> {
        let (key, event) = TaskEvent::decode(envelope).unwrap()?;
        Some(Self { key, event })
    }

    pub(crate) fn is_exit_of(&self, wanted: &ProcessKey) -> bool {
        matches!(&self.event, TaskEvent::Exit { process, .. } if process == wanted)
    }
}

/// What is there beside the manager's own socket.
pub(crate) fn leftovers(dirs: &TestDirs) -> Leftovers {
    let mut left = dirs.leftovers();
    left.sockets.retain(|socket| !socket.ends_with("shimkeeper.sock.ttrpc"));
    left
}

/// Nothing but the manager is left.
pub(crate) fn nothing_left(dirs: &TestDirs) {
    let left = leftovers(dirs);
    assert!(left.is_empty(), "left behind:\n{left}");
}

/// How far the public was told a process to have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    #[default]
    Nothing,
    Made,
    Started,
    Exited,
}

/// The lives of ids, one after another: each begins with a create and ends with a delete, and between them every
/// process was made, started and ended once, in this order, and no exec ended after init did.
pub(crate) fn complete(events: &[Seen]) {
    let mut open: BTreeMap<TaskKey, BTreeMap<String, Step>> = BTreeMap::new();
    for seen in events {
        let story = || format!("at {seen:?} in {events:#?}");
        let is_create = matches!(seen.event, TaskEvent::Create { .. });
        assert_eq!(is_create, !open.contains_key(&seen.key), "{}", story());
        let processes = open.entry(seen.key.clone()).or_default();
        let (process, step) = match &seen.event {
            TaskEvent::Create { .. } => ("", Step::Made),
            TaskEvent::Start { .. } => ("", Step::Started),
            TaskEvent::ExecAdded { exec } => (exec.as_str(), Step::Made),
            TaskEvent::ExecStarted { exec, .. } => (exec.as_str(), Step::Started),
            TaskEvent::Exit { process, .. } => (process.exec_id(), Step::Exited),
            TaskEvent::Delete { process: ProcessKey::Init, .. } => {
                let owed = processes.iter().find(|(_, step)| **step == Step::Started);
                assert_eq!(owed, None, "no exit, {}", story());
                open.remove(&seen.key);
                continue;
            }
            _ => continue,
        };
        let init_ended = processes.get("").is_some_and(|step| *step == Step::Exited);
        assert!(!init_ended || step < Step::Started, "after init's exit, {}", story());
        let before = processes.insert(process.to_owned(), step).unwrap_or_default();
        // An exec's id is used again once it is deleted.
        let is_new = step == Step::Made && before == Step::Exited && !process.is_empty();
        assert!(before < step || is_new, "told twice or too late ({before:?}), {}", story());
    }
    assert!(open.is_empty(), "no delete of {:?} in {events:#?}", open.keys());
}

/// A refusal says what kind it is, in one short printable line, and every line below is one too.
pub(crate) fn refusal(error: &Error) {
    assert_ne!(error.kind(), Kind::Unknown, "{error:?}");
    let mut lines = vec![error.to_string()];
    let mut source = error.source();
    while let Some(below) = source {
        lines.push(below.to_string());
        source = below.source();
    }
    for line in lines.iter().chain(error.hint().map(str::to_owned).iter()) {
        assert!(line.len() <= 1024 && !line.is_empty(), "{} bytes: {line}", line.len());
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}

// SPDX-License-Identifier: Apache-2.0
//! What the process that was killed is known to have done, and so what must be true of its tasks.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use shimkeeper::events::{Envelope, TaskEvent};
use shimkeeper::{ProcessKey, TaskKey};
use shimkeeper_proto::containerd::types::Envelope as WireEnvelope;
use shimkeeper_testkit::oracle::{Lives, Living, Seen, Violation};

/// How far a task is known to have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Creating,
    Made,
    Starting,
    Started,
    /// Somebody has asked for its end, or it may have ended by itself.
    Ending,
    Exited,
    Deleting,
}

/// What is known of a task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) stage: Stage,
    pub(crate) init: Option<Living>,
    pub(crate) status: Option<u32>,
}

/// The end of a process: whose, and its id on the host.
pub(crate) type End = (TaskKey, ProcessKey, u32);

/// What is known of all tasks.
#[derive(Debug, Default)]
pub(crate) struct Belief {
    pub(crate) tasks: BTreeMap<String, Known>,
    pub(crate) lives: Lives,
    /// The ends that the public was told of.
    pub(crate) ends: BTreeSet<End>,
    /// Everything that was said, for the report of a failure.
    pub(crate) said: Vec<String>,
}

impl Belief {
    /// Takes in a line.
    pub(crate) fn hear(&mut self, line: &str) -> Result<(), Violation> {
        if let Some(hex) = line.strip_prefix("event ") {
            return self.hear_event(hex);
        }
        self.said.push(line.to_owned());
        let words: Vec<&str> = line.split(' ').collect();
        let (stage, id) = match words.as_slice() {
            ["creating", id] => (Stage::Creating, *id),
            ["made", id, _] => (Stage::Made, *id),
            ["starting", id] => (Stage::Starting, *id),
            ["started", id, _] => (Stage::Started, *id),
            ["killing", id] => (Stage::Ending, *id),
            ["exit", id, _] => (Stage::Exited, *id),
            ["deleting", id] => (Stage::Deleting, *id),
            ["deleted" | "refused", id] => {
                self.tasks.remove(*id);
                return Ok(());
            }
            _ => return Ok(()),
        };
        let known = Known { stage, init: None, status: None };
        if stage == Stage::Creating {
            // The one before has gone unheard, with the manager that was killed.
            self.tasks.remove(id);
        }
        let known = self.tasks.entry(id.to_owned()).and_modify(|known| known.stage = stage).or_insert(known);
        match words.as_slice() {
            ["made" | "started", _, pid] => known.init = known.init.or_else(|| Living::of(pid.parse().ok()?)),
            ["exit", _, status] => known.status = status.parse().ok(),
            _ => {}
        }
        Ok(())
    }

    fn hear_event(&mut self, hex: &str) -> Result<(), Violation> {
        let bytes: Vec<u8> = hex
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let envelope = Envelope::try_from(WireEnvelope::decode(bytes.as_slice()).unwrap()).unwrap();
        let Some(seen) = Seen::read(&envelope) else { return Ok(()) };
        self.said.push(format!("  {}", shimkeeper_testkit::oracle::word(&seen.event)));
        self.see(&seen)
    }

    /// Takes in what was told live.
    pub(crate) fn see(&mut self, seen: &Seen) -> Result<(), Violation> {
        self.ends.extend(end(seen));
        self.lives.see(seen)
    }

    /// The tasks that nobody has asked to end: their inits must live. Of one that was just being started only the
    /// shim knows: Go's servers give up a call whose connection is cut, and a `runc start` that is killed in the middle
    /// takes the init with it.
    pub(crate) fn must_live(&self) -> impl Iterator<Item = (&str, Living)> {
        let live = self.tasks.iter().filter(|(_, known)| matches!(known.stage, Stage::Made | Stage::Started));
        live.filter_map(|(id, known)| Some((id.as_str(), known.init?)))
    }
}

/// The end that an event tells, where there was a process.
pub(crate) fn end(seen: &Seen) -> Option<End> {
    match &seen.event {
        TaskEvent::Exit { process, pid, .. } if *pid != 0 => Some((seen.key.clone(), process.clone(), *pid)),
        _ => None,
    }
}

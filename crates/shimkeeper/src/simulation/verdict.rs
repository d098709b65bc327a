// SPDX-License-Identifier: Apache-2.0
//! What must be true in the end, by the journal of the last manager: the public was told every life in order and every
//! end once, with the status that the process had.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shimkeeper_core::{Exit, ProcessKey, TaskKey};
use shimkeeper_events::{Envelope, Filters, Replayed, TaskEvent};
use shimkeeper_testkit::oracle::{Lives, Seen, word};
use shimkeeper_testkit::{FakeShim, Recorded};

use crate::Manager;

/// What the journal says, in order; `None` stands for a gap.
pub(super) async fn told(manager: &Manager) -> Vec<Option<Seen>> {
    let mut events = manager.events_since(Filters::everything(), Some(0)).await.unwrap();
    let mut told = Vec::new();
    // Nothing happens any more: what does not come now is not there.
    while let Ok(item) = tokio::time::timeout(Duration::from_mins(1), events.next()).await {
        match item.unwrap().expect("the manager is there") {
            Replayed::Event(event) => told.extend(Seen::read(&event).map(Some)),
            Replayed::Gap(_) => told.push(None),
        }
    }
    told
}

/// Fails unless all lives are whole and over. After a manager was killed, what it told last may be told again, word for
/// word, and an exec that it had not written down yet may be heard of only after its init.
pub(super) fn lives_are_whole(told: &[Option<Seen>], kills: usize) {
    let (mut lives, mut words, mut ended) = (Lives::default(), BTreeSet::new(), BTreeSet::new());
    let gaps = told.iter().filter(|item| item.is_none()).count();
    assert!(gaps <= kills, "{gaps} gaps, and only {kills} managers were killed");
    let mut was_killed = false;
    for item in told {
        let Some(seen) = item else {
            lives.interrupted();
            was_killed = true;
            continue;
        };
        let is_new = words.insert((seen.key.clone(), word(&seen.event)));
        let is_late = ended.contains(&seen.key) && is_of_exec(&seen.event);
        if seen.is_exit_of(&ProcessKey::Init) {
            ended.insert(seen.key.clone());
        }
        if !was_killed || (is_new && !is_late) {
            lives.see(seen).unwrap_or_else(|violation| panic!("{violation}\n{}", story(told)));
        }
    }
    lives.all_over().unwrap_or_else(|violation| panic!("{violation}\n{}", story(told)));
}

fn is_of_exec(event: &TaskEvent) -> bool {
    match event {
        TaskEvent::ExecAdded { .. } | TaskEvent::ExecStarted { .. } => true,
        TaskEvent::Exit { process, .. } => *process != ProcessKey::Init,
        _ => false,
    }
}

/// Fails if the public was told of another end than the shim saw. What a manager that is killed has just had its shim
/// delete, nobody can know.
pub(super) fn ends_are_true(told: &[Option<Seen>], kills: usize, key: &TaskKey, fake: &FakeShim) {
    let seen = ends(fake.events().iter().filter_map(read));
    let public = ends(told.iter().flatten().filter(|seen| seen.key == *key).cloned());
    for (process, status) in seen {
        let told = public.get(&process).copied().unwrap_or(status);
        let is_unknown = kills > 0 && told == Exit::UNKNOWN_STATUS;
        assert!(told == status || is_unknown, "{key}: {process:?} ended with {status}, told was {told}");
    }
}

fn ends(seen: impl Iterator<Item = Seen>) -> BTreeMap<String, u32> {
    let end = |seen: Seen| match seen.event {
        TaskEvent::Exit { process, status, .. } => Some((process.exec_id().to_owned(), status)),
        _ => None,
    };
    seen.filter_map(end).collect()
}

fn read(recorded: &Recorded) -> Option<Seen> {
    let (namespace, topic) = (recorded.namespace.parse().ok()?, recorded.topic.parse().ok()?);
    let at = recorded.at.unwrap_or(std::time::UNIX_EPOCH);
    Seen::read(&Envelope::new(namespace, topic, at, recorded.event.clone()).ok()?)
}

fn story(told: &[Option<Seen>]) -> String {
    let line = |item: &Option<Seen>| match item {
        Some(seen) => format!("{} {}", seen.key, word(&seen.event)),
        None => "(killed)".to_owned(),
    };
    told.iter().map(line).collect::<Vec<_>>().join("\n")
}

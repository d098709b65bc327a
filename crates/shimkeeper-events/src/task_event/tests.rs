// SPDX-License-Identifier: Apache-2.0
//! Every task event is understood, and ours look like a shim's.

use std::time::{Duration, UNIX_EPOCH};

use shimkeeper_core::{Namespace, Provenance};

use super::*;

fn key() -> TaskKey {
    TaskKey::parse("default", "web").unwrap()
}

fn envelope<M: Message + Name>(topic: Topic, message: &M) -> Envelope {
    let event = Any::new(M::full_name(), message.encode_to_vec());
    Envelope::new(Namespace::default_namespace(), topic, UNIX_EPOCH, event).unwrap()
}

fn decoded<M: Message + Name>(topic: Topic, message: &M) -> TaskEvent {
    let (task, event) = TaskEvent::decode(&envelope(topic, message)).unwrap().unwrap();
    assert_eq!(task, key());
    event
}

#[test]
fn every_task_event_is_understood() {
    let id = || "web".to_owned();
    let (exec, pid) = ("e1".parse::<ExecId>().unwrap(), 9);
    let create = wire::TaskCreate { container_id: id(), bundle: "/b".into(), pid, ..Default::default() };
    assert_eq!(
        decoded(Topic::TASK_CREATE, &create),
        TaskEvent::Create { pid, bundle: "/b".into(), checkpoint: String::new() }
    );
    let start = wire::TaskStart { container_id: id(), pid };
    assert_eq!(decoded(Topic::TASK_START, &start), TaskEvent::Start { pid });
    assert_eq!(decoded(Topic::TASK_OOM, &wire::TaskOom { container_id: id() }), TaskEvent::Oom);
    let added = wire::TaskExecAdded { container_id: id(), exec_id: "e1".into() };
    assert_eq!(decoded(Topic::TASK_EXEC_ADDED, &added), TaskEvent::ExecAdded { exec: exec.clone() });
    let started = wire::TaskExecStarted { container_id: id(), exec_id: "e1".into(), pid };
    assert_eq!(decoded(Topic::TASK_EXEC_STARTED, &started), TaskEvent::ExecStarted { exec, pid });
    assert_eq!(decoded(Topic::TASK_PAUSED, &wire::TaskPaused { container_id: id() }), TaskEvent::Paused);
    assert_eq!(decoded(Topic::TASK_RESUMED, &wire::TaskResumed { container_id: id() }), TaskEvent::Resumed);
    let checkpoint = wire::TaskCheckpointed { container_id: id(), checkpoint: "/c".into() };
    assert_eq!(
        decoded(Topic::TASK_CHECKPOINTED, &checkpoint),
        TaskEvent::Checkpointed { checkpoint: "/c".into() }
    );
}

#[test]
fn our_exit_and_delete_read_back_and_name_init_as_the_protocol_does() {
    let exit =
        Exit { pid: 5, status: 137, at: UNIX_EPOCH + Duration::new(9, 1), provenance: Provenance::Inferred };
    let exec = ProcessKey::Exec("e1".parse().unwrap());
    for (process, exit_id, delete_id) in [(ProcessKey::Init, "web", ""), (exec, "e1", "e1")] {
        let sent = Envelope::task_exit(&key(), &process, &exit);
        assert_eq!(sent.event().type_url, "containerd.events.TaskExit");
        assert_eq!(wire::TaskExit::decode(sent.event().value.clone()).unwrap().id, exit_id);
        let seen = TaskEvent::Exit { process: process.clone(), pid: 5, status: 137, at: exit.at };
        assert_eq!(TaskEvent::decode(&sent), Ok(Some((key(), seen))));

        let sent = Envelope::task_delete(&key(), &process, &exit);
        assert_eq!(sent.topic(), &Topic::TASK_DELETE);
        assert_eq!(wire::TaskDelete::decode(sent.event().value.clone()).unwrap().id, delete_id);
        let seen = TaskEvent::Delete { process, pid: 5, status: 137, at: exit.at };
        assert_eq!(TaskEvent::decode(&sent), Ok(Some((key(), seen))));
    }
}

#[test]
fn an_exit_without_a_time_happened_when_it_was_sent() {
    let exit = wire::TaskExit { container_id: "web".into(), id: "web".into(), ..Default::default() };
    let TaskEvent::Exit { at, .. } = decoded(Topic::TASK_EXIT, &exit) else { panic!("no exit") };
    assert_eq!(at, UNIX_EPOCH);
}

#[test]
fn a_prefixed_type_url_is_as_good() {
    let event = Any::new("type.googleapis.com/containerd.events.TaskPaused", &b"\x0a\x03web"[..]);
    let envelope =
        Envelope::new(Namespace::default_namespace(), Topic::TASK_PAUSED, UNIX_EPOCH, event).unwrap();
    assert_eq!(TaskEvent::decode(&envelope), Ok(Some((key(), TaskEvent::Paused))));
}

#[test]
fn what_is_no_task_event_is_an_error_on_a_task_topic_and_nothing_on_others() {
    let paused = wire::TaskPaused { container_id: "web".into() };
    assert_eq!(TaskEvent::decode(&envelope(Topic::CONTAINER_CREATE, &paused)), Ok(None));
    assert_eq!(TaskEvent::decode(&envelope("/tasks/new".parse().unwrap(), &paused)), Ok(None));
    let error = TaskEvent::decode(&envelope(Topic::TASK_EXIT, &paused)).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    let error = TaskEvent::decode(&envelope(Topic::TASK_PAUSED, &wire::TaskPaused::default())).unwrap_err();
    assert!(matches!(error, TaskEventError::Id { .. }));
    let event = Any::new("containerd.events.TaskPaused", &b"\x0a\xff"[..]);
    let damaged =
        Envelope::new(Namespace::default_namespace(), Topic::TASK_PAUSED, UNIX_EPOCH, event).unwrap();
    assert_eq!(TaskEvent::decode(&damaged).unwrap_err().kind(), Kind::DataLoss);
}

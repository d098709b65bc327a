// SPDX-License-Identifier: Apache-2.0
//! Which fields a filter finds in which event.

use std::time::UNIX_EPOCH;

use prost::Name;
use shimkeeper_core::Namespace;

use super::*;
use crate::filter::Filters;
use crate::topic::Topic;

fn envelope<M: Message + Name>(topic: Topic, message: &M) -> Envelope {
    let event = Any::new(M::full_name(), message.encode_to_vec());
    Envelope::new(Namespace::default_namespace(), topic, UNIX_EPOCH, event).unwrap()
}

fn passes(envelope: &Envelope, filter: &str) -> bool {
    Filters::parse([filter]).unwrap().matches(envelope)
}

#[test]
fn the_table_of_types_spells_their_names_as_the_wire_does() {
    let empty = DECODERS.iter().filter_map(|(name, _)| Decoded::from_event(&Any::new(*name, "")));
    assert_eq!(empty.count(), DECODERS.len());
    assert_eq!(wire::TaskOom::full_name(), "containerd.events.TaskOOM");
    let names: Vec<_> = DECODERS.iter().map(|row| row.0).collect();
    for name in [wire::TaskExit::full_name(), wire::SandboxExit::full_name(), wire::TaskOom::full_name()] {
        assert!(names.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn fields_of_a_task_event_are_found_at_any_depth() {
    let io = wire::TaskIo { stdin: "/in".into(), terminal: true, ..Default::default() };
    let message = wire::TaskCreate {
        container_id: "web".into(),
        bundle: "/b".into(),
        io: Some(io),
        pid: 7,
        ..Default::default()
    };
    let envelope = envelope(Topic::TASK_CREATE, &message);
    let holds = [
        "namespace==default",
        r#"topic=="/tasks/create""#,
        "topic~=^/tasks/",
        "event.container_id==web",
        r#"event.io.stdin=="/in""#,
        "event.io.terminal==true",
        "event.bundle",
        "event.pid!=7",
    ];
    for filter in holds {
        assert!(passes(&envelope, filter), "{filter}");
    }
    let does_not =
        ["event.io.stdout", "event.io", "event.pid==7", "event", "topic.x", "event.container_id.x", "other"];
    for filter in does_not {
        assert!(!passes(&envelope, filter), "{filter}");
    }
}

#[test]
fn labels_are_found_by_the_rest_of_the_path() {
    let labels = [("a.b".to_owned(), "c".to_owned()), ("empty".to_owned(), String::new())];
    let message = wire::ContainerUpdate { labels: labels.into_iter().collect(), ..Default::default() };
    let envelope = envelope(Topic::CONTAINER_UPDATE, &message);
    assert!(passes(&envelope, "event.labels.a.b==c"));
    assert!(passes(&envelope, r#"event.labels."a.b"==c"#));
    assert!(passes(&envelope, "event.labels.empty"));
    assert!(!passes(&envelope, "event.labels.a"));
    assert!(!passes(&envelope, "event.labels"));
}

#[test]
fn a_payload_that_is_unknown_or_damaged_has_no_fields() {
    for (url, value) in [("x.Y", &b""[..]), ("containerd.events.TaskExit", b"\x0a\xff")] {
        let event = Any::new(url, value.to_vec());
        let envelope =
            Envelope::new(Namespace::default_namespace(), Topic::TASK_EXIT, UNIX_EPOCH, event).unwrap();
        assert!(!passes(&envelope, "event.id"));
        assert!(passes(&envelope, "event.id!=x"));
    }
}

#[test]
fn a_topic_is_compared_without_decoding_the_event() {
    let envelope = envelope(Topic::TASK_EXIT, &wire::TaskExit::default());
    assert!(!passes(&envelope, r#"event.id==x,topic=="/tasks/start""#));
    assert!(!envelope.is_decoded());
    assert!(!passes(&envelope, r#"event.id==x,topic=="/tasks/exit""#));
    assert!(envelope.is_decoded());
}

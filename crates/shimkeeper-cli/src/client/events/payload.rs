// SPDX-License-Identifier: Apache-2.0
//! What events say, as JSON. Mounts, streams and runtimes' options are left out: `shimkeeper inspect` is for those.

use serde_json::{Value, json};
use shimkeeper_proto::containerd::events as wire;
use shimkeeper_proto::google::protobuf::Any;
use shimkeeper_proto::unpack;

use crate::client::print::at;

/// The event inside; null if it is of a type that is not known here, or damaged.
pub(super) fn decode(any: &Any) -> Value {
    macro_rules! first_of {
        ($($message:ident: $event:ident => $fields:expr),+ $(,)?) => {
            $(if let Some(event) = unpack::<wire::$message>(any) {
                return event.map_or(Value::Null, |$event| $fields);
            })+
        };
    }
    first_of!(
        TaskCreate: e => json!({"container_id": e.container_id, "bundle": e.bundle, "pid": e.pid}),
        TaskStart: e => json!({"container_id": e.container_id, "pid": e.pid}),
        TaskExit: e => json!({
            "container_id": e.container_id, "id": e.id, "pid": e.pid,
            "exit_status": e.exit_status, "exited_at": at(e.exited_at.as_ref()),
        }),
        TaskDelete: e => json!({
            "container_id": e.container_id, "id": e.id, "pid": e.pid,
            "exit_status": e.exit_status, "exited_at": at(e.exited_at.as_ref()),
        }),
        TaskOom: e => json!({"container_id": e.container_id}),
        TaskPaused: e => json!({"container_id": e.container_id}),
        TaskResumed: e => json!({"container_id": e.container_id}),
        TaskExecAdded: e => json!({"container_id": e.container_id, "exec_id": e.exec_id}),
        TaskExecStarted: e => json!({"container_id": e.container_id, "exec_id": e.exec_id, "pid": e.pid}),
        TaskCheckpointed: e => json!({"container_id": e.container_id, "checkpoint": e.checkpoint}),
        ContainerCreate: e => json!({
            "id": e.id, "image": e.image, "runtime": e.runtime.map(|runtime| runtime.name),
        }),
        ContainerUpdate: e => json!({"id": e.id, "image": e.image, "labels": e.labels}),
        ContainerDelete: e => json!({"id": e.id}),
        NamespaceCreate: e => json!({"name": e.name, "labels": e.labels}),
        NamespaceUpdate: e => json!({"name": e.name, "labels": e.labels}),
        NamespaceDelete: e => json!({"name": e.name}),
    );
    Value::Null
}

#[cfg(test)]
mod tests {
    use super::*;
    use shimkeeper_proto::pack;

    #[test]
    fn what_is_known_is_told_and_nothing_else() {
        let oom = pack(&wire::TaskOom { container_id: "web".into() });
        assert_eq!(decode(&oom), json!({"container_id": "web"}));
        let damaged = Any { value: vec![0xff].into(), ..oom };
        assert_eq!(decode(&damaged), Value::Null);
        assert_eq!(decode(&Any { type_url: "my.Own".into(), value: Vec::new().into() }), Value::Null);
    }
}

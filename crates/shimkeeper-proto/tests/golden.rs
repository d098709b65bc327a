// SPDX-License-Identifier: Apache-2.0
//! Messages as bytes: what peers send decodes to what they mean, and encodes to the same bytes again.

use std::fmt::Debug;

use prost::Message;

use shimkeeper_proto::containerd::events::{TaskExit, TaskStart};
use shimkeeper_proto::containerd::runtime::bootstrap::v1::{BootstrapParams, LogLevel};
use shimkeeper_proto::containerd::services::events::ttrpc::v1::ForwardRequest;
use shimkeeper_proto::containerd::task::v3::DeleteResponse;
use shimkeeper_proto::containerd::types::{Envelope, RuntimeInfo};
use shimkeeper_proto::google::protobuf::{Any, Timestamp};
use shimkeeper_proto::{pack, type_name, unpack};

/// Checks both directions.
#[track_caller]
fn same<M: Message + Default + PartialEq + Debug>(message: &M, bytes: &[u8]) {
    assert_eq!(M::decode(bytes).as_ref(), Ok(message));
    assert_eq!(message.encode_to_vec(), bytes);
}

fn exit() -> TaskExit {
    TaskExit {
        container_id: "web".into(),
        id: "sh".into(),
        pid: 300,
        exit_status: 137,
        exited_at: Some(Timestamp { seconds: 1, nanos: 500_000_000 }),
    }
}

const EXIT: &[u8] = b"\x0a\x03web\x12\x02sh\x18\xac\x02\x20\x89\x01\x2a\x08\x08\x01\x10\x80\xca\xb5\xee\x01";

#[test]
fn task_exit() {
    same(&exit(), EXIT);
}

#[test]
fn forwarded_event_carries_its_payload_as_bytes() {
    let event = pack(&exit());
    assert_eq!(event.type_url, "containerd.events.TaskExit");
    assert_eq!(event.value, EXIT);

    let envelope = Envelope {
        timestamp: Some(Timestamp { seconds: 2, nanos: 0 }),
        namespace: "ns".into(),
        topic: "/tasks/exit".into(),
        event: Some(event),
    };
    let mut expected = b"\x0a\x4e\x0a\x02\x08\x02\x12\x02ns\x1a\x0b/tasks/exit".to_vec();
    expected.extend_from_slice(b"\x22\x37\x0a\x1acontainerd.events.TaskExit\x12\x19");
    expected.extend_from_slice(EXIT);
    same(&ForwardRequest { envelope: Some(envelope) }, &expected);
    same(&ForwardRequest { envelope: None }, b"");
}

/// As printed by `containerd-shim-runc-v2 … delete`, version 2.1.9, for a task with an unreadable `init.pid`.
#[test]
fn answer_of_a_real_delete_action() {
    let bytes = b"\x10\x89\x01\x1a\x0b\x08\xb2\xc8\x91\xd8\x06\x10\x83\xe9\xfc\x18";
    let exited_at = Some(Timestamp { seconds: 1_795_449_906, nanos: 52_376_707 });
    same(&DeleteResponse { pid: 0, exit_status: 137, exited_at }, bytes);
}

/// The first bytes printed by `containerd-shim-runc-v2 -info`, version 2.1.9; features follow.
#[test]
fn info_of_a_real_shim() {
    let info =
        RuntimeInfo::decode(&b"\x0a\x15io.containerd.runc.v2\x12\x0f\x0a\x0d2.1.9+unknown"[..]).unwrap();
    assert_eq!(info.name, "io.containerd.runc.v2");
    assert_eq!(info.version.unwrap().version, "2.1.9+unknown");
}

#[test]
fn bootstrap_parameters_tell_an_absent_directory_from_an_empty_one() {
    let mut params = BootstrapParams { instance_id: "a".into(), ..BootstrapParams::default() };
    params.set_log_level(LogLevel::Debug);
    // A negative enum value takes ten bytes.
    let mut expected = b"\x0a\x01a\x18\xfc\xff\xff\xff\xff\xff\xff\xff\xff\x01".to_vec();
    same(&params, &expected);

    params.socket_dir = Some(String::new());
    expected.extend_from_slice(b"\x4a\x00");
    same(&params, &expected);
}

#[test]
fn an_any_is_unpacked_by_its_name_with_or_without_a_host() {
    let mut any = pack(&exit());
    assert_eq!(unpack::<TaskExit>(&any).unwrap().unwrap(), exit());
    assert!(unpack::<TaskStart>(&any).is_none());

    any.type_url.insert_str(0, "type.googleapis.com/");
    assert_eq!(type_name(&any), "containerd.events.TaskExit");
    assert_eq!(unpack::<TaskExit>(&any).unwrap().unwrap(), exit());

    any.value = b"\x0a\x7fshort".as_slice().into();
    assert!(unpack::<TaskExit>(&any).unwrap().is_err());
    assert_eq!(type_name(&Any::default()), "");
}

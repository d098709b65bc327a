// SPDX-License-Identifier: Apache-2.0
//! Between the wire's types and everybody else's. Stateless; payloads are moved, never decoded.

use std::collections::BTreeMap;
use std::time::SystemTime;

use shimkeeper::{Any, Exit, Mount};
use shimkeeper_core::time;
use shimkeeper_proto::containerd::types;
use shimkeeper_proto::google::protobuf;

pub(crate) fn any(any: Any) -> protobuf::Any {
    protobuf::Any { type_url: any.type_url, value: any.value }
}

pub(crate) fn from_any(any: protobuf::Any) -> Any {
    Any::new(any.type_url, any.value)
}

pub(crate) fn anys(map: BTreeMap<String, Any>) -> BTreeMap<String, protobuf::Any> {
    map.into_iter().map(|(key, value)| (key, any(value))).collect()
}

pub(crate) fn from_anys(map: BTreeMap<String, protobuf::Any>) -> BTreeMap<String, Any> {
    map.into_iter().map(|(key, value)| (key, from_any(value))).collect()
}

pub(crate) fn timestamp(at: SystemTime) -> protobuf::Timestamp {
    let (seconds, nanos) = time::to_parts(at);
    protobuf::Timestamp { seconds, nanos }
}

/// What Go has for "not yet". Clients print 1970 when there is nothing.
pub(crate) fn never() -> protobuf::Timestamp {
    protobuf::Timestamp { seconds: time::GO_ZERO_SECONDS, nanos: 0 }
}

/// Status and time of an exit; zero and never of none.
pub(crate) fn exit(exit: Option<&Exit>) -> (u32, Option<protobuf::Timestamp>) {
    exit.map_or((0, Some(never())), |exit| (exit.status, Some(timestamp(exit.at))))
}

pub(crate) fn from_mount(mount: types::Mount) -> Mount {
    Mount { kind: mount.r#type, source: mount.source, target: mount.target, options: mount.options }
}

// SPDX-License-Identifier: Apache-2.0
//! Between our types and the wire's. Protobuf stays on this side of it.

use std::time::SystemTime;

use shimkeeper_core::{Any, Mount, time};
use shimkeeper_proto::{containerd::types, google::protobuf};

pub(crate) fn mount(mount: &Mount) -> types::Mount {
    types::Mount {
        r#type: mount.kind.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        options: mount.options.clone(),
    }
}

pub(crate) fn any(any: Any) -> protobuf::Any {
    protobuf::Any { type_url: any.type_url, value: any.value }
}

pub(crate) fn from_any(any: protobuf::Any) -> Any {
    Any::new(any.type_url, any.value)
}

/// When something happened, as a shim says; `None` if it does not say, or says "never".
pub(crate) fn moment(at: Option<&protobuf::Timestamp>) -> Option<SystemTime> {
    at.and_then(|at| time::from_parts(at.seconds, at.nanos))
}

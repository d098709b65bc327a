// SPDX-License-Identifier: Apache-2.0
//! Protobuf messages and service stubs of containerd's protocols, of its shims and of its daemon, generated from
//! `/proto`.
//!
//! Modules nest as the protobuf packages do: `containerd.task.v3.CreateTaskRequest` is
//! [`containerd::task::v3::CreateTaskRequest`]. Rust spells acronyms in its own way (`CloseIORequest` is
//! `CloseIoRequest`, `TaskOOM` is `TaskOom`); [`prost::Name::full_name`] gives the name of the wire.
//!
//! A message decoded here loses the fields this version does not know. So whatever is only passed on, above all the
//! value of an [`Any`], stays bytes.
//!
//! # Features
//!
//! `grpc-client` and `grpc-server` add tonic stubs for `containerd.task.v3.Task` as `task_client` and `task_server`
//! beside its messages, and in the same way for the services of containerd's daemon. Both are off by default: most
//! shims speak ttrpc, which needs no stubs.

#[expect(clippy::struct_excessive_bools, reason = "the wire has messages of many flags")]
#[cfg_attr(
    any(feature = "grpc-client", feature = "grpc-server"),
    expect(clippy::allow_attributes_without_reason, reason = "tonic's stubs silence lints in their own way")
)]
#[cfg_attr(
    feature = "grpc-server",
    expect(
        clippy::allow_attributes,
        clippy::default_trait_access,
        clippy::too_many_lines,
        reason = "tonic's server stub dispatches in one function"
    )
)]
mod r#gen;

pub use r#gen::{containerd, google, grpc, io, shimkeeper};

use bytes::Bytes;
use prost::{DecodeError, Message, Name};

use google::protobuf::Any;

/// Name of the task service that shims of containerd 2.0 and later serve.
pub const TASK_SERVICE_V3: &str = containerd::task::v3::TASK_SERVICE;

/// Name of the task service that older shims serve. Methods and messages are those of version 3.
pub const TASK_SERVICE_V2: &str = "containerd.task.v2.Task";

/// Wraps a message, under its bare full name as containerd has it.
///
/// Not [`Name::type_url`]: that starts with a slash, which a Go peer does not take for the name of a type.
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::full_name(), value: Bytes::from(message.encode_to_vec()) }
}

/// Full name of the type inside: what follows the last slash of the URL, or all of it when there is none.
pub fn type_name(any: &Any) -> &str {
    any.type_url.rsplit_once('/').map_or(any.type_url.as_str(), |(_host, name)| name)
}

/// Decodes what is inside if it is an `M`; `None` if it is of another type.
///
/// # Errors
///
/// Says so when the type is right but the bytes are not.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Option<Result<M, DecodeError>> {
    (type_name(any) == M::full_name()).then(|| M::decode(any.value.clone()))
}

// SPDX-License-Identifier: Apache-2.0
//! The protobuf envelopes inside the frames, with the field numbers of ttrpc's `request.proto`.

use std::fmt;

use bytes::Bytes;

/// The numbers of `google.rpc.Code` that a [`Status`] carries.
pub mod code {
    #![expect(missing_docs, reason = "the names are the documentation; the set is google.rpc.Code")]
    pub const OK: i32 = 0;
    pub const CANCELED: i32 = 1;
    pub const UNKNOWN: i32 = 2;
    pub const INVALID_ARGUMENT: i32 = 3;
    pub const DEADLINE_EXCEEDED: i32 = 4;
    pub const NOT_FOUND: i32 = 5;
    pub const ALREADY_EXISTS: i32 = 6;
    pub const PERMISSION_DENIED: i32 = 7;
    pub const RESOURCE_EXHAUSTED: i32 = 8;
    pub const FAILED_PRECONDITION: i32 = 9;
    pub const ABORTED: i32 = 10;
    pub const OUT_OF_RANGE: i32 = 11;
    pub const UNIMPLEMENTED: i32 = 12;
    pub const INTERNAL: i32 = 13;
    pub const UNAVAILABLE: i32 = 14;
    pub const DATA_LOSS: i32 = 15;
    pub const UNAUTHENTICATED: i32 = 16;
}

/// What a request frame holds.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Request {
    /// Full name of the service, such as `containerd.task.v3.Task`.
    #[prost(string, tag = "1")]
    pub service: String,
    /// Name of the method, such as `Create`.
    #[prost(string, tag = "2")]
    pub method: String,
    /// The encoded request message.
    #[prost(bytes = "bytes", tag = "3")]
    pub payload: Bytes,
    /// Nanoseconds the caller is willing to wait; 0 for no limit.
    #[prost(int64, tag = "4")]
    pub timeout_nano: i64,
    /// What travels beside the message.
    #[prost(message, repeated, tag = "5")]
    pub metadata: Vec<KeyValue>,
}

/// One entry of a request's metadata.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct KeyValue {
    /// The key, in lower case when this crate sent it.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// What a response frame holds.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Response {
    /// Absent, or with code 0, when the call succeeded.
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    /// The encoded response message.
    #[prost(bytes = "bytes", tag = "2")]
    pub payload: Bytes,
}

/// `google.rpc.Status`: how a call failed, in the peer's words.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Status {
    /// One of the numbers in [`code`].
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// Text for people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Typed details, left encoded.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// `google.protobuf.Any` as it lies on the wire.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Any {
    /// Names the message type.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

impl Status {
    /// A status without details.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new() }
    }

    /// The answer for a method the service does not have, worded as Go's server words it.
    pub fn unknown_method(method: &str) -> Self {
        Self::new(code::UNIMPLEMENTED, format!("method {method}"))
    }

    /// The answer for a service the server does not have, worded as Go's server words it.
    pub fn unknown_service(service: &str) -> Self {
        Self::new(code::UNIMPLEMENTED, format!("service {service}"))
    }

    /// The answer for a message above the limit, worded as Go's server words it.
    pub(crate) fn too_large(length: usize, limit: usize) -> Self {
        let text = format!("message length {length} exceed maximum message size of {limit}");
        Self::new(code::RESOURCE_EXHAUSTED, text)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.message, self.code)
    }
}

// SPDX-License-Identifier: Apache-2.0
//! ttrpc over tokio and prost: sans-IO framing, a client that never confuses one call with another, a bounded server.
//!
//! The wire is what containerd 1.6 to 2.x and its shims speak: a ten-byte header, then a protobuf envelope.
//! This crate does the unary half of it, and believes nothing a peer sends.
//!
//! - [`frame`] is the codec: bytes in, frames out, with neither sockets nor clocks.
//! - [`Client::new`] gives a [`Client`] to call with and a [`Driver`] that somebody must run. A call that is
//!   dropped, or runs out of time, costs the connection nothing. [`Client::closed`] says when and why it ended.
//! - [`Server`] answers registered [`Service`]s and bounds everything that a peer could make it hold.
//! - [`End`] is how a connection tells of its end, for other kinds of connections to do it alike.
//! - [`Stream`] is a Unix socket to do both on, which is not woken in vain.
//!
//! It knows nothing of shims or containers, and so has no error kinds of theirs: [`CallError`] is for callers to map.

mod client;
mod end;
mod error;
pub mod frame;
mod inbox;
mod message;
mod metadata;
mod outbox;
mod server;
mod stream;
mod sync;

pub use client::{Begun, CallOptions, Client, ClientLimits, CloseWatch, Driver};
pub use end::End;
pub use error::{CallError, CloseReason, ProtocolError};
pub use message::{Any, KeyValue, Request, Response, Status, code};
pub use metadata::{BAGGAGE_KEY, Metadata, MetadataError, NAMESPACE_KEY, TRACEPARENT_KEY, TRACESTATE_KEY};
pub use server::{Answer, Context, MayClose, PeerCred, Server, ServerLimits, Service};
pub use stream::Stream;

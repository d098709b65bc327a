// SPDX-License-Identifier: Apache-2.0
//! The answering side: services by name, connections accepted within bounds, and nothing a peer does ends it.
//!
//! Who owns what: the server owns its connections' tasks, a connection owns its handlers' tasks; dropping the
//! one ends the others. Texts of refusals are those of Go's server, which clients may look at.

mod accept;
mod connection;
mod handler;
mod peer;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::peer::PeerCred;
use crate::error::CloseReason;
use crate::message::Status;
use crate::metadata::Metadata;

/// What a handler comes to: the encoded response message, or the status to fail with.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Bytes, Status>> + Send + 'a>>;

/// Whether a connection may be closed for its silence.
pub type MayClose = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Answers the methods of one service.
pub trait Service: Send + Sync + 'static {
    /// Answers one call. A method it does not have is [`Status::unknown_method`].
    ///
    /// The future is dropped when the call's time runs out, and some time after the connection has ended. A
    /// panic in it fails this call only.
    fn call<'a>(&'a self, method: &'a str, payload: Bytes, cx: &'a Context) -> Answer<'a>;
}

/// What is known of a call besides its message.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Who calls, where the transport says so.
    pub peer: Option<PeerCred>,
    /// What travelled beside the request.
    pub metadata: Metadata,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
}

/// What a server holds at most, and how patient it is.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Connections at a time; more wait in the listener's backlog.
    pub connections: usize,
    /// Calls at a time on one connection; the next is not read before one of them is answered.
    pub in_flight: usize,
    /// Bytes of request payloads held at a time on one connection. No less than one of the largest size.
    pub in_flight_bytes: usize,
    /// Bytes of answers waiting to be sent on one connection. No less than one frame of the largest size.
    pub buffer_bytes: usize,
    /// Time for a frame to arrive once it has begun.
    pub frame_timeout: Duration,
    /// Frames in a row that make no call, after which the connection is closed.
    pub stray_frames: u32,
    /// Time for calls in flight to finish once the server stops or the peer has gone.
    pub drain: Duration,
}

/// A set of services to be served.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

#[derive(Clone)]
struct Shared {
    limits: ServerLimits,
    services: HashMap<String, Arc<dyn Service>>,
    same_user: bool,
    idle: Option<Idle>,
}

/// When a silent connection is closed.
#[derive(Clone, Copy, Debug)]
struct Idle {
    after: Duration,
    may_close: fn(PeerCred) -> MayClose,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            in_flight: 128,
            in_flight_bytes: 16 << 20,
            buffer_bytes: 8 << 20,
            frame_timeout: Duration::from_secs(10),
            stray_frames: 1024,
            drain: Duration::from_secs(5),
        }
    }
}

impl Server {
    /// A server without services that admits only peers with the uid and gid of this process.
    pub fn new(limits: ServerLimits) -> Self {
        Self { shared: Arc::new(Shared { limits, services: HashMap::new(), same_user: true, idle: None }) }
    }

    /// Adds a service under its full name, such as `containerd.task.v3.Task`; the last of a name counts.
    pub fn service(mut self, name: impl Into<String>, service: Arc<dyn Service>) -> Self {
        Arc::make_mut(&mut self.shared).services.insert(name.into(), service);
        self
    }

    /// Whether peers must have the effective uid and gid of this process. A peer that the transport says
    /// nothing of is then refused.
    pub fn require_same_user(mut self, required: bool) -> Self {
        Arc::make_mut(&mut self.shared).same_user = required;
        self
    }

    /// Closes a connection on which nothing was said and nothing is owed for so long, if its peer is one that connects
    /// again when it has something to say; that is asked when the time has come, and not again once it was denied.
    /// Meanwhile the connection is served as before.
    ///
    /// A call that is sent in that very moment is not begun: the peer sees its connection end, or reset, and no answer.
    pub fn close_idle(mut self, after: Duration, may_close: fn(PeerCred) -> MayClose) -> Self {
        Arc::make_mut(&mut self.shared).idle = Some(Idle { after, may_close });
        self
    }

    /// Serves all who connect until `stop` is cancelled, then lets calls in flight finish within
    /// [`ServerLimits::drain`]. Errors of accepting are waited out.
    ///
    /// # Cancel safety
    /// Dropping it drops the listener, the connections, and their handlers where they stand.
    pub async fn serve(self, listener: UnixListener, stop: CancellationToken) {
        accept::run(self, listener, stop).await;
    }

    /// Serves one connected stream until it ends or `stop` is cancelled; says why it ended.
    ///
    /// # Cancel safety
    /// Dropping it drops the stream and its handlers where they stand.
    pub async fn serve_stream<S>(
        &self,
        stream: S,
        peer: Option<PeerCred>,
        stop: CancellationToken,
    ) -> CloseReason
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        if self.shared.same_user && !peer.is_some_and(PeerCred::is_same_user) {
            tracing::warn!(?peer, "refused a peer that is not of our user and group");
            return CloseReason::Local;
        }
        connection::run(Arc::clone(&self.shared), stream, peer, stop).await
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("services", &self.shared.services.keys())
            .field("same_user", &self.shared.same_user)
            .field("limits", &self.shared.limits)
            .finish()
    }
}

// SPDX-License-Identifier: Apache-2.0
//! A client's HTTP/2 session with a daemon, for the generated stubs: one session over one unix socket, with as little
//! between a call and the wire as can be, and nothing that dials again.

use std::os::unix::net;
use std::path::Path;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::codegen::http::uri::{Authority, Scheme};
use tonic::codegen::http::{HeaderValue, Request, Response, Uri};
use tonic::codegen::{BoxFuture, Service};

/// The header of a call's namespace.
const NAMESPACE: &str = "containerd-namespace";

/// The session. A clone is the same one, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct Session {
    send: SendRequest<Body>,
    namespace: Option<HeaderValue>,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The socket cannot be connected to.
    #[error("cannot connect to the socket")]
    Connect(#[source] std::io::Error),
    /// Whoever listens there does not speak HTTP/2.
    #[error("cannot begin an HTTP/2 session")]
    Handshake(#[source] hyper::Error),
}

/// Runs what belongs to the session.
#[derive(Clone, Debug, Default)]
struct Owner(TaskTracker);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Owner {
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

impl Session {
    /// Connects to a daemon's socket. There is no deadline.
    ///
    /// # Errors
    /// [`OpenError`]. What is no daemon, and waits for others to speak, is noticed by the first call only.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn open(socket: &Path) -> Result<Self, OpenError> {
        Self::with(UnixStream::connect(socket).await.map_err(OpenError::Connect)?).await
    }

    /// Over a connection that there is.
    ///
    /// # Errors
    /// As [`Session::open`].
    ///
    /// # Cancel safety
    /// Dropping it closes the connection.
    pub async fn over(stream: net::UnixStream) -> Result<Self, OpenError> {
        let stream = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
        Self::with(stream.map_err(OpenError::Connect)?).await
    }

    async fn with(stream: UnixStream) -> Result<Self, OpenError> {
        let owner = Owner::default();
        let opened = http2::handshake(owner.clone(), TokioIo::new(stream)).await;
        let (send, session) = opened.map_err(OpenError::Handshake)?;
        // The calls that it fails tell of it.
        owner.0.spawn(session);
        Ok(Self { send, namespace: None })
    }

    /// Whether the daemon has not left it yet, as far as that is known.
    pub fn lives(&self) -> bool {
        !self.send.is_closed()
    }

    /// The same session, for calls in this namespace. Whether that is a name is for the daemon to say.
    ///
    /// # Panics
    /// If the namespace cannot be in a header.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.parse().expect("a namespace")), ..self.clone() }
    }
}

impl Service<Request<Body>> for Session {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.send.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // HTTP wants to know where it goes; a socket has no name.
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        (uri.scheme, uri.authority) = (Some(Scheme::HTTP), Some(Authority::from_static("localhost")));
        *request.uri_mut() = Uri::from_parts(uri).expect("every call has a path");
        if let Some(namespace) = &self.namespace {
            request.headers_mut().insert(NAMESPACE, namespace.clone());
        }
        Box::pin(self.send.send_request(request))
    }
}

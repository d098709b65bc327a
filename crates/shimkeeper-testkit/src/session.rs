// SPDX-License-Identifier: Apache-2.0
//! A client's HTTP/2 session with a daemon, for the generated stubs: with as little between a call and the wire as can
//! be, and nothing that dials again. It is no part of the product, so that what is tested and measured is not either.

use std::os::unix::net;
use std::path::Path;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::codegen::http::{HeaderValue, Request, Response, Uri};
use tonic::codegen::{BoxFuture, Service};

/// The header of a call's namespace.
const NAMESPACE: &str = "containerd-namespace";

/// The session. A clone is the same one.
#[derive(Clone, Debug)]
pub struct Session {
    send: SendRequest<Body>,
    namespace: Option<HeaderValue>,
}

/// Runs what belongs to the session, which ends with its last clone.
#[derive(Clone, Debug, Default)]
struct Owner(TaskTracker);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Owner {
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

impl Session {
    /// Connects to a daemon's socket.
    ///
    /// # Errors
    /// As those of the socket and of HTTP/2.
    pub async fn open(socket: &Path) -> std::io::Result<Self> {
        Self::with(UnixStream::connect(socket).await?).await
    }

    /// Over a connection that there is.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub async fn over(stream: net::UnixStream) -> std::io::Result<Self> {
        stream.set_nonblocking(true)?;
        Self::with(UnixStream::from_std(stream)?).await
    }

    async fn with(stream: UnixStream) -> std::io::Result<Self> {
        let owner = Owner::default();
        let opened = http2::handshake(owner.clone(), TokioIo::new(stream)).await;
        let (send, session) = opened.map_err(std::io::Error::other)?;
        // The calls that it fails tell of it.
        owner.0.spawn(session);
        Ok(Self { send, namespace: None })
    }

    /// Whether the daemon has not left it yet, as far as that is known.
    pub fn lives(&self) -> bool {
        !self.send.is_closed()
    }

    /// The same session, for calls in this namespace.
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
        if request.uri().authority().is_none() {
            // HTTP wants to know where it goes; a socket has no name.
            let path = request.uri().path_and_query().cloned().expect("every call has a path");
            let whole = Uri::builder().scheme("http").authority("localhost").path_and_query(path);
            *request.uri_mut() = whole.build().expect("its parts are");
        }
        if let Some(namespace) = &self.namespace {
            request.headers_mut().insert(NAMESPACE, namespace.clone());
        }
        Box::pin(self.send.send_request(request))
    }
}

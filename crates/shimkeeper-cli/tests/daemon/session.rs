// SPDX-License-Identifier: Apache-2.0
//! A client of a daemon's own API for tests that no command line can play: one HTTP/2 session, calls in a namespace or
//! in none. Made of the stubs and hyper alone, so that it speaks to containerd and to us in the same way.

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
pub(crate) struct Session {
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
    pub(crate) async fn open(socket: &Path) -> std::io::Result<Self> {
        let owner = Owner::default();
        let stream = TokioIo::new(UnixStream::connect(socket).await?);
        let opened = http2::handshake(owner.clone(), stream).await;
        let (send, session) = opened.map_err(std::io::Error::other)?;
        owner.0.spawn(async {
            // The calls it fails say so.
            let _ = session.await;
        });
        Ok(Self { send, namespace: None })
    }

    /// Whether the daemon has not left it yet, as far as that is known.
    pub(crate) fn lives(&self) -> bool {
        !self.send.is_closed()
    }

    /// The same session, for calls in this namespace.
    pub(crate) fn within(&self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.parse().unwrap()), ..self.clone() }
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
        let path = request.uri().path_and_query().cloned();
        let whole = Uri::builder().scheme("http").authority("localhost").path_and_query(path.unwrap());
        *request.uri_mut() = whole.build().unwrap();
        if let Some(namespace) = &self.namespace {
            request.headers_mut().insert(NAMESPACE, namespace.clone());
        }
        Box::pin(self.send.send_request(request))
    }
}

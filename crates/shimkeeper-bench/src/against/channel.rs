// SPDX-License-Identifier: Apache-2.0
//! One HTTP/2 session over a daemon's socket, with as little between a call and the wire as can be: what the client
//! takes is added to the figures of both daemons.

use std::os::unix::net;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::codegen::http::{HeaderValue, Request, Response};
use tonic::codegen::{BoxFuture, Service};

use crate::against::error::AgainstError;
use crate::error::BenchError;
use crate::site::NAMESPACE;

const NAMESPACE_HEADER: &str = "containerd-namespace";

/// The session; every call on it is made in the bench's namespace.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    send: SendRequest<Body>,
}

/// Runs what belongs to the session, which ends with the last clone of the channel.
#[derive(Clone, Debug, Default)]
struct Owner(TaskTracker);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Owner {
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

impl Channel {
    pub(crate) async fn open(stream: net::UnixStream) -> Result<Self, AgainstError> {
        let connected = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
        let stream = connected.map_err(|e| BenchError::io("use a connection", e))?;
        let owner = Owner::default();
        let (send, session) =
            http2::handshake(owner.clone(), TokioIo::new(stream)).await.map_err(AgainstError::Session)?;
        // The calls that it fails tell of it.
        owner.0.spawn(session);
        Ok(Self { send })
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.send.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        request.headers_mut().insert(NAMESPACE_HEADER, HeaderValue::from_static(NAMESPACE));
        Box::pin(self.send.send_request(request))
    }
}

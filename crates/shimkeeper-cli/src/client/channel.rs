// SPDX-License-Identifier: Apache-2.0
//! One HTTP/2 session over one unix socket, and nothing that dials again: a command is over before that would help.

use std::path::Path;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use shimkeeper_core::Kind;
use tokio::net::UnixStream;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::codegen::http::{HeaderValue, Request, Response};
use tonic::codegen::{BoxFuture, Service};

use crate::failure::Failure;

const NAMESPACE: &str = "containerd-namespace";

/// The session; every call on it is made in the namespace.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    send: SendRequest<Body>,
    namespace: Option<HeaderValue>,
}

/// Runs what belongs to the session. It ends with the last clone of the channel.
#[derive(Clone, Debug, Default)]
struct Owner(TaskTracker);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Owner {
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

impl Channel {
    pub(super) async fn open(address: &Path, namespace: Option<HeaderValue>) -> Result<Self, Failure> {
        let what = || format!("connect to the daemon at {}", address.display());
        let stream = UnixStream::connect(address).await.map_err(|error| {
            Failure::io(
                what(),
                &error,
                "see whether the daemon runs there, or give its socket with --address",
            )
        })?;
        let owner = Owner::default();
        let (send, session) =
            http2::handshake(owner.clone(), TokioIo::new(stream)).await.map_err(|error| {
                let what = format!("{}: {error}", what());
                Failure::new(Kind::Unavailable, what, "see whether this is the socket of containerd's API")
            })?;
        // The calls that it fails tell of it.
        owner.0.spawn(session);
        Ok(Self { send, namespace })
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
        if let Some(namespace) = &self.namespace {
            request.headers_mut().insert(NAMESPACE, namespace.clone());
        }
        Box::pin(self.send.send_request(request))
    }
}

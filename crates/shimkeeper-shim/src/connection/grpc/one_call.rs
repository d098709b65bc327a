// SPDX-License-Identifier: Apache-2.0
//! One request on the session, and whether the shim itself answered it with a status.
//!
//! The gRPC layer reports what a shim said and what went wrong on the way in the same words. The difference
//! decides between "the shim refused" and "the shim is gone", so it is observed where it cannot be mistaken:
//! in the header or trailer that carries the shim's status.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http2::SendRequest;
use hyper::http::{HeaderMap, Request, Response};
use tonic::codegen::{BoxFuture, Service};

const STATUS: &str = "grpc-status";

/// Sends one request, and notes whether its answer carried a status.
#[derive(Debug)]
pub(super) struct OneCall {
    send: SendRequest<tonic::body::Body>,
    answered: Arc<AtomicBool>,
}

impl OneCall {
    pub(super) fn new(send: SendRequest<tonic::body::Body>, answered: Arc<AtomicBool>) -> Self {
        Self { send, answered }
    }

    /// Whether the shim has given a status.
    pub(super) fn has_status(answered: &AtomicBool) -> bool {
        answered.load(Ordering::Relaxed)
    }
}

fn note_status(headers: &HeaderMap, answered: &AtomicBool) {
    if headers.contains_key(STATUS) {
        answered.store(true, Ordering::Relaxed);
    }
}

impl Service<Request<tonic::body::Body>> for OneCall {
    type Response = Response<Answer>;
    type Error = hyper::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.send.poll_ready(cx)
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let answered = self.answered.clone();
        let response = self.send.send_request(request);
        Box::pin(async move {
            let response = response.await?;
            note_status(response.headers(), &answered);
            Ok(response.map(|body| Answer { body, answered }))
        })
    }
}

/// The body of an answer, watched for its trailers.
#[derive(Debug)]
pub(super) struct Answer {
    body: Incoming,
    answered: Arc<AtomicBool>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            note_status(trailers, &self.answered);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

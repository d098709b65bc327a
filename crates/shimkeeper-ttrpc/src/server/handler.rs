// SPDX-License-Identifier: Apache-2.0
//! One call: from the request envelope to the response envelope, whatever the handler does.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::time::Instant;

use super::{Context, PeerCred, Service, Shared};
use crate::frame::MAX_PAYLOAD;
use crate::message::{Request, Response, Status, code};
use crate::metadata::Metadata;

/// A call that has a service to answer it.
pub(super) struct Call {
    service: Arc<dyn Service>,
    service_name: String,
    method: String,
    payload: Bytes,
    context: Context,
}

impl Call {
    /// Finds out what an envelope asks for.
    pub(super) fn new(shared: &Shared, peer: Option<PeerCred>, envelope: Bytes) -> Result<Self, Status> {
        let request = Request::decode(envelope)
            .map_err(|error| Status::new(code::INVALID_ARGUMENT, format!("unmarshal request: {error}")))?;
        let service =
            shared.services.get(&request.service).ok_or_else(|| Status::unknown_service(&request.service))?;
        let deadline = deadline(request.timeout_nano);
        Ok(Self {
            service: Arc::clone(service),
            service_name: request.service,
            method: request.method,
            payload: request.payload,
            context: Context { peer, metadata: Metadata::received(request.metadata), deadline },
        })
    }

    /// The refusal of a call that would go on after its request.
    pub(super) fn streaming(&self) -> Status {
        Status::new(code::UNIMPLEMENTED, format!("method {}: streaming is not supported", self.method))
    }

    /// Runs the handler: to its end, to the deadline, or to its panic.
    pub(super) async fn answer(self) -> Response {
        let Self { service, service_name, method, payload, context } = self;
        let handler = contained(|| service.call(&method, payload, &context));
        let outcome = match context.deadline {
            None => handler.await,
            Some(deadline) => tokio::time::timeout_at(deadline, handler).await.unwrap_or_else(|_elapsed| {
                Ok(Err(Status::new(code::DEADLINE_EXCEEDED, "context deadline exceeded")))
            }),
        };
        let answer = outcome.unwrap_or_else(|Panicked| {
            tracing::error!(service = service_name, method, "a handler panicked");
            Err(Status::new(code::INTERNAL, format!("method {method} panicked")))
        });
        match answer {
            Ok(payload) => bounded(Response { status: None, payload }),
            Err(status) => bounded(failure(status)),
        }
    }
}

/// A response that carries a status.
pub(super) fn failure(status: Status) -> Response {
    Response { status: Some(status), payload: Bytes::new() }
}

/// Replaces a response that no frame can hold.
fn bounded(response: Response) -> Response {
    match response.encoded_len() {
        length if length > MAX_PAYLOAD => failure(Status::too_large(length, MAX_PAYLOAD)),
        _ => response,
    }
}

/// When the caller stops waiting; none, or a time beyond the clock's, is no limit.
fn deadline(timeout_nano: i64) -> Option<Instant> {
    let nanos = u64::try_from(timeout_nano).ok().filter(|nanos| *nanos > 0)?;
    Instant::now().checked_add(Duration::from_nanos(nanos))
}

/// The handler panicked.
struct Panicked;

/// Runs a future so that a panic of it, or of making it, stays within.
async fn contained<F: Future>(make: impl FnOnce() -> F) -> Result<F::Output, Panicked> {
    let future = catch_unwind(AssertUnwindSafe(make)).map_err(|_payload| Panicked)?;
    let mut future = pin!(future);
    // Unwind safe: after a panic the future is dropped without being looked at again.
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(_payload) => Poll::Ready(Err(Panicked)),
    })
    .await
}

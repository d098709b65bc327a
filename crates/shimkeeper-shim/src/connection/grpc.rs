// SPDX-License-Identifier: Apache-2.0
//! The gRPC transport: one HTTP/2 session over one stream, never a second.
//!
//! A usual gRPC channel dials again behind its user's back and calls an idle connection by the same name as a lost
//! one; the original fell for that and declares every gRPC shim dead a millisecond after its launch. Here the
//! session is made over the stream we dialled, so there is nothing to dial again with, and only the end of the
//! stream, or of the session, ends the connection.
//!
//! ```text
//! unary ──► SendRequest ──► session (driver, owned by the caller's TaskTracker) ──► Watched stream
//!                                        │ ends                                        │ end of stream, error
//!                                        └──────────────► CloseLatch ◄─────────────────┘
//! ```

mod codec;
mod one_call;
mod watched;

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use hyper::Uri;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use shimkeeper_core::{Namespace, chain};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::client::Grpc;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::{Code, Request, Status};

use self::codec::RawCodec;
use self::one_call::OneCall;
use self::watched::Watched;
use super::close::{CloseLatch, CloseReason};
use crate::call::{Call, Cause};

/// Largest message in either direction: containerd's own limit.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// Calls under way on one connection; waits are among them, so it must not be small.
const MAX_CALLS: usize = 1024;
/// How long a call that failed with its connection waits for the connection's driver to name the reason.
const SETTLE: Duration = Duration::from_secs(1);
/// A shim's clock runs its own timer; an answer this close to the deadline that says "too late" is the deadline.
const TIMER_SKEW: Duration = Duration::from_millis(5);
/// Longest deadline worth telling a shim; the header cannot carry everything a `Duration` can.
const LONGEST_TIMEOUT: Duration = Duration::from_hours(365 * 24);
const NAMESPACE_HEADER: &str = "containerd-namespace";

/// One session; clones share it, and it is closed when the last one is dropped.
#[derive(Clone, Debug)]
pub(super) struct GrpcClient(Arc<Session>);

#[derive(Debug)]
struct Session {
    send: SendRequest<tonic::body::Body>,
    closed: CloseLatch,
    slots: Semaphore,
    stop: CancellationToken,
}

impl GrpcClient {
    /// Opens a session over the stream; its driver runs on `tasks` until the session ends.
    pub(super) async fn open<S>(stream: S, tasks: &TaskTracker) -> Result<Self, hyper::Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let closed = CloseLatch::new();
        let stop = CancellationToken::new();
        let owner = Owner { tasks: tasks.clone(), stop: stop.clone() };
        let io = TokioIo::new(Watched::new(stream, closed.clone()));
        let (send, driver) = http2::handshake(owner, io).await?;
        tasks.spawn(drive(driver, stop.clone(), closed.clone()));
        let session = Session { send, closed, slots: Semaphore::new(MAX_CALLS), stop };
        Ok(Self(Arc::new(session)))
    }

    /// One call; the deadline is kept on our side and told to the shim.
    pub(super) async fn unary(
        &self,
        path: &'static str,
        namespace: &Namespace,
        call: &Call,
        message: &[u8],
    ) -> Result<Bytes, Cause> {
        let asked = self.ask(path, request(namespace, call, message)?);
        match call.timeout {
            None => asked.await,
            Some(limit) => within(limit, asked).await,
        }
    }

    async fn ask(&self, path: &'static str, request: Request<Bytes>) -> Result<Bytes, Cause> {
        if let Some(reason) = self.0.closed.reason() {
            return Err(Cause::Closed(reason));
        }
        let Ok(_slot) = self.0.slots.try_acquire() else {
            return Err(Cause::Busy { limit: MAX_CALLS });
        };
        let answered = Arc::new(AtomicBool::new(false));
        let service = OneCall::new(self.0.send.clone(), answered.clone());
        let mut grpc = Grpc::with_origin(service, Uri::from_static("http://localhost"))
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        match grpc.unary(request, PathAndQuery::from_static(path), RawCodec).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) if OneCall::has_status(&answered) => {
                Err(Cause::Shim { code: i32::from(status.code()), message: status.message().to_owned() })
            }
            Err(status) => Err(self.broken(&status).await),
        }
    }

    /// What a failure means that the shim did not report itself.
    async fn broken(&self, status: &Status) -> Cause {
        let detail = describe(status);
        match status.source() {
            None if status.code() == Code::OutOfRange => return Cause::TooLarge { detail },
            None => return Cause::Transport { detail },
            Some(_) if is_reset_of_one_stream(status) => return Cause::Transport { detail },
            Some(_) => {}
        }
        match timeout(SETTLE, self.closed()).await {
            Ok(reason) => Cause::Closed(reason),
            Err(_elapsed) => Cause::Transport { detail },
        }
    }

    pub(super) async fn closed(&self) -> CloseReason {
        self.0.closed.tripped().await
    }

    pub(super) fn tell_end(&self, listener: Arc<Notify>) {
        self.0.closed.tell(listener);
    }

    pub(super) fn close_reason(&self) -> Option<CloseReason> {
        self.0.closed.reason()
    }

    pub(super) fn close(&self) {
        self.0.closed.trip(CloseReason::Local);
        self.0.stop.cancel();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Runs the session and says how it ended, unless the stream has said so already.
async fn drive<D>(driver: D, stop: CancellationToken, closed: CloseLatch)
where
    D: Future<Output = Result<(), hyper::Error>>,
{
    let reason = match stop.run_until_cancelled(driver).await {
        None => CloseReason::Local,
        Some(Ok(())) => CloseReason::Protocol { detail: "the HTTP/2 session was ended or broken".into() },
        Some(Err(error)) => CloseReason::Protocol { detail: chain(&error).into() },
    };
    closed.trip(reason);
}

/// Ends a call at its deadline; a server that noticed the same deadline a moment earlier says the same.
async fn within(limit: Duration, asked: impl Future<Output = Result<Bytes, Cause>>) -> Result<Bytes, Cause> {
    let started = Instant::now();
    match timeout(limit, asked).await {
        Err(_elapsed) => Err(Cause::Deadline(limit)),
        Ok(Err(Cause::Shim { code, .. })) if is_too_late(code) && started.elapsed() + TIMER_SKEW >= limit => {
            Err(Cause::Deadline(limit))
        }
        Ok(answer) => answer,
    }
}

fn request(namespace: &Namespace, call: &Call, message: &[u8]) -> Result<Request<Bytes>, Cause> {
    let length = message.len();
    if length > MAX_MESSAGE_BYTES {
        let detail = format!("a request of {length} bytes is above the limit of {MAX_MESSAGE_BYTES}");
        return Err(Cause::TooLarge { detail });
    }
    let mut request = Request::new(Bytes::copy_from_slice(message));
    if let Some(limit) = call.timeout {
        request.set_timeout(limit.min(LONGEST_TIMEOUT));
    }
    let namespace = [(NAMESPACE_HEADER, namespace.as_str())];
    for (key, value) in namespace.into_iter().chain(call.trace.pairs()) {
        let value = AsciiMetadataValue::try_from(value).expect("ids and trace contexts are printable ASCII");
        request.metadata_mut().insert(AsciiMetadataKey::from_static(key), value);
    }
    Ok(request)
}

/// The two codes with which gRPC servers report that the caller's deadline has passed.
fn is_too_late(code: i32) -> bool {
    [Code::DeadlineExceeded, Code::Cancelled].map(i32::from).contains(&code)
}

/// Whether the shim gave up this stream only. Everything else that HTTP/2 reports concerns the session.
fn is_reset_of_one_stream(status: &Status) -> bool {
    let mut next = status.source();
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_reset();
        }
        next = error.source();
    }
    false
}

fn describe(status: &Status) -> String {
    status.source().map_or_else(|| status.message().to_owned(), chain)
}

/// Runs what the session needs on the caller's tracker, and ends it with the session.
#[derive(Clone)]
struct Owner {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Owner
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move { stop.run_until_cancelled(future).await });
    }
}

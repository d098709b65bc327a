// SPDX-License-Identifier: Apache-2.0
//! The calling side of a connection.
//!
//! ```text
//! Client (clones) ──┐                    last Client gone: close(Local)
//!                   ├── Shared { outbox, calls }
//! Driver ───────────┘                    Driver gone: close(Local)
//! ```
//!
//! A call waits for room, then takes its stream id and appends its frame in one critical section, then waits
//! for the driver to hand it the answer. Dropping it removes its entry from the calls, and nothing else.

mod calls;
mod driver;
mod request;
mod shared;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

pub use self::driver::Driver;
pub use self::request::CallOptions;
use self::request::Encoder;
pub use self::shared::ClientLimits;
use self::shared::{InFlight, Shared};
use crate::error::{CallError, CloseReason};
use crate::message::{Response, code};

/// Calls the services behind one connection. Clones share it; when the last is gone, the connection is closed.
pub struct Client {
    shared: Arc<Shared>,
}

/// Learns of the end of a connection without keeping it open.
#[derive(Clone, Debug)]
pub struct CloseWatch {
    shared: Arc<Shared>,
}

/// The answer to a request that was sent, left encoded; see [`Client::begin`].
#[derive(Debug)]
#[must_use = "dropped, the call is given up"]
pub struct Begun(InFlight);

impl Client {
    /// A client on a connected stream, and the driver that reads and writes for it.
    ///
    /// Nothing is received while nobody runs the driver, and dropping the driver closes the connection. The
    /// stream must send what is written to it without being flushed, as sockets do.
    pub fn new<S>(stream: S, limits: impl Into<Arc<ClientLimits>>) -> (Self, Driver)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let shared = Arc::new(Shared::new(stream, limits.into()));
        let driver = Driver::new(Arc::clone(&shared));
        (Self { shared }, driver)
    }

    /// Calls a method and decodes its answer.
    ///
    /// # Cancel safety
    /// Dropping it leaves the connection and all other calls alone. Whether the call takes effect is open.
    pub async fn unary<Q, R>(
        &self,
        service: &str,
        method: &str,
        request: &Q,
        options: &CallOptions,
    ) -> Result<R, CallError>
    where
        Q: Message,
        R: Message + Default,
    {
        let append = |frame: &mut Vec<u8>| request.encode_raw(frame);
        let encoder = Encoder::new(service, method, options, request.encoded_len(), &append);
        let answer = self.exchange(&encoder, options).await?;
        R::decode(answer).map_err(|source| CallError::Decode { part: "message", source })
    }

    /// Calls a method with a message that is encoded already, and leaves the answer encoded.
    ///
    /// # Cancel safety
    /// As [`unary`](Self::unary).
    pub async fn unary_bytes(
        &self,
        service: &str,
        method: &str,
        request: &[u8],
        options: &CallOptions,
    ) -> Result<Bytes, CallError> {
        let append = |frame: &mut Vec<u8>| frame.extend_from_slice(request);
        let encoder = Encoder::new(service, method, options, request.len(), &append);
        self.exchange(&encoder, options).await
    }

    /// The same, for an answer that may be long in coming: what waits for it takes as little memory as it can. The timeout
    /// is told to the peer, and not kept here. The answer does not keep the connection open.
    ///
    /// # Cancel safety
    /// As [`unary`](Self::unary), and dropping the answer likewise.
    pub async fn begin(
        &self,
        service: &str,
        method: &str,
        request: &[u8],
        options: &CallOptions,
    ) -> Result<Begun, CallError> {
        let append = |frame: &mut Vec<u8>| frame.extend_from_slice(request);
        let encoder = Encoder::new(service, method, options, request.len(), &append);
        self.shared.send(&encoder, options.more_follow).await.map(Begun)
    }

    /// Ends the connection: calls in flight fail with [`CloseReason::Local`], requests not yet sent are
    /// forgotten. Without effect on a connection that has ended.
    pub fn close(&self) {
        self.shared.close(CloseReason::Local);
    }

    /// Waits for the end of the connection; returns at once when it has ended. The reason is the same for all.
    ///
    /// # Cancel safety
    /// Cancel safe, and for any number of waiters.
    pub async fn closed(&self) -> CloseReason {
        self.shared.ended().await
    }

    /// Why the connection ended, if it has.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.shared.reason()
    }

    /// Notifies all who wait for `listener` when the connection ends; at once if it has. For whoever waits in one way
    /// for several things: [`close_reason`](Self::close_reason) then says whether it was this.
    pub fn tell_end(&self, listener: Arc<Notify>) {
        self.shared.end.tell(listener);
    }

    /// A way to wait for the end that does not keep the connection open, as a clone of the client would.
    pub fn close_watch(&self) -> CloseWatch {
        CloseWatch { shared: Arc::clone(&self.shared) }
    }

    async fn exchange(&self, encoder: &Encoder<'_>, options: &CallOptions) -> Result<Bytes, CallError> {
        let call = async { self.shared.send(encoder, options.more_follow).await?.await };
        let envelope = match options.timeout {
            None => call.await?,
            Some(timeout) => {
                let late = |_elapsed| CallError::Deadline { timeout };
                tokio::time::timeout(timeout, call).await.map_err(late)??
            }
        };
        open(envelope)
    }
}

/// The message in a response envelope, still encoded.
fn open(envelope: Bytes) -> Result<Bytes, CallError> {
    let decoded = Response::decode(envelope);
    let response = decoded.map_err(|source| CallError::Decode { part: "envelope", source })?;
    match response.status {
        Some(status) if status.code != code::OK => Err(CallError::Status(status)),
        _ => Ok(response.payload),
    }
}

impl Future for Begun {
    type Output = Result<Bytes, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let envelope = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(envelope.and_then(open))
    }
}

impl CloseWatch {
    /// Waits for the end of the connection; returns at once when it has ended.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn closed(&self) -> CloseReason {
        // Clients and driver each tell it before they go, so it comes.
        self.shared.ended().await
    }

    /// Why the connection ended, if it has.
    pub fn reason(&self) -> Option<CloseReason> {
        self.shared.reason()
    }
}

impl Clone for Client {
    fn clone(&self) -> Self {
        self.shared.join();
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.part();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

#[cfg(test)]
mod tests;

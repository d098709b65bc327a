// SPDX-License-Identifier: Apache-2.0
//! What the clients of a connection and its driver have in common, and the one way a call is made.
//!
//! Locks nest in one order: the outbox's, then the calls'. Neither is held across an await.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes};

use super::calls::{Arrival, Calls, Reply};
use super::request::Encoder;
use crate::end::End;
use crate::error::{CallError, CloseReason};
use crate::outbox::{Leave, Outbox, Stream};
use crate::sync::lock;

/// What a client holds at most, and how patient it is.
#[derive(Clone, Debug)]
pub struct ClientLimits {
    /// Calls at a time, those that wait for room included; more are [`CallError::Busy`].
    pub calls: usize,
    /// Bytes of requests waiting to be sent; callers wait for room within their deadline. No less than one
    /// frame of the largest size.
    pub buffer_bytes: usize,
    /// Time for a frame to arrive once it has begun.
    pub frame_timeout: Duration,
    /// Frames in a row that belong to no call, after which the connection is closed.
    pub stray_frames: u32,
    /// Time to read on after the stream refused a write: a peer that went away has often answered before.
    pub last_words: Duration,
}

/// One connection.
pub(super) struct Shared {
    pub(super) limits: Arc<ClientLimits>,
    pub(super) outbox: Outbox,
    calls: Mutex<Calls>,
    /// Calls that are not over, those that wait for room included.
    admitted: AtomicUsize,
    /// The clones of the client.
    clients: AtomicUsize,
    /// The outbox has its reason, and is closed before: last words are still heard then.
    pub(super) end: End,
}

/// One of the calls that a connection may have at a time.
struct Admitted<'a>(&'a Shared);

/// A call whose request was sent: the future of its response envelope. Dropped, it is forgotten.
#[derive(Debug)]
pub(super) struct InFlight {
    shared: Arc<Shared>,
    id: u32,
    is_answered: bool,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            calls: 1024,
            buffer_bytes: 8 << 20,
            frame_timeout: Duration::from_secs(10),
            stray_frames: 1024,
            last_words: Duration::from_secs(1),
        }
    }
}

impl Shared {
    /// With one client.
    pub(super) fn new(stream: impl Stream + 'static, limits: Arc<ClientLimits>) -> Self {
        Self {
            outbox: Outbox::new(stream, limits.buffer_bytes),
            calls: Mutex::new(Calls::new()),
            admitted: AtomicUsize::new(0),
            clients: AtomicUsize::new(1),
            end: End::default(),
            limits,
        }
    }

    /// One client more.
    pub(super) fn join(&self) {
        self.clients.fetch_add(1, Ordering::Relaxed);
    }

    /// One client less; the last one ends the connection.
    pub(super) fn part(&self) {
        if self.clients.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close(CloseReason::Local);
        }
    }

    fn admit(&self) -> Result<Admitted<'_>, CallError> {
        let limit = self.limits.calls;
        let one_more = |calls: usize| (calls < limit).then_some(calls + 1);
        match self.admitted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_before) => Ok(Admitted(self)),
            Err(_too_many) => Err(CallError::Busy { limit }),
        }
    }

    /// Sends a request, alone or with those that follow. Its response is then to be waited for.
    pub(super) async fn send(
        self: &Arc<Self>,
        encoder: &Encoder<'_>,
        more_follow: bool,
    ) -> Result<InFlight, CallError> {
        let frame_len = encoder.frame_len()?;
        let admitted = self.admit()?;
        let room = self.outbox.room(frame_len).await.map_err(CallError::Closed)?;
        // Encoded only now: a request that waits for room takes no memory.
        let mut frame = encoder.encode(frame_len);
        let id = self.outbox.send(room, |buf| {
            let mut calls = lock(&self.calls);
            let id = calls.open()?;
            frame[4..8].copy_from_slice(&id.to_be_bytes());
            buf.put_slice(&frame);
            let leave = match calls.len() {
                _ if more_follow => Leave::WithNext,
                1 => Leave::Now,
                _ => Leave::WithOthers,
            };
            Ok::<_, CallError>((id, leave))
        })?;
        // Given back when the call is over.
        std::mem::forget(admitted);
        Ok(InFlight { shared: Arc::clone(self), id, is_answered: false })
    }

    /// Hands what a frame holds to its call.
    pub(super) fn arrive(&self, id: u32, reply: Reply) -> Arrival {
        lock(&self.calls).arrive(id, reply)
    }

    /// Ends the connection. The outbox keeps the first reason, and that is the one that everybody gets.
    pub(super) fn close(&self, reason: CloseReason) {
        let reason = self.outbox.close(reason);
        self.end.come();
        // The outbox takes no frames any more, so no call is added behind this.
        lock(&self.calls).close(&reason);
    }

    /// Why the connection has ended, if it has.
    pub(super) fn reason(&self) -> Option<CloseReason> {
        self.end.has_come().then(|| self.outbox.close_reason()).flatten()
    }

    /// Waits for the end. Cancel safe, and for any number of waiters.
    pub(super) async fn ended(&self) -> CloseReason {
        self.end.reached().await;
        self.reason().expect("the outbox has it before")
    }

    #[cfg(test)]
    pub(super) fn in_flight(&self) -> usize {
        lock(&self.calls).len()
    }
}

impl Future for InFlight {
    type Output = Result<Bytes, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let reply: Option<Reply> = ready!(lock(&self.shared.calls).poll(self.id, context));
        self.is_answered = true;
        // A call leaves the row only with an answer, so nobody asks twice.
        let reply = reply.unwrap_or_else(|| Err(Box::new(CallError::Closed(CloseReason::Local))));
        Poll::Ready(reply.map_err(|error| *error))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.is_answered {
            lock(&self.shared.calls).give_up(self.id);
        }
        drop(Admitted(&self.shared));
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.0.admitted.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("in_flight", &lock(&self.calls).len())
            .field("outbox", &self.outbox)
            .field("closed", &self.reason())
            .finish_non_exhaustive()
    }
}

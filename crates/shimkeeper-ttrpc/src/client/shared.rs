// SPDX-License-Identifier: Apache-2.0
//! What the clients of a connection and its driver have in common, and the one way a call is made.
//!
//! Locks nest in one order: the outbox's, then the calls'. Neither is held across an await.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use tokio::io::AsyncWrite;
use tokio::sync::{Semaphore, oneshot};

use super::ClientLimits;
use super::calls::{Arrival, Calls, Reply};
use super::end::End;
use super::request::Encoder;
use crate::error::{CallError, CloseReason};
use crate::outbox::{Leave, Outbox};
use crate::sync::lock;

/// One connection.
pub(super) struct Shared {
    pub(super) limits: ClientLimits,
    pub(super) outbox: Outbox,
    calls: Mutex<Calls>,
    /// Bounds the calls, those that wait for room included.
    admission: Semaphore,
    end: Arc<End>,
}

/// A call whose request was sent: the future of its response envelope. Dropped, it is forgotten.
#[derive(Debug)]
pub(super) struct InFlight {
    shared: Arc<Shared>,
    id: u32,
    is_answered: bool,
    reply: oneshot::Receiver<Reply>,
}

impl Shared {
    pub(super) fn new(write: impl AsyncWrite + Send + Unpin + 'static, limits: ClientLimits) -> Self {
        Self {
            outbox: Outbox::new(write, limits.buffer_bytes),
            calls: Mutex::new(Calls::new()),
            admission: Semaphore::new(limits.calls.min(Semaphore::MAX_PERMITS)),
            end: Arc::default(),
            limits,
        }
    }

    /// Sends a request, alone or with those that follow. Its response is then to be waited for.
    pub(super) async fn send(
        self: &Arc<Self>,
        encoder: &Encoder<'_>,
        more_follow: bool,
    ) -> Result<InFlight, CallError> {
        let frame_len = encoder.frame_len()?;
        let admitted = self
            .admission
            .try_acquire()
            .map_err(|_none_left| CallError::Busy { limit: self.limits.calls })?;
        let room = self.outbox.room(frame_len).await.map_err(CallError::Closed)?;
        // Encoded only now: a request that waits for room takes no memory.
        let mut frame = encoder.encode(frame_len);
        let (sender, reply) = oneshot::channel();
        let id = self.outbox.send(room, |buf| {
            let mut calls = lock(&self.calls);
            let id = calls.open(sender)?;
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
        admitted.forget();
        Ok(InFlight { shared: Arc::clone(self), id, is_answered: false, reply })
    }

    /// Hands what a frame holds to its call.
    pub(super) fn arrive(&self, id: u32, reply: Reply) -> Arrival {
        lock(&self.calls).arrive(id, reply)
    }

    /// Ends the connection. The outbox keeps the first reason, and that is the one that everybody gets.
    pub(super) fn close(&self, reason: CloseReason) {
        let reason = self.outbox.close(reason);
        self.end.tell(reason.clone());
        // The outbox takes no frames any more, so no call is added behind this.
        let waiting = lock(&self.calls).take_all();
        for call in waiting {
            let _gone = call.send(Err(CallError::Closed(reason.clone())));
        }
    }

    /// The connection's end, which may be kept longer than the connection.
    pub(super) fn end(&self) -> &Arc<End> {
        &self.end
    }

    #[cfg(test)]
    pub(super) fn in_flight(&self) -> usize {
        lock(&self.calls).len()
    }
}

impl Future for InFlight {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reply> {
        let reply = ready!(Pin::new(&mut self.reply).poll(context));
        self.is_answered = true;
        // A sender leaves the calls only to say something, so this is the end of the calls themselves.
        Poll::Ready(reply.unwrap_or(Err(CallError::Closed(CloseReason::Local))))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.is_answered {
            lock(&self.shared.calls).give_up(self.id);
        }
        self.shared.admission.add_permits(1);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("in_flight", &lock(&self.calls).len())
            .field("outbox", &self.outbox)
            .field("closed", &self.end.reason())
            .finish_non_exhaustive()
    }
}

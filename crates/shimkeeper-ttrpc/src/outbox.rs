// SPDX-License-Identifier: Apache-2.0
//! The sending half of a connection: one bounded buffer of whole frames, in the order in which they leave.
//!
//! Whoever sends first waits for room (a semaphore of bytes, first come first served), then appends under the
//! lock. Bytes leave in the sender's own context when it is alone, or the last of those that leave together, else in
//! [`Outbox::drive`]; either way they leave from the buffer's front, so a sender that goes away half-way leaves a
//! whole frame behind.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::error::CloseReason;
use crate::frame::{HEADER_LEN, MAX_PAYLOAD};
use crate::sync::lock;

/// A bounded buffer in front of the sending half of a stream.
pub(crate) struct Outbox {
    inner: Mutex<Inner>,
    room: Semaphore,
    wake: Notify,
}

struct Inner {
    buf: BytesMut,
    /// Nothing is in the buffer but what waits for the next frame, to leave with it.
    is_held: bool,
    sink: Sink,
}

enum Sink {
    Open(Box<dyn AsyncWrite + Send + Unpin>),
    Closed(CloseReason),
}

/// Bytes of the buffer set aside for one frame; given back on drop unless a frame takes them.
#[derive(Debug)]
pub(crate) struct Room<'a>(SemaphorePermit<'a>);

impl Outbox {
    /// `capacity` in bytes, raised to what the largest frame needs.
    pub(crate) fn new(sink: impl AsyncWrite + Send + Unpin + 'static, capacity: usize) -> Self {
        let capacity = capacity.clamp(HEADER_LEN + MAX_PAYLOAD, Semaphore::MAX_PERMITS);
        let inner = Inner { buf: BytesMut::new(), is_held: false, sink: Sink::Open(Box::new(sink)) };
        Self { inner: Mutex::new(inner), room: Semaphore::new(capacity), wake: Notify::new() }
    }

    /// Waits for room for a frame of `length` bytes, header included. Cancel safe.
    pub(crate) async fn room(&self, length: usize) -> Result<Room<'_>, CloseReason> {
        let length = u32::try_from(length).expect("frames are checked against MAX_PAYLOAD before");
        match self.room.acquire_many(length).await {
            Ok(permit) => Ok(Room(permit)),
            Err(_closed) => Err(self.close(CloseReason::Local)),
        }
    }

    /// Appends what `write` writes, which is as long as the room, and tries to send it now if it says so.
    ///
    /// `write` runs under the lock: what it numbers leaves in the order of the numbers.
    pub(crate) fn send<T, E: From<CloseReason>>(
        &self,
        room: Room<'_>,
        write: impl FnOnce(&mut BytesMut) -> Result<(T, Leave), E>,
    ) -> Result<T, E> {
        let mut inner = lock(&self.inner);
        if let Sink::Closed(reason) = &inner.sink {
            return Err(reason.clone().into());
        }
        let before = inner.buf.len();
        let (value, leave) = write(&mut inner.buf)?;
        debug_assert_eq!(inner.buf.len() - before, room.0.num_permits(), "a frame fills its room");
        room.0.forget();
        let ends_wait = std::mem::take(&mut inner.is_held);
        // Before the buffer runs empty nobody else may touch the socket: its waker belongs to `drive` then.
        if before > 0 && !ends_wait {
            return Ok(value);
        }
        inner.is_held = leave == Leave::WithNext;
        let now = leave == Leave::Now || (ends_wait && !inner.is_held);
        let mut context = Context::from_waker(Waker::noop());
        let left = !now || !matches!(self.write_some(&mut inner, &mut context), Poll::Ready(Ok(())));
        if left || !inner.buf.is_empty() {
            self.wake.notify_one();
        }
        Ok(value)
    }

    /// Sends what is appended, until the stream refuses it or the outbox is closed.
    pub(crate) async fn drive(&self) -> CloseReason {
        loop {
            let mut woken = pin!(self.wake.notified());
            let closed = poll_fn(|context| match self.poll_flush(context) {
                Poll::Ready(Err(reason)) => Poll::Ready(Some(reason)),
                // Also while there is no room: it may be closed meanwhile.
                Poll::Ready(Ok(())) | Poll::Pending => woken.as_mut().poll(context).map(|()| None),
            });
            if let Some(reason) = closed.await {
                return reason;
            }
        }
    }

    /// Sends until nothing is left. Cancel safe.
    pub(crate) async fn flush(&self) -> Result<(), CloseReason> {
        poll_fn(|context| self.poll_flush(context)).await
    }

    fn poll_flush(&self, context: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        loop {
            // Released between writes: senders append meanwhile.
            let mut inner = lock(&self.inner);
            match &inner.sink {
                Sink::Closed(reason) => return Poll::Ready(Err(reason.clone())),
                Sink::Open(_) if inner.buf.is_empty() => return Poll::Ready(Ok(())),
                Sink::Open(_) => {}
            }
            match self.write_some(&mut inner, context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(()) | Err(())) => {}
            }
        }
    }

    /// Whether everything has left.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.inner).buf.is_empty()
    }

    /// Refuses what comes, forgets what waits and lets go of the stream; gives back the reason that was first.
    pub(crate) fn close(&self, reason: CloseReason) -> CloseReason {
        let reason = lock(&self.inner).close(reason);
        self.room.close();
        self.wake.notify_one();
        reason
    }

    /// One write to the stream; on failure the outbox is closed.
    fn write_some(&self, inner: &mut Inner, context: &mut Context<'_>) -> Poll<Result<(), ()>> {
        let Inner { buf, sink: Sink::Open(sink), is_held } = inner else { return Poll::Ready(Err(())) };
        *is_held = false;
        let failure = match Pin::new(sink).poll_write(context, buf) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0)) => io::Error::from(io::ErrorKind::WriteZero),
            Poll::Ready(Ok(written)) => {
                buf.advance(written);
                if buf.is_empty() {
                    // Most connections are silent most of the time.
                    *buf = BytesMut::new();
                }
                self.room.add_permits(written);
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Err(error)) => error,
        };
        inner.close(CloseReason::from_io("write", failure));
        self.room.close();
        Poll::Ready(Err(()))
    }
}

impl Inner {
    fn close(&mut self, reason: CloseReason) -> CloseReason {
        if let Sink::Closed(first) = &self.sink {
            return first.clone();
        }
        self.buf = BytesMut::new();
        self.sink = Sink::Closed(reason.clone());
        reason
    }
}

/// When a frame leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// With a write of its own.
    Now,
    /// With the next one, which follows at once.
    WithNext,
    /// With what else has come by the time that [`Outbox::drive`] has its turn.
    WithOthers,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("room", &self.room.available_permits()).finish_non_exhaustive()
    }
}

// SPDX-License-Identifier: Apache-2.0
//! The sending half of a connection: one bounded buffer of whole frames, in the order in which they leave.
//!
//! Whoever sends first waits for room (a semaphore of bytes, first come first served), then appends under the
//! lock. Bytes leave in the sender's own context when it is alone, or the last of those that leave together, else in
//! [`Outbox::drive`]; either way they leave from the buffer's front, so a sender that goes away half-way leaves a
//! whole frame behind.
//!
//! It has the whole stream, because one lock is enough for both directions: what comes is read through it.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::CloseReason;
use crate::frame::{HEADER_LEN, MAX_PAYLOAD};
use crate::sync::lock;

/// What frames travel on.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A bounded buffer in front of a stream.
pub(crate) struct Outbox {
    inner: Mutex<Inner>,
    room: Semaphore,
}

struct Inner {
    buf: BytesMut,
    /// Nothing is in the buffer but what waits for the next frame, to leave with it.
    is_held: bool,
    /// Until it is let go of: after the last write it may still be read.
    stream: Option<Box<dyn Stream>>,
    closed: Option<CloseReason>,
    /// Whoever runs [`Outbox::drive`], until there is something to do.
    driver: Option<Waker>,
}

/// Bytes of the buffer set aside for one frame; given back on drop unless a frame takes them.
#[derive(Debug)]
pub(crate) struct Room<'a>(SemaphorePermit<'a>);

impl Outbox {
    /// `capacity` in bytes, raised to what the largest frame needs.
    pub(crate) fn new(stream: impl Stream + 'static, capacity: usize) -> Self {
        let capacity = capacity.clamp(HEADER_LEN + MAX_PAYLOAD, Semaphore::MAX_PERMITS);
        let stream = Some(Box::new(stream) as Box<dyn Stream>);
        let inner = Inner { buf: BytesMut::new(), is_held: false, stream, closed: None, driver: None };
        Self { inner: Mutex::new(inner), room: Semaphore::new(capacity) }
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
        if let Some(reason) = &inner.closed {
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
            inner.wake();
        }
        Ok(value)
    }

    /// Sends what is appended, until the stream refuses it or the outbox is closed. For one at a time.
    pub(crate) async fn drive(&self) -> CloseReason {
        poll_fn(|context| self.poll_drive(context)).await
    }

    /// As [`Outbox::drive`].
    pub(crate) fn poll_drive(&self, context: &mut Context<'_>) -> Poll<CloseReason> {
        // Before looking: it hears of what is appended from then on, and, while there is no room, of a closing.
        lock(&self.inner).driver = Some(context.waker().clone());
        match self.poll_flush(context) {
            Poll::Ready(Err(reason)) => Poll::Ready(reason),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
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
            if let Some(reason) = &inner.closed {
                return Poll::Ready(Err(reason.clone()));
            }
            if inner.buf.is_empty() {
                return Poll::Ready(Ok(()));
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

    /// Refuses what comes and forgets what waits; gives back the reason that was first.
    pub(crate) fn close(&self, reason: CloseReason) -> CloseReason {
        let mut inner = lock(&self.inner);
        let reason = inner.close(reason);
        inner.wake();
        drop(inner);
        self.room.close();
        reason
    }

    /// Why it is closed, if it is.
    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        lock(&self.inner).closed.clone()
    }

    /// Lets go of the stream, of which nothing more is wanted.
    pub(crate) fn let_go(&self) {
        let stream = lock(&self.inner).stream.take();
        // Outside of the lock: closing a descriptor may take its time.
        drop(stream);
    }

    /// One write to the stream; on failure the outbox is closed.
    fn write_some(&self, inner: &mut Inner, context: &mut Context<'_>) -> Poll<Result<(), ()>> {
        let Inner { buf, stream: Some(stream), is_held, closed: None, .. } = inner else {
            return Poll::Ready(Err(()));
        };
        *is_held = false;
        let failure = match Pin::new(stream).poll_write(context, buf) {
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
        if let Some(first) = &self.closed {
            return first.clone();
        }
        self.buf = BytesMut::new();
        self.closed = Some(reason.clone());
        reason
    }

    fn wake(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }
}

impl AsyncRead for &Outbox {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut lock(&self.inner).stream {
            Some(stream) => Pin::new(stream).poll_read(context, into),
            None => Poll::Ready(Ok(())),
        }
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

// SPDX-License-Identifier: Apache-2.0
//! A stream under HTTP/2 into which a script can reach: to write what it likes, to close, to stop reading.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The stream.
pub(super) struct Tap<S> {
    stream: S,
    control: TapControl,
}

/// The hand that reaches into it.
#[derive(Clone, Default)]
pub(super) struct TapControl(Arc<Mutex<Wish>>);

#[derive(Default)]
struct Wish {
    /// Still to be written, between two writes of HTTP/2.
    injected: BytesMut,
    closed: bool,
    deaf: bool,
    /// Whoever waits to read: it is the one task that always does, so it carries out the wishes.
    reader: Option<Waker>,
}

impl TapControl {
    pub(super) fn inject(&self, bytes: &[u8]) {
        self.change(|wish| wish.injected.extend_from_slice(bytes));
    }

    pub(super) fn close(&self) {
        self.change(|wish| wish.closed = true);
    }

    pub(super) fn stop_reading(&self) {
        self.change(|wish| wish.deaf = true);
    }

    fn change(&self, change: impl FnOnce(&mut Wish)) {
        let mut wish = self.wish();
        change(&mut wish);
        if let Some(reader) = wish.reader.take() {
            reader.wake();
        }
    }

    fn wish(&self) -> MutexGuard<'_, Wish> {
        self.0.lock().expect("nothing panics under this lock")
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Tap<S> {
    pub(super) fn new(stream: S) -> (Self, TapControl) {
        let control = TapControl::default();
        (Self { stream, control: control.clone() }, control)
    }

    /// Writes what was injected.
    fn poll_injected(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wish = self.control.wish();
        while !wish.injected.is_empty() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &wish.injected))?;
            wish.injected.advance(n);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tap<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // A write that has to wait is tried again with the next read or write.
        if let Poll::Ready(Err(e)) = this.poll_injected(cx) {
            return Poll::Ready(Err(e));
        }
        {
            let mut wish = this.control.wish();
            if wish.closed {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            wish.reader = Some(cx.waker().clone());
            if wish.deaf {
                return Poll::Pending;
            }
        }
        Pin::new(&mut this.stream).poll_read(cx, to)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_injected(cx))?;
        Pin::new(&mut this.stream).poll_write(cx, from)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

// SPDX-License-Identifier: Apache-2.0
//! The receiving half of a connection: reads into the decoder, and gives a frame that has begun a time to end.

use std::future::{Future as _, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead as _, AsyncReadExt as _, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::error::{CloseReason, ProtocolError};
use crate::frame::{Decoded, Decoder, Header, READ_STEP};
use crate::outbox::Outbox;

/// Reads frames from the stream that an outbox has. Every method is cancel safe: what has arrived stays here.
#[derive(Debug)]
pub(crate) struct Inbox {
    decoder: Decoder,
    /// Runs out when the frame at hand is too late; `None` while none has begun, or nothing of it was waited for.
    clock: Option<Pin<Box<Sleep>>>,
    frame_timeout: Duration,
    /// The last frame was oversize, and the clock still runs for what is thrown away of it.
    oversize: bool,
}

impl Inbox {
    pub(crate) fn new(frame_timeout: Duration) -> Self {
        Self { decoder: Decoder::new(), clock: None, frame_timeout, oversize: false }
    }

    /// The next header, before the payload is read.
    pub(crate) async fn header(&mut self, stream: &Outbox) -> Result<Header, CloseReason> {
        poll_fn(|context| self.poll_header(stream, context)).await
    }

    /// The frame whose header came before.
    pub(crate) async fn frame(&mut self, stream: &Outbox) -> Result<Decoded, CloseReason> {
        poll_fn(|context| self.poll_frame(stream, context)).await
    }

    /// As [`Inbox::header`].
    pub(crate) fn poll_header(
        &mut self,
        stream: &Outbox,
        context: &mut Context<'_>,
    ) -> Poll<Result<Header, CloseReason>> {
        loop {
            let header = self.decoder.header()?;
            if self.oversize && !self.decoder.discarding() {
                self.oversize = false;
                self.clock = None;
            }
            if let Some(header) = header {
                return Poll::Ready(Ok(header));
            }
            ready!(self.poll_read(stream, context))?;
        }
    }

    /// As [`Inbox::frame`].
    pub(crate) fn poll_frame(
        &mut self,
        stream: &Outbox,
        context: &mut Context<'_>,
    ) -> Poll<Result<Decoded, CloseReason>> {
        loop {
            if let Some(decoded) = self.decoder.decode()? {
                self.oversize = matches!(decoded, Decoded::Oversize(_));
                if !self.oversize {
                    self.clock = None;
                }
                return Poll::Ready(Ok(decoded));
            }
            ready!(self.poll_read(stream, context))?;
        }
    }

    /// Whether a frame has begun to arrive.
    pub(crate) fn in_frame(&self) -> bool {
        self.decoder.in_frame()
    }

    /// Starts the clock anew: the time that went by was not the peer's.
    pub(crate) fn excuse(&mut self) {
        self.clock = None;
    }

    fn poll_read(&mut self, stream: &Outbox, context: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        match self.poll_fill(stream, context) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(CloseReason::PeerClosed)),
            Poll::Ready(Ok(_)) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(CloseReason::from_io("read", error))),
            // Most connections wait for a frame to begin, and no clock runs.
            Poll::Pending if !self.decoder.in_frame() => return Poll::Pending,
            Poll::Pending => {}
        }
        let after = self.frame_timeout;
        let clock = self.clock.get_or_insert_with(|| Box::pin(sleep(after)));
        ready!(clock.as_mut().poll(context));
        Poll::Ready(Err(ProtocolError::FrameTimeout { after }.into()))
    }

    /// Reads once. Little goes by way of the stack: a connection that waits, as most do most of the time, has no buffer.
    fn poll_fill(&mut self, mut stream: &Outbox, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.decoder.expects_much() {
            return pin!(stream.read_buf(&mut self.decoder.space())).poll(context);
        }
        let mut scratch = [MaybeUninit::uninit(); READ_STEP];
        let mut read = ReadBuf::uninit(&mut scratch);
        ready!(Pin::new(&mut stream).poll_read(context, &mut read))?;
        self.decoder.feed(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }
}

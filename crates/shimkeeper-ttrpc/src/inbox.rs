// SPDX-License-Identifier: Apache-2.0
//! The receiving half of a connection: reads into the decoder, and gives a frame that has begun a time to end.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::time::{Instant, timeout_at};

use crate::error::{CloseReason, ProtocolError};
use crate::frame::{Decoded, Decoder, Header, READ_STEP};

/// Reads frames. Every method is cancel safe: what has arrived stays here.
#[derive(Debug)]
pub(crate) struct Inbox<R> {
    stream: R,
    decoder: Decoder,
    /// When the frame at hand is too late; `None` while none has begun, or all of it came at once.
    due: Option<Instant>,
    frame_timeout: Duration,
    /// The last frame was oversize, and the clock still runs for what is thrown away of it.
    oversize: bool,
}

impl<R: AsyncRead + Unpin> Inbox<R> {
    pub(crate) fn new(stream: R, frame_timeout: Duration) -> Self {
        Self { stream, decoder: Decoder::new(), due: None, frame_timeout, oversize: false }
    }

    /// The next header, before the payload is read.
    pub(crate) async fn header(&mut self) -> Result<Header, CloseReason> {
        loop {
            let header = self.decoder.header()?;
            if self.oversize && !self.decoder.discarding() {
                self.oversize = false;
                self.due = None;
            }
            if let Some(header) = header {
                return Ok(header);
            }
            self.read().await?;
        }
    }

    /// The frame whose header came before.
    pub(crate) async fn frame(&mut self) -> Result<Decoded, CloseReason> {
        loop {
            if let Some(decoded) = self.decoder.decode()? {
                self.oversize = matches!(decoded, Decoded::Oversize(_));
                if !self.oversize {
                    self.due = None;
                }
                return Ok(decoded);
            }
            self.read().await?;
        }
    }

    /// Whether a frame has begun to arrive.
    pub(crate) fn in_frame(&self) -> bool {
        self.decoder.in_frame()
    }

    /// Starts the clock anew: the time that went by was not the peer's.
    pub(crate) fn excuse(&mut self) {
        self.due = None;
    }

    async fn read(&mut self) -> Result<(), CloseReason> {
        let read = if self.decoder.in_frame() {
            let due = *self.due.get_or_insert_with(|| Instant::now() + self.frame_timeout);
            // In a box: most connections wait for a frame to begin, and no clock runs.
            match Box::pin(timeout_at(due, self.fill())).await {
                Ok(read) => read,
                Err(_elapsed) => {
                    return Err(ProtocolError::FrameTimeout { after: self.frame_timeout }.into());
                }
            }
        } else {
            self.fill().await
        };
        match read {
            Ok(0) => Err(CloseReason::PeerClosed),
            Ok(_) => Ok(()),
            Err(error) => Err(CloseReason::from_io("read", error)),
        }
    }

    /// Reads once. Little goes by way of the stack: a connection that waits, as most do most of the time, has no buffer.
    async fn fill(&mut self) -> io::Result<usize> {
        let Self { stream, decoder, .. } = self;
        if decoder.expects_much() {
            return stream.read_buf(&mut decoder.space()).await;
        }
        poll_fn(|context| {
            let mut scratch = [MaybeUninit::uninit(); READ_STEP];
            let mut read = ReadBuf::uninit(&mut scratch);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut read))?;
            decoder.feed(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        })
        .await
    }
}

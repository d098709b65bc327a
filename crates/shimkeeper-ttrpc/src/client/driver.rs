// SPDX-License-Identifier: Apache-2.0
//! Reads and writes for the clients of a connection, and finds out when it ends.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::{Sleep, sleep};

use super::calls::{Arrival, Reply};
use super::shared::Shared;
use crate::error::{CallError, CloseReason, ProtocolError};
use crate::frame::{Decoded, Header, MAX_PAYLOAD, MessageType};
use crate::inbox::Inbox;

/// The half of a client that does its reading and writing. Dropping it closes the connection.
#[must_use = "nothing is received until the driver runs"]
pub struct Driver {
    inbox: Inbox,
    shared: Arc<Shared>,
    /// How much longer a peer is heard that the stream does not write to any more: one that answers and goes away makes
    /// the next write fail before its answer is read.
    last_words: Option<Pin<Box<Sleep>>>,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { inbox: Inbox::new(shared.limits.frame_timeout), shared, last_words: None }
    }

    /// Reads and writes until the connection has ended, for whatever reason. The stream is closed on return.
    ///
    /// # Cancel safety
    /// Dropping it ends the connection with [`CloseReason::Local`].
    pub fn run(mut self) -> impl Future<Output = ()> + Send {
        // By hand: each connection has this future for all of its life.
        poll_fn(move |context| {
            let reason = ready!(self.poll_end(context));
            self.shared.close(reason);
            Poll::Ready(())
        })
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<CloseReason> {
        if let Poll::Ready(reason) = self.shared.outbox.poll_drive(context)
            && self.has_heard_out(context)
        {
            return Poll::Ready(reason);
        }
        loop {
            let handed_out = ready!(self.poll_frame(context))
                .and_then(|(stream_id, reply)| hand_out(&self.shared, stream_id, reply));
            if let Err(reason) = handed_out {
                return Poll::Ready(reason);
            }
        }
    }

    /// Of a connection that was closed nothing is expected.
    fn has_heard_out(&mut self, context: &mut Context<'_>) -> bool {
        let limit = self.shared.limits.last_words;
        self.shared.end.has_come()
            || self.last_words.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(context).is_ready()
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<(u32, Reply), CloseReason>> {
        let Self { inbox, shared, .. } = self;
        let Header { stream_id, message_type, .. } = ready!(inbox.poll_header(&shared.outbox, context))?;
        if message_type != MessageType::RESPONSE {
            return Poll::Ready(Err(
                ProtocolError::UnexpectedType { value: message_type.0, stream_id }.into()
            ));
        }
        let reply = match ready!(inbox.poll_frame(&shared.outbox, context))? {
            Decoded::Frame(frame) => Ok(frame.payload),
            Decoded::Oversize(header) => {
                let length = header.payload_len();
                Err(Box::new(CallError::TooLarge { what: "an answer", length, limit: MAX_PAYLOAD }))
            }
        };
        Poll::Ready(Ok((stream_id, reply)))
    }
}

fn hand_out(shared: &Shared, stream_id: u32, reply: Reply) -> Result<(), CloseReason> {
    match shared.arrive(stream_id, reply) {
        Arrival::Late => tracing::debug!(stream_id, "an answer came after its call was given up"),
        Arrival::Stray(count) if count >= shared.limits.stray_frames => {
            return Err(ProtocolError::StrayFrames { count }.into());
        }
        // The first, the second, the fourth …: a peer cannot fill the log.
        Arrival::Stray(count) if count.is_power_of_two() => {
            tracing::warn!(stream_id, count, "a frame belongs to no call");
        }
        Arrival::Answer | Arrival::Stray(_) => {}
    }
    Ok(())
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.close(CloseReason::Local);
        self.shared.outbox.let_go();
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("shared", &self.shared).finish_non_exhaustive()
    }
}

// SPDX-License-Identifier: Apache-2.0
//! Reads and writes for the clients of a connection, and finds out when it ends.

use std::fmt;
use std::sync::Arc;

use tokio::io::AsyncRead;

use super::calls::{Arrival, Reply};
use super::shared::Shared;
use crate::error::{CallError, CloseReason, ProtocolError};
use crate::frame::{Decoded, Header, MAX_PAYLOAD, MessageType};
use crate::inbox::Inbox;

type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// The half of a client that does its reading and writing. Dropping it closes the connection.
#[must_use = "nothing is received until the driver runs"]
pub struct Driver {
    inbox: Inbox<Reader>,
    shared: Arc<Shared>,
}

impl Driver {
    pub(super) fn new(reader: Reader, shared: Arc<Shared>) -> Self {
        Self { inbox: Inbox::new(reader, shared.limits.frame_timeout), shared }
    }

    /// Reads and writes until the connection has ended, for whatever reason. The stream is closed on return.
    ///
    /// # Cancel safety
    /// Dropping it ends the connection with [`CloseReason::Local`].
    #[expect(
        clippy::manual_async_fn,
        reason = "one has room for its arguments twice, and each connection has this future"
    )]
    pub fn run(mut self) -> impl Future<Output = ()> + Send {
        async move {
            let Self { inbox, shared } = &mut self;
            let writing = async {
                let reason = shared.outbox.drive().await;
                // In a box: each connection has this future, and comes to this once.
                Box::pin(listen_on(shared)).await;
                reason
            };
            let reason = tokio::select! {
                reason = read(inbox, shared) => reason,
                reason = writing => reason,
            };
            shared.close(reason);
        }
    }
}

/// Gives a peer that the stream does not write to any more the time to be heard: one that answers and goes away makes the
/// next write fail before its answer is read. Of a connection that was closed nothing is expected.
async fn listen_on(shared: &Shared) {
    tokio::select! {
        _ = shared.end().come() => {}
        () = tokio::time::sleep(shared.limits.last_words) => {}
    }
}

/// Hands out answers until the stream ends.
async fn read(inbox: &mut Inbox<Reader>, shared: &Shared) -> CloseReason {
    loop {
        let handed_out = match read_frame(inbox).await {
            Ok((stream_id, reply)) => hand_out(shared, stream_id, reply),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = handed_out {
            return reason;
        }
    }
}

async fn read_frame(inbox: &mut Inbox<Reader>) -> Result<(u32, Reply), CloseReason> {
    let Header { stream_id, message_type, .. } = inbox.header().await?;
    if message_type != MessageType::RESPONSE {
        return Err(ProtocolError::UnexpectedType { value: message_type.0, stream_id }.into());
    }
    let reply = match inbox.frame().await? {
        Decoded::Frame(frame) => Ok(frame.payload),
        Decoded::Oversize(header) => {
            Err(CallError::TooLarge { what: "an answer", length: header.payload_len(), limit: MAX_PAYLOAD })
        }
    };
    Ok((stream_id, reply))
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
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("shared", &self.shared).finish_non_exhaustive()
    }
}

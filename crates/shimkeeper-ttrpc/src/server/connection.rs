// SPDX-License-Identifier: Apache-2.0
//! One connection of a server. Its task reads requests and writes answers; each call runs in a task of its own.
//!
//! A request is admitted (a permit for the call, permits for its bytes) after its header and before its
//! payload is read, so a peer that sends faster than its calls are answered fills its own socket, not our
//! memory.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::handler::{Call, failure};
use super::{Idle, PeerCred, Shared};
use crate::error::{CloseReason, ProtocolError};
use crate::frame::{Decoded, Flags, HEADER_LEN, Header, MAX_PAYLOAD, MessageType};
use crate::inbox::Inbox;
use crate::message::{Response, Status, code};
use crate::outbox::{Leave, Outbox, Stream};

struct Connection {
    shared: Arc<Shared>,
    peer: Option<PeerCred>,
    inbox: Inbox,
    outbox: Arc<Outbox>,
    admission: Admission,
    handlers: JoinSet<()>,
    /// The highest stream id so far.
    last_id: u32,
    /// Frames in a row that made no call.
    strays: u32,
    /// When it is closed for its silence, if it may be.
    idle: Option<Idle>,
}

/// What bounds the calls of a connection.
struct Admission {
    calls: Arc<Semaphore>,
    most_calls: usize,
    bytes: Arc<Semaphore>,
}

/// Held while a call is in flight.
struct Admitted {
    _call: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    /// No other call was in flight when this was admitted.
    alone: bool,
}

/// Serves until the stream ends, the peer breaks the protocol, or `stop`; then drains.
pub(super) async fn run(
    shared: Arc<Shared>,
    stream: impl Stream + 'static,
    peer: Option<PeerCred>,
    stop: CancellationToken,
) -> CloseReason {
    let mut connection = Connection::new(shared, stream, peer);
    let outbox = Arc::clone(&connection.outbox);
    let reason = tokio::select! {
        reason = connection.read() => reason,
        reason = outbox.drive() => reason,
        () = stop.cancelled() => CloseReason::Local,
    };
    // Nothing that a peer says after breaking the protocol can be trusted to be meant for us.
    if !matches!(reason, CloseReason::Protocol(_)) {
        connection.drain().await;
    }
    let reason = outbox.close(reason);
    // Handlers that are still about to answer do not keep it.
    outbox.let_go();
    reason
}

impl Connection {
    fn new(shared: Arc<Shared>, stream: impl Stream + 'static, peer: Option<PeerCred>) -> Self {
        let limits = &shared.limits;
        Self {
            peer,
            inbox: Inbox::new(limits.frame_timeout),
            outbox: Arc::new(Outbox::new(stream, limits.buffer_bytes)),
            admission: Admission::new(limits.in_flight, limits.in_flight_bytes),
            handlers: JoinSet::new(),
            last_id: 0,
            strays: 0,
            // Of a peer that the transport says nothing of there is nothing to ask.
            idle: peer.and(shared.idle),
            shared,
        }
    }

    async fn read(&mut self) -> CloseReason {
        loop {
            if let Err(reason) = self.read_frame().await {
                return reason;
            }
        }
    }

    async fn read_frame(&mut self) -> Result<(), CloseReason> {
        let header = self.header().await?;
        let Header { stream_id, message_type, .. } = header;
        if message_type == MessageType::RESPONSE {
            return Err(ProtocolError::UnexpectedType { value: message_type.0, stream_id }.into());
        }
        let admitted = self.admission.admit(header.payload_len()).await;
        self.inbox.excuse();
        let envelope = match (self.inbox.frame(&self.outbox).await?, self.check(header)) {
            (_, Err(status)) => return self.stray(stream_id, status).await,
            (Decoded::Oversize(_), Ok(())) => Err(Status::too_large(header.payload_len(), MAX_PAYLOAD)),
            (Decoded::Frame(frame), Ok(())) => Ok(frame.payload),
        };
        self.last_id = stream_id;
        self.strays = 0;
        self.start(header, envelope, admitted);
        Ok(())
    }

    /// The next header, unless the connection is closed for its silence. Handlers that are done are let go of meanwhile:
    /// most connections are silent for most of their time, and what a handler took is as much as the connection itself.
    async fn header(&mut self) -> Result<Header, CloseReason> {
        // Forgotten when a header comes: what was said ends the silence.
        let mut question = None;
        loop {
            let is_quiet = self.handlers.is_empty();
            tokio::select! {
                biased;
                header = self.inbox.header(&self.outbox) => return header,
                Some(_done) = self.handlers.join_next() => {}
                () = silence(self.idle), if is_quiet && question.is_none() => {
                    if self.is_still() {
                        question = self.idle.zip(self.peer).map(|(idle, peer)| (idle.may_close)(peer));
                    }
                }
                may_close = async { question.as_mut().expect("there is one").await }, if question.is_some() => {
                    question = None;
                    // What has come by now was read before this, and what comes after it is not read.
                    match may_close {
                        true if self.is_still() => return Err(CloseReason::Local),
                        true => {}
                        // Nothing that makes a peer connect again can change.
                        false => self.idle = None,
                    }
                }
            }
        }
    }

    /// Whether no frame has begun, in either direction.
    fn is_still(&self) -> bool {
        !self.inbox.in_frame() && self.outbox.is_empty()
    }

    /// The rules of streams, and what Go's server says when they are broken.
    fn check(&self, header: Header) -> Result<(), Status> {
        let refuse = |text: &str| Err(Status::new(code::INVALID_ARGUMENT, text));
        match header {
            Header { stream_id, .. } if stream_id.is_multiple_of(2) => {
                refuse("StreamID must be odd for client initiated streams")
            }
            Header { message_type: MessageType::DATA, .. } => refuse("StreamID is no longer active"),
            Header { stream_id, .. } if stream_id <= self.last_id => {
                refuse("StreamID cannot be re-used and must increment")
            }
            _ => Ok(()),
        }
    }

    /// Answers a frame that makes no call, up to a number of them.
    async fn stray(&mut self, stream_id: u32, status: Status) -> Result<(), CloseReason> {
        self.strays += 1;
        if self.strays >= self.shared.limits.stray_frames {
            return Err(ProtocolError::StrayFrames { count: self.strays }.into());
        }
        if self.strays.is_power_of_two() {
            tracing::warn!(stream_id, count = self.strays, %status, "a frame makes no call");
        }
        send(&self.outbox, stream_id, &failure(status), Leave::WithOthers).await
    }

    /// Answers a call in a task of its own.
    fn start(&mut self, header: Header, envelope: Result<Bytes, Status>, admitted: Admitted) {
        let call =
            envelope.and_then(|envelope| Call::new(&self.shared, self.peer, envelope)).and_then(|call| {
                // A client that has said all it will say may be unary; one that will say more is not.
                match header.flags {
                    Flags::NONE | Flags::REMOTE_CLOSED => Ok(call),
                    _ => Err(call.streaming()),
                }
            });
        let outbox = Arc::clone(&self.outbox);
        self.handlers.spawn(async move {
            let response = match call {
                Ok(call) => call.answer().await,
                Err(status) => failure(status),
            };
            // Fails only when the connection has ended, which its own task finds out.
            let leave = if admitted.alone { Leave::Now } else { Leave::WithOthers };
            let _ended = send(&outbox, header.stream_id, &response, leave).await;
            // Moved in whole, and held until the answer has its place.
            drop(admitted);
        });
    }

    /// Lets the calls in flight finish, and their answers leave, within the limit.
    async fn drain(&mut self) {
        let finish = async {
            while self.handlers.join_next().await.is_some() {}
            // When the stream is gone there is nothing to be told.
            let _gone = self.outbox.flush().await;
        };
        let limit = self.shared.limits.drain;
        let outcome = tokio::time::timeout(limit, async {
            tokio::select! {
                () = finish => {}
                // Answers must leave for others to find room; a failure leaves `finish` to go on.
                () = async { self.outbox.drive().await; std::future::pending().await } => {}
            }
        });
        if outcome.await.is_err() {
            tracing::warn!(calls = self.handlers.len(), ?limit, "calls in flight did not finish in time");
        }
    }
}

impl Admission {
    fn new(calls: usize, bytes: usize) -> Self {
        let most_calls = calls.clamp(1, Semaphore::MAX_PERMITS);
        let bytes = bytes.clamp(MAX_PAYLOAD, Semaphore::MAX_PERMITS);
        Self {
            calls: Arc::new(Semaphore::new(most_calls)),
            most_calls,
            bytes: Arc::new(Semaphore::new(bytes)),
        }
    }

    /// Waits until a call with a payload of `length` may be read. Cancel safe.
    async fn admit(&self, length: usize) -> Admitted {
        // An oversize payload is not kept.
        let length = if length > MAX_PAYLOAD { 0 } else { length };
        let length = u32::try_from(length).expect("MAX_PAYLOAD fits");
        let alone = self.calls.available_permits() == self.most_calls;
        let call = Arc::clone(&self.calls).acquire_owned().await;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(length).await;
        Admitted {
            _call: call.expect("admission is never closed"),
            _bytes: bytes.expect("admission is never closed"),
            alone,
        }
    }
}

/// Lasts as long as a silence may.
async fn silence(idle: Option<Idle>) {
    match idle {
        Some(Idle { after, .. }) => tokio::time::sleep(after).await,
        None => std::future::pending().await,
    }
}

/// Puts a response into the outbox, waiting for room.
async fn send(outbox: &Outbox, id: u32, response: &Response, leave: Leave) -> Result<(), CloseReason> {
    let length = response.encoded_len();
    let room = outbox.room(HEADER_LEN + length).await?;
    outbox.send(room, |buf| {
        let header = Header::new(id, MessageType::RESPONSE, Flags::NONE, length);
        buf.extend_from_slice(&header.to_bytes());
        response.encode_raw(buf);
        Ok(((), leave))
    })
}

#[cfg(test)]
mod tests;

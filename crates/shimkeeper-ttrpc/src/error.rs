// SPDX-License-Identifier: Apache-2.0
//! How calls and connections fail: a violation of the protocol, the end of a connection, a call without an answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::message::Status;

/// What a peer did that the protocol rules out. Each of these ends the connection.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A message type that is none.
    #[error("frame of unknown type {value} on stream {stream_id}")]
    UnknownType {
        /// The byte in the header.
        value: u8,
        /// The stream in the header.
        stream_id: u32,
    },
    /// Flag bits that have no meaning.
    #[error("frame with unknown flags {value:#04x} on stream {stream_id}")]
    UnknownFlags {
        /// The byte in the header.
        value: u8,
        /// The stream in the header.
        stream_id: u32,
    },
    /// A length that no peer could mean.
    #[error("frame of {length} bytes on stream {stream_id}")]
    ImpossibleLength {
        /// Bytes announced.
        length: u32,
        /// The stream in the header.
        stream_id: u32,
    },
    /// A message type that this side never receives, such as a request at a client.
    #[error("frame of type {value} on stream {stream_id}, where none may come")]
    UnexpectedType {
        /// The byte in the header.
        value: u8,
        /// The stream in the header.
        stream_id: u32,
    },
    /// Nothing but frames that belong to no call.
    #[error("{count} frames in a row that belong to no call")]
    StrayFrames {
        /// How many there were.
        count: u32,
    },
    /// A frame began and did not end.
    #[error("a frame did not arrive within {after:?}")]
    FrameTimeout {
        /// The time it was given.
        after: Duration,
    },
}

/// Why a connection ended. The same value reaches every call and every waiter.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed it, or is gone.
    #[error("closed by the peer")]
    PeerClosed,
    /// The peer closed it without reading all that was sent.
    #[error("reset by the peer")]
    Reset,
    /// This side closed it.
    #[error("closed by this side")]
    Local,
    /// The peer broke the protocol.
    #[error("the peer broke the protocol")]
    Protocol(#[source] ProtocolError),
    /// Reading or writing failed in another way.
    #[error("{verb} failed")]
    Io {
        /// `read` or `write`.
        verb: &'static str,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
}

/// Why a call has no answer to show.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The connection ended before the answer came, or before the call was made.
    #[error("the connection is closed")]
    Closed(#[source] CloseReason),
    /// Time ran out. Whether the call took effect is not known.
    #[error("no answer within {timeout:?}")]
    Deadline {
        /// The time the call was given.
        timeout: Duration,
    },
    /// The peer answered with an error.
    #[error("{0}")]
    Status(Status),
    /// A message is above the limit: a request that was not sent, or an answer that was not kept. What Go's
    /// peers call `ResourceExhausted`. The connection goes on.
    #[error("{what} of {length} bytes is above the limit of {limit}")]
    TooLarge {
        /// `a request` or `an answer`.
        what: &'static str,
        /// Bytes of the encoded envelope.
        length: usize,
        /// Bytes permitted.
        limit: usize,
    },
    /// The answer is not what it should be.
    #[error("cannot decode the {part}")]
    Decode {
        /// `envelope` or `message`.
        part: &'static str,
        /// Where it went wrong.
        #[source]
        source: prost::DecodeError,
    },
    /// As many calls as the connection may hold are waiting already; this one was not sent.
    #[error("{limit} calls are waiting on this connection already")]
    Busy {
        /// Calls permitted at a time.
        limit: usize,
    },
    /// The connection has used up its stream ids; calls already made are not affected.
    #[error("no stream ids are left on this connection")]
    StreamsExhausted,
}

impl CloseReason {
    /// Sorts what the system said into the ways a connection ends.
    pub(crate) fn from_io(verb: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof | io::ErrorKind::NotConnected => {
                Self::PeerClosed
            }
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Self::Reset,
            _ => Self::Io { verb, source: Arc::new(source) },
        }
    }
}

impl From<ProtocolError> for CloseReason {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl From<CloseReason> for CallError {
    fn from(reason: CloseReason) -> Self {
        Self::Closed(reason)
    }
}

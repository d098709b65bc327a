// SPDX-License-Identifier: Apache-2.0
//! An event and what it says about itself: whose, what about, when.
//!
//! An envelope is checked once, where it comes in, and never changes after. It is shared by every subscriber
//! behind one `Arc`, and the two things that cost something, its wire form and the decoded event that filters
//! look into, are made at most once and only if somebody asks.

use std::num::NonZeroU64;
use std::sync::OnceLock;
use std::time::SystemTime;

use bytes::Bytes;
use prost::Message;
use shimkeeper_core::{Any, HasKind, IdError, Kind, Namespace, time};
use shimkeeper_proto::containerd::services::events::ttrpc::v1::ForwardRequest;
use shimkeeper_proto::containerd::types::Envelope as WireEnvelope;
use shimkeeper_proto::google::protobuf;

use crate::event_fields::Decoded;
use crate::topic::{Topic, TopicError};

/// An event in its envelope. Private fields: whoever holds one holds a valid one.
#[derive(Debug)]
pub struct Envelope {
    namespace: Namespace,
    topic: Topic,
    at: SystemTime,
    timestamp_was_missing: bool,
    event: Any,
    wire: OnceLock<Bytes>,
    decoded: OnceLock<Option<Decoded>>,
    sequence: OnceLock<NonZeroU64>,
}

/// Why a peer's envelope was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The request holds no envelope.
    #[error("the request holds no envelope")]
    Missing,
    /// The envelope holds no event.
    #[error("the envelope holds no event")]
    NoEvent,
    /// The namespace is none.
    #[error("the envelope's namespace is invalid")]
    Namespace {
        /// What is wrong with it.
        #[source]
        source: IdError,
    },
    /// The topic is none.
    #[error("the envelope's topic is invalid")]
    Topic {
        /// What is wrong with it.
        #[source]
        source: TopicError,
    },
    /// The event is larger than [`Envelope::MAX_EVENT_BYTES`].
    #[error("the event is {len} bytes long, at most {max} are allowed", max = Envelope::MAX_EVENT_BYTES)]
    TooLarge {
        /// Length of payload and type URL, in bytes.
        len: usize,
    },
}

// === impl Envelope ===

impl Envelope {
    /// Largest event (payload and type URL) that is accepted, in bytes.
    pub const MAX_EVENT_BYTES: usize = 1 << 20;

    /// An envelope of our own making.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`].
    pub fn new(
        namespace: Namespace,
        topic: Topic,
        at: SystemTime,
        event: Any,
    ) -> Result<Self, EnvelopeError> {
        let len = event.value.len() + event.type_url.len();
        if len > Self::MAX_EVENT_BYTES {
            return Err(EnvelopeError::TooLarge { len });
        }
        Ok(Self {
            namespace,
            topic,
            at,
            timestamp_was_missing: false,
            event,
            wire: OnceLock::new(),
            decoded: OnceLock::new(),
            sequence: OnceLock::new(),
        })
    }

    /// The namespace the event belongs to. The sender chose it: whether it may speak for that namespace is
    /// for the receiver to decide.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// What the event is about.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// When it happened, as the sender says; when it came in, if the sender said nothing usable.
    pub fn at(&self) -> SystemTime {
        self.at
    }

    /// Whether the sender gave no usable time, so that [`Envelope::at`] is the time of arrival.
    pub fn timestamp_was_missing(&self) -> bool {
        self.timestamp_was_missing
    }

    /// The event itself, byte for byte as it came.
    pub fn event(&self) -> &Any {
        &self.event
    }

    /// The envelope as a `containerd.types.Envelope` message.
    pub fn to_wire(&self) -> WireEnvelope {
        let (seconds, nanos) = time::to_parts(self.at);
        WireEnvelope {
            timestamp: Some(protobuf::Timestamp { seconds, nanos }),
            namespace: self.namespace.to_string(),
            topic: self.topic.to_string(),
            event: Some(protobuf::Any {
                type_url: self.event.type_url.clone(),
                value: self.event.value.clone(),
            }),
        }
    }

    /// [`Self::to_wire`] in bytes. Encoded at the first call, shared after.
    pub fn wire(&self) -> Bytes {
        self.wire.get_or_init(|| Bytes::from(self.to_wire().encode_to_vec())).clone()
    }

    /// The number the journal gave this event, once it has: what a subscriber resumes from, and tells a
    /// replayed event from a live one by.
    pub fn sequence(&self) -> Option<NonZeroU64> {
        self.sequence.get().copied()
    }

    /// What the envelope counts for in a queue bounded in bytes.
    pub fn queue_bytes(&self) -> usize {
        // The texts and the payload are what a peer can make large; the rest is the size of the struct.
        self.event.value.len()
            + self.event.type_url.len()
            + self.namespace.as_str().len()
            + self.topic.as_str().len()
            + size_of::<Self>()
    }

    /// Notes the number given by the journal. An envelope keeps the first one it was given.
    pub(crate) fn number(&self, sequence: u64) {
        if let Some(sequence) = NonZeroU64::new(sequence) {
            let _ = self.sequence.set(sequence);
        }
    }

    pub(crate) fn decoded(&self) -> Option<&Decoded> {
        self.decoded.get_or_init(|| Decoded::from_event(&self.event)).as_ref()
    }

    #[cfg(test)]
    pub(crate) fn is_decoded(&self) -> bool {
        self.decoded.get().is_some()
    }
}

impl TryFrom<WireEnvelope> for Envelope {
    type Error = EnvelopeError;

    /// Checks everything a peer sent. A time that is absent, zero or no time at all is replaced by now:
    /// losing an exit for the sake of its time stamp would be the greater harm.
    fn try_from(wire: WireEnvelope) -> Result<Self, EnvelopeError> {
        let namespace = wire.namespace.parse().map_err(|source| EnvelopeError::Namespace { source })?;
        let topic = wire.topic.parse().map_err(|source| EnvelopeError::Topic { source })?;
        let event = wire.event.ok_or(EnvelopeError::NoEvent)?;
        let at = wire.timestamp.and_then(|t| time::from_parts(t.seconds, t.nanos));
        let event = Any { type_url: event.type_url, value: event.value };
        let mut envelope = Self::new(namespace, topic, at.unwrap_or_else(SystemTime::now), event)?;
        envelope.timestamp_was_missing = at.is_none();
        Ok(envelope)
    }
}

impl TryFrom<ForwardRequest> for Envelope {
    type Error = EnvelopeError;

    fn try_from(request: ForwardRequest) -> Result<Self, EnvelopeError> {
        request.envelope.ok_or(EnvelopeError::Missing)?.try_into()
    }
}

impl HasKind for EnvelopeError {
    fn kind(&self) -> Kind {
        match self {
            Self::Missing | Self::NoEvent | Self::Namespace { .. } | Self::Topic { .. } => {
                Kind::InvalidArgument
            }
            Self::TooLarge { .. } => Kind::ResourceExhausted,
        }
    }
}

#[cfg(test)]
mod tests;

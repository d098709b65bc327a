// SPDX-License-Identifier: Apache-2.0
//! The codec: a header of ten bytes, then the payload. It owns no socket and no clock.
//!
//! ```text
//! | length u32be | stream id u32be | type u8 | flags u8 | payload … |
//! ```
//!
//! [`Header`], [`MessageType`] and [`Flags`] can hold any bytes, also those that mean nothing, so that a test
//! peer can send them; the [`Decoder`] is what refuses them.

mod decoder;

use bytes::{BufMut, Bytes, BytesMut};

pub use self::decoder::{Decoded, Decoder, READ_STEP};
use crate::error::ProtocolError;

/// Bytes of a header.
pub const HEADER_LEN: usize = 10;

/// The largest payload, in bytes; both directions.
pub const MAX_PAYLOAD: usize = 4 << 20;

/// Up to this length an oversize message is believed to be meant, and read past; in bytes.
///
/// Go's peers build the message before they look at its size, so an honest one can be above the limit.
/// Lengths beyond this come from bytes that are no header.
pub const MAX_DISCARD: usize = 64 << 20;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageType(pub u8);

/// Marks on a frame, for streaming calls; a unary call has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

/// The ten bytes before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Bytes of payload that follow.
    pub length: u32,
    /// Which call the frame belongs to; odd when a client opened it.
    pub stream_id: u32,
    /// What the frame is.
    pub message_type: MessageType,
    /// Marks.
    pub flags: Flags,
}

/// A header and all of its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The header.
    pub header: Header,
    /// As many bytes as the header says.
    pub payload: Bytes,
}

impl MessageType {
    /// Opens a call.
    pub const REQUEST: Self = Self(1);
    /// Ends a call.
    pub const RESPONSE: Self = Self(2);
    /// Belongs to a streaming call.
    pub const DATA: Self = Self(3);

    /// Whether it is one of the three.
    pub fn is_known(self) -> bool {
        (Self::REQUEST.0..=Self::DATA.0).contains(&self.0)
    }
}

impl Flags {
    /// No marks: a unary call.
    pub const NONE: Self = Self(0);
    /// The sender will send no more on this stream.
    pub const REMOTE_CLOSED: Self = Self(1);
    /// The sender will send more on this stream.
    pub const REMOTE_OPEN: Self = Self(2);
    /// The frame has no message, not even an empty one.
    pub const NO_DATA: Self = Self(4);

    /// Whether all marks of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether no marks without a meaning are set.
    pub fn is_known(self) -> bool {
        self.0 & !(Self::REMOTE_CLOSED.0 | Self::REMOTE_OPEN.0 | Self::NO_DATA.0) == 0
    }
}

impl Header {
    /// The header for a payload of `length` bytes.
    ///
    /// # Panics
    /// If the length does not fit the header's 32 bits.
    pub fn new(stream_id: u32, message_type: MessageType, flags: Flags, length: usize) -> Self {
        let length = u32::try_from(length).expect("payloads are checked against MAX_PAYLOAD before");
        Self { length, stream_id, message_type, flags }
    }

    /// As it lies on the wire.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&self.length.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.stream_id.to_be_bytes());
        bytes[8] = self.message_type.0;
        bytes[9] = self.flags.0;
        bytes
    }

    /// What ten bytes say, whether it makes sense or not.
    pub fn from_bytes(bytes: [u8; HEADER_LEN]) -> Self {
        let [l0, l1, l2, l3, s0, s1, s2, s3, message_type, flags] = bytes;
        Self {
            length: u32::from_be_bytes([l0, l1, l2, l3]),
            stream_id: u32::from_be_bytes([s0, s1, s2, s3]),
            message_type: MessageType(message_type),
            flags: Flags(flags),
        }
    }

    /// Bytes of payload that follow.
    pub fn payload_len(self) -> usize {
        self.length as usize
    }

    /// Refuses what no peer that speaks the protocol sends.
    fn check(self) -> Result<(), ProtocolError> {
        let Self { length, stream_id, message_type, flags } = self;
        if !message_type.is_known() {
            return Err(ProtocolError::UnknownType { value: message_type.0, stream_id });
        }
        if !flags.is_known() {
            return Err(ProtocolError::UnknownFlags { value: flags.0, stream_id });
        }
        // Only a whole unary message can be too large by mistake; a header with anything else is no header.
        let mistaken = message_type != MessageType::DATA && flags == Flags::NONE;
        let most = if mistaken { MAX_DISCARD } else { MAX_PAYLOAD };
        if self.payload_len() > most {
            return Err(ProtocolError::ImpossibleLength { length, stream_id });
        }
        Ok(())
    }
}

/// Appends a frame.
///
/// # Panics
/// If the payload is longer than a header can say. A payload above [`MAX_PAYLOAD`] is encoded as asked; real
/// senders look at its length before.
pub fn encode_into(
    out: &mut BytesMut,
    stream_id: u32,
    message_type: MessageType,
    flags: Flags,
    payload: &[u8],
) {
    out.reserve(HEADER_LEN + payload.len());
    out.put_slice(&Header::new(stream_id, message_type, flags, payload.len()).to_bytes());
    out.put_slice(payload);
}

#[cfg(test)]
mod tests;

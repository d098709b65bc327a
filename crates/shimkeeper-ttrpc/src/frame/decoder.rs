// SPDX-License-Identifier: Apache-2.0
//! From bytes in pieces of any size to frames. Owns the read buffer of a connection, keeps it small, and keeps none
//! between two frames.

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Frame, HEADER_LEN, Header, MAX_PAYLOAD};
use crate::error::ProtocolError;

/// Bytes to ask for in one read while nothing larger is known to come.
pub const READ_STEP: usize = 16 << 10;

/// Payloads up to this many bytes are copied out: the buffer stays in one piece and can be used again,
/// and a small payload that somebody keeps does not keep the buffer.
const COPY_BELOW: usize = READ_STEP / 2;

/// What the decoder made of the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A whole frame.
    Frame(Frame),
    /// A message above the limit. Its payload is thrown away as it arrives.
    Oversize(Header),
}

/// Turns a stream of bytes into frames.
///
/// It grows with the frame that arrives, never ahead of it by more than what has arrived already, and gives
/// the memory back after a large one.
#[derive(Debug, Default)]
pub struct Decoder {
    buf: BytesMut,
    /// The header of the frame whose payload is next in `buf`.
    header: Option<Header>,
    /// Bytes of an oversize payload still to be thrown away.
    discard: usize,
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Room to read into, bounded so that little is taken beyond the frame at hand.
    pub fn space(&mut self) -> Limit<&mut BytesMut> {
        let missing = self.missing();
        let step = if missing <= READ_STEP { READ_STEP } else { missing.min(self.buf.len().max(READ_STEP)) };
        self.buf.reserve(step);
        (&mut self.buf).limit(step)
    }

    /// Takes bytes that were read elsewhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
        self.throw_away();
    }

    /// Whether more of the frame at hand is missing than fits into one read: then it is best read where it stays.
    pub fn expects_much(&self) -> bool {
        self.missing() > READ_STEP
    }

    /// Whether a frame has begun and is not complete.
    pub fn in_frame(&self) -> bool {
        self.header.is_some() || self.discard > 0 || !self.buf.is_empty()
    }

    /// Whether an oversize payload is still being thrown away.
    pub fn discarding(&self) -> bool {
        self.discard > 0
    }

    /// The header of the next frame once it is here, before its payload is.
    pub fn header(&mut self) -> Result<Option<Header>, ProtocolError> {
        if self.header.is_none() && self.throw_away() {
            let Some(bytes) = self.buf.first_chunk::<HEADER_LEN>() else { return Ok(None) };
            let header = Header::from_bytes(*bytes);
            header.check()?;
            self.buf.advance(HEADER_LEN);
            self.header = Some(header);
        }
        Ok(self.header)
    }

    /// The next frame, or `None` until more bytes are here. After an error the stream has lost its meaning.
    pub fn decode(&mut self) -> Result<Option<Decoded>, ProtocolError> {
        let Some(header) = self.header()? else { return Ok(None) };
        let length = header.payload_len();
        if length > MAX_PAYLOAD {
            self.header = None;
            self.discard = length;
            self.throw_away();
            return Ok(Some(Decoded::Oversize(header)));
        }
        if self.buf.len() < length {
            return Ok(None);
        }
        self.header = None;
        let payload = self.take(length);
        Ok(Some(Decoded::Frame(Frame { header, payload })))
    }

    /// Bytes that would complete the frame at hand.
    fn missing(&self) -> usize {
        match self.header {
            Some(header) if header.payload_len() <= MAX_PAYLOAD => {
                header.payload_len().saturating_sub(self.buf.len())
            }
            _ => 0,
        }
    }

    /// Throws away what has arrived of an oversize payload; says whether that is all of it.
    fn throw_away(&mut self) -> bool {
        let now = self.discard.min(self.buf.len());
        self.buf.advance(now);
        self.discard -= now;
        self.give_back();
        self.discard == 0
    }

    /// Gives an empty buffer's memory back: the next frame may be long in coming.
    fn give_back(&mut self) {
        if self.buf.is_empty() {
            self.buf = BytesMut::new();
        }
    }

    /// Takes a payload off the front.
    fn take(&mut self, length: usize) -> Bytes {
        if length <= COPY_BELOW {
            let payload = Bytes::copy_from_slice(&self.buf[..length]);
            self.buf.advance(length);
            self.give_back();
            return payload;
        }
        // The payload goes away with the large buffer; the little behind it moves to a small one.
        let payload = self.buf.split_to(length).freeze();
        self.buf = BytesMut::from(&self.buf[..]);
        payload
    }

    /// Bytes of memory held, for tests of its bound.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.buf.capacity()
    }
}

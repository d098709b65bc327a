// SPDX-License-Identifier: Apache-2.0
//! Encodes a request frame in one pass: the caller's message goes straight into the frame, without a copy of
//! its own. The stream id stays open until the frame is appended.

use std::time::Duration;

use prost::{Message, encode_length_delimiter, length_delimiter_len};

use crate::error::CallError;
use crate::frame::{Flags, HEADER_LEN, Header, MAX_PAYLOAD, MessageType};
use crate::message::Request;
use crate::metadata::Metadata;

/// `payload` in [`Request`]: field 3, with a length before it.
const PAYLOAD_KEY: u8 = (3 << 3) | 2;
/// Bytes of [`PAYLOAD_KEY`] on the wire.
const KEY_LEN: usize = 1;

/// How one call is made.
#[derive(Clone, Debug, Default)]
pub struct CallOptions {
    /// Time for all of it, waiting for room and writing included; the peer is told. `None` for no limit.
    pub timeout: Option<Duration>,
    /// What travels beside the request.
    pub metadata: Metadata,
    /// Whether another call follows at once, so that both leave together, and the peer wakes up once for both.
    pub more_follow: bool,
}

/// A request about to be encoded.
pub(crate) struct Encoder<'a> {
    /// Everything but the payload.
    head: Request,
    payload_len: usize,
    append_payload: &'a (dyn Fn(&mut Vec<u8>) + Sync),
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(
        service: &str,
        method: &str,
        options: &CallOptions,
        payload_len: usize,
        append_payload: &'a (dyn Fn(&mut Vec<u8>) + Sync),
    ) -> Self {
        let head = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload: bytes::Bytes::new(),
            timeout_nano: options.timeout.map_or(0, nanos),
            metadata: options.metadata.entries().to_vec(),
        };
        Self { head, payload_len, append_payload }
    }

    /// Bytes of the frame with its header, unless they are too many.
    pub(crate) fn frame_len(&self) -> Result<usize, CallError> {
        let length = self.head.encoded_len() + self.field_len();
        if length > MAX_PAYLOAD {
            return Err(CallError::TooLarge { what: "a request", length, limit: MAX_PAYLOAD });
        }
        Ok(HEADER_LEN + length)
    }

    /// The frame, with stream id 0.
    pub(crate) fn encode(&self, frame_len: usize) -> Vec<u8> {
        let mut frame = Vec::with_capacity(frame_len);
        let header = Header::new(0, MessageType::REQUEST, Flags::NONE, frame_len - HEADER_LEN);
        frame.extend_from_slice(&header.to_bytes());
        self.head.encode_raw(&mut frame);
        // Fields may come in any order, and an empty one may be absent.
        if self.payload_len > 0 {
            frame.push(PAYLOAD_KEY);
            encode_length_delimiter(self.payload_len, &mut frame).expect("a Vec grows");
            (self.append_payload)(&mut frame);
        }
        // Stops a message that lies about its length before it can shift everybody else's frames.
        assert_eq!(frame.len(), frame_len, "a message is as long as it said");
        frame
    }

    fn field_len(&self) -> usize {
        match self.payload_len {
            0 => 0,
            length => KEY_LEN + length_delimiter_len(length) + length,
        }
    }
}

/// Nanoseconds as the envelope has them; what is too long for it is as good as the most it can say.
fn nanos(timeout: Duration) -> i64 {
    i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Metadata;

    #[test]
    fn a_frame_decodes_to_the_request_it_was_made_from() {
        for payload in [&b""[..], b"x", &[7; 300]] {
            let options = CallOptions {
                timeout: Some(Duration::from_millis(1)),
                metadata: Metadata::new().with("a", "1").with("b", "2"),
                ..CallOptions::default()
            };
            let append = |frame: &mut Vec<u8>| frame.extend_from_slice(payload);
            let encoder = Encoder::new("s.S", "M", &options, payload.len(), &append);
            let frame_len = encoder.frame_len().unwrap();
            let frame = encoder.encode(frame_len);
            assert_eq!(frame.len(), frame_len);
            let request = Request::decode(&frame[HEADER_LEN..]).unwrap();
            assert_eq!((request.service.as_str(), request.method.as_str()), ("s.S", "M"));
            assert_eq!(request.payload, payload);
            assert_eq!(request.timeout_nano, 1_000_000);
            assert_eq!(request.metadata, options.metadata.entries());
        }
    }

    #[test]
    fn the_limit_is_on_the_envelope_and_exact() {
        let options = CallOptions::default();
        let length_of = |payload_len| Encoder::new("s", "m", &options, payload_len, &|_| {}).frame_len();
        // Two fields of three bytes, one key, four bytes of length.
        assert_eq!(length_of(MAX_PAYLOAD - 11).unwrap(), HEADER_LEN + MAX_PAYLOAD);
        let error = length_of(MAX_PAYLOAD - 10).unwrap_err();
        assert!(matches!(error, CallError::TooLarge { length, .. } if length == MAX_PAYLOAD + 1), "{error}");
    }

    #[test]
    fn a_timeout_beyond_what_the_envelope_can_say_is_the_most_it_can_say() {
        assert_eq!(nanos(Duration::MAX), i64::MAX);
    }
}

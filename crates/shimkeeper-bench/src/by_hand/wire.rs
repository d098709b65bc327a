// SPDX-License-Identifier: Apache-2.0
//! The least of ttrpc: one call at a time on a blocking stream. Not the library's client, which is being measured.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use bytes::Bytes;
use prost::Message;

use crate::error::BenchError;
use crate::site::NAMESPACE;

/// `ttrpc.Request`, as far as it is needed.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(bytes = "bytes", tag = "3")]
    payload: Bytes,
    #[prost(message, repeated, tag = "5")]
    metadata: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// `ttrpc.Response`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Response {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
    #[prost(bytes = "bytes", tag = "2")]
    payload: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// What goes before every message: length, stream, type, flags.
const HEADER: usize = 10;
const REQUEST: u8 = 1;
pub(super) const RESPONSE: u8 = 2;

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: UnixStream,
    service: &'static str,
    next: u32,
}

impl Wire {
    pub(super) fn new(stream: UnixStream, service: &'static str) -> Self {
        Self { stream, service, next: 1 }
    }

    pub(super) fn call<R: Message + Default>(
        &mut self,
        method: &'static str,
        request: &impl Message,
    ) -> Result<R, BenchError> {
        let message = Request {
            service: self.service.to_owned(),
            method: method.to_owned(),
            payload: request.encode_to_vec().into(),
            metadata: vec![Pair {
                key: "containerd-namespace-ttrpc".to_owned(),
                value: NAMESPACE.to_owned(),
            }],
        };
        let frame = frame(self.next, REQUEST, &message.encode_to_vec());
        // A client's streams are odd.
        self.next += 2;
        let answer = self.stream.write_all(&frame).and_then(|()| read(&mut self.stream));
        let (_stream, payload) = answer.map_err(|e| BenchError::io("talk to the shim", e))?;
        let undecodable = |source| BenchError::Answer { method, source };
        let response = Response::decode(payload).map_err(undecodable)?;
        match response.status.filter(|status| status.code != 0) {
            Some(status) => Err(BenchError::Refused { method, code: status.code, message: status.message }),
            None => R::decode(response.payload).map_err(undecodable),
        }
    }
}

/// A message with its header.
pub(super) fn frame(stream: u32, kind: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a message of ours is small");
    let mut frame = Vec::with_capacity(HEADER + message.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(&[kind, 0]);
    frame.extend_from_slice(message);
    frame
}

/// The next message, and the stream it is on.
pub(super) fn read(from: &mut impl Read) -> std::io::Result<(u32, Bytes)> {
    let mut header = [0; HEADER];
    from.read_exact(&mut header)?;
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let mut message = vec![0; number(0).try_into().expect("a message fits into memory")];
    from.read_exact(&mut message)?;
    Ok((number(4), message.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_as_it_was_written() {
        let frame = frame(7, REQUEST, b"hello");
        assert_eq!(frame[..HEADER], [0, 0, 0, 5, 0, 0, 0, 7, 1, 0]);
        assert_eq!(read(&mut frame.as_slice()).unwrap(), (7, Bytes::from_static(b"hello")));
    }
}

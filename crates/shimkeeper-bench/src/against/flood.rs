// SPDX-License-Identifier: Apache-2.0
//! The same call over and over, many at a time, by a client that takes next to nothing: a rate is to be that of the
//! daemon, and a client that does all that a client should takes as long as the daemon.
//!
//! Requests are made once and only get a new stream id. Of what comes back only the headers of HTTP/2 frames are read: an
//! answer is a stream with a DATA frame, and then one that ends it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use prost::Message;

use crate::against::client::CALL;
use crate::against::error::AgainstError;
use crate::error::BenchError;
use crate::site::NAMESPACE;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

/// Flags of frames.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const FRAME_HEADER: usize = 9;

/// All that a connection may have, less what it has anyway.
const WINDOW: u32 = (1 << 31) - 1 - 65_535;

/// A connection, and the one request that is made on it.
#[derive(Debug)]
pub(crate) struct Flood {
    stream: UnixStream,
    /// Names and values, compressed in the way that compresses nothing.
    headers: Vec<u8>,
    body: Vec<u8>,
    next: u32,
    unread: Vec<u8>,
}

/// What came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    answers: usize,
    ends: usize,
}

impl Flood {
    /// Calls of a method, such as `/containerd.services.version.v1.Version/Version`.
    pub(crate) fn open(address: &Path, method: &str, message: &impl Message) -> Result<Self, AgainstError> {
        let stream = UnixStream::connect(address).map_err(AgainstError::file("connect to", address))?;
        stream.set_read_timeout(Some(CALL)).map_err(io)?;
        let mut this =
            Self { stream, headers: headers(method), body: body(message), next: 1, unread: Vec::new() };
        let mut hello = PREFACE.to_vec();
        frame(&mut hello, SETTINGS, 0, 0, &[]);
        frame(&mut hello, WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes());
        this.stream.write_all(&hello).map_err(io)?;
        Ok(this)
    }

    /// Makes so many calls, as many at a time as may be, and waits for all of them. Blocks.
    pub(crate) fn calls(&mut self, calls: usize, in_flight: usize) -> Result<(), AgainstError> {
        let (mut sent, mut seen) = (0, Seen::default());
        let mut out = Vec::new();
        while seen.ends < calls {
            while sent < calls && sent - seen.ends < in_flight {
                frame(&mut out, HEADERS, END_HEADERS, self.next, &self.headers);
                frame(&mut out, DATA, END_STREAM, self.next, &self.body);
                (self.next, sent) = (self.next + 2, sent + 1);
            }
            self.stream.write_all(&out).map_err(io)?;
            out.clear();
            self.read(&mut seen, &mut out)?;
        }
        if seen.answers == calls {
            return Ok(());
        }
        Err(AgainstError::Unexpected(format!("{} of {calls} calls were refused", calls - seen.answers)))
    }

    /// Reads what there is, at least something; `out` gets what has to be said to it.
    fn read(&mut self, seen: &mut Seen, out: &mut Vec<u8>) -> Result<(), AgainstError> {
        let mut buffer = [0; 16 << 10];
        let length = self.stream.read(&mut buffer).map_err(io)?;
        if length == 0 {
            return Err(AgainstError::Unexpected("the daemon closed the connection".to_owned()));
        }
        self.unread.extend_from_slice(&buffer[..length]);
        let mut at = 0;
        while let Some((kind, flags, payload)) = first_frame(&self.unread[at..]) {
            at += FRAME_HEADER + payload.len();
            let ends = usize::from(flags & END_STREAM != 0);
            match kind {
                DATA => {
                    seen.answers += 1;
                    seen.ends += ends;
                }
                HEADERS => seen.ends += ends,
                SETTINGS if flags & ACK == 0 => frame(out, SETTINGS, ACK, 0, &[]),
                PING if flags & ACK == 0 => frame(out, PING, ACK, 0, payload),
                RST_STREAM | GOAWAY => {
                    return Err(AgainstError::Unexpected("the daemon broke off a call".to_owned()));
                }
                _ => {}
            }
        }
        self.unread.drain(..at);
        Ok(())
    }
}

fn io(error: std::io::Error) -> BenchError {
    BenchError::io("call a daemon", error)
}

/// Appends a frame.
fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Type, flags and payload of the frame that the bytes begin with, if it is there as a whole.
fn first_frame(bytes: &[u8]) -> Option<(u8, u8, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<FRAME_HEADER>()?;
    let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
    Some((header[3], header[4], rest.get(..length)?))
}

/// The headers of a call (RFC 7541): two that are in everybody's table, and literals.
fn headers(method: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    let mut literal = |name: &[u8], value: &str| {
        block.extend_from_slice(name);
        text(&mut block, value);
    };
    literal(&[0x04], method);
    literal(&[0x01], "localhost");
    literal(&[0x0f, 0x10], "application/grpc");
    literal(&named("te"), "trailers");
    literal(&named("containerd-namespace"), NAMESPACE);
    block
}

/// A name that is in no table.
fn named(name: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    text(&mut bytes, name);
    bytes
}

/// A text of less than 127 bytes, as it is.
fn text(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() < 127, "a longer one has its length written in another way");
    out.push(u8::try_from(text.len()).unwrap_or(0));
    out.extend_from_slice(text.as_bytes());
}

/// A message as gRPC has it: not compressed, its length, itself.
fn body(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let mut body = vec![0];
    body.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend_from_slice(&bytes);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_as_it_was_written() {
        let mut bytes = Vec::new();
        frame(&mut bytes, DATA, END_STREAM, 7, b"abc");
        assert_eq!(first_frame(&bytes), Some((DATA, END_STREAM, &b"abc"[..])));
        assert_eq!(first_frame(&bytes[..bytes.len() - 1]), None);
        assert_eq!(first_frame(&bytes[..5]), None);
    }

    /// The daemon's side is played by hand: settings that want to be acknowledged, an answer, its end in pieces.
    #[test]
    fn an_answer_is_data_and_an_end() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut flood =
            Flood { stream: near, headers: headers("/a/b"), body: vec![0; 5], next: 1, unread: Vec::new() };
        let mut answer = Vec::new();
        frame(&mut answer, SETTINGS, 0, 0, &[]);
        frame(&mut answer, HEADERS, END_HEADERS, 1, b"x");
        frame(&mut answer, DATA, 0, 1, b"yz");
        frame(&mut answer, HEADERS, END_HEADERS | END_STREAM, 1, b"x");
        far.write_all(&answer).unwrap();
        flood.calls(1, 4).unwrap();

        let mut refusal = Vec::new();
        frame(&mut refusal, HEADERS, END_HEADERS | END_STREAM, 3, b"x");
        far.write_all(&refusal).unwrap();
        assert!(flood.calls(1, 4).unwrap_err().to_string().contains("1 of 1"));
    }
}

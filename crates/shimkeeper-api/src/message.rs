// SPDX-License-Identifier: Apache-2.0
//! A message as gRPC has it on a stream of HTTP/2: a byte that says whether it is compressed, four with its length, itself.
//! Every method here takes one. Stateless.

use std::future::poll_fn;
use std::pin::pin;

use bytes::{Buf as _, BufMut as _, Bytes};
use http_body::Body;
use prost::Message;
use tonic::{Request, Status};

/// Largest message in either direction, in bytes: containerd's own limit unless it is told another.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Bytes before a message.
const PREFIX: usize = 5;

/// Reads the one message of a request. It is copied out of what it came in, so that who keeps a piece of it does not keep
/// that, and never grows beyond what has come.
pub(crate) async fn read<B: Body<Data = Bytes>>(body: B) -> Result<Bytes, Status> {
    let mut body = pin!(body);
    let mut whole = Vec::new();
    while !body.is_end_stream() {
        let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await else { break };
        let frame = frame.map_err(|_| Status::cancelled("the request broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        whole.extend_from_slice(&data);
        check(&whole)?;
    }
    let missing =
        if whole.is_empty() { "Missing request message." } else { "Unexpected EOF decoding stream." };
    match length(&whole) {
        Some(length) if whole.len() == PREFIX + length => {
            let mut message = Bytes::from(whole);
            message.advance(PREFIX);
            Ok(message)
        }
        _ => Err(Status::internal(missing)),
    }
}

/// Whether what has come of a request may still become one.
fn check(whole: &[u8]) -> Result<(), Status> {
    match whole.first() {
        None | Some(0) => {}
        Some(1) => return Err(Status::unimplemented("Content is compressed, which isn't supported")),
        Some(flag) => {
            return Err(Status::internal(format!(
                "protocol error: received message with invalid compression flag: {flag}"
            )));
        }
    }
    match length(whole) {
        Some(length) if length > MAX_MESSAGE_BYTES => Err(too_large("decoded", length)),
        Some(length) if whole.len() > PREFIX + length => {
            Err(Status::internal("protocol error: received more than one message"))
        }
        _ => Ok(()),
    }
}

/// The length that a message says it has, if that is there.
fn length(whole: &[u8]) -> Option<usize> {
    let length = whole.get(1..PREFIX)?.first_chunk()?;
    usize::try_from(u32::from_be_bytes(*length)).ok()
}

fn too_large(what: &str, length: usize) -> Status {
    let max = MAX_MESSAGE_BYTES;
    Status::out_of_range(format!(
        "Error, {what} message length too large: found {length} bytes, the limit is: {max} bytes"
    ))
}

/// A request with its message.
pub(crate) fn decoded<M: Message + Default>(request: Request<Bytes>) -> Result<Request<M>, Status> {
    let (metadata, extensions, bytes) = request.into_parts();
    let message = M::decode(bytes).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Request::from_parts(metadata, extensions, message))
}

/// A message with what stands before it, in one piece of just its size.
pub(crate) fn framed(message: &impl Message) -> Result<Bytes, Status> {
    let length = message.encoded_len();
    let mut whole = Vec::with_capacity(PREFIX + length);
    begin(&mut whole, length)?;
    message.encode_raw(&mut whole);
    Ok(whole.into())
}

/// Puts a message that is bytes already behind others.
pub(crate) fn append(whole: &mut Vec<u8>, message: &[u8]) -> Result<(), Status> {
    whole.reserve(PREFIX + message.len());
    begin(whole, message.len())?;
    whole.extend_from_slice(message);
    Ok(())
}

fn begin(whole: &mut Vec<u8>, length: usize) -> Result<(), Status> {
    if length > MAX_MESSAGE_BYTES {
        return Err(too_large("encoded", length));
    }
    whole.put_u8(0);
    // The limit is far below what fits.
    whole.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body::Frame;
    use tonic::Code;

    use super::*;

    /// A request that comes in these pieces.
    struct Pieces(VecDeque<Bytes>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    async fn of(pieces: &[&[u8]]) -> Result<Bytes, Code> {
        let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
        read(Pieces(pieces)).await.map_err(|status| status.code())
    }

    #[tokio::test]
    async fn a_message_is_read_however_it_is_cut() {
        let mut whole = Vec::new();
        append(&mut whole, b"abc").unwrap();
        for at in 0..=whole.len() {
            let (one, two) = whole.split_at(at);
            assert_eq!(of(&[one, two]).await, Ok(Bytes::from_static(b"abc")), "{at}");
        }
        assert_eq!(of(&[b"\0\0\0\0\0"]).await, Ok(Bytes::new()), "one of no bytes is one");
    }

    #[tokio::test]
    async fn what_is_not_one_message_is_refused() {
        assert_eq!(of(&[]).await, Err(Code::Internal), "none");
        assert_eq!(of(&[b"\0\0\0\0"]).await, Err(Code::Internal), "not even its length");
        assert_eq!(of(&[b"\0\0\0\0\x02a"]).await, Err(Code::Internal), "not all of it");
        assert_eq!(of(&[b"\0\0\0\0\x01ab"]).await, Err(Code::Internal), "more than it");
        assert_eq!(of(&[b"\x01\0\0\0\x01a"]).await, Err(Code::Unimplemented), "compressed");
        assert_eq!(of(&[b"\x07\0\0\0\x01a"]).await, Err(Code::Internal), "no flag");
        assert_eq!(of(&[b"\0\x01\0\0\x01"]).await, Err(Code::OutOfRange), "refused before it has come");
    }
}

// SPDX-License-Identifier: Apache-2.0
//! ttrpc frames, written once more and on purpose: a fake that shared its wire code with what is tested against it
//! would share its mistakes, and it must be able to send frames no sound implementation can make.

mod client;
mod serve;

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt};

pub(crate) use client::Caller;
pub(crate) use serve::{Answer, Answering, Fault, Halt, Handler, Metadata, serve};

/// The most a message may have.
pub(crate) const MAX_PAYLOAD: usize = 4 << 20;
pub(crate) const REQUEST: u8 = 1;
pub(crate) const RESPONSE: u8 = 2;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) stream: u32,
    pub(crate) kind: u8,
    pub(crate) payload: Bytes,
}

/// A call, as the payload of a request frame.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(string, tag = "1")]
    pub(crate) service: String,
    #[prost(string, tag = "2")]
    pub(crate) method: String,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) payload: Bytes,
    #[prost(int64, tag = "4")]
    pub(crate) timeout_nano: i64,
    #[prost(message, repeated, tag = "5")]
    pub(crate) metadata: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

/// An answer, as the payload of a response frame.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Response {
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<RpcStatus>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) payload: Bytes,
}

/// `google.rpc.Status` without details.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

impl Frame {
    pub(crate) fn encode(&self) -> Bytes {
        let len = u32::try_from(self.payload.len()).expect("the fake never makes a payload of 4 GiB");
        let mut out = BytesMut::with_capacity(10 + self.payload.len());
        out.put_u32(len);
        out.put_u32(self.stream);
        out.put_u8(self.kind);
        out.put_u8(0);
        out.put_slice(&self.payload);
        out.freeze()
    }

    /// The next frame; `None` at the end of the stream between two frames.
    pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let mut header = [0; 10];
        match from.read_exact(&mut header).await {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(e),
        }
        let mut fields = &header[..];
        let (len, stream, kind) = (fields.get_u32() as usize, fields.get_u32(), fields.get_u8());
        if len > MAX_PAYLOAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {len} bytes")));
        }
        let mut payload = BytesMut::zeroed(len);
        from.read_exact(&mut payload).await?;
        Ok(Some(Self { stream, kind, payload: payload.freeze() }))
    }

    pub(crate) fn response(stream: u32, payload: Bytes) -> Self {
        let response = Response { status: None, payload };
        Self { stream, kind: RESPONSE, payload: response.encode_to_vec().into() }
    }

    pub(crate) fn refusal(stream: u32, code: i32, message: &str) -> Self {
        let status = RpcStatus { code, message: message.to_owned() };
        let response = Response { status: Some(status), payload: Bytes::new() };
        Self { stream, kind: RESPONSE, payload: response.encode_to_vec().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_is_ten_bytes_of_header_and_its_payload() {
        let frame = Frame { stream: 3, kind: REQUEST, payload: Bytes::from_static(b"ab") };
        let bytes = frame.encode();
        assert_eq!(&bytes[..], b"\0\0\0\x02\0\0\0\x03\x01\0ab");
        assert_eq!(Frame::read(&mut &bytes[..]).await.unwrap(), Some(frame));
        assert_eq!(Frame::read(&mut &b""[..]).await.unwrap(), None);
        assert!(Frame::read(&mut &b"\xff\xff\xff\xff\0\0\0\0\0\0"[..]).await.is_err());
    }
}

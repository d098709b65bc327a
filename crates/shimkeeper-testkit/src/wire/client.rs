// SPDX-License-Identifier: Apache-2.0
//! The little of a client that forwarding events takes: one call at a time.

use std::io;
use std::path::Path;

use bytes::Bytes;
use prost::Message;
use tokio::net::UnixStream;

use super::{Frame, REQUEST, Request, Response, RpcStatus};

/// A connection on which calls are made one after another.
pub(crate) struct Caller {
    stream: UnixStream,
    next_stream: u32,
}

impl Caller {
    pub(crate) async fn dial(path: &Path) -> io::Result<Self> {
        Ok(Self { stream: UnixStream::connect(path).await?, next_stream: 1 })
    }

    /// Makes a call. `Err` is the end of the connection, `Ok(Err)` an answer that refuses.
    pub(crate) async fn call(
        &mut self,
        service: &str,
        method: &str,
        payload: Bytes,
    ) -> io::Result<Result<Bytes, RpcStatus>> {
        let stream = self.next_stream;
        self.next_stream += 2;
        let request = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload,
            timeout_nano: 0,
            metadata: Vec::new(),
        };
        let frame = Frame { stream, kind: REQUEST, payload: request.encode_to_vec().into() };
        tokio::io::AsyncWriteExt::write_all(&mut self.stream, &frame.encode()).await?;
        loop {
            let Some(frame) = Frame::read(&mut self.stream).await? else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            if frame.stream == stream {
                let response = Response::decode(frame.payload)
                    .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
                return Ok(match response.status {
                    Some(status) if status.code != 0 => Err(status),
                    _ => Ok(response.payload),
                });
            }
        }
    }
}

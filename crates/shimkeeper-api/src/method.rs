// SPDX-License-Identifier: Apache-2.0
//! A method of a service: from the bytes of a request to those of its answer. What is the same for all of them is compiled
//! once, which the stubs' servers are not; and a call through one goes through no buffers and boxes of theirs.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tonic::codegen::tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use crate::message;

/// Work until a result.
pub(crate) type Working<'a, T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send + 'a>>;

/// Messages, as bytes, as they come.
pub(crate) type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// What is called.
pub(crate) type Method = Box<dyn Fn(Request<Bytes>) -> Working<'static, Response<Reply>> + Send + Sync>;

/// What a method answers.
pub(crate) enum Reply {
    /// One message, with what stands before it.
    One(Bytes),
    Many(Messages),
}

/// A method that answers with one message.
pub(crate) fn unary<S, M, R, C>(service: &Arc<S>, call: C) -> Method
where
    S: Send + Sync + 'static,
    M: Message + Default + 'static,
    R: Message + 'static,
    C: for<'a> Fn(&'a S, Request<M>) -> Working<'a, Response<R>> + Copy + Send + Sync + 'static,
{
    let service = service.clone();
    Box::new(move |request| {
        let service = service.clone();
        Box::pin(async move {
            let (metadata, answer, extensions) =
                call(&service, message::decoded(request)?).await?.into_parts();
            Ok(Response::from_parts(metadata, Reply::One(message::framed(&answer)?), extensions))
        })
    })
}

/// A method that answers with messages as they come.
pub(crate) fn streaming<S, M, R, T, C>(service: &Arc<S>, call: C) -> Method
where
    S: Send + Sync + 'static,
    M: Message + Default + 'static,
    R: Message + 'static,
    T: Stream<Item = Result<R, Status>> + Send + 'static,
    C: for<'a> Fn(&'a S, Request<M>) -> Working<'a, Response<T>> + Copy + Send + Sync + 'static,
{
    let service = service.clone();
    Box::new(move |request| {
        let service = service.clone();
        Box::pin(async move {
            let answer = call(&service, message::decoded(request)?).await?;
            let bytes = |message: Result<R, Status>| message.map(|message| message.encode_to_vec().into());
            Ok(answer.map(|messages| Reply::Many(Box::pin(messages.map(bytes)))))
        })
    })
}

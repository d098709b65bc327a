// SPDX-License-Identifier: Apache-2.0
//! `Events.Subscribe`, in the place of the stub's: an event has one wire form, which all subscribers are sent, where the
//! stub would encode it for each of them anew.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use shimkeeper::Kind;
use shimkeeper::events::{Filters, Subscription};
use shimkeeper_proto::containerd::services::events::v1::SubscribeRequest;
use tonic::codegen::tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::of_events;
use crate::inner::Inner;
use crate::method::{Method, Reply};
use crate::{message, status};

/// A subscription as the bytes of messages.
#[derive(Debug)]
struct Events(Subscription);

/// The method.
pub(crate) fn method(inner: Arc<Inner>) -> Method {
    Box::new(move |request| Box::pin(std::future::ready(subscribe(&inner, request))))
}

fn subscribe(inner: &Inner, request: Request<Bytes>) -> Result<Response<Reply>, Status> {
    let request: Request<SubscribeRequest> = message::decoded(request)?;
    let filters = Filters::parse(&request.get_ref().filters).map_err(|error| {
        // Without a code of its own, as containerd has it.
        let text = status::of_filter(&error).message().to_owned();
        let what = "subscription error: failed parsing subscription filters";
        status::verbatim(Kind::Unknown, format!("{what}: {text}"))
    })?;
    let subscription = inner.manager.events(filters).map_err(|e| of_events(&e))?;
    Ok(Response::new(Reply::Many(Box::pin(Events(subscription)))))
}

impl Stream for Events {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next(cx).map(|next| match next {
            Ok(Some(event)) => Some(Ok(event.wire())),
            // An end without an error would tell the client that it had meant to end.
            Ok(None) => Some(Err(status::of(Kind::Unavailable, "the server is shutting down"))),
            Err(ended) => Some(Err(of_events(&ended))),
        })
    }
}

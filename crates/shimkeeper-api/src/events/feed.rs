// SPDX-License-Identifier: Apache-2.0
//! `Events.Subscribe`, in the place of the stub's: an event has one wire form, which all subscribers are sent, where the
//! stub would encode it for each of them anew.

use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes};
use http_body::Body as HttpBody;
use prost::Message as _;
use shimkeeper::Kind;
use shimkeeper::events::{Filters, Subscription};
use shimkeeper_proto::containerd::services::events::v1::SubscribeRequest;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::tokio_stream::Stream;
use tonic::codegen::{BoxFuture, StdError};
use tonic::server::{Grpc, ServerStreamingService};
use tonic::{Request, Response, Status};

use super::of_events;
use crate::{Inner, MAX_MESSAGE_BYTES, status};

/// The path of the method.
pub(crate) const PATH: &str = "/containerd.services.events.v1.Events/Subscribe";

/// What makes subscriptions.
#[derive(Clone)]
pub(crate) struct Feed(pub(crate) Arc<Inner>);

/// A subscription as the bytes of messages.
#[derive(Debug)]
pub(crate) struct Events(Subscription);

/// Requests are read, answers are bytes already.
#[derive(Clone, Copy, Debug)]
struct Encoded;

impl Feed {
    /// Serves one call.
    pub(crate) fn call<B>(
        &self,
        request: http::Request<B>,
    ) -> BoxFuture<http::Response<Body>, std::convert::Infallible>
    where
        B: HttpBody + Send + 'static,
        B::Error: Into<StdError> + Send,
    {
        let feed = self.clone();
        Box::pin(async move {
            let most = Some(MAX_MESSAGE_BYTES);
            let mut grpc = Grpc::new(Encoded).apply_max_message_size_config(most, most);
            Ok(grpc.server_streaming(feed, request).await)
        })
    }

    fn subscribe(&self, request: &SubscribeRequest) -> Result<Response<Events>, Status> {
        let filters = Filters::parse(&request.filters).map_err(|error| {
            // Without a code of its own, as containerd has it.
            let text = status::of_filter(&error).message().to_owned();
            let what = "subscription error: failed parsing subscription filters";
            status::verbatim(Kind::Unknown, format!("{what}: {text}"))
        })?;
        let subscription = self.0.manager.events(filters).map_err(|e| of_events(&e))?;
        Ok(Response::new(Events(subscription)))
    }
}

impl ServerStreamingService<SubscribeRequest> for Feed {
    type Response = Bytes;
    type ResponseStream = Events;
    type Future = Ready<Result<Response<Events>, Status>>;

    fn call(&mut self, request: Request<SubscribeRequest>) -> Self::Future {
        ready(self.subscribe(request.get_ref()))
    }
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

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = SubscribeRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, event: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(event);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = SubscribeRequest;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<SubscribeRequest>, Status> {
        let request = SubscribeRequest::decode(from);
        request.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

// SPDX-License-Identifier: Apache-2.0
//! `Events`: what happened, for whoever wants to know. A subscriber sees every namespace unless it filters.

pub(crate) mod feed;

use std::sync::Arc;
use std::time::SystemTime;

use shimkeeper::HasKind;
use shimkeeper::events::{Envelope, EnvelopeError, Topic, TopicError};
use shimkeeper_core::chain;
use shimkeeper_proto::containerd::services::events::ttrpc::v1 as ingress;
use shimkeeper_proto::containerd::services::events::v1::events_server::Events;
use shimkeeper_proto::containerd::services::events::v1::{ForwardRequest, PublishRequest, SubscribeRequest};
use shimkeeper_proto::containerd::types;
use shimkeeper_proto::google::protobuf::Empty;
use tonic::codegen::tokio_stream;
use tonic::{Request, Response, Status, async_trait};

use crate::inner::Inner;
use crate::{caller, convert, status};

pub(crate) struct EventsService(pub(crate) Arc<Inner>);

#[async_trait]
impl Events for EventsService {
    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<Empty>, Status> {
        let failed = |status: Status| status::within("failed publishing event: ", &status);
        let namespace = caller::namespace(&request).map_err(failed)?;
        let PublishRequest { topic, event } = request.into_inner();
        let topic: Topic = topic.parse().map_err(|e: TopicError| failed(of_events(&e)))?;
        let event = event.ok_or_else(|| failed(status::missing("event")))?;
        let envelope = Envelope::new(namespace, topic, SystemTime::now(), convert::from_any(event));
        self.0.manager.publish(envelope.map_err(|e: EnvelopeError| failed(of_events(&e)))?).await;
        Ok(Response::new(Empty::default()))
    }

    async fn forward(&self, request: Request<ForwardRequest>) -> Result<Response<Empty>, Status> {
        let request = ingress::ForwardRequest { envelope: request.into_inner().envelope };
        let envelope = Envelope::try_from(request).map_err(|e| of_events(&e))?;
        self.0.manager.publish(envelope).await;
        Ok(Response::new(Empty::default()))
    }

    type SubscribeStream = tokio_stream::Empty<Result<types::Envelope, Status>>;

    async fn subscribe(
        &self,
        _request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        // The stub wants one; what is called is the feed.
        Err(Status::unimplemented("subscriptions are served by the feed"))
    }
}

/// An error of the events' own, with its causes.
fn of_events(error: &(impl HasKind + std::error::Error)) -> Status {
    status::of(error.kind(), chain(error))
}

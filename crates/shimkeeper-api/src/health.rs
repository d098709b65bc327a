// SPDX-License-Identifier: Apache-2.0
//! `Health`: whoever gets an answer may go on. Clients ask after they lost their event stream, or watch until the server
//! leaves. There is one service here to ask for, the server as a whole, which has no name.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use shimkeeper_proto::grpc::health::v1::health_check_response::ServingStatus;
use shimkeeper_proto::grpc::health::v1::health_server::Health;
use shimkeeper_proto::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse};
use tonic::codegen::tokio_stream::Stream;
use tonic::{Request, Response, Status, async_trait};

use crate::inner::Inner;
use crate::status;

pub(crate) struct HealthService(pub(crate) Arc<Inner>);

#[async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if request.into_inner().service.is_empty() {
            return Ok(Response::new(message(ServingStatus::Serving)));
        }
        Err(status::verbatim(shimkeeper::Kind::NotFound, "unknown service"))
    }

    type WatchStream = Watched;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        // One that is not known may be so later, as far as a client can tell: its stream goes on too.
        let is_known = request.into_inner().service.is_empty();
        let (now, then) = if is_known {
            (ServingStatus::Serving, Some(ServingStatus::NotServing))
        } else {
            (ServingStatus::ServiceUnknown, None)
        };
        let leaving = Box::pin(self.0.manager.leaving());
        Ok(Response::new(Watched { now: Some(now), then, leaving: Some(leaving) }))
    }
}

fn message(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

/// A status, and what follows once the server leaves.
pub(crate) struct Watched {
    now: Option<ServingStatus>,
    then: Option<ServingStatus>,
    leaving: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Stream for Watched {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(status) = self.now.take() {
            return Poll::Ready(Some(Ok(message(status))));
        }
        if let Some(leaving) = self.leaving.as_mut() {
            if leaving.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.leaving = None;
        }
        Poll::Ready(self.then.take().map(|status| Ok(message(status))))
    }
}

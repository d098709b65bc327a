// SPDX-License-Identifier: Apache-2.0
//! `Health`: whoever gets an answer may go on. Clients ask after they lost their event stream.

use shimkeeper_proto::grpc::health::v1::health_check_response::ServingStatus;
use shimkeeper_proto::grpc::health::v1::health_server::Health;
use shimkeeper_proto::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse};
use tonic::codegen::tokio_stream;
use tonic::{Request, Response, Status, async_trait};

use crate::status;

pub(crate) struct HealthService;

#[async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if request.into_inner().service.is_empty() {
            return Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }));
        }
        Err(status::verbatim(shimkeeper::Kind::NotFound, "unknown service"))
    }

    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        // As long as it could be told anything, the answer is the same; its end is the connection's.
        Err(Status::unimplemented("Watch is not served: a connection that lives is healthy, Check says so"))
    }
}

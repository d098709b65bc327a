// SPDX-License-Identifier: Apache-2.0
//! `Version`: which server this is. Needs no namespace.

use std::sync::Arc;

use shimkeeper_proto::containerd::services::version::v1::VersionResponse;
use shimkeeper_proto::containerd::services::version::v1::version_server::Version;
use shimkeeper_proto::google::protobuf::Empty;
use tonic::{Request, Response, Status, async_trait};

use crate::inner::Inner;

pub(crate) struct VersionService(pub(crate) Arc<Inner>);

#[async_trait]
impl Version for VersionService {
    async fn version(&self, _request: Request<Empty>) -> Result<Response<VersionResponse>, Status> {
        let about = &self.0.about;
        let answer = VersionResponse { version: about.version.clone(), revision: about.revision.clone() };
        Ok(Response::new(answer))
    }
}

// SPDX-License-Identifier: Apache-2.0
//! `Leases`: Go's client takes one for every container it makes. Nothing here is collected as garbage, so what a lease
//! holds is only kept on record.

use std::sync::Arc;

use shimkeeper::events::Filters;
use shimkeeper_proto::containerd::services::leases::v1 as wire;
use shimkeeper_proto::containerd::services::leases::v1::leases_server::Leases;
use shimkeeper_proto::google::protobuf::Empty;
use shimkeeper_store::{Lease, Resource};
use tonic::{Request, Response, Status, async_trait};

use crate::inner::Inner;
use crate::{caller, convert, status};

pub(crate) struct LeasesService(pub(crate) Arc<Inner>);

#[async_trait]
impl Leases for LeasesService {
    async fn create(
        &self,
        request: Request<wire::CreateRequest>,
    ) -> Result<Response<wire::CreateResponse>, Status> {
        let namespace = caller::namespace(&request)?;
        let wire::CreateRequest { id, labels } = request.into_inner();
        let lease = self.0.store.leases(&namespace).create(&id, labels).await;
        let lease = Some(message(lease.map_err(|e| status::of_store(&e))?));
        Ok(Response::new(wire::CreateResponse { lease }))
    }

    async fn delete(&self, request: Request<wire::DeleteRequest>) -> Result<Response<Empty>, Status> {
        let namespace = caller::namespace(&request)?;
        let deleted = self.0.store.leases(&namespace).delete(&request.get_ref().id).await;
        deleted.map(|()| Response::new(Empty::default())).map_err(|e| status::of_store(&e))
    }

    async fn list(
        &self,
        request: Request<wire::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, Status> {
        let namespace = caller::namespace(&request)?;
        let filters = Filters::parse(&request.get_ref().filters).map_err(|e| status::of_filter(&e))?;
        let leases = self.0.store.leases(&namespace).list(&filters).into_iter().map(message).collect();
        Ok(Response::new(wire::ListResponse { leases }))
    }

    async fn add_resource(
        &self,
        request: Request<wire::AddResourceRequest>,
    ) -> Result<Response<Empty>, Status> {
        let namespace = caller::namespace(&request)?;
        let wire::AddResourceRequest { id, resource } = request.into_inner();
        let resource = record(resource)?;
        let added = self.0.store.leases(&namespace).add_resource(&id, resource).await;
        added.map(|()| Response::new(Empty::default())).map_err(|e| status::of_store(&e))
    }

    async fn delete_resource(
        &self,
        request: Request<wire::DeleteResourceRequest>,
    ) -> Result<Response<Empty>, Status> {
        let namespace = caller::namespace(&request)?;
        let wire::DeleteResourceRequest { id, resource } = request.into_inner();
        let resource = record(resource)?;
        let removed = self.0.store.leases(&namespace).delete_resource(&id, &resource).await;
        removed.map(|()| Response::new(Empty::default())).map_err(|e| status::of_store(&e))
    }

    async fn list_resources(
        &self,
        request: Request<wire::ListResourcesRequest>,
    ) -> Result<Response<wire::ListResourcesResponse>, Status> {
        let namespace = caller::namespace(&request)?;
        let held = self.0.store.leases(&namespace).resources(&request.get_ref().id);
        let held = held.map_err(|e| status::of_store(&e))?;
        let resources = held.into_iter().map(|r| wire::Resource { id: r.id, r#type: r.kind }).collect();
        Ok(Response::new(wire::ListResourcesResponse { resources }))
    }
}

fn record(resource: Option<wire::Resource>) -> Result<Resource, Status> {
    let resource = resource.ok_or_else(|| status::missing("resource"))?;
    Ok(Resource { kind: resource.r#type, id: resource.id })
}

fn message(lease: Lease) -> wire::Lease {
    wire::Lease { id: lease.id, created_at: Some(convert::timestamp(lease.created_at)), labels: lease.labels }
}

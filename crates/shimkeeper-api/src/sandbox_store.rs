// SPDX-License-Identifier: Apache-2.0
//! `Store`: records of sandboxes. They run nothing; the controller does.

use std::sync::Arc;

use shimkeeper::events::Filters;
use shimkeeper_proto::containerd::services::sandbox::v1 as wire;
use shimkeeper_proto::containerd::services::sandbox::v1::store_server::Store;
use shimkeeper_proto::containerd::types;
use shimkeeper_store::{Runtime, Sandbox};
use tonic::{Request, Response, Status, async_trait};

use crate::inner::Inner;
use crate::{caller, convert, status};

pub(crate) struct SandboxStoreService(pub(crate) Arc<Inner>);

#[async_trait]
impl Store for SandboxStoreService {
    async fn create(
        &self,
        request: Request<wire::StoreCreateRequest>,
    ) -> Result<Response<wire::StoreCreateResponse>, Status> {
        let namespace = caller::namespace(&request)?;
        let given = request.into_inner().sandbox.ok_or_else(|| status::missing("sandbox"))?;
        let made = self.0.store.sandboxes(&namespace).create(record(given)).await;
        let sandbox = Some(message(&*made.map_err(|e| status::of_store(&e))?));
        Ok(Response::new(wire::StoreCreateResponse { sandbox }))
    }

    async fn update(
        &self,
        request: Request<wire::StoreUpdateRequest>,
    ) -> Result<Response<wire::StoreUpdateResponse>, Status> {
        let namespace = caller::namespace(&request)?;
        let wire::StoreUpdateRequest { sandbox, fields } = request.into_inner();
        let given = sandbox.ok_or_else(|| status::missing("sandbox"))?;
        let changed = self.0.store.sandboxes(&namespace).update(record(given), &fields).await;
        let sandbox = Some(message(&*changed.map_err(|e| status::of_store(&e))?));
        Ok(Response::new(wire::StoreUpdateResponse { sandbox }))
    }

    async fn delete(
        &self,
        request: Request<wire::StoreDeleteRequest>,
    ) -> Result<Response<wire::StoreDeleteResponse>, Status> {
        let namespace = caller::namespace(&request)?;
        let deleted = self.0.store.sandboxes(&namespace).delete(&request.get_ref().sandbox_id).await;
        deleted.map(|()| Response::new(wire::StoreDeleteResponse {})).map_err(|e| status::of_store(&e))
    }

    async fn list(
        &self,
        request: Request<wire::StoreListRequest>,
    ) -> Result<Response<wire::StoreListResponse>, Status> {
        let namespace = caller::namespace(&request)?;
        let filters = Filters::parse(&request.get_ref().filters).map_err(|e| status::of_filter(&e))?;
        let found =
            self.0.store.sandboxes(&namespace).list(&filters).await.map_err(|e| status::of_store(&e))?;
        let list = found.iter().map(|sandbox| message(sandbox)).collect();
        Ok(Response::new(wire::StoreListResponse { list }))
    }

    async fn get(
        &self,
        request: Request<wire::StoreGetRequest>,
    ) -> Result<Response<wire::StoreGetResponse>, Status> {
        let namespace = caller::namespace(&request)?;
        let found = self.0.store.sandboxes(&namespace).get(&request.get_ref().sandbox_id).await;
        let sandbox = Some(message(&*found.map_err(|e| status::of_store(&e))?));
        Ok(Response::new(wire::StoreGetResponse { sandbox }))
    }
}

fn record(given: types::Sandbox) -> Sandbox {
    let runtime = given.runtime.unwrap_or_default();
    Sandbox {
        id: given.sandbox_id,
        labels: given.labels,
        runtime: Runtime { name: runtime.name, options: runtime.options.map(convert::from_any) },
        spec: given.spec.map(convert::from_any),
        sandboxer: given.sandboxer,
        extensions: convert::from_anys(given.extensions),
        ..Sandbox::default()
    }
}

fn message(record: &Sandbox) -> types::Sandbox {
    let runtime = types::sandbox::Runtime {
        name: record.runtime.name.clone(),
        options: record.runtime.options.clone().map(convert::any),
    };
    types::Sandbox {
        sandbox_id: record.id.clone(),
        runtime: Some(runtime),
        spec: record.spec.clone().map(convert::any),
        labels: record.labels.clone(),
        created_at: record.created_at.map(convert::timestamp),
        updated_at: record.updated_at.map(convert::timestamp),
        extensions: convert::anys(record.extensions.clone()),
        sandboxer: record.sandboxer.clone(),
    }
}

// SPDX-License-Identifier: Apache-2.0
//! `Namespaces`: records of namespaces. A namespace needs none to be used.

use std::sync::Arc;
use std::time::Duration;

use shimkeeper::Namespace as Name;
use shimkeeper::events::Topic;
use shimkeeper_proto::containerd::events;
use shimkeeper_proto::containerd::services::namespaces::v1::namespaces_server::Namespaces;
use shimkeeper_proto::containerd::services::namespaces::v1::{
    CreateNamespaceRequest, CreateNamespaceResponse, DeleteNamespaceRequest, GetNamespaceRequest,
    GetNamespaceResponse, ListNamespacesRequest, ListNamespacesResponse, Namespace, UpdateNamespaceRequest,
    UpdateNamespaceResponse,
};
use shimkeeper_proto::google::protobuf::Empty;
use shimkeeper_store::NamespaceRecord;
use tonic::{Request, Response, Status, async_trait};

use crate::inner::Inner;
use crate::{records, status};

pub(crate) struct NamespacesService(pub(crate) Arc<Inner>);

#[async_trait]
impl Namespaces for NamespacesService {
    async fn get(
        &self,
        request: Request<GetNamespaceRequest>,
    ) -> Result<Response<GetNamespaceResponse>, Status> {
        let found = self.0.store.namespaces().get(&request.get_ref().name);
        let namespace = Some(message(found.map_err(|e| status::of_store(&e))?));
        Ok(Response::new(GetNamespaceResponse { namespace }))
    }

    async fn list(
        &self,
        _request: Request<ListNamespacesRequest>,
    ) -> Result<Response<ListNamespacesResponse>, Status> {
        let namespaces = self.0.store.namespaces().list().into_iter().map(message).collect();
        Ok(Response::new(ListNamespacesResponse { namespaces }))
    }

    async fn create(
        &self,
        request: Request<CreateNamespaceRequest>,
    ) -> Result<Response<CreateNamespaceResponse>, Status> {
        let given = request.into_inner().namespace.ok_or_else(|| status::missing("namespace"))?;
        let made = self.0.store.namespaces().create(record(given)).await.map_err(|e| status::of_store(&e))?;
        let event = events::NamespaceCreate { name: made.name.clone(), labels: made.labels.clone() };
        self.publish(&made.name, Topic::NAMESPACE_CREATE, &event).await;
        Ok(Response::new(CreateNamespaceResponse { namespace: Some(message(made)) }))
    }

    async fn update(
        &self,
        request: Request<UpdateNamespaceRequest>,
    ) -> Result<Response<UpdateNamespaceResponse>, Status> {
        let UpdateNamespaceRequest { namespace, update_mask } = request.into_inner();
        let given = namespace.ok_or_else(|| status::missing("namespace"))?;
        let mask = update_mask.unwrap_or_default().paths;
        let changed = self.0.store.namespaces().update(record(given), &mask).await;
        let changed = changed.map_err(|e| status::of_store(&e))?;
        let event = events::NamespaceUpdate { name: changed.name.clone(), labels: changed.labels.clone() };
        self.publish(&changed.name, Topic::NAMESPACE_UPDATE, &event).await;
        Ok(Response::new(UpdateNamespaceResponse { namespace: Some(message(changed)) }))
    }

    async fn delete(&self, request: Request<DeleteNamespaceRequest>) -> Result<Response<Empty>, Status> {
        let name = request.into_inner().name;
        // A task may be there without a record; it would be out of everybody's sight.
        let survey = self.0.manager.survey(Duration::ZERO).await;
        let tasks = survey.tasks.iter().map(shimkeeper::Task::key);
        let mut found = tasks.chain(survey.unknown.iter().map(|found| &found.key));
        if found.any(|key| key.namespace.as_str() == name) {
            let text = format!("namespace {name:?} must be empty, but it still has tasks");
            return Err(status::of(shimkeeper::Kind::FailedPrecondition, text));
        }
        self.0.store.namespaces().delete(&name).await.map_err(|e| status::of_store(&e))?;
        self.publish(&name, Topic::NAMESPACE_DELETE, &events::NamespaceDelete { name: name.clone() }).await;
        Ok(Response::new(Empty::default()))
    }
}

impl NamespacesService {
    async fn publish<M: prost::Message + prost::Name>(&self, name: &str, topic: Topic, event: &M) {
        // The store has no record of what is no name.
        if let Ok(name) = name.parse::<Name>() {
            records::publish(&self.0.manager, name, topic, event).await;
        }
    }
}

fn record(namespace: Namespace) -> NamespaceRecord {
    NamespaceRecord { name: namespace.name, labels: namespace.labels }
}

fn message(record: NamespaceRecord) -> Namespace {
    Namespace { name: record.name, labels: record.labels }
}

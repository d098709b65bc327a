// SPDX-License-Identifier: Apache-2.0
//! `Containers`: records of what tasks are made from. Spec, options and extensions pass through as bytes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use shimkeeper::events::{Filters, Topic};
use shimkeeper::{Kind, Namespace};
use shimkeeper_proto::containerd::events;
use shimkeeper_proto::containerd::services::containers::v1 as wire;
use shimkeeper_proto::containerd::services::containers::v1::containers_server::Containers;
use shimkeeper_proto::google::protobuf::Empty;
use shimkeeper_store::{Container, Each, Runtime};
use tonic::codegen::tokio_stream::Stream;
use tonic::{Request, Response, Status, async_trait};

use crate::inner::Inner;
use crate::{caller, convert, records, status};

pub(crate) struct ContainersService(pub(crate) Arc<Inner>);

impl ContainersService {
    fn found(&self, request: &Request<wire::ListContainersRequest>) -> Result<Each, Status> {
        let namespace = caller::namespace(request)?;
        let filters = Filters::parse(&request.get_ref().filters).map_err(|e| status::of_filter(&e))?;
        Ok(self.0.store.containers(&namespace).each(&filters))
    }

    /// A record without which a living task could no longer be managed stays.
    fn refuse_while_there_is_a_task(&self, namespace: &Namespace, id: &str) -> Result<(), Status> {
        let Some(key) = caller::key(namespace, id) else { return Ok(()) };
        match self.0.manager.get(&key) {
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            // What cannot be looked at may be one too.
            Ok(_) | Err(_) => {
                let text = format!("container {id:?} has a task, which must be deleted first");
                Err(status::of(Kind::FailedPrecondition, text))
            }
        }
    }
}

#[async_trait]
impl Containers for ContainersService {
    async fn get(
        &self,
        request: Request<wire::GetContainerRequest>,
    ) -> Result<Response<wire::GetContainerResponse>, Status> {
        let namespace = caller::namespace(&request)?;
        let found = self.0.store.containers(&namespace).get(&request.get_ref().id).await;
        let container = Some(message(&*found.map_err(|e| status::of_store(&e))?));
        Ok(Response::new(wire::GetContainerResponse { container }))
    }

    async fn list(
        &self,
        request: Request<wire::ListContainersRequest>,
    ) -> Result<Response<wire::ListContainersResponse>, Status> {
        let (mut found, mut containers) = (self.found(&request)?, Vec::new());
        while let Some(container) = found.next().await {
            containers.push(message(&*container.map_err(|e| status::of_store(&e))?));
        }
        Ok(Response::new(wire::ListContainersResponse { containers }))
    }

    type ListStreamStream = Records;

    async fn list_stream(
        &self,
        request: Request<wire::ListContainersRequest>,
    ) -> Result<Response<Self::ListStreamStream>, Status> {
        Ok(Response::new(Records::of(self.found(&request)?)))
    }

    async fn create(
        &self,
        request: Request<wire::CreateContainerRequest>,
    ) -> Result<Response<wire::CreateContainerResponse>, Status> {
        let namespace = caller::namespace(&request)?;
        let given = request.into_inner().container.ok_or_else(|| status::missing("container"))?;
        let made = self.0.store.containers(&namespace).create(record(given)).await;
        let made = made.map_err(|e| status::of_store(&e))?;
        let runtime = events::container_create::Runtime {
            name: made.runtime.name.clone(),
            options: made.runtime.options.clone().map(convert::any),
        };
        let event = events::ContainerCreate {
            id: made.id.clone(),
            image: made.image.clone(),
            runtime: Some(runtime),
        };
        records::publish(&self.0.manager, namespace, Topic::CONTAINER_CREATE, &event).await;
        Ok(Response::new(wire::CreateContainerResponse { container: Some(message(&made)) }))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateContainerRequest>,
    ) -> Result<Response<wire::UpdateContainerResponse>, Status> {
        let namespace = caller::namespace(&request)?;
        let wire::UpdateContainerRequest { container, update_mask } = request.into_inner();
        let given = container.ok_or_else(|| status::missing("container"))?;
        if given.id.is_empty() {
            return Err(status::missing("container.ID"));
        }
        let mask = update_mask.unwrap_or_default().paths;
        let changed = self.0.store.containers(&namespace).update(record(given), &mask).await;
        let changed = changed.map_err(|e| status::of_store(&e))?;
        let event = events::ContainerUpdate {
            id: changed.id.clone(),
            image: changed.image.clone(),
            labels: changed.labels.clone(),
            snapshot_key: changed.snapshot_key.clone(),
        };
        records::publish(&self.0.manager, namespace, Topic::CONTAINER_UPDATE, &event).await;
        Ok(Response::new(wire::UpdateContainerResponse { container: Some(message(&changed)) }))
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteContainerRequest>,
    ) -> Result<Response<Empty>, Status> {
        let namespace = caller::namespace(&request)?;
        let id = request.into_inner().id;
        self.refuse_while_there_is_a_task(&namespace, &id)?;
        self.0.store.containers(&namespace).delete(&id).await.map_err(|e| status::of_store(&e))?;
        let event = events::ContainerDelete { id };
        records::publish(&self.0.manager, namespace, Topic::CONTAINER_DELETE, &event).await;
        Ok(Response::new(Empty::default()))
    }
}

/// A record, and those after it.
type Next = Option<(Result<wire::ListContainerMessage, Status>, Each)>;

/// Records, read and made into messages as the client takes them; `None` after the last.
pub(crate) struct Records(Option<Pin<Box<dyn Future<Output = Next> + Send>>>);

impl Records {
    fn of(mut each: Each) -> Self {
        Self(Some(Box::pin(async move {
            let found = each.next().await?;
            let message = found.map(|found| wire::ListContainerMessage { container: Some(message(&found)) });
            Some((message.map_err(|e| status::of_store(&e)), each))
        })))
    }
}

impl Stream for Records {
    type Item = Result<wire::ListContainerMessage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(next) = self.0.as_mut() else { return Poll::Ready(None) };
        let next = ready!(next.as_mut().poll(cx));
        let (message, rest) = next.unzip();
        self.0 = rest.and_then(|rest| Self::of(rest).0);
        Poll::Ready(message)
    }
}

fn record(given: wire::Container) -> Container {
    let runtime = given.runtime.unwrap_or_default();
    Container {
        id: given.id,
        labels: given.labels,
        image: given.image,
        runtime: Runtime { name: runtime.name, options: runtime.options.map(convert::from_any) },
        spec: given.spec.map(convert::from_any),
        snapshotter: given.snapshotter,
        snapshot_key: given.snapshot_key,
        extensions: convert::from_anys(given.extensions),
        sandbox: given.sandbox,
        ..Container::default()
    }
}

fn message(record: &Container) -> wire::Container {
    let runtime = wire::container::Runtime {
        name: record.runtime.name.clone(),
        options: record.runtime.options.clone().map(convert::any),
    };
    wire::Container {
        id: record.id.clone(),
        labels: record.labels.clone(),
        image: record.image.clone(),
        runtime: Some(runtime),
        spec: record.spec.clone().map(convert::any),
        snapshotter: record.snapshotter.clone(),
        snapshot_key: record.snapshot_key.clone(),
        created_at: record.created_at.map(convert::timestamp),
        updated_at: record.updated_at.map(convert::timestamp),
        extensions: convert::anys(record.extensions.clone()),
        sandbox: record.sandbox.clone(),
    }
}

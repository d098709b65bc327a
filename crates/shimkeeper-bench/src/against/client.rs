// SPDX-License-Identifier: Apache-2.0
//! A client of a daemon that speaks containerd's API, whichever it is: the calls of the scenarios, each with a bound.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use shimkeeper_client::Session;
use shimkeeper_proto::containerd::services::containers::v1 as containers;
use shimkeeper_proto::containerd::services::events::v1 as events;
use shimkeeper_proto::containerd::services::tasks::v1 as tasks;
use shimkeeper_proto::containerd::services::version::v1::version_client::VersionClient;
use shimkeeper_proto::containerd::types::Envelope;
use shimkeeper_proto::containerd::v1::types::Process;
use shimkeeper_proto::google::protobuf::{Any, Empty};
use tonic::{Response, Status, Streaming};

use containers::containers_client::ContainersClient;
use events::events_client::EventsClient;
use tasks::tasks_client::TasksClient;

use crate::against::error::AgainstError;
use crate::site::NAMESPACE;

/// The longest that one call may take: more than any does on a busy machine.
pub(crate) const CALL: Duration = Duration::from_mins(2);

/// A session with one daemon.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    session: Session,
}

/// A client of each service, on the one session.
macro_rules! services {
    ($($name:ident: $client:ident),+ $(,)?) => {
        impl Client {
            $(fn $name(&self) -> $client<Session> {
                $client::new(self.session.clone())
            })+
        }
    };
}

services!(
    containers: ContainersClient,
    events: EventsClient,
    tasks: TasksClient,
    version_of: VersionClient,
);

impl Client {
    pub(crate) async fn connect(address: &Path) -> Result<Self, AgainstError> {
        let stream = UnixStream::connect(address).map_err(AgainstError::file("connect to", address))?;
        Self::over(stream).await
    }

    /// On a connection that is there.
    pub(crate) async fn over(stream: UnixStream) -> Result<Self, AgainstError> {
        let session = Session::over(stream).await.map_err(AgainstError::Session)?;
        Ok(Self { session: session.within(NAMESPACE) })
    }

    pub(crate) async fn version(&self) -> Result<String, AgainstError> {
        Ok(ask("Version", self.version_of().version(Empty {})).await?.version)
    }

    pub(crate) async fn create_container(
        &self,
        container: containers::Container,
    ) -> Result<(), AgainstError> {
        let request = containers::CreateContainerRequest { container: Some(container) };
        ask("Containers.Create", self.containers().create(request)).await.map(drop)
    }

    pub(crate) async fn delete_container(&self, id: &str) -> Result<(), AgainstError> {
        let request = containers::DeleteContainerRequest { id: id.to_owned() };
        ask("Containers.Delete", self.containers().delete(request)).await.map(drop)
    }

    /// Every id that there is a record of.
    pub(crate) async fn container_ids(&self) -> Result<Vec<String>, AgainstError> {
        let request = containers::ListContainersRequest::default();
        let listed = ask("Containers.List", self.containers().list(request)).await?;
        Ok(listed.containers.into_iter().map(|container| container.id).collect())
    }

    pub(crate) async fn create(&self, id: &str) -> Result<(), AgainstError> {
        let request =
            tasks::CreateTaskRequest { container_id: id.to_owned(), ..tasks::CreateTaskRequest::default() };
        ask("Tasks.Create", self.tasks().create(request)).await.map(drop)
    }

    pub(crate) async fn start(&self, id: &str, exec: &str) -> Result<(), AgainstError> {
        let request = tasks::StartRequest { container_id: id.to_owned(), exec_id: exec.to_owned() };
        ask("Tasks.Start", self.tasks().start(request)).await.map(drop)
    }

    /// The exit status, once there is one.
    pub(crate) async fn wait(&self, id: &str, exec: &str) -> Result<u32, AgainstError> {
        let request = tasks::WaitRequest { container_id: id.to_owned(), exec_id: exec.to_owned() };
        Ok(ask("Tasks.Wait", self.tasks().wait(request)).await?.exit_status)
    }

    pub(crate) async fn kill(&self, id: &str) -> Result<(), AgainstError> {
        let request = tasks::KillRequest {
            container_id: id.to_owned(),
            signal: 9,
            all: true,
            ..tasks::KillRequest::default()
        };
        ask("Tasks.Kill", self.tasks().kill(request)).await.map(drop)
    }

    pub(crate) async fn delete(&self, id: &str) -> Result<(), AgainstError> {
        let request = tasks::DeleteTaskRequest { container_id: id.to_owned() };
        ask("Tasks.Delete", self.tasks().delete(request)).await.map(drop)
    }

    pub(crate) async fn exec(&self, request: tasks::ExecProcessRequest) -> Result<(), AgainstError> {
        ask("Tasks.Exec", self.tasks().exec(request)).await.map(drop)
    }

    pub(crate) async fn delete_process(&self, id: &str, exec: &str) -> Result<(), AgainstError> {
        let request = tasks::DeleteProcessRequest { container_id: id.to_owned(), exec_id: exec.to_owned() };
        ask("Tasks.DeleteProcess", self.tasks().delete_process(request)).await.map(drop)
    }

    pub(crate) async fn get(&self, id: &str) -> Result<(), AgainstError> {
        let request = tasks::GetRequest { container_id: id.to_owned(), exec_id: String::new() };
        ask("Tasks.Get", self.tasks().get(request)).await.map(drop)
    }

    pub(crate) async fn list(&self) -> Result<Vec<Process>, AgainstError> {
        let listed = ask("Tasks.List", self.tasks().list(tasks::ListTasksRequest::default())).await?;
        Ok(listed.tasks)
    }

    /// Of how many tasks there were any.
    pub(crate) async fn metrics(&self) -> Result<usize, AgainstError> {
        let told = ask("Tasks.Metrics", self.tasks().metrics(tasks::MetricsRequest::default())).await?;
        Ok(told.metrics.len())
    }
}

impl Client {
    pub(crate) async fn publish(&self, topic: &str, event: Any) -> Result<(), AgainstError> {
        let request = events::PublishRequest { topic: topic.to_owned(), event: Some(event) };
        ask("Events.Publish", self.events().publish(request)).await.map(drop)
    }

    /// Every event from now on. A daemon may say nothing, not even that it listens, until there is one: no bound.
    pub(crate) async fn subscribe(&self) -> Result<Streaming<Envelope>, AgainstError> {
        let answer = self.events().subscribe(events::SubscribeRequest::default()).await;
        let refused = |status| AgainstError::Refused { call: "Events.Subscribe", status };
        answer.map(Response::into_inner).map_err(refused)
    }
}

/// The answer to one call.
fn ask<T>(
    call: &'static str,
    answer: impl Future<Output = Result<Response<T>, Status>> + Send,
) -> impl Future<Output = Result<T, AgainstError>> + Send {
    // The stubs' futures are large.
    let answer = tokio::time::timeout(CALL, Box::pin(answer));
    async move {
        match answer.await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(AgainstError::Refused { call, status }),
            Err(_elapsed) => Err(AgainstError::Late { call }),
        }
    }
}

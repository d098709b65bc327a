// SPDX-License-Identifier: Apache-2.0
//! What every case stands on: the API over a manager and a store in directories of the test's own, called through the
//! stubs that clients have.

use std::sync::Arc;
use std::time::Duration;

use shimkeeper::{Config, Manager};
use shimkeeper_api::{About, Api, Observer, Services};
use shimkeeper_proto::containerd::services::containers::v1 as containers;
use shimkeeper_proto::containerd::services::events::v1::SubscribeRequest;
use shimkeeper_proto::containerd::services::events::v1::events_client::EventsClient;
use shimkeeper_proto::containerd::services::leases::v1::leases_client::LeasesClient;
use shimkeeper_proto::containerd::services::namespaces::v1::namespaces_client::NamespacesClient;
use shimkeeper_proto::containerd::services::tasks::v1 as tasks;
use shimkeeper_proto::containerd::types::Envelope;
use shimkeeper_proto::google::protobuf::Any;
use shimkeeper_store::Store;
use shimkeeper_testkit::{SOCKET_DIR_ENV, Script, TestDirs, TestSpec, fake_shim_binary};
use tonic::{Request, Status, Streaming};

use containers::containers_client::ContainersClient;
use tasks::tasks_client::TasksClient;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What the spec of a container is called on the wire.
pub(crate) const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/// What the process of an exec is called on the wire.
pub(crate) const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";

/// The API and what it stands on.
pub(crate) struct Bench {
    pub(crate) api: Api,
    pub(crate) manager: Manager,
    pub(crate) store: Store,
    /// Last, so that it finds what the others left.
    _dirs: TestDirs,
}

/// A request in the namespace of the tests.
pub(crate) fn ask<T>(message: T) -> Request<T> {
    ask_in("ns", message)
}

/// A request in another namespace.
pub(crate) fn ask_in<T>(namespace: &'static str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("containerd-namespace", namespace.parse().unwrap());
    request
}

/// Code and text of a failure.
pub(crate) fn said(status: &Status) -> (tonic::Code, &str) {
    (status.code(), status.message())
}

/// A container's record, for the fake shim.
pub(crate) fn container(id: &str, args: &[&str], script: &Script) -> containers::Container {
    let spec = TestSpec::fake(args).script(script).to_bytes();
    let runtime = containers::container::Runtime { name: "io.containerd.fake.v2".into(), options: None };
    containers::Container {
        id: id.into(),
        runtime: Some(runtime),
        spec: Some(Any { type_url: SPEC.into(), value: spec }),
        ..containers::Container::default()
    }
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::make(None).await
    }

    /// With somebody who is told of every call.
    pub(crate) async fn observed(observer: Arc<dyn Observer>) -> Self {
        Self::make(Some(observer)).await
    }

    async fn make(observer: Option<Arc<dyn Observer>>) -> Self {
        let dirs = TestDirs::new();
        let bin = fake_shim_binary().parent().unwrap().to_owned();
        let config =
            Config::new(dirs.state(), dirs.root()).search_path(vec![bin]).env(SOCKET_DIR_ENV, dirs.sockets());
        let manager = Manager::open(config).await.unwrap();
        let store = Store::open(&dirs.path().join("store"), &dirs.state()).unwrap();
        let about = About { version: "1.2.3".into(), revision: "abc".into(), uuid: "the uuid".into() };
        let services = Services::new(manager.clone(), store.clone(), about);
        let api = match observer {
            Some(observer) => services.observed(observer).api(),
            None => services.api(),
        };
        Self { api, manager, store, _dirs: dirs }
    }

    pub(crate) fn tasks(&self) -> TasksClient<Api> {
        TasksClient::new(self.api.clone())
    }

    pub(crate) fn containers(&self) -> ContainersClient<Api> {
        ContainersClient::new(self.api.clone())
    }

    pub(crate) fn namespaces(&self) -> NamespacesClient<Api> {
        NamespacesClient::new(self.api.clone())
    }

    pub(crate) fn leases(&self) -> LeasesClient<Api> {
        LeasesClient::new(self.api.clone())
    }

    pub(crate) fn events(&self) -> EventsClient<Api> {
        EventsClient::new(self.api.clone())
    }

    /// Everything that is published from now on.
    pub(crate) async fn subscribe(&self, filters: &[&str]) -> Streaming<Envelope> {
        let filters = filters.iter().map(|&filter| filter.to_owned()).collect();
        self.events().subscribe(ask(SubscribeRequest { filters })).await.unwrap().into_inner()
    }

    /// Makes a record.
    pub(crate) async fn record(&self, container: containers::Container) {
        let request = containers::CreateContainerRequest { container: Some(container) };
        Box::pin(self.containers().create(ask(request))).await.unwrap();
    }

    /// Makes a record and a task of it.
    pub(crate) async fn created(&self, id: &str, args: &[&str]) -> u32 {
        self.record(container(id, args, &Script::new())).await;
        self.create(id).await.unwrap()
    }

    /// … and starts it.
    pub(crate) async fn running(&self, id: &str, args: &[&str]) -> u32 {
        let pid = self.created(id, args).await;
        assert_eq!(self.start(id, "").await.unwrap(), pid);
        pid
    }

    pub(crate) async fn create(&self, id: &str) -> Result<u32, Status> {
        let request =
            tasks::CreateTaskRequest { container_id: id.into(), ..tasks::CreateTaskRequest::default() };
        let made = Box::pin(self.tasks().create(ask(request))).await?.into_inner();
        assert_eq!(made.container_id, id);
        Ok(made.pid)
    }

    pub(crate) async fn start(&self, id: &str, exec: &str) -> Result<u32, Status> {
        let request = tasks::StartRequest { container_id: id.into(), exec_id: exec.into() };
        Ok(self.tasks().start(ask(request)).await?.into_inner().pid)
    }

    pub(crate) async fn get(
        &self,
        id: &str,
        exec: &str,
    ) -> Result<shimkeeper_proto::containerd::v1::types::Process, Status> {
        let request = tasks::GetRequest { container_id: id.into(), exec_id: exec.into() };
        Ok(self.tasks().get(ask(request)).await?.into_inner().process.unwrap())
    }

    pub(crate) async fn kill(&self, id: &str, exec: &str, signal: u32) -> Result<(), Status> {
        let (container_id, exec_id) = (id.into(), exec.into());
        let request = tasks::KillRequest { container_id, exec_id, signal, all: false };
        self.tasks().kill(ask(request)).await.map(drop)
    }

    pub(crate) async fn wait(&self, id: &str, exec: &str) -> Result<tasks::WaitResponse, Status> {
        let request = tasks::WaitRequest { container_id: id.into(), exec_id: exec.into() };
        tokio::time::timeout(PATIENCE, self.tasks().wait(ask(request)))
            .await
            .unwrap()
            .map(tonic::Response::into_inner)
    }

    pub(crate) async fn delete(&self, id: &str) -> Result<tasks::DeleteResponse, Status> {
        let request = tasks::DeleteTaskRequest { container_id: id.into() };
        self.tasks().delete(ask(request)).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn delete_record(&self, id: &str) -> Result<(), Status> {
        self.containers().delete(ask(containers::DeleteContainerRequest { id: id.into() })).await.map(drop)
    }

    pub(crate) async fn exec(&self, id: &str, exec: &str, args: &[&str]) -> Result<(), Status> {
        let process = Any { type_url: PROCESS.into(), value: TestSpec::fake(["sleep"]).process(args) };
        let request = tasks::ExecProcessRequest {
            container_id: id.into(),
            exec_id: exec.into(),
            spec: Some(process),
            ..tasks::ExecProcessRequest::default()
        };
        Box::pin(self.tasks().exec(ask(request))).await.map(drop)
    }

    /// Ends every task, however it came about.
    pub(crate) async fn sweep(&self) {
        for task in self.manager.list() {
            // One that was never started, or has ended, cannot be killed.
            let _ = task.kill(9, true).await;
            let over = async {
                while task.delete().await.is_err_and(|e| e.kind() == shimkeeper::Kind::FailedPrecondition) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(PATIENCE, over).await.unwrap();
        }
    }

    /// Ends a task that runs, and removes its record.
    pub(crate) async fn end(&self, id: &str) {
        self.kill(id, "", 9).await.unwrap();
        assert_eq!(self.wait(id, "").await.unwrap().exit_status, 137);
        self.delete(id).await.unwrap();
        self.delete_record(id).await.unwrap();
    }
}

/// The next event of a stream.
pub(crate) async fn next(events: &mut Streaming<Envelope>) -> Envelope {
    tokio::time::timeout(PATIENCE, events.message()).await.expect("an event comes in time").unwrap().unwrap()
}

/// The topics of a task's events up to one that ends them.
pub(crate) async fn topics_to(events: &mut Streaming<Envelope>, last: &str) -> Vec<String> {
    let mut topics = Vec::new();
    while topics.last().is_none_or(|topic| topic != last) {
        topics.push(next(events).await.topic);
    }
    topics
}

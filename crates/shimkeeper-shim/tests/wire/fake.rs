// SPDX-License-Identifier: Apache-2.0
//! A shim made of a server and a script. It notes what it is asked, and dies when told to.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;
use shimkeeper_core::Namespace;
use shimkeeper_shim::{Address, BootstrapParams, Connection, DialError, DialMode, TaskApi};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;

use crate::{fake_grpc, fake_ttrpc};

/// All of them.
pub(crate) const APIS: [TaskApi; 3] = [TaskApi::TtrpcV2, TaskApi::TtrpcV3, TaskApi::GrpcV3];
/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// What the shim was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) service: &'static str,
    pub(crate) method: String,
    pub(crate) namespace: Option<String>,
    pub(crate) traceparent: Option<String>,
    pub(crate) has_deadline: bool,
}

/// What the shim does.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// Answers every call with an empty message.
    Answer,
    /// Never answers `Wait`; answers the rest.
    HangOnWait,
    /// Fails every call.
    Fail { code: i32, message: &'static str },
    /// Answers `State` with this much text in it.
    Large { bytes: usize },
}

/// What a method of the shim comes to.
pub(crate) enum Reply {
    Message(Vec<u8>),
    Status { code: i32, message: String },
}

#[derive(Debug)]
pub(crate) struct Script {
    behaviour: Behaviour,
    seen: Mutex<Vec<Seen>>,
}

impl Script {
    pub(crate) async fn reply(&self, seen: Seen) -> Reply {
        let method = seen.method.clone();
        self.seen.lock().unwrap().push(seen);
        match &self.behaviour {
            Behaviour::Fail { code, message } => {
                Reply::Status { code: *code, message: (*message).to_owned() }
            }
            Behaviour::HangOnWait if method == "Wait" => std::future::pending().await,
            Behaviour::Large { bytes } if method == "State" => {
                let id = "x".repeat(*bytes);
                let state =
                    shimkeeper_proto::containerd::task::v3::StateResponse { id, ..Default::default() };
                Reply::Message(state.encode_to_vec())
            }
            Behaviour::Answer | Behaviour::HangOnWait | Behaviour::Large { .. } => Reply::Message(Vec::new()),
        }
    }
}

pub(crate) struct FakeShim {
    pub(crate) params: BootstrapParams,
    pub(crate) tasks: TaskTracker,
    script: Arc<Script>,
    runtime: Option<Runtime>,
    _dir: TempDir,
}

impl FakeShim {
    /// Serves the API, and no other.
    pub(crate) fn start(api: TaskApi, behaviour: Behaviour) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let script = Arc::new(Script { behaviour, seen: Mutex::default() });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let entered = runtime.enter();
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        drop(entered);
        match api {
            TaskApi::GrpcV3 => drop(runtime.spawn(fake_grpc::serve(listener, script.clone()))),
            ttrpc => drop(runtime.spawn(fake_ttrpc::serve(listener, ttrpc, script.clone()))),
        }
        Self {
            params: params(api, &path),
            tasks: TaskTracker::new(),
            script,
            runtime: Some(runtime),
            _dir: dir,
        }
    }

    pub(crate) async fn dial(&self) -> Connection {
        dial(&self.params, &self.tasks, LONG).await.unwrap()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.script.seen.lock().unwrap().clone()
    }

    /// Waits until a call has arrived.
    pub(crate) async fn has_seen(&self, method: &str) {
        let arrived = async {
            while !self.seen().iter().any(|seen| seen.method == method) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, arrived).await.expect("the call arrives");
    }

    /// Ends it as SIGKILL would: its sockets close where they stand.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for FakeShim {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn params(api: TaskApi, path: &Path) -> BootstrapParams {
    BootstrapParams { api, address: Address::unix(path) }
}

pub(crate) async fn dial(
    params: &BootstrapParams,
    tasks: &TaskTracker,
    deadline: Duration,
) -> Result<Connection, DialError> {
    let namespace: Namespace = "test-ns".parse().unwrap();
    Connection::dial(params, &namespace, DialMode::Fresh, tasks, deadline).await
}

/// The connection's driver, and all that it spawned, must end with the connection.
pub(crate) async fn drivers_end(tasks: &TaskTracker) {
    tasks.close();
    tokio::time::timeout(LONG, tasks.wait()).await.expect("no task outlives the connection");
}

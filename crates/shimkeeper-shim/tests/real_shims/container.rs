// SPDX-License-Identifier: Apache-2.0
//! One container on a real shim, and the certainty that nothing of it stays, whatever the test did.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;
use serde_json::json;
use shimkeeper_core::Namespace;
use shimkeeper_proto::containerd::runc::v1::Options;
use shimkeeper_proto::containerd::task::v3 as task;
use shimkeeper_proto::google::protobuf::Any;
use shimkeeper_shim::{Address, BootstrapParams, CallError, Connection, DialMode, TaskApi};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::generation::{self, Generation};
use crate::host::{self, Process};
use crate::{LONG, within};

const NAMESPACE: &str = "shimkeeper-test";

pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) connection: Connection,
    tasks: TaskTracker,
    _events: DropGuard,
    remains: Remains,
}

/// What a launch leaves on the host; its drop takes all of it away.
struct Remains {
    id: String,
    dir: TempDir,
    socket: Option<PathBuf>,
    _log: OwnedFd,
}

impl Container {
    /// Launches a shim and dials it.
    pub(crate) async fn launch(generation: Generation) -> Self {
        Self::launch_as(generation, generation.api()).await
    }

    /// Launches a shim and dials it, with an API of our choice.
    pub(crate) async fn launch_as(generation: Generation, api: TaskApi) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        assert!(rustix::process::geteuid().is_root(), "containers take root");
        let id = format!("sk-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::tempdir().unwrap();
        write_bundle(dir.path(), &id);
        let log = host::open_log(dir.path());
        let mut remains = Remains { id: id.clone(), dir, socket: None, _log: log };

        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let listener = UnixListener::bind(remains.dir.path().join("events")).unwrap();
        tasks.spawn(host::serve_events(listener, stop.clone()));
        let mut params = timeout(LONG, start(generation, &id, remains.dir.path())).await.expect("start ends");
        assert_eq!(params.api, generation.api(), "what {generation:?} announces");
        if let Address::Unix(path) = &params.address {
            remains.socket = Some(path.to_path_buf());
        }
        params.api = api;
        let namespace: Namespace = NAMESPACE.parse().unwrap();
        let connection = Connection::dial(&params, &namespace, DialMode::Fresh, &tasks, LONG).await.unwrap();
        Self { id, connection, tasks, _events: stop.drop_guard(), remains }
    }

    /// Creates and starts a container that sleeps; gives its pid.
    pub(crate) async fn create_and_start(&self) -> u32 {
        let request = task::CreateTaskRequest {
            id: self.id.clone(),
            bundle: path_text(self.remains.dir.path()),
            options: Some(self.remains.options()),
            ..Default::default()
        };
        let created = self.connection.create(&within(), &request).await.unwrap();
        let started = self.start("").await.unwrap();
        assert_eq!(started.pid, created.pid);
        started.pid
    }

    pub(crate) async fn start(&self, exec_id: &str) -> Result<task::StartResponse, CallError> {
        let request = task::StartRequest { id: self.id.clone(), exec_id: exec_id.to_owned() };
        self.connection.start(&within(), &request).await
    }

    /// Runs a command in the container; gives its exit status.
    pub(crate) async fn exec(&self, command: &str) -> u32 {
        let spec = json!({ "args": ["/bin/sh", "-c", command], "cwd": "/", "user": { "uid": 0, "gid": 0 } });
        let (id, exec_id) = (self.id.clone(), "one".to_owned());
        let request = task::ExecProcessRequest {
            id: id.clone(),
            exec_id: exec_id.clone(),
            spec: Some(Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
                value: serde_json::to_vec(&spec).unwrap().into(),
            }),
            ..Default::default()
        };
        self.connection.exec(&within(), &request).await.unwrap();
        self.start(&exec_id).await.unwrap();
        let request = task::WaitRequest { id: id.clone(), exec_id: exec_id.clone() };
        let exit = self.connection.wait(&within(), &request).await.unwrap();
        let request = task::DeleteRequest { id, exec_id };
        let deleted = self.connection.delete(&within(), &request).await.unwrap();
        assert_eq!(deleted.exit_status, exit.exit_status);
        exit.exit_status
    }

    pub(crate) async fn state(&self) -> task::StateResponse {
        let request = task::StateRequest { id: self.id.clone(), exec_id: String::new() };
        self.connection.state(&within(), &request).await.unwrap()
    }

    pub(crate) async fn connect(&self) -> task::ConnectResponse {
        let request = task::ConnectRequest { id: self.id.clone() };
        self.connection.connect(&within(), &request).await.unwrap()
    }

    pub(crate) fn spawn_wait(&self) -> JoinHandle<Result<task::WaitResponse, CallError>> {
        let connection = self.connection.clone();
        let request = task::WaitRequest { id: self.id.clone(), exec_id: String::new() };
        self.tasks.spawn(async move { connection.wait(&within(), &request).await })
    }

    pub(crate) async fn kill(&self, signal: Signal) {
        let signal = signal.as_raw().try_into().unwrap();
        let request = task::KillRequest { id: self.id.clone(), signal, ..Default::default() };
        self.connection.kill(&within(), &request).await.unwrap();
    }

    pub(crate) async fn delete(&self) -> task::DeleteResponse {
        let request = task::DeleteRequest { id: self.id.clone(), exec_id: String::new() };
        self.connection.delete(&within(), &request).await.unwrap()
    }

    /// The shim's process.
    pub(crate) fn shim(&self) -> Process {
        let mut found = Process::of_task(&self.id);
        assert_eq!(found.len(), 1, "one process serves the task");
        found.remove(0)
    }

    /// Ends the container, if it is there, and the shim as it should be ended; checks that nothing is left.
    pub(crate) async fn finish(self) {
        let request = task::StateRequest { id: self.id.clone(), exec_id: String::new() };
        if self.connection.state(&within(), &request).await.is_ok() {
            let waiting = self.spawn_wait();
            self.kill(Signal::KILL).await;
            waiting.await.unwrap().unwrap();
            self.delete().await;
        }
        let shim = self.shim();
        let request = task::ShutdownRequest { id: self.id.clone(), now: false };
        match self.connection.shutdown(&within(), &request).await {
            Ok(()) => {}
            // A shim may be gone before its answer is on the wire.
            Err(error) => assert!(error.is_closed(), "{error}"),
        }
        timeout(LONG, self.connection.closed()).await.expect("the shim's end is seen");
        tokio::task::spawn_blocking(move || shim.wait_gone(LONG)).await.unwrap().expect("the shim ends");
        let state = self.remains.runc_root().join(&self.id);
        assert!(!state.exists(), "{} is left", state.display());
        if let Some(socket) = &self.remains.socket {
            assert!(!socket.exists(), "{} is left", socket.display());
        }
    }
}

impl Remains {
    fn options(&self) -> Any {
        let root = path_text(&self.dir.path().join("runc"));
        shimkeeper_proto::pack(&Options { root, ..Default::default() })
    }

    fn runc_root(&self) -> PathBuf {
        self.dir.path().join("runc").join(NAMESPACE)
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        for shim in Process::of_task(&self.id) {
            shim.signal(Signal::KILL);
            if let Err(error) = shim.wait_gone(LONG) {
                println!("the shim of {} stays: {error}", self.id);
            }
        }
        if self.runc_root().join(&self.id).exists() {
            let mut runc = Command::new("runc");
            runc.arg("--root").arg(self.runc_root()).args(["delete", "--force", &self.id]);
            println!("{runc:?}: {:?}", runc.status());
        }
        if let Some(socket) = &self.socket {
            // Gone already if the shim ended in peace.
            drop(fs::remove_file(socket));
        }
    }
}

fn write_bundle(bundle: &Path, id: &str) {
    let namespaces: Vec<_> = ["pid", "ipc", "uts", "mount"].map(|kind| json!({ "type": kind })).into();
    let spec = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/sleep", "1000"],
            "env": ["PATH=/bin"],
            "cwd": "/",
        },
        "root": { "path": generation::rootfs(), "readonly": true },
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        // At the top, so that no empty parent is left behind.
        "linux": { "cgroupsPath": format!("/{id}"), "namespaces": namespaces },
    });
    fs::create_dir(bundle.join("rootfs")).unwrap();
    fs::write(bundle.join("config.json"), serde_json::to_vec(&spec).unwrap()).unwrap();
}

/// Runs the shim's `start`; gives what it announces.
async fn start(generation: Generation, id: &str, bundle: &Path) -> BootstrapParams {
    let events = bundle.join("events");
    let output = tokio::process::Command::new(generation.shim())
        .args(["-namespace", NAMESPACE, "-id", id, "-publish-binary", "/bin/true"])
        .arg("-address")
        .arg(bundle.join("grpc"))
        .arg("start")
        .env("TTRPC_ADDRESS", &events)
        .env("GOMAXPROCS", "2")
        .env("MAX_SHIM_VERSION", "2")
        .current_dir(bundle)
        .process_group(0)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{generation:?} start: {} {said}", output.status);
    BootstrapParams::parse(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn path_text(path: &Path) -> String {
    path.to_str().expect("temporary directories have plain names").to_owned()
}

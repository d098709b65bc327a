// SPDX-License-Identifier: Apache-2.0
//! A client that adds processes to containers, over a daemon that comes and goes, and remembers which ones ran for
//! certain.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shimkeeper_client::Session;
use shimkeeper_proto::containerd::services::containers::v1 as containers;
use shimkeeper_proto::containerd::services::containers::v1::containers_client::ContainersClient;
use shimkeeper_proto::containerd::services::tasks::v1 as tasks;
use shimkeeper_proto::containerd::services::tasks::v1::tasks_client::TasksClient;
use shimkeeper_proto::containerd::v1::types::Status as State;
use tokio::task::JoinSet;
use tonic::Status;

use crate::specs::Specs;
use crate::support::{Daemon, PATIENCE};

/// That of `ctr` when nobody says another.
const NAMESPACE: &str = "default";

/// A process that ran: its container, its exec id, its process id.
pub(super) type Ran = (String, String, u32);

pub(super) struct Adding {
    socket: PathBuf,
    specs: Specs,
    session: Mutex<Option<Session>>,
    started: Mutex<Vec<Ran>>,
    asked: AtomicUsize,
}

/// A session with a daemon that may be away for a moment.
pub(super) async fn dial(socket: &std::path::Path) -> Session {
    let dialing = async {
        loop {
            if let Ok(session) = Session::open(socket).await {
                return session.within(NAMESPACE);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, dialing).await.expect("the daemon comes back")
}

impl Adding {
    pub(super) fn new(daemon: &Daemon) -> Self {
        Self {
            socket: daemon.address(),
            specs: Specs::of(&daemon.dirs),
            session: Mutex::default(),
            started: Mutex::default(),
            asked: AtomicUsize::default(),
        }
    }

    /// The session of the moment, or a new one.
    async fn session(&self) -> Session {
        let known = self.session.lock().unwrap().clone();
        if let Some(session) = known.filter(Session::lives) {
            return session;
        }
        let session = dial(&self.socket).await;
        *self.session.lock().unwrap() = Some(session.clone());
        session
    }

    async fn tasks(&self) -> TasksClient<Session> {
        TasksClient::new(self.session().await)
    }

    /// Makes a container that sleeps.
    pub(super) async fn container(&self, id: &str) {
        let record = self.specs.container(id, &["sleep", "3600"]);
        let request = containers::CreateContainerRequest { container: Some(record) };
        Box::pin(ContainersClient::new(self.session().await).create(request)).await.unwrap();
        let mut client = self.tasks().await;
        let create =
            tasks::CreateTaskRequest { container_id: id.into(), ..tasks::CreateTaskRequest::default() };
        client.create(create).await.unwrap();
        client.start(tasks::StartRequest { container_id: id.into(), exec_id: String::new() }).await.unwrap();
    }

    /// Ends one, and removes it.
    pub(super) async fn remove(&self, id: &str) {
        let mut client = self.tasks().await;
        let kill = tasks::KillRequest { container_id: id.into(), signal: 9, ..tasks::KillRequest::default() };
        client.kill(kill).await.unwrap();
        let wait = tasks::WaitRequest { container_id: id.into(), exec_id: String::new() };
        let ended = tokio::time::timeout(PATIENCE, client.wait(wait)).await.unwrap().unwrap();
        assert_eq!(ended.into_inner().exit_status, 137);
        client.delete(tasks::DeleteTaskRequest { container_id: id.into() }).await.unwrap();
        let delete = containers::DeleteContainerRequest { id: id.into() };
        ContainersClient::new(self.session().await).delete(delete).await.unwrap();
    }

    /// Those that run.
    pub(super) async fn running(&self) -> Vec<String> {
        let listed = self.tasks().await.list(tasks::ListTasksRequest::default()).await.unwrap().into_inner();
        let running = listed.tasks.into_iter().filter(|task| task.status() == State::Running);
        running.map(|task| task.id).collect()
    }

    /// The processes that ran for certain.
    pub(super) fn started(&self) -> Vec<Ran> {
        self.started.lock().unwrap().clone()
    }

    /// How many were asked for.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Adds a process to one container after the other, until it is over.
    pub(super) async fn add_until(
        self: Arc<Self>,
        over: Arc<AtomicBool>,
        pace: Duration,
        names: Vec<String>,
    ) {
        let mut adding = JoinSet::new();
        let mut ticks = tokio::time::interval(pace);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        for (number, name) in names.iter().cycle().enumerate() {
            if over.load(Ordering::Relaxed) {
                break;
            }
            ticks.tick().await;
            let (this, name) = (self.clone(), name.clone());
            adding.spawn(async move { this.add(&name, &format!("e{number}")).await });
            while adding.try_join_next().is_some_and(|ended| ended.is_ok()) {}
        }
        while let Some(ended) = adding.join_next().await {
            ended.unwrap();
        }
    }

    async fn add(&self, id: &str, exec: &str) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        // Where the daemon went in the middle of it, nobody knows how far it came.
        let _ =
            tokio::time::timeout(PATIENCE, self.try_to_add(id, exec)).await.expect("it is answered in time");
    }

    async fn try_to_add(&self, id: &str, exec: &str) -> Result<(), Status> {
        let (container_id, exec_id) = (id.to_owned(), exec.to_owned());
        let request = tasks::ExecProcessRequest {
            container_id: container_id.clone(),
            exec_id: exec_id.clone(),
            spec: Some(self.specs.process(&["/bin/true"])),
            ..tasks::ExecProcessRequest::default()
        };
        Box::pin(self.tasks().await.exec(request)).await?;
        let start = tasks::StartRequest { container_id: container_id.clone(), exec_id: exec_id.clone() };
        let pid = self.tasks().await.start(start).await?.into_inner().pid;
        self.started.lock().unwrap().push((container_id.clone(), exec_id.clone(), pid));
        // The wait may outlive a daemon; the next one has the answer too.
        loop {
            let wait = tasks::WaitRequest { container_id: container_id.clone(), exec_id: exec_id.clone() };
            match self.tasks().await.wait(wait).await {
                Ok(ended) => {
                    assert_eq!(ended.into_inner().exit_status, 0, "{id} {exec}");
                    break;
                }
                Err(status) if status.code() == tonic::Code::NotFound => {
                    panic!("{id} {exec} was started, and is not known any more: {status}")
                }
                Err(_) => {}
            }
        }
        let delete = tasks::DeleteProcessRequest { container_id, exec_id };
        self.tasks().await.delete_process(delete).await.map(drop)
    }
}

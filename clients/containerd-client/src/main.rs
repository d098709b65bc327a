// SPDX-License-Identifier: Apache-2.0
//! Lives a container's whole life through the crate `containerd-client`, and fails where anything is not as with
//! containerd: `shimkeeper-containerd-client SOCKET SPEC PROCESS OUTPUT`, where the two in the middle are files with
//! JSON and the last is the file that the container writes to.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use containerd_client::events::TaskExit;
use containerd_client::services::v1::container::Runtime;
use containerd_client::services::v1::{
    Container, CreateContainerRequest, CreateRequest, CreateTaskRequest, DeleteContainerRequest,
    DeleteProcessRequest, DeleteRequest, DeleteTaskRequest, ExecProcessRequest, GetContainerRequest,
    GetRequest, KillRequest, ListContainersRequest, ListPidsRequest, ListTasksRequest, MetricsRequest,
    PauseTaskRequest, ResumeTaskRequest, StartRequest, SubscribeRequest, WaitRequest,
};
use containerd_client::types::v1::Status as State;
use containerd_client::{Client, with_namespace};
use prost_types::Any;
use tonic::{Code, Request, Streaming};

const NAMESPACE: &str = "rust";
const ID: &str = "life";
const PATIENCE: Duration = Duration::from_secs(60);
const SPECS: &str = "types.containerd.io/opencontainers/runtime-spec/1";

type Events = Streaming<containerd_client::types::Envelope>;

fn file(kind: &str, path: &str) -> Result<Any> {
    let value = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
    Ok(Any { type_url: format!("{SPECS}/{kind}"), value })
}

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [socket, spec, process, output] = args.try_into().ok().context("SOCKET SPEC PROCESS OUTPUT")?;
    let client = Client::from_path(&socket).await?;
    let version = client.version().version(()).await?.into_inner();
    let filters = vec![format!("namespace=={NAMESPACE},topic~=^/tasks/")];
    let mut events = client.events().subscribe(SubscribeRequest { filters }).await?.into_inner();

    let spec = file("Spec", &spec)?;
    record(&client, &spec).await?;
    let pid = begin(&client, &output).await?;
    inside(&client, file("Process", &process)?).await?;
    frozen(&client).await?;
    let at_end = end(&client, pid).await?;
    let told = story(&mut events).await?;
    let expected =
        ["create", "start", "exec-added", "exec-started", "exit", "paused", "resumed", "exit", "delete"];
    ensure!(told.0 == expected, "told {:?}", told.0);
    ensure!(told.1 == at_end, "the event says {} and the wait {at_end}", told.1);
    println!("lived on {}", version.version);
    Ok(())
}

/// Its record, made under a lease as Go's client does it.
async fn record(client: &Client, spec: &Any) -> Result<()> {
    let lease = CreateRequest { id: "held".into(), labels: HashMap::new() };
    client.leases().create(with_namespace!(lease, NAMESPACE)).await?;
    let container = Container {
        id: ID.into(),
        runtime: Some(Runtime { name: "io.containerd.runc.v2".into(), options: None }),
        spec: Some(spec.clone()),
        labels: HashMap::from([("tier".into(), "front".into())]),
        ..Container::default()
    };
    let create = CreateContainerRequest { container: Some(container) };
    let mut create = with_namespace!(create, NAMESPACE);
    create.metadata_mut().insert("containerd-lease", "held".parse()?);
    client.containers().create(create).await?;
    let delete = DeleteRequest { id: "held".into(), sync: false };
    client.leases().delete(with_namespace!(delete, NAMESPACE)).await?;
    let get = GetContainerRequest { id: ID.into() };
    let kept = client.containers().get(with_namespace!(get, NAMESPACE)).await?.into_inner().container;
    ensure!(kept.and_then(|kept| kept.spec).as_ref() == Some(spec), "the specification is kept to the byte");
    let list = ListContainersRequest { filters: vec!["labels.tier==front".into()] };
    let listed = client.containers().list(with_namespace!(list, NAMESPACE)).await?.into_inner().containers;
    ensure!(listed.len() == 1, "{listed:?}");
    Ok(())
}

async fn begin(client: &Client, output: &str) -> Result<u32> {
    let create = CreateTaskRequest {
        container_id: ID.into(),
        stdout: format!("file://{output}"),
        stderr: format!("file://{output}"),
        ..CreateTaskRequest::default()
    };
    let pid = client.tasks().create(with_namespace!(create, NAMESPACE)).await?.into_inner().pid;
    let start = StartRequest { container_id: ID.into(), exec_id: String::new() };
    let started = client.tasks().start(with_namespace!(start, NAMESPACE)).await?.into_inner().pid;
    ensure!(pid == started && pid != 0, "{pid} and {started}");
    let saying = async {
        while std::fs::read_to_string(output).unwrap_or_default() != "up\n" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, saying).await.context("it does not say that it is up")?;
    Ok(pid)
}

async fn state(client: &Client) -> Result<State> {
    let get = GetRequest { container_id: ID.into(), exec_id: String::new() };
    let process = client.tasks().get(with_namespace!(get, NAMESPACE)).await?.into_inner().process;
    Ok(process.context("no process")?.status())
}

async fn wait(client: &Client, exec: &str) -> Result<u32> {
    let wait = WaitRequest { container_id: ID.into(), exec_id: exec.into() };
    let mut tasks = client.tasks();
    let ended = tasks.wait(with_namespace!(wait, NAMESPACE));
    let ended = tokio::time::timeout(PATIENCE, ended).await.context("it does not end")??;
    Ok(ended.into_inner().exit_status)
}

/// Another process in it, waited for before it is started; and what there is to be seen.
async fn inside(client: &Client, process: Any) -> Result<()> {
    ensure!(state(client).await? == State::Running, "it runs");
    let exec = ExecProcessRequest {
        container_id: ID.into(),
        exec_id: "e1".into(),
        spec: Some(process),
        ..ExecProcessRequest::default()
    };
    client.tasks().exec(with_namespace!(exec, NAMESPACE)).await?;
    let start = StartRequest { container_id: ID.into(), exec_id: "e1".into() };
    let mut tasks = client.tasks();
    let (ended, started) = tokio::join!(wait(client, "e1"), tasks.start(with_namespace!(start, NAMESPACE)));
    started?;
    ensure!(ended? == 3, "the exec's own status");
    let delete = DeleteProcessRequest { container_id: ID.into(), exec_id: "e1".into() };
    let deleted = client.tasks().delete_process(with_namespace!(delete, NAMESPACE)).await?.into_inner();
    ensure!((deleted.id.as_str(), deleted.exit_status) == ("e1", 3), "{deleted:?}");
    let pids = ListPidsRequest { container_id: ID.into() };
    let pids = client.tasks().list_pids(with_namespace!(pids, NAMESPACE)).await?.into_inner().processes;
    ensure!(pids.len() == 1, "{pids:?}");
    let metrics = MetricsRequest { filters: vec![format!("id=={ID}")] };
    let metrics = client.tasks().metrics(with_namespace!(metrics, NAMESPACE)).await?.into_inner().metrics;
    ensure!(metrics.len() == 1 && metrics[0].data.is_some(), "{metrics:?}");
    Ok(())
}

async fn frozen(client: &Client) -> Result<()> {
    let pause = PauseTaskRequest { container_id: ID.into() };
    client.tasks().pause(with_namespace!(pause, NAMESPACE)).await?;
    ensure!(state(client).await? == State::Paused, "it is paused");
    let resume = ResumeTaskRequest { container_id: ID.into() };
    client.tasks().resume(with_namespace!(resume, NAMESPACE)).await?;
    ensure!(state(client).await? == State::Running, "it runs again");
    Ok(())
}

/// Its end; answers the status.
async fn end(client: &Client, pid: u32) -> Result<u32> {
    let kill = KillRequest { container_id: ID.into(), signal: 9, all: true, ..KillRequest::default() };
    client.tasks().kill(with_namespace!(kill, NAMESPACE)).await?;
    let status = wait(client, "").await?;
    ensure!(status == 137 && state(client).await? == State::Stopped, "{status}");
    let delete = DeleteTaskRequest { container_id: ID.into() };
    let deleted = client.tasks().delete(with_namespace!(delete.clone(), NAMESPACE)).await?.into_inner();
    ensure!((deleted.pid, deleted.exit_status) == (pid, status), "{deleted:?}");
    match client.tasks().delete(with_namespace!(delete, NAMESPACE)).await {
        Err(status) if status.code() == Code::NotFound => {}
        other => bail!("deleted twice: {other:?}"),
    }
    let list = ListTasksRequest::default();
    let left = client.tasks().list(with_namespace!(list, NAMESPACE)).await?.into_inner().tasks;
    ensure!(left.is_empty(), "{left:?}");
    let delete = DeleteContainerRequest { id: ID.into() };
    client.containers().delete(with_namespace!(delete, NAMESPACE)).await?;
    Ok(status)
}

/// What was told, up to its deletion, and the status that its exit had.
async fn story(events: &mut Events) -> Result<(Vec<String>, u32)> {
    let (mut topics, mut status) = (Vec::<String>::new(), 0);
    while topics.last().is_none_or(|topic| topic != "delete") {
        let event = tokio::time::timeout(PATIENCE, events.message()).await.context("no event")??;
        let event = event.context("the stream ended")?;
        if event.topic == "/tasks/exit" {
            let payload = event.event.context("no payload")?;
            // Go's names of types have no slash, which this crate's own decoder wants.
            let payload = Any { type_url: format!("/{}", payload.type_url), ..payload };
            let exit: TaskExit = payload.to_msg()?;
            status = exit.exit_status;
        }
        topics.push(event.topic.trim_start_matches("/tasks/").to_owned());
    }
    Ok((topics, status))
}

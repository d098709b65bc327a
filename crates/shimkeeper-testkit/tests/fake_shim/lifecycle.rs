// SPDX-License-Identifier: Apache-2.0
//! The honest shim: a whole life, over all three protocols, with the texts and the events of a real one.

use prost::Message;
use shimkeeper_proto::containerd::events::{TaskDelete, TaskExit};
use shimkeeper_proto::containerd::task::v3 as api;
use shimkeeper_proto::containerd::v1::types::Status;
use shimkeeper_proto::google::protobuf::Any;
use shimkeeper_testkit::{Method, Recorded, Script, TestSpec};

use crate::client::{Client, DEADLINE, Failed, Protocol};
use crate::launch::{Bench, ID, answer_for};

fn status(code: i32, text: &str) -> Failed {
    Failed::Status(code, text.into())
}

async fn exec(client: &Client, exec_id: &str, args: &[&str]) -> Result<(), Failed> {
    let value = TestSpec::fake(["sleep"]).process(args);
    let spec = Any { type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".into(), value };
    let request = api::ExecProcessRequest {
        id: ID.into(),
        exec_id: exec_id.into(),
        spec: Some(spec),
        ..Default::default()
    };
    client.call(Method::Exec, request).await
}

async fn pids(client: &Client) -> Vec<u32> {
    let answer: api::PidsResponse =
        client.call(Method::Pids, api::PidsRequest { id: ID.into() }).await.unwrap();
    answer.processes.iter().map(|process| process.pid).collect()
}

async fn whole_life(protocol: Protocol) {
    let bench = Bench::new(&Script::new().answer(answer_for(protocol)), &["sleep"]);
    let client = bench.client().await;
    assert_eq!(client.connect(ID).await.unwrap().task_pid, 0);
    assert_eq!(client.state(ID, "").await, Err(status(5, "container not created: not found")));

    let pid = client.create(ID, &bench.bundle).await.unwrap().pid;
    assert!(std::fs::exists(format!("/proc/{pid}")).unwrap(), "the pid is that of a real process");
    let state = client.state(ID, "").await.unwrap();
    assert_eq!((state.pid, state.status()), (pid, Status::Created));
    assert_eq!(state.exited_at.unwrap().seconds, -62_135_596_800);
    assert_eq!(client.create(ID, &bench.bundle).await, Err(status(6, "id one: already exists")));

    assert_eq!(client.start(ID, "").await.unwrap().pid, pid);
    assert_eq!(client.start(ID, "").await, Err(status(2, "cannot start a running process")));
    assert_eq!(client.delete(ID, "").await, Err(status(2, "cannot delete a running process")));
    assert_eq!(client.connect(ID).await.unwrap().task_pid, pid);

    exec(&client, "ex", &["exit", "7"]).await.unwrap();
    assert_eq!(exec(&client, "ex", &["exit"]).await, Err(status(6, "id ex: already exists")));
    assert_eq!(client.kill(ID, "ex", 9).await, Err(status(9, "process not created: failed precondition")));
    client.start(ID, "ex").await.unwrap();
    assert_eq!(client.wait(ID, "ex").await, Ok(7));
    assert_eq!(client.delete(ID, "ex").await.unwrap().exit_status, 7);
    assert_eq!(client.state(ID, "ex").await, Err(status(5, "process does not exist ex: not found")));

    exec(&client, "long", &["sleep"]).await.unwrap();
    let long = client.start(ID, "long").await.unwrap().pid;
    assert_eq!(pids(&client).await, [pid, long]);
    client.call::<_, ()>(Method::Pause, api::PauseRequest { id: ID.into() }).await.unwrap();
    assert_eq!(client.state(ID, "").await.unwrap().status(), Status::Paused);
    assert_eq!(exec(&client, "no", &["exit"]).await, Err(status(2, "cannot exec in a paused state")));
    client.call::<_, ()>(Method::Resume, api::ResumeRequest { id: ID.into() }).await.unwrap();

    client.shutdown(ID).await;
    assert_eq!(client.kill(ID, "", 999).await, Err(status(2, "invalid argument")));
    client.kill(ID, "", 0).await.unwrap();
    client.kill(ID, "", 15).await.unwrap();
    assert_eq!(client.wait(ID, "").await, Ok(143));
    assert_eq!(client.kill(ID, "", 9).await, Err(status(5, "process already finished: not found")));
    assert_eq!(exec(&client, "no", &["exit"]).await, Err(status(2, "cannot exec in a stopped state")));
    assert!(pids(&client).await.is_empty());
    let deleted = client.delete(ID, "").await.unwrap();
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 143));
    bench.end(&client).await;
    check_events(&bench, pid, long).await;
}

/// Everything a manager hears of that life, in order; the exit of init is the last.
async fn check_events(bench: &Bench, pid: u32, long: u32) {
    let topics = [
        "/tasks/create",
        "/tasks/start",
        "/tasks/exec-added",
        "/tasks/exec-started",
        "/tasks/exit",
        "/tasks/exec-added",
        "/tasks/exec-started",
        "/tasks/paused",
        "/tasks/resumed",
        "/tasks/exit",
        "/tasks/exit",
        "/tasks/delete",
    ];
    let events = bench.recorder.wait_for(DEADLINE, |seen| seen.len() >= topics.len()).await.unwrap();
    assert_eq!(events.iter().map(|event| event.topic.as_str()).collect::<Vec<_>>(), topics);
    assert!(events.iter().all(|event| event.namespace == "ns" && event.at.is_some()));
    let exits: Vec<TaskExit> = events.iter().filter_map(Recorded::payload).collect();
    let told: Vec<_> = exits.iter().map(|exit| (exit.id.as_str(), exit.pid, exit.exit_status)).collect();
    assert_eq!(told[0].0, "ex");
    assert_eq!(told[1..], [("long", long, 137), (ID, pid, 143)]);
    let delete: TaskDelete = events.last().unwrap().payload().unwrap();
    assert_eq!((delete.pid, delete.exit_status), (pid, 143));
}

#[tokio::test]
async fn a_whole_life_over_ttrpc_v2() {
    whole_life(Protocol::TtrpcV2).await;
}

#[tokio::test]
async fn a_whole_life_over_ttrpc_v3() {
    whole_life(Protocol::TtrpcV3).await;
}

#[tokio::test]
async fn a_whole_life_over_grpc_v3() {
    whole_life(Protocol::GrpcV3).await;
}

#[tokio::test]
async fn the_other_methods_answer_as_well() {
    let bench = Bench::new(&Script::new(), &["stubborn"]);
    let client = bench.client().await;
    client.create(ID, &bench.bundle).await.unwrap();
    client.start(ID, "").await.unwrap();
    let stats: api::StatsResponse =
        client.call(Method::Stats, api::StatsRequest { id: ID.into() }).await.unwrap();
    assert_eq!(stats.stats.unwrap().type_url, "io.containerd.cgroups.v2.Metrics");
    let resize = api::ResizePtyRequest { id: ID.into(), width: 80, height: 25, ..Default::default() };
    client.call::<_, ()>(Method::ResizePty, resize).await.unwrap();
    let update =
        api::UpdateTaskRequest { id: ID.into(), resources: Some(Any::default()), ..Default::default() };
    client.call::<_, ()>(Method::Update, update).await.unwrap();
    let image = bench.dirs.path().join("image").to_str().unwrap().to_owned();
    let checkpoint = api::CheckpointTaskRequest { id: ID.into(), path: image.clone(), options: None };
    client.call::<_, ()>(Method::Checkpoint, checkpoint).await.unwrap();
    assert!(std::fs::exists(image).unwrap());

    client.kill(ID, "", 15).await.unwrap();
    assert_eq!(
        client.state(ID, "").await.unwrap().status(),
        Status::Running,
        "only SIGKILL ends a stubborn one"
    );
    client.kill(ID, "", 9).await.unwrap();
    assert_eq!(client.wait(ID, "").await, Ok(137));
    client.delete(ID, "").await.unwrap();
    bench.end(&client).await;
}

#[tokio::test]
async fn standard_streams_are_those_of_the_paths() {
    let bench = Bench::new(&Script::new(), &["cat"]);
    let client = bench.client().await;
    let (stdin, stdout) = (bench.dirs.path().join("in"), bench.dirs.path().join("out"));
    std::fs::write(&stdin, "through\n").unwrap();
    std::fs::write(&stdout, "").unwrap();
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let request = api::CreateTaskRequest {
        id: ID.into(),
        bundle: path(&bench.bundle),
        stdin: path(&stdin),
        stdout: path(&stdout),
        ..Default::default()
    };
    client.call::<_, api::CreateTaskResponse>(Method::Create, request).await.unwrap();
    client.start(ID, "").await.unwrap();
    assert_eq!(client.wait(ID, "").await, Ok(0));
    assert_eq!(std::fs::read_to_string(stdout).unwrap(), "through\n");
    client.delete(ID, "").await.unwrap();
    bench.end(&client).await;
}

#[tokio::test]
async fn closing_standard_input_ends_what_reads_it() {
    let bench = Bench::new(&Script::new(), &["cat"]);
    let client = bench.client().await;
    let fifo = bench.dirs.path().join("in");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, rustix::fs::Mode::RWXU, 0).unwrap();
    let _writer = std::fs::File::options().read(true).write(true).open(&fifo).unwrap();
    let request = api::CreateTaskRequest {
        id: ID.into(),
        bundle: bench.bundle.to_str().unwrap().into(),
        stdin: fifo.to_str().unwrap().into(),
        ..Default::default()
    };
    client.call::<_, api::CreateTaskResponse>(Method::Create, request).await.unwrap();
    client.start(ID, "").await.unwrap();
    let close = api::CloseIoRequest { id: ID.into(), stdin: true, ..Default::default() };
    client.call::<_, ()>(Method::CloseIo, close).await.unwrap();
    assert_eq!(client.wait(ID, "").await, Ok(0));
    client.delete(ID, "").await.unwrap();
    bench.end(&client).await;
}

#[tokio::test]
async fn a_command_that_does_not_exist_fails_at_create_without_an_event() {
    let bench = Bench::new(&Script::new(), &["missing"]);
    let client = bench.client().await;
    let Err(Failed::Status(2, text)) = client.create(ID, &bench.bundle).await else { panic!("created") };
    assert!(text.contains("executable file not found in $PATH"), "{text}");
    bench.end(&client).await;
    assert!(bench.recorder.recorded().is_empty());
}

#[tokio::test]
async fn what_makes_the_runc_shim_panic_kills_this_one_and_not_the_container() {
    let bench = Bench::new(&Script::new(), &["sleep"]);
    let client = bench.client().await;
    let pid = client.create(ID, &bench.bundle).await.unwrap().pid;
    client.start(ID, "").await.unwrap();
    let exec = api::ExecProcessRequest { id: ID.into(), exec_id: "ex".into(), ..Default::default() };
    assert!(matches!(client.call::<_, ()>(Method::Exec, exec).await, Err(Failed::Wire(_))));
    assert!(std::fs::exists(format!("/proc/{pid}")).unwrap(), "the container goes on without its shim");

    let reaped = api::DeleteResponse::decode(&bench.run("delete").await.stdout[..]).unwrap();
    assert_eq!((reaped.pid, reaped.exit_status), (pid, 137));
    assert!(bench.dirs.leftovers().processes.is_empty());
}

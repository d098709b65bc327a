// SPDX-License-Identifier: Apache-2.0
//! Tasks beyond the golden facts: what would harm a shim is refused, a slow shim harms nobody else, a client's deadline
//! counts, and what is published by clients goes through what is known.

use std::time::Duration;

use prost::Message as _;
use shimkeeper_proto::containerd::events::TaskExit;
use shimkeeper_proto::containerd::services::events::v1 as events;
use shimkeeper_proto::containerd::services::introspection::v1 as introspection;
use shimkeeper_proto::containerd::services::tasks::v1 as tasks;
use shimkeeper_proto::containerd::v1::types::Status as State;
use shimkeeper_proto::google::protobuf::{Any, Empty};
use shimkeeper_proto::grpc::health::v1 as health;
use shimkeeper_proto::grpc::health::v1::health_check_response::ServingStatus;
use shimkeeper_testkit::{Act, Method, Script, TestSpec, When};
use tonic::{Code, Request, Streaming};

use crate::bench::{Bench, PATIENCE, PROCESS, ask, container, next, said};

#[tokio::test(flavor = "multi_thread")]
async fn what_would_crash_a_shim_is_refused() {
    let bench = Bench::new().await;
    bench.running("c1", &["sleep"]).await;
    let exec = |exec: &str| tasks::ExecProcessRequest {
        container_id: "c1".into(),
        exec_id: exec.into(),
        ..tasks::ExecProcessRequest::default()
    };
    let process = Any { type_url: PROCESS.into(), value: TestSpec::fake(["sleep"]).process(["sleep"]) };
    let error = bench.tasks().exec(ask(exec("e1"))).await.unwrap_err();
    assert_eq!(said(&error), (Code::InvalidArgument, "process spec is required: invalid argument"));
    for bad in ["", "init", "a/b", "c1"] {
        let request = tasks::ExecProcessRequest { spec: Some(process.clone()), ..exec(bad) };
        let error = bench.tasks().exec(ask(request)).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{bad:?}: {error}");
    }
    let request =
        tasks::UpdateTaskRequest { container_id: "c1".into(), ..tasks::UpdateTaskRequest::default() };
    assert_eq!(bench.tasks().update(ask(request)).await.unwrap_err().code(), Code::InvalidArgument);
    let request = tasks::DeleteProcessRequest { container_id: "c1".into(), exec_id: String::new() };
    assert_eq!(bench.tasks().delete_process(ask(request)).await.unwrap_err().code(), Code::InvalidArgument);
    bench.exec("c1", "e1", &["sleep"]).await.unwrap();
    let error = bench.exec("c1", "e1", &["sleep"]).await.unwrap_err();
    assert_eq!(said(&error), (Code::AlreadyExists, "id e1: already exists"));
    assert_eq!(bench.get("c1", "").await.unwrap().status(), State::Running);
    bench.end("c1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_does_not_answer_is_left_out_and_holds_up_nobody() {
    let bench = Bench::new().await;
    let mute =
        Script::new().on(Method::State, When::Before, Act::Hang).on(Method::Stats, When::Before, Act::Hang);
    bench.record(container("mute", &["sleep"], &mute)).await;
    bench.create("mute").await.unwrap();
    bench.running("c1", &["sleep"]).await;
    bench.created("c2", &["sleep"]).await;

    let listed =
        bench.tasks().list(ask(tasks::ListTasksRequest::default())).await.unwrap().into_inner().tasks;
    let listed: Vec<_> = listed.iter().map(|task| (task.id.as_str(), task.status())).collect();
    assert_eq!(listed, [("c1", State::Running), ("c2", State::Created)]);
    let measured = bench.tasks().metrics(ask(tasks::MetricsRequest::default())).await.unwrap().into_inner();
    let measured: Vec<_> = measured.metrics.iter().map(|metric| metric.id.as_str()).collect();
    assert_eq!(measured, ["c1", "c2"]);
    let request = tasks::MetricsRequest { filters: vec!["id==c1".into()] };
    let measured = bench.tasks().metrics(ask(request)).await.unwrap().into_inner().metrics;
    assert_eq!(measured.len(), 1);
    assert_eq!(measured[0].data.as_ref().unwrap().type_url, "io.containerd.cgroups.v2.Metrics");
    // Whoever measures one that is not there gets none, and no error.
    let request = tasks::MetricsRequest { filters: vec!["id==c9".into()] };
    assert!(bench.tasks().metrics(ask(request)).await.unwrap().into_inner().metrics.is_empty());

    bench.delete("mute").await.unwrap();
    bench.delete("c2").await.unwrap();
    bench.end("c1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_certain_is_told_without_asking_the_shim() {
    let bench = Bench::new().await;
    // The third question would never be answered.
    let script = Script::new().on_nth(Method::State, 3, When::Before, Act::Hang);
    bench.record(container("c1", &["sleep"], &script)).await;
    bench.create("c1").await.unwrap();
    for _ in 0..5 {
        assert_eq!(bench.get("c1", "").await.unwrap().status(), State::Created);
    }
    bench.start("c1", "").await.unwrap();
    // Its event may come only now, and is news.
    let mut events = bench.subscribe(&["topic~=|^/tasks/paused|"]).await;
    bench.tasks().pause(ask(tasks::PauseTaskRequest { container_id: "c1".into() })).await.unwrap();
    next(&mut events).await;
    for _ in 0..5 {
        assert_eq!(bench.get("c1", "").await.unwrap().status(), State::Paused);
        let listed = bench.tasks().list(ask(tasks::ListTasksRequest::default())).await.unwrap().into_inner();
        assert_eq!(listed.tasks[0].status(), State::Paused);
    }
    bench.tasks().resume(ask(tasks::ResumeTaskRequest { container_id: "c1".into() })).await.unwrap();
    bench.end("c1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_own_deadline_ends_its_wait_and_nothing_else() {
    let bench = Bench::new().await;
    bench.running("c1", &["sleep"]).await;
    let mut request = ask(tasks::WaitRequest { container_id: "c1".into(), exec_id: String::new() });
    request.set_timeout(Duration::from_millis(50));
    let error = bench.tasks().wait(request).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(error.message().ends_with(": context deadline exceeded"), "{error}");
    bench.end("c1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_own_deadline_is_that_of_the_shim() {
    let bench = Bench::new().await;
    let script = Script::new().on_nth(Method::Kill, 1, When::Before, Act::Hang);
    bench.record(container("c1", &["sleep"], &script)).await;
    bench.create("c1").await.unwrap();
    bench.start("c1", "").await.unwrap();
    let kill = tasks::KillRequest { container_id: "c1".into(), signal: 15, ..tasks::KillRequest::default() };
    let mut request = ask(kill);
    request.set_timeout(Duration::from_millis(100));
    let error = bench.tasks().kill(request).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    // Had the call only been dropped, nobody would have learned that the shim did not answer it.
    assert!(error.message().contains("Kill"), "{error}");
    bench.end("c1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_of_a_shim_that_was_killed_is_told_once_and_waits_agree() {
    let bench = Bench::new().await;
    let mut exits = bench.subscribe(&["topic==\"/tasks/exit\""]).await;
    let pid = bench.running("c1", &["sleep"]).await;
    let shim = i32::try_from(bench.manager.list()[0].shim_pid().unwrap()).unwrap();
    let waiting = bench.wait("c1", "");
    let killing = async {
        let shim = rustix::process::Pid::from_raw(shim).unwrap();
        rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    };
    let (waited, ()) = tokio::join!(waiting, killing);
    let told = TaskExit::decode(next(&mut exits).await.event.unwrap().value).unwrap();
    let waited = waited.unwrap();
    assert_eq!((told.pid, told.exit_status, told.exited_at), (pid, waited.exit_status, waited.exited_at));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_publish_and_forward_and_what_is_no_event_is_refused() {
    let bench = Bench::new().await;
    let mut all = bench.subscribe(&[]).await;
    let event = Any { type_url: "example.Happened".into(), value: "xyz".into() };
    let publish = |topic: &str| events::PublishRequest { topic: topic.into(), event: Some(event.clone()) };
    bench.events().publish(ask(publish("/mine/happened"))).await.unwrap();
    let seen = next(&mut all).await;
    assert_eq!((seen.namespace.as_str(), seen.topic.as_str()), ("ns", "/mine/happened"));
    assert_eq!(seen.event, Some(event.clone()));

    let forwarded = events::ForwardRequest { envelope: Some(seen.clone()) };
    bench.events().forward(forwarded).await.unwrap();
    assert_eq!(next(&mut all).await, seen);

    let error = bench.events().publish(publish("/mine/happened")).await.unwrap_err();
    let text = "failed publishing event: namespace is required: failed precondition";
    assert_eq!(said(&error), (Code::FailedPrecondition, text));
    let error = bench.events().publish(ask(publish("mine"))).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let error = bench.events().forward(events::ForwardRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_what_it_is_and_what_it_does_not_serve() {
    let bench = Bench::new().await;
    let mut version = shimkeeper_proto::containerd::services::version::v1::version_client::VersionClient::new(
        bench.api.clone(),
    );
    let answer = version.version(Empty::default()).await.unwrap().into_inner();
    assert_eq!((answer.version.as_str(), answer.revision.as_str()), ("1.2.3", "abc"));

    let mut health = health::health_client::HealthClient::new(bench.api.clone());
    let answer = health.check(health::HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
    let error = health.check(health::HealthCheckRequest { service: "x".into() }).await.unwrap_err();
    assert_eq!(said(&error), (Code::NotFound, "unknown service"));
    // Who watches hears when that ends.
    let mut watch = health.watch(health::HealthCheckRequest::default()).await.unwrap().into_inner();
    let mut other =
        health.watch(health::HealthCheckRequest { service: "x".into() }).await.unwrap().into_inner();
    assert_eq!(heard(&mut watch).await, Some(ServingStatus::Serving));
    assert_eq!(heard(&mut other).await, Some(ServingStatus::ServiceUnknown));

    let mut plugins = introspection::introspection_client::IntrospectionClient::new(bench.api.clone());
    let server = plugins.server(Empty::default()).await.unwrap().into_inner();
    assert_eq!((server.uuid.as_str(), server.pid), ("the uuid", u64::from(std::process::id())));
    let request =
        introspection::PluginsRequest { filters: vec!["type~=|^io.containerd.runtime|,id==task".into()] };
    let found = plugins.plugins(request).await.unwrap().into_inner().plugins;
    assert_eq!(found.len(), 1);
    assert!(found[0].init_err.is_none() && !found[0].platforms.is_empty());

    // A service of containerd's that is not served says so, and what this is.
    let mut images = tonic::client::Grpc::new(bench.api.clone());
    let path = http::uri::PathAndQuery::from_static("/containerd.services.images.v1.Images/List");
    let codec = tonic_prost::ProstCodec::<Empty, Empty>::default();
    let error = images.unary(Request::new(Empty::default()), path, codec).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    assert!(error.message().contains("shimkeeper runs containers on shims"), "{error}");

    bench.manager.clone().detach().await;
    assert_eq!(heard(&mut watch).await, Some(ServingStatus::NotServing));
    assert_eq!((heard(&mut watch).await, heard(&mut other).await), (None, None));
}

/// The next status a watch tells; none at its end.
async fn heard(watch: &mut Streaming<health::HealthCheckResponse>) -> Option<ServingStatus> {
    let next = tokio::time::timeout(PATIENCE, watch.message()).await.expect("it is told in time");
    next.unwrap().map(|answer| answer.status())
}

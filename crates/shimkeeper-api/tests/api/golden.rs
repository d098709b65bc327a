// SPDX-License-Identifier: Apache-2.0
//! What an implementer would get wrong, traced from real clients against containerd: codes and texts to the letter.

use prost::Message as _;
use shimkeeper_core::time::GO_ZERO_SECONDS;
use shimkeeper_proto::containerd::events::{ContainerCreate, TaskExit};
use shimkeeper_proto::containerd::runc::v1::ProcessDetails;
use shimkeeper_proto::containerd::services::containers::v1 as containers;
use shimkeeper_proto::containerd::services::events::v1::SubscribeRequest;
use shimkeeper_proto::containerd::services::leases::v1 as leases;
use shimkeeper_proto::containerd::services::namespaces::v1 as namespaces;
use shimkeeper_proto::containerd::services::tasks::v1 as tasks;
use shimkeeper_proto::containerd::v1::types::Status as State;
use shimkeeper_proto::google::protobuf::{Any, Timestamp};
use shimkeeper_testkit::{Act, Method, Script, When};
use tonic::Code;

use crate::bench::{Bench, ask, ask_in, container, next, said, topics_to};

const NEVER: Option<Timestamp> = Some(Timestamp { seconds: GO_ZERO_SECONDS, nanos: 0 });

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_nobody_made_is_there_without_labels() {
    let bench = Bench::new().await;
    let request = namespaces::GetNamespaceRequest { name: "moby".into() };
    let found = bench.namespaces().get(request).await.unwrap().into_inner().namespace.unwrap();
    assert_eq!((found.name.as_str(), found.labels.len()), ("moby", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_neither_deleted_nor_started_and_the_code_is_unknown() {
    let bench = Bench::new().await;
    bench.running("c1", &["sleep"]).await;
    let error = bench.delete("c1").await.unwrap_err();
    assert_eq!(said(&error), (Code::Unknown, "failed to delete task: cannot delete a running process"));
    let error = bench.start("c1", "").await.unwrap_err();
    assert_eq!(said(&error), (Code::Unknown, "cannot start a running process"));
    bench.end("c1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_some_texts_end_with_the_words_for_their_code() {
    let bench = Bench::new().await;
    let error = bench.get("c1", "").await.unwrap_err();
    assert_eq!(said(&error), (Code::NotFound, "container \"c1\" in namespace \"ns\": not found"));
    bench.record(container("c1", &["sleep"], &Script::new())).await;
    assert_eq!(said(&bench.get("c1", "").await.unwrap_err()), (Code::NotFound, "task c1 not found"));
    bench.create("c1").await.unwrap();
    let error = bench.create("c1").await.unwrap_err();
    assert_eq!(said(&error), (Code::AlreadyExists, "task c1: already exists"));
    let error = bench.kill("c1", "zz", 9).await.unwrap_err();
    assert_eq!(said(&error), (Code::NotFound, "process does not exist zz: not found"));
    bench.start("c1", "").await.unwrap();
    bench.kill("c1", "", 9).await.unwrap();
    bench.wait("c1", "").await.unwrap();
    let error = bench.kill("c1", "", 9).await.unwrap_err();
    assert_eq!(said(&error), (Code::NotFound, "process already finished: not found"));
    bench.delete("c1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_lives_has_ended_in_the_year_1_and_names_no_container() {
    let bench = Bench::new().await;
    let pid = bench.running("c1", &["sleep"]).await;
    let process = bench.get("c1", "").await.unwrap();
    assert_eq!((process.container_id.as_str(), process.id.as_str(), process.pid), ("", "c1", pid));
    assert_eq!((process.status(), process.exit_status, process.exited_at), (State::Running, 0, NEVER));

    bench.exec("c1", "e1", &["exit", "3"]).await.unwrap();
    bench.start("c1", "e1").await.unwrap();
    bench.wait("c1", "e1").await.unwrap();
    let process = bench.get("c1", "e1").await.unwrap();
    assert_eq!((process.container_id.as_str(), process.id.as_str()), ("", "e1"));
    assert_eq!((process.status(), process.exit_status), (State::Stopped, 3));
    assert_ne!(process.exited_at, NEVER);

    let request = tasks::DeleteProcessRequest { container_id: "c1".into(), exec_id: "e1".into() };
    let gone = bench.tasks().delete_process(ask(request.clone())).await.unwrap().into_inner();
    assert_eq!((gone.id.as_str(), gone.exit_status), ("e1", 3));
    let error = bench.tasks().delete_process(ask(request)).await.unwrap_err();
    assert_eq!(said(&error), (Code::NotFound, "process does not exist e1: not found"));

    bench.kill("c1", "", 9).await.unwrap();
    bench.wait("c1", "").await.unwrap();
    let gone = bench.delete("c1").await.unwrap();
    assert_eq!((gone.id.as_str(), gone.pid, gone.exit_status), ("", pid, 137));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_may_come_first_and_has_its_answer_until_the_delete() {
    let bench = Bench::new().await;
    bench.created("c1", &["sleep"]).await;
    let early = bench.wait("c1", "");
    let life = async {
        bench.start("c1", "").await.unwrap();
        bench.kill("c1", "", 9).await.unwrap();
    };
    let (early, ()) = tokio::join!(early, life);
    let early = early.unwrap();
    assert_eq!(early.exit_status, 137);
    assert_eq!(bench.wait("c1", "").await.unwrap(), early);
    bench.delete("c1").await.unwrap();
    // What `ctr run --rm` asks after its own delete.
    assert_eq!(bench.wait("c1", "").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(bench.kill("c1", "", 9).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(bench.get("c1", "").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(bench.delete("c1").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_started_is_deleted() {
    let bench = Bench::new().await;
    let pid = bench.created("c1", &["sleep"]).await;
    assert_eq!(bench.get("c1", "").await.unwrap().status(), State::Created);
    assert_eq!(bench.delete("c1").await.unwrap().pid, pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_come_back_as_the_bytes_they_came_as() {
    let bench = Bench::new().await;
    // JSON with blanks and an order of its own, and options that are nothing but their type.
    let mut given = container("c1", &["sleep"], &Script::new());
    let spec = String::from_utf8(given.spec.clone().unwrap().value.to_vec()).unwrap();
    let spec = format!(" {spec}\n\t");
    given.spec.as_mut().unwrap().value = spec.clone().into();
    let empty = Any { type_url: "containerd.runc.v1.Options".into(), value: bytes::Bytes::new() };
    given.runtime.as_mut().unwrap().options = Some(empty.clone());
    let odd = Any { type_url: "example.odd".into(), value: bytes::Bytes::from_static(&[0xff, 0, 1]) };
    given.extensions.insert("ctr.cni-containerd.metadata".into(), odd.clone());
    bench.record(given).await;

    let request = containers::GetContainerRequest { id: "c1".into() };
    let kept = bench.containers().get(ask(request)).await.unwrap().into_inner().container.unwrap();
    assert_eq!(kept.spec.unwrap().value, spec);
    assert_eq!(kept.runtime.unwrap().options.unwrap(), empty);
    assert_eq!(kept.extensions["ctr.cni-containerd.metadata"], odd);

    bench.create("c1").await.unwrap();
    let bundle = bench.manager.list()[0].bundle();
    assert_eq!(std::fs::read_to_string(bundle.join("config.json")).unwrap(), spec);
    bench.delete("c1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_filter_has_a_code_in_a_list_and_none_in_a_subscription() {
    let bench = Bench::new().await;
    let filters = vec!["id===c1".to_owned()];
    let request = containers::ListContainersRequest { filters: filters.clone() };
    let error = bench.containers().list(ask(request)).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let text = "filters: parse error: [id >|=|< ==c1]: unsupported operator \"===\": invalid argument";
    assert_eq!(error.message(), text);

    // A value that begins with a slash must be quoted.
    let filters = vec!["topic==/tasks/exit".to_owned()];
    let error = bench.events().subscribe(ask(SubscribeRequest { filters })).await.unwrap_err();
    assert_eq!(error.code(), Code::Unknown);
    let text = "subscription error: failed parsing subscription filters: filters: parse error: ";
    assert!(error.message().starts_with(text), "{error}");
    let filters = vec!["topic==\"/tasks/exit\"".to_owned()];
    bench.events().subscribe(ask(SubscribeRequest { filters })).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_sees_every_namespace_unless_it_filters() {
    let bench = Bench::new().await;
    let mut all = bench.subscribe(&[]).await;
    let mut some = bench.subscribe(&["namespace==other,topic~=|^/containers/|"]).await;
    bench.record(container("c1", &["sleep"], &Script::new())).await;
    let request =
        containers::CreateContainerRequest { container: Some(container("c2", &["sleep"], &Script::new())) };
    bench.containers().create(ask_in("other", request)).await.unwrap();

    let seen = [next(&mut all).await, next(&mut all).await].map(|event| (event.namespace, event.topic));
    let created = |namespace: &str| (namespace.to_owned(), "/containers/create".to_owned());
    assert_eq!(seen, [created("ns"), created("other")]);
    let event = next(&mut some).await.event.unwrap();
    assert_eq!(event.type_url, "containerd.events.ContainerCreate");
    assert_eq!(ContainerCreate::decode(event.value).unwrap().id, "c2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_made_and_deleted_once() {
    let bench = Bench::new().await;
    let labels = [("containerd.io/gc.expire".to_owned(), "2035-01-01T00:00:00Z".to_owned())];
    let request = leases::CreateRequest { id: "l1".into(), labels: labels.clone().into() };
    let made = bench.leases().create(ask(request.clone())).await.unwrap().into_inner().lease.unwrap();
    assert_eq!((made.id.as_str(), made.labels), ("l1", labels.into()));
    assert_eq!(bench.leases().create(ask(request)).await.unwrap_err().code(), Code::AlreadyExists);
    let request = leases::DeleteRequest { id: "l1".into(), sync: true };
    bench.leases().delete(ask(request.clone())).await.unwrap();
    assert_eq!(bench.leases().delete(ask(request)).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_used_again_at_once_record_and_task() {
    let bench = Bench::new().await;
    for life in 0..5 {
        bench.running("c1", &["exit", "3"]).await;
        assert_eq!(bench.wait("c1", "").await.unwrap().exit_status, 3, "{life}");
        bench.delete("c1").await.unwrap();
        bench.delete_record("c1").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_stopped_by_the_time_its_exit_is_told_and_events_are_in_order() {
    let bench = Bench::new().await;
    let mut events = bench.subscribe(&["topic~=|^/tasks/|"]).await;
    let pid = bench.running("c1", &["exit", "3"]).await;
    let mut topics = Vec::new();
    let exit = loop {
        let event = next(&mut events).await;
        topics.push(event.topic.clone());
        if event.topic == "/tasks/exit" {
            break TaskExit::decode(event.event.unwrap().value).unwrap();
        }
    };
    let process = bench.get("c1", "").await.unwrap();
    assert_eq!((process.status(), process.exit_status), (State::Stopped, 3));
    assert_eq!(
        (exit.container_id.as_str(), exit.id.as_str(), exit.pid, exit.exit_status),
        ("c1", "c1", pid, 3)
    );
    bench.delete("c1").await.unwrap();
    topics.extend(topics_to(&mut events, "/tasks/delete").await);
    assert_eq!(topics, ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pids_of_execs_say_which() {
    let bench = Bench::new().await;
    let init = bench.running("c1", &["sleep"]).await;
    bench.exec("c1", "e1", &["sleep"]).await.unwrap();
    let exec = bench.start("c1", "e1").await.unwrap();
    let request = tasks::ListPidsRequest { container_id: "c1".into() };
    let found = bench.tasks().list_pids(ask(request)).await.unwrap().into_inner().processes;
    let of = |pid: u32| found.iter().find(|process| process.pid == pid).unwrap().info.clone();
    assert_eq!(of(init), None);
    let details = of(exec).unwrap();
    assert_eq!(details.type_url, "containerd.runc.v1.ProcessDetails");
    assert_eq!(ProcessDetails::decode(details.value).unwrap().exec_id, "e1");
    bench.end("c1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shims_words_and_code_go_through_untouched() {
    let bench = Bench::new().await;
    let text = "OCI runtime create failed: runc create failed: unable to start container process: boo";
    let script = Script::new().on(Method::Create, When::Before, Act::err(2, text));
    bench.record(container("c1", &["sleep"], &script)).await;
    let error = bench.create("c1").await.unwrap_err();
    assert_eq!(error.code(), Code::Unknown);
    assert_eq!(error.message(), format!("failed to create shim task: {text}"));
    // Nothing is left, and the id is free.
    assert_eq!(said(&bench.get("c1", "").await.unwrap_err()), (Code::NotFound, "task c1 not found"));

    let text = "exec: \"/bin/nope\": stat /bin/nope: no such file or directory";
    let script = Script::new().on_nth(Method::Start, 2, When::Before, Act::err(2, text));
    bench.record(container("c2", &["sleep"], &script)).await;
    bench.create("c2").await.unwrap();
    bench.start("c2", "").await.unwrap();
    bench.exec("c2", "e1", &["sleep"]).await.unwrap();
    assert_eq!(said(&bench.start("c2", "e1").await.unwrap_err()), (Code::Unknown, text));
    bench.end("c2").await;
}

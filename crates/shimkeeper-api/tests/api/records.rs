// SPDX-License-Identifier: Apache-2.0
//! Records: containers, namespaces, leases, and what of them is refused.

use shimkeeper_proto::containerd::services::containers::v1 as containers;
use shimkeeper_proto::containerd::services::leases::v1 as leases;
use shimkeeper_proto::containerd::services::namespaces::v1 as namespaces;
use shimkeeper_proto::containerd::services::sandbox::v1 as sandbox;
use shimkeeper_proto::containerd::types;
use shimkeeper_proto::google::protobuf::FieldMask;
use shimkeeper_testkit::Script;
use tonic::{Code, Request};

use crate::bench::{Bench, ask, container, next, said};

fn honest(id: &str) -> containers::Container {
    container(id, &["sleep"], &Script::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_not_deleted_under_its_task() {
    let bench = Bench::new().await;
    bench.running("c1", &["sleep"]).await;
    let error = bench.delete_record("c1").await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    assert!(error.message().contains("has a task"), "{error}");
    bench.end("c1").await;
    let error = bench.delete_record("c1").await.unwrap_err();
    assert_eq!(said(&error), (Code::NotFound, "container \"c1\" in namespace \"ns\": not found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_a_namespace_or_with_a_bad_one_is_refused() {
    let bench = Bench::new().await;
    let request = containers::GetContainerRequest { id: "c1".into() };
    let error = bench.containers().get(request.clone()).await.unwrap_err();
    assert_eq!(said(&error), (Code::FailedPrecondition, "namespace is required: failed precondition"));
    for bad in ["../x", "a b", "-a", &"x".repeat(77)] {
        let mut request = Request::new(request.clone());
        request.metadata_mut().insert("containerd-namespace", bad.parse().unwrap());
        let error = bench.containers().get(request).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{bad}");
        assert!(error.message().ends_with(": invalid argument"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_listed_by_their_ids_in_one_message_or_many() {
    let bench = Bench::new().await;
    for id in ["c2", "c1", "c3"] {
        let mut record = honest(id);
        record.labels.insert("a.b/c".into(), id.into());
        bench.record(record).await;
    }
    let request = containers::ListContainersRequest { filters: vec!["id~=c[23]".into()] };
    let listed = bench.containers().list(ask(request.clone())).await.unwrap().into_inner().containers;
    let mut stream = bench.containers().list_stream(ask(request)).await.unwrap().into_inner();
    let mut streamed = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        streamed.push(message.container.unwrap());
    }
    assert_eq!(listed.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["c2", "c3"]);
    assert_eq!(listed, streamed);
    let request = containers::ListContainersRequest { filters: vec!["labels.\"a.b/c\"==c1".into()] };
    let listed = bench.containers().list(ask(request)).await.unwrap().into_inner().containers;
    assert_eq!(listed.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_changed_one_by_one_and_times_are_the_servers() {
    let bench = Bench::new().await;
    bench.record(honest("c1")).await;
    let mut change = honest("c1");
    change.labels = [("k".to_owned(), "v".to_owned()), ("other".to_owned(), "x".to_owned())].into();
    let request = containers::UpdateContainerRequest {
        container: Some(change),
        update_mask: Some(FieldMask { paths: vec!["labels.k".into()] }),
    };
    let changed = bench.containers().update(ask(request)).await.unwrap().into_inner().container.unwrap();
    assert_eq!(changed.labels, [("k".to_owned(), "v".to_owned())].into());
    assert!(changed.created_at.unwrap().seconds > 1_700_000_000);
    let mut events = bench.subscribe(&["topic~=|^/containers/|"]).await;
    bench.delete_record("c1").await.unwrap();
    assert_eq!(next(&mut events).await.topic, "/containers/delete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_record_is_refused_in_containerds_words() {
    let bench = Bench::new().await;
    let create = async |container| {
        let request = containers::CreateContainerRequest { container };
        bench.containers().create(ask(request)).await.unwrap_err()
    };
    assert_eq!(create(None).await.code(), Code::InvalidArgument);
    let error = create(Some(honest("../c1"))).await;
    assert_eq!(error.code(), Code::InvalidArgument);
    let text = "create container failed validation: container.ID: identifier \"../c1\" must match ";
    assert!(error.message().starts_with(text), "{error}");
    let error = create(Some(containers::Container { runtime: None, ..honest("c1") })).await;
    let text = "create container failed validation: container.Runtime.Name must be set: invalid argument";
    assert_eq!(said(&error), (Code::InvalidArgument, text));
    bench.record(honest("c1")).await;
    let error = create(Some(honest("c1"))).await;
    assert_eq!(said(&error), (Code::AlreadyExists, "container \"c1\": already exists"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_deleted_when_nothing_is_in_it() {
    let bench = Bench::new().await;
    let mut events = bench.subscribe(&["topic~=|^/namespaces/|"]).await;
    let labels = [("k".to_owned(), "v".to_owned())];
    let namespace = namespaces::Namespace { name: "ns".into(), labels: labels.clone().into() };
    let request = namespaces::CreateNamespaceRequest { namespace: Some(namespace) };
    bench.namespaces().create(request.clone()).await.unwrap();
    let error = bench.namespaces().create(request).await.unwrap_err();
    assert_eq!(said(&error), (Code::AlreadyExists, "namespace \"ns\": already exists"));
    let event = next(&mut events).await;
    assert_eq!((event.namespace.as_str(), event.topic.as_str()), ("ns", "/namespaces/create"));

    bench.running("c1", &["sleep"]).await;
    let delete = || namespaces::DeleteNamespaceRequest { name: "ns".into() };
    let error = bench.namespaces().delete(delete()).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().starts_with("namespace \"ns\" must be empty, but it still has "), "{error}");
    bench.end("c1").await;
    bench.namespaces().delete(delete()).await.unwrap();
    let error = bench.namespaces().delete(delete()).await.unwrap_err();
    assert_eq!(said(&error), (Code::NotFound, "namespace \"ns\": not found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_remembers_what_it_holds() {
    let bench = Bench::new().await;
    let request = leases::CreateRequest { id: String::new(), labels: [].into() };
    let id = bench.leases().create(ask(request)).await.unwrap().into_inner().lease.unwrap().id;
    assert!(!id.is_empty(), "the server chooses one");
    let resource = leases::Resource { id: "sha256:abc".into(), r#type: "content".into() };
    let add = leases::AddResourceRequest { id: id.clone(), resource: Some(resource.clone()) };
    bench.leases().add_resource(ask(add)).await.unwrap();
    let list = leases::ListResourcesRequest { id: id.clone() };
    let held = bench.leases().list_resources(ask(list.clone())).await.unwrap().into_inner().resources;
    assert_eq!(held, std::slice::from_ref(&resource));
    let delete = leases::DeleteResourceRequest { id, resource: Some(resource) };
    bench.leases().delete_resource(ask(delete)).await.unwrap();
    assert!(bench.leases().list_resources(ask(list)).await.unwrap().into_inner().resources.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandboxs_record_comes_back_as_it_was_given() {
    let bench = Bench::new().await;
    let mut store = sandbox::store_client::StoreClient::new(bench.api.clone());
    let runtime = types::sandbox::Runtime { name: "io.containerd.fake.v2".into(), options: None };
    let given = types::Sandbox {
        sandbox_id: "s1".into(),
        runtime: Some(runtime),
        labels: [("k".to_owned(), "v".to_owned())].into(),
        sandboxer: "shim".into(),
        ..types::Sandbox::default()
    };
    let request = sandbox::StoreCreateRequest { sandbox: Some(given.clone()) };
    store.create(ask(request)).await.unwrap();
    let request = sandbox::StoreGetRequest { sandbox_id: "s1".into() };
    let kept = store.get(ask(request.clone())).await.unwrap().into_inner().sandbox.unwrap();
    assert_eq!((kept.runtime, kept.labels, kept.sandboxer), (given.runtime, given.labels, given.sandboxer));
    let request_list = sandbox::StoreListRequest { filters: vec![] };
    assert_eq!(store.list(ask(request_list)).await.unwrap().into_inner().list.len(), 1);
    store.delete(ask(sandbox::StoreDeleteRequest { sandbox_id: "s1".into() })).await.unwrap();
    assert_eq!(store.get(ask(request)).await.unwrap_err().code(), Code::NotFound);
}

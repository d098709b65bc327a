// SPDX-License-Identifier: Apache-2.0
//! Records: made, shown, changed, listed and removed, and all that is refused of it.

use std::collections::BTreeMap;

use shimkeeper_proto::containerd::services::containers::v1 as containers;
use shimkeeper_proto::containerd::services::containers::v1::containers_client::ContainersClient;
use shimkeeper_proto::containerd::services::leases::v1 as leases;
use shimkeeper_proto::containerd::services::leases::v1::leases_client::LeasesClient;
use shimkeeper_proto::containerd::services::namespaces::v1 as namespaces;
use shimkeeper_proto::containerd::services::namespaces::v1::namespaces_client::NamespacesClient;
use shimkeeper_proto::containerd::services::sandbox::v1 as sandbox;
use shimkeeper_proto::containerd::services::sandbox::v1::controller_client::ControllerClient;
use shimkeeper_proto::containerd::services::sandbox::v1::store_client::StoreClient;
use shimkeeper_proto::containerd::types;
use shimkeeper_proto::google::protobuf::FieldMask;

use super::transcript::Transcript;

fn labels(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn mask(path: &str) -> FieldMask {
    FieldMask { paths: vec![path.to_owned()] }
}

pub(super) async fn namespaces(script: &mut Transcript) {
    let mut client = NamespacesClient::new(script.outside.clone());
    let get = |name: &str| namespaces::GetNamespaceRequest { name: name.into() };
    let one =
        |name: &str, of: &[(&str, &str)]| namespaces::Namespace { name: name.into(), labels: labels(of) };
    let create = |namespace| namespaces::CreateNamespaceRequest { namespace };
    let delete = |name: &str| namespaces::DeleteNamespaceRequest { name: name.into() };
    let team = format!("{}-team", script.namespace);
    script.note("namespaces: get unknown", client.get(get("unknown"))).await;
    script.note("namespaces: create", client.create(create(Some(one(&team, &[("a", "b")]))))).await;
    script.note("namespaces: create twice", client.create(create(Some(one(&team, &[]))))).await;
    script.note("namespaces: create with a bad name", client.create(create(Some(one("a b", &[]))))).await;
    script
        .note("namespaces: create with a long name", client.create(create(Some(one(&"n".repeat(77), &[])))))
        .await;
    script.note("namespaces: create without a name", client.create(create(Some(one("", &[]))))).await;
    script.note("namespaces: get", client.get(get(&team))).await;
    let update = |of: &[(&str, &str)], update_mask| namespaces::UpdateNamespaceRequest {
        namespace: Some(one(&team, of)),
        update_mask,
    };
    let change = update(&[("a", "c"), ("x", "y")], Some(mask("labels.a")));
    script.note("namespaces: update one label", client.update(change)).await;
    script
        .note("namespaces: update removes a label", client.update(update(&[], Some(mask("labels.a")))))
        .await;
    script.note("namespaces: update all", client.update(update(&[("k", "v")], None))).await;
    script.note("namespaces: update a bad field", client.update(update(&[], Some(mask("name"))))).await;
    let other =
        namespaces::UpdateNamespaceRequest { namespace: Some(one("unknown", &[])), update_mask: None };
    script.note("namespaces: update unknown", client.update(other)).await;
    script.note("namespaces: delete", client.delete(delete(&team))).await;
    script.note("namespaces: delete twice", client.delete(delete(&team))).await;
    let full = delete(&script.namespace);
    let record = script.specs.container("fills", &["true"]);
    let create = containers::CreateContainerRequest { container: Some(record) };
    ContainersClient::new(script.session.clone()).create(create).await.unwrap();
    script.note("namespaces: delete a full one", client.delete(full)).await;
}

pub(super) async fn containers(script: &mut Transcript) {
    let mut client = ContainersClient::new(script.session.clone());
    let create = |container| containers::CreateContainerRequest { container };
    let get = |id: &str| containers::GetContainerRequest { id: id.into() };
    let record = script.specs.container("r1", &["true"]);
    script.note("containers: get unknown", client.get(get("r1"))).await;
    script
        .note(
            "containers: create without a runtime",
            client.create(create(Some(containers::Container { runtime: None, ..record.clone() }))),
        )
        .await;
    let bad = containers::Container { id: "../r1".into(), ..record.clone() };
    script.note("containers: create with a bad id", client.create(create(Some(bad)))).await;
    let bad = containers::Container { id: "r".repeat(77), ..record.clone() };
    script.note("containers: create with a long id", client.create(create(Some(bad)))).await;
    let bad = containers::Container { labels: labels(&[("k", &"v".repeat(4096))]), ..record.clone() };
    script.note("containers: create with a long label", client.create(create(Some(bad)))).await;
    let good =
        containers::Container { labels: labels(&[("tier", "front"), ("a.b/c", "d")]), ..record.clone() };
    script.note("containers: create", client.create(create(Some(good)))).await;
    script.note("containers: create twice", client.create(create(Some(record.clone())))).await;
    let kept = client.get(get("r1")).await.unwrap().into_inner().container;
    assert_eq!(kept.unwrap().spec, record.spec, "to the byte");
    script.note("containers: get", client.get(get("r1"))).await;
    for (what, filter) in [
        ("by id", "id==r1"),
        ("by label", "labels.tier==front"),
        ("by a quoted label", "labels.\"a.b/c\"==d"),
        ("by runtime", "runtime.name~=|^io.containerd|"),
        ("by another label", "labels.tier!=front"),
        ("by an unknown field", "nothing==1"),
        ("by presence", "labels.tier,id"),
        ("by a bad filter", "id===r1"),
    ] {
        let request = containers::ListContainersRequest { filters: vec![filter.to_owned()] };
        script.note(&format!("containers: list {what}"), client.list(request)).await;
    }
    changes(script, &mut client, &record).await;
    let delete = |id: &str| containers::DeleteContainerRequest { id: id.into() };
    script.expect("r1", &["/containers/delete"]);
    script.expect("fills", &["/containers/delete"]);
    script.note("containers: delete", client.delete(delete("r1"))).await;
    script.note("containers: delete twice", client.delete(delete("r1"))).await;
    script.note("containers: delete another", client.delete(delete("fills"))).await;
}

async fn changes(
    script: &mut Transcript,
    client: &mut ContainersClient<shimkeeper_client::Session>,
    record: &containers::Container,
) {
    let update = |container: containers::Container, path: &str| containers::UpdateContainerRequest {
        container: Some(container),
        update_mask: (!path.is_empty()).then(|| mask(path)),
    };
    let change = containers::Container {
        labels: labels(&[("tier", "back"), ("other", "x")]),
        image: "i2".into(),
        ..record.clone()
    };
    for path in ["labels.tier", "image", "labels", "snapshotter", "runtime.name", "nothing", "created_at"] {
        let changed = client.update(update(change.clone(), path));
        script.note(&format!("containers: update {path}"), changed).await;
    }
    script.note("containers: update everything", client.update(update(change.clone(), ""))).await;
    let runtime = containers::container::Runtime { name: "io.containerd.other.v1".into(), options: None };
    let other = containers::Container { runtime: Some(runtime), ..change.clone() };
    script.note("containers: update another runtime", client.update(update(other, ""))).await;
    let unknown = containers::Container { id: "unknown".into(), ..change.clone() };
    script.note("containers: update unknown", client.update(update(unknown, "labels"))).await;
    let nameless = containers::Container { id: String::new(), ..change };
    script.note("containers: update without an id", client.update(update(nameless, "labels"))).await;
}

pub(super) async fn leases(script: &mut Transcript) {
    let mut client = LeasesClient::new(script.session.clone());
    let create = |id: &str| leases::CreateRequest { id: id.into(), labels: labels(&[("k", "v")]) };
    script.note("leases: create", client.create(create("l1"))).await;
    script.note("leases: create twice", client.create(create("l1"))).await;
    for (what, filter) in [("by id", "id==l1"), ("by label", "labels.k==v"), ("by a bad filter", "id===l1")] {
        let request = leases::ListRequest { filters: vec![filter.to_owned()] };
        script.note(&format!("leases: list {what}"), client.list(request)).await;
    }
    let resource = |kind: &str| {
        Some(leases::Resource {
            id: "sha256:0123456789012345678901234567890123456789012345678901234567890123".into(),
            r#type: kind.into(),
        })
    };
    let add = |id: &str, kind: &str| leases::AddResourceRequest { id: id.into(), resource: resource(kind) };
    script.note("leases: add", client.add_resource(add("l1", "content"))).await;
    script.note("leases: add to an unknown one", client.add_resource(add("unknown", "content"))).await;
    script.note("leases: add an unknown kind", client.add_resource(add("l1", "nothing"))).await;
    let list = |id: &str| leases::ListResourcesRequest { id: id.into() };
    script.note("leases: what it holds", client.list_resources(list("l1"))).await;
    script.note("leases: what an unknown one holds", client.list_resources(list("unknown"))).await;
    let remove = leases::DeleteResourceRequest { id: "l1".into(), resource: resource("content") };
    script.note("leases: let go", client.delete_resource(remove.clone())).await;
    script.note("leases: let go twice", client.delete_resource(remove)).await;
    let delete = || leases::DeleteRequest { id: "l1".into(), sync: false };
    script.note("leases: delete", client.delete(delete())).await;
    script.note("leases: delete twice", client.delete(delete())).await;
}

pub(super) async fn sandboxes(script: &mut Transcript) {
    let mut store = StoreClient::new(script.session.clone());
    let runtime = types::sandbox::Runtime { name: "io.containerd.runc.v2".into(), options: None };
    let record = types::Sandbox {
        sandbox_id: "s1".into(),
        runtime: Some(runtime),
        labels: labels(&[("k", "v")]),
        sandboxer: "shim".into(),
        ..types::Sandbox::default()
    };
    let get = || sandbox::StoreGetRequest { sandbox_id: "s1".into() };
    let create = || sandbox::StoreCreateRequest { sandbox: Some(record.clone()) };
    script.note("sandboxes: get unknown", store.get(get())).await;
    script.note("sandboxes: create", store.create(create())).await;
    script.note("sandboxes: create twice", store.create(create())).await;
    script.note("sandboxes: get", store.get(get())).await;
    let update = sandbox::StoreUpdateRequest {
        sandbox: Some(types::Sandbox { labels: labels(&[("k", "w")]), ..record.clone() }),
        fields: vec!["labels.k".into()],
    };
    script.note("sandboxes: update", store.update(update)).await;
    let filters = vec!["labels.k==w".to_owned()];
    script.note("sandboxes: list", store.list(sandbox::StoreListRequest { filters })).await;
    let mut controller = ControllerClient::new(script.session.clone());
    let status = |sandboxer: &str| sandbox::ControllerStatusRequest {
        sandbox_id: "unknown".into(),
        sandboxer: sandboxer.into(),
        verbose: false,
    };
    script.note("sandboxes: status by no controller", controller.status(status("nobody"))).await;
    let delete = || sandbox::StoreDeleteRequest { sandbox_id: "s1".into() };
    script.note("sandboxes: delete", store.delete(delete())).await;
    script.note("sandboxes: delete twice", store.delete(delete())).await;
}

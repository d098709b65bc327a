// SPDX-License-Identifier: Apache-2.0
//! Namespaces, with the texts that containerd's clients know.

use shimkeeper_core::Kind;
use shimkeeper_store::{Counts, Labels, NamespaceRecord, Sandbox};

use crate::support::{Site, container, ns, refused};

fn record(name: &str, labels: &[(&str, &str)]) -> NamespaceRecord {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    NamespaceRecord { name: name.to_owned(), labels: labels.collect() }
}

#[tokio::test]
async fn one_that_does_not_exist_has_no_labels() {
    let site = Site::new();
    let store = site.open();
    assert_eq!(store.namespaces().get("nothing").unwrap(), record("nothing", &[]));
    assert!(store.namespaces().list().is_empty());
    let text = "identifier \"a b\" must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument";
    refused(store.namespaces().get("a b"), Kind::InvalidArgument, text);
}

#[tokio::test]
async fn labels_are_set_changed_and_taken_away() {
    let site = Site::new();
    let store = site.open();
    let namespaces = store.namespaces();
    namespaces.create(record("n", &[("a", "1"), ("b", "2")])).await.unwrap();
    let twice = namespaces.create(record("n", &[])).await;
    refused(twice, Kind::AlreadyExists, r#"namespace "n": already exists"#);
    let mask = ["labels.a", "labels.c"].map(str::to_owned);
    let changed = namespaces.update(record("n", &[("a", ""), ("c", "3")]), &mask).await.unwrap();
    assert_eq!(changed, record("n", &[("b", "2"), ("c", "3")]));
    let replaced = namespaces.update(record("n", &[("d", "4")]), &[]).await.unwrap();
    assert_eq!(replaced, record("n", &[("d", "4")]));
    let text = r#"cannot update "name" field on namespace "n": invalid argument"#;
    refused(namespaces.update(record("n", &[]), &["name".to_owned()]).await, Kind::InvalidArgument, text);
    drop(store);
    let store = site.open();
    assert_eq!(store.namespaces().list(), [record("n", &[("d", "4")])]);
    store.namespaces().update(record("implied", &[("a", "1")]), &[]).await.unwrap();
    assert_eq!(store.namespaces().list().len(), 2, "an update makes what is not there");
}

#[tokio::test]
async fn only_an_empty_one_is_deleted_and_its_leases_go_with_it() {
    let site = Site::new();
    let (store, n) = (site.open(), ns("n"));
    let missing = store.namespaces().delete("n").await;
    refused(missing, Kind::NotFound, r#"namespace "n": not found"#);
    store.containers(&n).create(container("c1")).await.unwrap();
    assert_eq!(store.namespaces().list(), [record("n", &[])], "a container makes its namespace");
    let text = r#"namespace "n" must be empty, but it still has containers: failed precondition"#;
    refused(store.namespaces().delete("n").await, Kind::FailedPrecondition, text);
    let sandbox = Sandbox { id: "s".to_owned(), ..Sandbox::default() };
    store.sandboxes(&n).create(sandbox).await.unwrap();
    let text = r#"namespace "n" must be empty, but it still has containers, sandboxes: failed precondition"#;
    refused(store.namespaces().delete("n").await, Kind::FailedPrecondition, text);
    store.sandboxes(&n).delete("s").await.unwrap();
    store.containers(&n).delete("c1").await.unwrap();
    store.leases(&n).create("l", Labels::new()).await.unwrap();
    store.namespaces().delete("n").await.unwrap();
    assert!(store.namespaces().list().is_empty());
    store.namespaces().create(record("n", &[])).await.unwrap();
    assert!(store.leases(&n).list(&crate::support::filters(&[])).is_empty());
}

#[tokio::test]
async fn names_that_mean_something_to_others_mean_nothing_here() {
    let site = Site::new();
    let store = site.open();
    for name in ["version", "store", "lock", "0"] {
        store.containers(&ns(name)).create(container("c1")).await.unwrap();
    }
    assert_eq!(store.namespaces().list().len(), 4);
}

#[tokio::test]
async fn records_are_counted_over_all_namespaces() {
    let site = Site::new();
    let store = site.open();
    assert_eq!(store.counts(), Counts::default());
    store.namespaces().create(record("empty", &[])).await.unwrap();
    for (namespace, id) in [("a", "one"), ("a", "two"), ("b", "one")] {
        store.containers(&ns(namespace)).create(container(id)).await.unwrap();
    }
    store.containers(&ns("a")).delete("two").await.unwrap();
    let named = store.namespaces().list().len();
    assert_eq!(store.counts(), Counts { namespaces: named, containers: 2, ..Counts::default() });
    assert!(store.bytes() > 0);
}

// SPDX-License-Identifier: Apache-2.0
//! Exports and imports.

use shimkeeper_core::{Any, HasKind as _, Kind};
use shimkeeper_store::{
    Conflict, Container, ImportError, Imported, Labels, Records, Resource, Sandbox, Store,
};

use crate::support::{Site, container, ns};

/// A store with records of every kind, with payloads that are text and that are not.
async fn fill(store: &Store) {
    let (a, b) = (ns("a"), ns("b"));
    let mut record = container("c1");
    record.runtime.options = Some(Any::new("containerd.runc.v1.Options", vec![0x12, 4, 0xff, 0, 1, 2]));
    record.extensions.insert("e".to_owned(), Any::new("t", "text \u{e9} \u{0}"));
    record.labels.insert("l".to_owned(), "v".to_owned());
    store.containers(&a).create(record).await.unwrap();
    store.containers(&b).create(Container { spec: None, ..container("c1") }).await.unwrap();
    let sandbox = Sandbox { id: "s".to_owned(), spec: Some(Any::new("x", vec![0xff])), ..Sandbox::default() };
    store.sandboxes(&a).create(sandbox).await.unwrap();
    store.leases(&b).create("l-", [("k".to_owned(), "v".to_owned())].into()).await.unwrap();
    let resource = Resource { kind: "snapshots/x".to_owned(), id: "key".to_owned() };
    store.leases(&b).add_resource("l-", resource).await.unwrap();
    store.leases(&ns("only-a-lease")).create("l", Labels::new()).await.unwrap();
}

#[tokio::test]
async fn an_export_is_everything_and_an_import_brings_it_back() {
    let (site, other) = (Site::new(), Site::new());
    let store = site.open();
    fill(&store).await;
    // While the store is open and being written to.
    let records = Records::read(&site.root()).unwrap();
    assert_eq!(records.counts().to_string(), "3 namespaces, 2 containers, 2 leases, 1 sandbox");
    let json = records.to_json();
    assert!(json.contains(r#"\"ociVersion\":\"1.1.0\""#), "a spec can be read by people:\n{json}");
    let read = Records::from_json(json.as_bytes()).unwrap();
    assert_eq!(read, records);

    let copy = Store::open_or_new(&other.root()).unwrap();
    let imported = copy.import(read.clone(), Conflict::Refuse).await.unwrap();
    assert_eq!(imported, Imported { added: 8, replaced: 0, unchanged: 0 });
    assert_eq!(
        *copy.containers(&ns("a")).get("c1").await.unwrap(),
        *store.containers(&ns("a")).get("c1").await.unwrap()
    );
    let again = copy.import(read, Conflict::Refuse).await.unwrap();
    assert_eq!(again, Imported { added: 0, replaced: 0, unchanged: 8 });
    drop(copy);
    drop(other.open());
    assert_eq!(Records::read(&other.root()).unwrap(), records);
}

#[tokio::test]
async fn a_record_that_is_there_and_differs_stops_it_all_or_is_replaced() {
    let (site, other) = (Site::new(), Site::new());
    fill(&site.open()).await;
    let records = Records::read(&site.root()).unwrap();
    let store = other.open();
    let b = ns("b");
    store.containers(&b).create(Container { image: "own".to_owned(), ..container("c1") }).await.unwrap();
    let before = Records::read(&other.root()).unwrap();
    let error = store.import(records.clone(), Conflict::Refuse).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the store already has another record of the container "c1" in namespace "b""#
    );
    assert_eq!(error.kind(), Kind::AlreadyExists);
    assert_eq!(Records::read(&other.root()).unwrap(), before, "nothing is imported then");
    let imported = store.import(records.clone(), Conflict::Replace).await.unwrap();
    assert_eq!(imported, Imported { added: 6, replaced: 1, unchanged: 1 });
    assert_eq!(store.containers(&b).get("c1").await.unwrap().image, "");
    assert_eq!(Records::read(&other.root()).unwrap(), records);
}

#[tokio::test]
async fn what_is_no_export_is_refused_whole() {
    let site = Site::new();
    let store = site.open();
    for (json, kind) in [
        ("", Kind::InvalidArgument),
        ("{}", Kind::InvalidArgument),
        (r#"{"format":"shimkeeper-store","version":2,"future":[]}"#, Kind::InvalidArgument),
        (r#"{"format":"shimkeeper-store","version":1,"containers":[{"id":"c"}]}"#, Kind::InvalidArgument),
        (r#"{"format":"shimkeeper-store","version":1,"contaners":[]}"#, Kind::InvalidArgument),
    ] {
        assert_eq!(Records::from_json(json.as_bytes()).unwrap_err().kind(), kind, "{json}");
    }
    let bad = r#"{"format":"shimkeeper-store","version":1,"namespaces":[{"name":"fine"}],
        "containers":[{"namespace":"n","id":"../c","runtime":{"name":"r"}}]}"#;
    let error =
        store.import(Records::from_json(bad.as_bytes()).unwrap(), Conflict::Replace).await.unwrap_err();
    assert!(matches!(&error, ImportError::Record { record, .. } if record.id == "../c"), "{error:?}");
    assert!(store.namespaces().list().is_empty());
}

// SPDX-License-Identifier: Apache-2.0
//! Containers, with the texts that containerd's clients know.

use std::sync::Arc;

use shimkeeper_core::{Any, Kind};
use shimkeeper_store::Container;

use crate::support::{SPEC, Site, block_on, container, filters, ns, refused};

#[tokio::test]
async fn a_record_comes_back_as_it_went_in_also_from_disk() {
    let site = Site::new();
    let ns = ns("default");
    let mut made = container("c1");
    // Neither compact nor sorted, with a repeated key and a number that no float holds: nobody may tidy it up.
    let spec = "{ \"z\": 1,\n\"a\": 12345678901234567890123,\"a\":1e400, \"\\u00e9\": \"\u{e9}\" }\n";
    made.spec = Some(Any::new(SPEC, spec));
    made.runtime.options =
        Some(Any::new("containerd.runc.v1.Options", vec![0x12, 0x04, 0xff, 0x00, b'x', b'y']));
    made.extensions.insert("ctr.cni".to_owned(), Any::new("x", vec![0, 159, 146, 150]));
    made.extensions.insert("empty".to_owned(), Any::default());
    made.labels.insert("a.b/c".to_owned(), "d\u{e9}\u{0}".to_owned());
    made.labels.insert("gone".to_owned(), String::new());
    (made.image, made.snapshotter, made.snapshot_key) = ("i".into(), "overlayfs".into(), "k".into());
    made.sandbox = "pod1".to_owned();
    let store = site.open();
    let answered = store.containers(&ns).create(made.clone()).await.unwrap();
    assert!(answered.created_at.is_some() && answered.created_at == answered.updated_at);
    made.labels.remove("gone");
    (made.created_at, made.updated_at) = (answered.created_at, answered.updated_at);
    assert_eq!((&*answered, &*store.containers(&ns).get("c1").await.unwrap()), (&made, &made));
    drop(store);
    let store = site.open();
    assert_eq!(*store.containers(&ns).get("c1").await.unwrap(), made);
    assert_eq!(*store.containers(&ns).list(&filters(&[])).await.unwrap()[0], made);
}

#[tokio::test]
async fn what_was_given_back_is_read_again() {
    let site = Site::new();
    let ns = ns("default");
    let store = site.open();
    let made = store.containers(&ns).create(container("c1")).await.unwrap();
    let kept = store.containers(&ns).get("c1").await.unwrap();
    store.give_back().await;
    let read = store.containers(&ns).get("c1").await.unwrap();
    assert_eq!((&*read, &*kept), (&*made, &*made));
    assert!(!Arc::ptr_eq(&read, &kept));
    assert!(Arc::ptr_eq(&read, &store.containers(&ns).get("c1").await.unwrap()));
    store.containers(&ns).delete("c1").await.unwrap();
}

#[tokio::test]
async fn a_spec_may_be_absent_or_empty_and_the_two_differ() {
    let site = Site::new();
    let (mut store, ns) = (site.open(), ns("default"));
    let absent = Container { spec: None, ..container("absent") };
    let empty = Container { spec: Some(Any::default()), ..container("empty") };
    for record in [absent, empty] {
        let spec = record.spec.clone();
        let id = record.id.clone();
        store.containers(&ns).create(record).await.unwrap();
        drop(store);
        store = site.open();
        assert_eq!(store.containers(&ns).get(&id).await.unwrap().spec, spec);
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_as_containerd_says_it() {
    let site = Site::new();
    let (store, ns) = (site.open(), ns("n"));
    let containers = store.containers(&ns);
    let invalid = |change: fn(&mut Container), text: &'static str| {
        let mut record = container("c1");
        change(&mut record);
        async move {
            let text = format!("create container failed validation: {text}: invalid argument");
            refused(containers.create(record).await, Kind::InvalidArgument, &text);
        }
    };
    let pattern = "must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$";
    let pattern: &'static str = format!("container.ID: identifier \"a/b\" {pattern}").leak();
    invalid(|c| c.id = "a/b".into(), pattern).await;
    invalid(|c| c.id.clear(), "container.ID: identifier must not be empty").await;
    let long = "container.ID: identifier \"x\" greater than maximum length (76 characters)";
    let long: &'static str = long.replace("\"x\"", &format!("{:?}", "x".repeat(77))).leak();
    invalid(|c| c.id = "x".repeat(77), long).await;
    invalid(|c| c.runtime.name.clear(), "container.Runtime.Name must be set").await;
    let snapshotter = "container.Snapshotter must be set if container.SnapshotKey is set";
    invalid(|c| c.snapshot_key = "k".into(), snapshotter).await;
    let extension = "container.Extension keys must not be zero-length";
    invalid(|c| _ = c.extensions.insert(String::new(), Any::default()), extension).await;
    let label = "containers.Labels: label key and value length (4097 bytes) greater than maximum size (4096 bytes), \
                 key: k";
    invalid(|c| _ = c.labels.insert("k".into(), "v".repeat(4096)), label).await;

    refused(containers.get("c1").await, Kind::NotFound, r#"container "c1" in namespace "n": not found"#);
    let missing = r#"container "c1" in namespace "n": not found"#;
    refused(containers.delete("c1").await, Kind::NotFound, missing);
    refused(containers.update(container("c1"), &[]).await, Kind::NotFound, missing);
    containers.create(container("c1")).await.unwrap();
    let twice = containers.create(container("c1")).await;
    refused(twice, Kind::AlreadyExists, r#"container "c1": already exists"#);
    assert!(containers.contains("c1") && !containers.contains("c2"));
}

#[tokio::test]
async fn an_update_touches_what_the_mask_names() {
    let site = Site::new();
    let (store, ns) = (site.open(), ns("default"));
    let containers = store.containers(&ns);
    let mut first = container("c1");
    first.labels = [("a", "1"), ("b.c", "2")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    first.extensions.insert("e".to_owned(), Any::new("t", "1"));
    let first = containers.create(first).await.unwrap();
    let mut to = Container { id: "c1".to_owned(), ..Container::default() };
    to.labels.insert("b.c".to_owned(), "3".to_owned());
    to.image = "new".to_owned();
    let mask = ["labels.b.c", "labels.a", "extensions.e"].map(str::to_owned);
    let changed = containers.update(to.clone(), &mask).await.unwrap();
    assert_eq!(changed.labels.iter().collect::<Vec<_>>(), [(&"b.c".to_owned(), &"3".to_owned())]);
    assert!(changed.extensions.is_empty(), "what the request does not have is taken away");
    assert_eq!((&changed.image, &changed.spec), (&first.image, &first.spec));
    assert_eq!(changed.created_at, first.created_at);
    assert!(changed.updated_at > first.updated_at);
    assert_eq!(containers.get("c1").await.unwrap(), changed);

    let to = Container { labels: [("b.c".to_owned(), String::new())].into(), ..to };
    let changed = containers.update(to, &["labels.b.c".to_owned()]).await.unwrap();
    assert!(changed.labels.is_empty(), "an empty value takes the label away");

    // Without a mask everything that may change is replaced, and what may not must be as it was.
    let mut all = Container { image: "i2".to_owned(), ..container("c1") };
    all.runtime.options = None;
    let changed = containers.update(all.clone(), &[]).await.unwrap();
    assert_eq!((&*changed.image, changed.spec.is_some()), ("i2", true));
    assert!(changed.runtime.options.is_some(), "options are not updatable");
    all.runtime.name = "io.containerd.runc.v1".to_owned();
    let text = "container.Runtime.Name field is immutable: invalid argument";
    refused(containers.update(all.clone(), &[]).await, Kind::InvalidArgument, text);
    all.snapshotter = "s".to_owned();
    let text = "container.Snapshotter field is immutable: invalid argument";
    refused(containers.update(all.clone(), &[]).await, Kind::InvalidArgument, text);
    let text = r#"cannot update "runtime" field on "c1": invalid argument"#;
    refused(containers.update(all, &["runtime".to_owned()]).await, Kind::InvalidArgument, text);
    assert_eq!(containers.get("c1").await.unwrap(), changed);
}

#[tokio::test]
async fn lists_are_filtered_sorted_and_of_one_namespace() {
    let site = Site::new();
    let (store, a, b) = (site.open(), ns("a"), ns("b"));
    for id in ["c2", "c10", "c1"] {
        let mut record = container(id);
        record.labels.insert("nerdctl/name".to_owned(), format!("n-{id}"));
        store.containers(&a).create(record).await.unwrap();
    }
    store.containers(&b).create(Container { image: "img".to_owned(), ..container("c1") }).await.unwrap();
    let ids = async |namespace, texts: &[&str]| -> Vec<String> {
        let found = store.containers(namespace).list(&filters(texts)).await.unwrap();
        found.iter().map(|container| container.id.clone()).collect()
    };
    assert_eq!(ids(&a, &[]).await, ["c1", "c10", "c2"]);
    assert_eq!(ids(&a, &["labels.\"nerdctl/name\"==n-c2", "id~=^c10.*$"]).await, ["c10", "c2"]);
    assert_eq!(ids(&a, &["runtime.name==io.containerd.runc.v2,id!=c1"]).await, ["c10", "c2"]);
    assert_eq!(ids(&a, &["image"]).await, [""; 0]);
    assert_eq!(ids(&b, &["image==img"]).await, ["c1"]);
    assert_eq!(ids(&ns("none"), &[]).await, [""; 0]);
}

#[tokio::test]
async fn an_id_is_free_as_soon_as_its_record_is_deleted() {
    let site = Site::new();
    let (store, ns) = (site.open(), ns("moby"));
    for round in 0..50 {
        let record = Container { image: round.to_string(), ..container("c1") };
        store.containers(&ns).create(record).await.unwrap();
        assert_eq!(store.containers(&ns).get("c1").await.unwrap().image, round.to_string());
        store.containers(&ns).delete("c1").await.unwrap();
        assert!(!store.containers(&ns).contains("c1"));
    }
}

#[test]
fn a_caller_that_goes_away_leaves_the_record_whole() {
    let site = Site::new();
    let (store, ns) = (site.open(), ns("default"));
    block_on(async {
        // Asked once, so that the request is on its way, and then dropped.
        let containers = store.containers(&ns);
        let mut create = Box::pin(containers.create(container("c1")));
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(create.as_mut().poll(cx).is_pending()));
        polled.await;
    });
    drop(store);
    assert_eq!(block_on(site.open().containers(&ns).get("c1")).unwrap().id, "c1");
}

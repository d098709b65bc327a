// SPDX-License-Identifier: Apache-2.0
//! Sandboxes.

use shimkeeper_core::{Any, Kind};
use shimkeeper_store::{Runtime, Sandbox};

use crate::support::{Site, filters, ns, refused};

fn sandbox(id: &str) -> Sandbox {
    Sandbox {
        id: id.to_owned(),
        runtime: Runtime { name: "io.containerd.kata.v2".to_owned(), options: None },
        spec: Some(Any::new("x.Config", vec![0xff, 0])),
        sandboxer: "shim".to_owned(),
        labels: [("a".to_owned(), "1".to_owned())].into(),
        ..Sandbox::default()
    }
}

#[tokio::test]
async fn records_come_back_change_and_go() {
    let site = Site::new();
    let (store, n) = (site.open(), ns("k8s.io"));
    let made = store.sandboxes(&n).create(sandbox("s1")).await.unwrap();
    assert_eq!((&made.spec, made.created_at.is_some()), (&sandbox("s1").spec, true));
    let twice = store.sandboxes(&n).create(sandbox("s1")).await;
    refused(twice, Kind::AlreadyExists, r#"sandbox "s1": already exists"#);
    drop(store);
    let store = site.open();
    let sandboxes = store.sandboxes(&n);
    assert_eq!(sandboxes.get("s1").await.unwrap(), made);
    assert_eq!(sandboxes.list(&filters(&["labels.a==1"])).await.unwrap(), [made]);
    assert!(sandboxes.list(&filters(&["labels.a==2"])).await.unwrap().is_empty());
    let mut to = sandbox("s1");
    to.extensions.insert("e".to_owned(), Any::new("t", "v"));
    to.labels.clear();
    let changed = sandboxes.update(to.clone(), &["extensions.e".to_owned()]).await.unwrap();
    assert_eq!((changed.extensions.len(), changed.labels.len()), (1, 1));
    to.runtime.name = "other".to_owned();
    let text = "sandbox.Runtime.Name field is immutable: invalid argument";
    refused(sandboxes.update(to.clone(), &[]).await, Kind::InvalidArgument, text);
    let text = r#"cannot update "sandboxer" field on sandbox "s1": invalid argument"#;
    refused(sandboxes.update(to, &["sandboxer".to_owned()]).await, Kind::InvalidArgument, text);
    sandboxes.delete("s1").await.unwrap();
    let text = r#"sandbox "s1" in namespace "k8s.io": not found"#;
    refused(sandboxes.get("s1").await, Kind::NotFound, text);
    refused(sandboxes.delete("s1").await, Kind::NotFound, text);
}

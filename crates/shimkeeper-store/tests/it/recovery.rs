// SPDX-License-Identifier: Apache-2.0
//! Recovery: what can be read is saved, what cannot is made from the bundles, and nothing is invented.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use shimkeeper_core::Any;
use shimkeeper_store::{Container, Counts, OpenError, Records, Recovered, Store, recover};

use crate::support::{SPEC, Site, container, ns};

async fn filled(site: &Site) -> (PathBuf, BTreeMap<String, Container>) {
    let (store, ns) = (site.open(), ns("default"));
    for number in 0..40 {
        let spec = format!("{number}.").repeat(50 * number);
        let record = Container { spec: Some(Any::new(SPEC, spec)), ..container(&format!("c{number}")) };
        store.containers(&ns).create(record).await.unwrap();
    }
    drop(store);
    let records = Records::read(&site.root()).unwrap();
    let records = records.containers().map(|(_, record)| (record.id.clone(), record.clone())).collect();
    (site.root().join("store.db"), records)
}

/// A bundle as a daemon and its shim leave it.
fn bundle(site: &Site, id: &str) -> PathBuf {
    bundle_in(site, "io.containerd.runtime.v2.task", id)
}

fn bundle_in(site: &Site, tree: &str, id: &str) -> PathBuf {
    let bundle = site.state().join(tree).join("default").join(id);
    fs::create_dir_all(&bundle).unwrap();
    fs::write(bundle.join("config.json"), format!("{{ \"of\": {id:?} }}")).unwrap();
    fs::write(bundle.join("shim-binary-path"), "/usr/bin/containerd-shim-runc-v2").unwrap();
    bundle
}

fn found(site: &Site) -> BTreeMap<String, Container> {
    let records = Records::read(&site.root()).unwrap();
    records.containers().map(|(_, record)| (record.id.clone(), record.clone())).collect()
}

#[tokio::test]
async fn wherever_the_damage_is_the_rest_is_saved_and_nothing_else() {
    let site = Site::new();
    let (path, written) = filled(&site).await;
    let whole = fs::read(&path).unwrap();
    let (mut saved, mut rounds) = (0, 0);
    for page in (0..whole.len() / 4096).step_by(2) {
        let fresh = Site::new();
        fs::create_dir_all(fresh.root()).unwrap();
        let mut damaged = whole.clone();
        damaged[page * 4096..][..4096].fill(0x5a);
        fs::write(fresh.root().join("store.db"), &damaged).unwrap();
        match recover(&fresh.root(), &fresh.state()).await.unwrap() {
            Recovered::Whole(counts) => assert_eq!(counts.containers, written.len(), "page {page} is unused"),
            Recovered::Anew { set_aside, .. } => {
                assert_eq!(fs::read(set_aside.unwrap()).unwrap(), damaged, "the old file is kept as it was");
                let found = found(&fresh);
                for (id, record) in &found {
                    assert_eq!(written.get(id), Some(record), "page {page}");
                }
                saved += found.len();
                rounds += 1;
            }
        }
        drop(fresh.open());
    }
    // Without its first page, or that of the table's root, there is nothing to be had; else most of it.
    assert!(rounds > 10 && saved > (rounds - 3) * written.len() / 2, "{saved} records in {rounds} rounds");
}

#[tokio::test]
async fn bundles_stand_in_for_what_is_lost() {
    let site = Site::new();
    let (path, written) = filled(&site).await;
    for id in ["c1", "c39", "new"] {
        bundle(&site, id);
    }
    // What a shim may have put there is not followed, waited for or believed.
    let linked = bundle(&site, "linked").join("config.json");
    fs::remove_file(&linked).unwrap();
    symlink("/etc/passwd", &linked).unwrap();
    let piped = bundle(&site, "piped").join("shim-binary-path");
    fs::remove_file(&piped).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &piped, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    bundle(&site, "no--id");

    let mut damaged = fs::read(&path).unwrap();
    damaged.truncate(12 * 4096);
    fs::write(&path, &damaged).unwrap();
    let _ = fs::remove_file(site.root().join("store.db-wal"));
    assert!(matches!(Store::open(&site.root(), &site.state()), Err(OpenError::Damaged { .. })));
    let Recovered::Anew { salvaged, from_bundles, left_out, .. } =
        recover(&site.root(), &site.state()).await.unwrap()
    else {
        panic!("the store was damaged")
    };
    let found = found(&site);
    assert_eq!(found.len(), salvaged.containers + from_bundles.containers);
    for (id, record) in &found {
        if written.get(id) != Some(record) {
            assert_eq!(record.runtime.name, "io.containerd.runc.v2");
            let spec = record.spec.as_ref().unwrap();
            assert_eq!((&*spec.type_url, &*spec.value), (SPEC, format!("{{ \"of\": {id:?} }}").as_bytes()));
        }
    }
    for id in ["c1", "c39", "new"] {
        assert!(found.contains_key(id), "{id}");
    }
    for id in ["linked", "piped", "no--id"] {
        assert!(!found.contains_key(id), "{id}");
        assert!(left_out.iter().any(|one| one.what.ends_with(id)), "{id}: {left_out:?}");
    }
    drop(site.open());
    let again = recover(&site.root(), &site.state()).await.unwrap();
    assert!(matches!(again, Recovered::Whole(Counts { containers, .. }) if containers == found.len()));
}

#[tokio::test]
async fn without_a_store_there_are_still_the_bundles() {
    let site = Site::new();
    bundle(&site, "c1");
    assert!(matches!(Store::open(&site.root(), &site.state()), Err(OpenError::Missing { .. })));
    let done = recover(&site.root(), &site.state()).await.unwrap();
    let Recovered::Anew { salvaged, from_bundles, left_out, set_aside } = done else { panic!("{done:?}") };
    assert_eq!((salvaged, from_bundles.containers), (Counts::default(), 1));
    assert!(left_out.is_empty() && set_aside.is_none());
    assert_eq!(site.open().namespaces().list().len(), 1);
}

#[tokio::test]
async fn sandboxes_have_bundles_too() {
    let site = Site::new();
    bundle_in(&site, "io.containerd.sandbox.controller.v1.shim", "pod");
    assert!(matches!(Store::open(&site.root(), &site.state()), Err(OpenError::Missing { .. })));
    let done = recover(&site.root(), &site.state()).await.unwrap();
    assert!(matches!(&done, Recovered::Anew { from_bundles, .. } if from_bundles.sandboxes == 1), "{done:?}");
    let made = site.open().sandboxes(&ns("default")).get("pod").await.unwrap();
    assert_eq!((&*made.sandboxer, &*made.runtime.name), ("shim", "io.containerd.runc.v2"));
}

#[tokio::test]
async fn an_open_store_is_not_recovered() {
    let site = Site::new();
    let store = site.open();
    let error = recover(&site.root(), &site.state()).await.unwrap_err();
    assert!(error.to_string().contains("is in use by another process"), "{error}");
    drop(store);
}

// SPDX-License-Identifier: Apache-2.0
//! Files that are damaged, missing or not ours: the store is not opened, nothing is changed, and it is said what
//! helps. Never is it opened with other records than were written.

use std::fs;
use std::path::PathBuf;

use shimkeeper_core::{Any, HasKind as _, Kind};
use shimkeeper_store::{Container, OpenError, Store};

use crate::support::{SPEC, Site, container, filters, ns};

/// Every how many bytes one is changed; a prime, so that all parts of a page have their turn.
const STEP: usize = 197;

/// A closed store with records of some pages, all of it in the database.
async fn filled(site: &Site) -> (PathBuf, Vec<Container>) {
    let (store, ns) = (site.open(), ns("default"));
    for number in 0..20 {
        let spec = format!("{number}.").repeat(100 * number);
        let record = Container { spec: Some(Any::new(SPEC, spec)), ..container(&format!("c{number}")) };
        store.containers(&ns).create(record).await.unwrap();
    }
    (site.root().join("store.db"), all(&store).await)
}

async fn all(store: &Store) -> Vec<Container> {
    let found = store.containers(&ns("default")).list(&filters(&[])).await.unwrap();
    found.iter().map(|container| Container::clone(container)).collect()
}

#[tokio::test]
async fn a_byte_that_changed_is_seen_wherever_it_means_something() {
    let site = Site::new();
    let (path, records) = filled(&site).await;
    let log = site.root().join("store.db-wal");
    fs::remove_file(&log).unwrap();
    let whole = fs::read(&path).unwrap();
    let mut seen = 0;
    for at in (0..whole.len()).step_by(STEP) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x15;
        fs::write(&path, &damaged).unwrap();
        match Store::open(&site.root(), &site.state()) {
            Ok(store) => assert!(all(&store).await == records, "byte {at}: other records than were written"),
            Err(error) => {
                seen += 1;
                let known = matches!(error, OpenError::Damaged { .. } | OpenError::Foreign { .. });
                assert!(known, "byte {at}: {error:?}");
                assert_eq!(fs::read(&path).unwrap(), damaged, "byte {at}: what does not open is not changed");
            }
        }
        let _ = fs::remove_file(&log);
    }
    assert!(seen * STEP * 2 > whole.len(), "only {seen} changes were seen in {} bytes", whole.len());
}

#[tokio::test]
async fn a_file_that_is_cut_off_empty_or_something_else_is_not_opened() {
    let site = Site::new();
    let (path, _) = filled(&site).await;
    fs::remove_file(site.root().join("store.db-wal")).unwrap();
    let whole = fs::read(&path).unwrap();
    let half = whole[..whole.len() / 2].to_vec();
    for content in [half, Vec::new(), b"[plugins]\nversion = 2\n".repeat(100), vec![0; 8192]] {
        fs::write(&path, &content).unwrap();
        let error = Store::open(&site.root(), &site.state()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
        assert_eq!(error.kind(), Kind::DataLoss);
        assert!(error.to_string().contains("`shimkeeper store recover`"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

#[tokio::test]
async fn a_store_that_is_missing_beside_bundles_is_not_made_anew() {
    let site = Site::new();
    let bundle = site.state().join("io.containerd.runtime.v2.task/default/c1");
    fs::create_dir_all(&bundle).unwrap();
    let error = Store::open(&site.root(), &site.state()).unwrap_err();
    assert!(matches!(&error, OpenError::Missing { bundle: one, .. } if *one == bundle), "{error:?}");
    for word in ["store recover", "import --from-containerd", "store import"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    assert!(!site.root().exists(), "nothing was made");
    // A half-deleted bundle is none.
    fs::rename(&bundle, bundle.with_file_name(".c1")).unwrap();
    drop(site.open());
    fs::rename(bundle.with_file_name(".c1"), &bundle).unwrap();
    drop(site.open());
}

#[tokio::test]
async fn only_one_at_a_time_has_it_open() {
    let site = Site::new();
    let store = site.open();
    let error = Store::open(&site.root(), &site.state()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    let clone = store.clone();
    drop(store);
    assert!(Store::open(&site.root(), &site.state()).is_err(), "a clone still has it");
    drop(clone);
    drop(site.open());
}

#[tokio::test]
async fn a_creation_that_was_cut_short_is_done_again() {
    let site = Site::new();
    fs::create_dir_all(site.root()).unwrap();
    for leftover in ["store.db.new", "store.db.new-journal"] {
        fs::write(site.root().join(leftover), "half").unwrap();
    }
    drop(site.open());
    assert!(!site.root().join("store.db.new-journal").exists());
}

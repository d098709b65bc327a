// SPDX-License-Identifier: Apache-2.0
//! Leases and what they hold.

use std::time::{Duration, SystemTime};

use shimkeeper_core::{Kind, time::to_rfc3339};
use shimkeeper_store::{Labels, Resource};

use crate::support::{Site, filters, ns, refused};

fn resource(kind: &str, id: &str) -> Resource {
    Resource { kind: kind.to_owned(), id: id.to_owned() }
}

fn expiring(at: SystemTime) -> Labels {
    [("containerd.io/gc.expire".to_owned(), to_rfc3339(at))].into()
}

#[tokio::test]
async fn leases_come_and_go() {
    let site = Site::new();
    let (store, n) = (site.open(), ns("default"));
    let leases = store.leases(&n);
    // As clients make them: no identifiers.
    let odd = "1785396541-Ab_-";
    let made = leases.create(odd, [("a".to_owned(), "1".to_owned())].into()).await.unwrap();
    assert_eq!(made.id, odd);
    refused(
        leases.create(odd, Labels::new()).await,
        Kind::AlreadyExists,
        &format!("lease {odd:?}: already exists"),
    );
    let given = leases.create("", Labels::new()).await.unwrap();
    assert!(
        given
            .id
            .split_once('-')
            .is_some_and(|(nanos, chance)| nanos.parse::<u32>().is_ok() && chance.len() == 4)
    );
    assert_eq!(leases.list(&filters(&["labels.a==1"])), std::slice::from_ref(&made));
    assert_eq!(leases.list(&filters(&[])).len(), 2);
    drop(store);
    let store = site.open();
    assert_eq!(store.leases(&n).list(&filters(&[&format!("id==\"{odd}\"")])), [made]);
    store.leases(&n).delete(odd).await.unwrap();
    let again = store.leases(&n).delete(odd).await;
    refused(again, Kind::NotFound, &format!("lease {odd:?}: not found"));
    let text = "lease id \"a\\n\" must be 1 to 256 bytes without control characters: invalid argument";
    refused(store.leases(&n).create("a\n", Labels::new()).await, Kind::InvalidArgument, text);
}

#[tokio::test]
async fn what_a_lease_holds_is_kept() {
    let site = Site::new();
    let (store, n) = (site.open(), ns("default"));
    store.leases(&n).create("l", Labels::new()).await.unwrap();
    let held = [resource("content", "sha256:00"), resource("snapshots/overlayfs", "key")];
    for one in [&held[1], &held[0], &held[0]] {
        store.leases(&n).add_resource("l", one.clone()).await.unwrap();
    }
    drop(store);
    let store = site.open();
    let leases = store.leases(&n);
    assert_eq!(leases.resources("l").unwrap(), held);
    leases.delete_resource("l", &held[0]).await.unwrap();
    leases.delete_resource("l", &held[0]).await.unwrap();
    assert_eq!(leases.resources("l").unwrap(), held[1..]);
    refused(leases.resources("x"), Kind::NotFound, r#"lease "x": not found"#);
    let odd = leases.add_resource("l", resource("volumes", "v")).await;
    refused(odd, Kind::NotImplemented, "resource type volumes not supported yet: not implemented");
    let odd = leases.add_resource("l", resource("snapshots", "v")).await;
    refused(odd, Kind::InvalidArgument, "invalid resource type snapshots: invalid argument");
}

#[tokio::test]
async fn those_whose_time_is_over_go_with_the_next() {
    let site = Site::new();
    let (store, a, b) = (site.open(), ns("a"), ns("b"));
    let now = SystemTime::now();
    store.leases(&a).create("over", expiring(now - Duration::from_secs(1))).await.unwrap();
    store.leases(&a).create("lasting", expiring(now + Duration::from_hours(1))).await.unwrap();
    let never = [("containerd.io/gc.expire".to_owned(), "tomorrow".to_owned())].into();
    store.leases(&a).create("unclear", never).await.unwrap();
    store.leases(&b).create("next", Labels::new()).await.unwrap();
    let left = store.leases(&a).list(&filters(&[]));
    assert_eq!(left.iter().map(|lease| &*lease.id).collect::<Vec<_>>(), ["lasting", "unclear"]);
}

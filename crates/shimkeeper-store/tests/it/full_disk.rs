// SPDX-License-Identifier: Apache-2.0
//! A full disk: records are refused with that reason, and can be deleted.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use shimkeeper_core::{Any, HasKind as _, Kind};
use shimkeeper_store::{Container, Labels, Store, StoreError};

use crate::support::{SPEC, Site, container, filters, ns};

/// A file system of 16 MiB.
struct Disk(PathBuf);

impl Disk {
    /// `None`, with the reason printed, without the right to mount.
    fn at(path: PathBuf) -> Option<Self> {
        std::fs::create_dir(&path).unwrap();
        match mount("shimkeeper-test", &path, "tmpfs", MountFlags::empty(), Some(c"size=16m")) {
            Ok(()) => Some(Self(path)),
            Err(errno) => {
                println!("skipped: the test mounts a small tmpfs, which is not allowed here: {errno}");
                None
            }
        }
    }

    /// To the last byte.
    fn fill(&self) {
        let mut filler = File::options().create(true).append(true).open(self.0.join("filler")).unwrap();
        while filler.write_all(&[1; 4096]).is_ok() {}
    }

    fn clear(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// A container with a spec of 10 KB.
fn large(id: &str) -> Container {
    Container { spec: Some(Any::new(SPEC, vec![b'x'; 10_000])), ..container(id) }
}

/// Makes records until there is no more room, which must be what is said then. The disk is kept full meanwhile.
async fn make_until_full(store: &Store, disk: &Disk) -> Vec<String> {
    let ns = ns("default");
    let mut made = Vec::new();
    for number in 0..10_000 {
        disk.fill();
        let id = format!("c{number}");
        match store.containers(&ns).create(large(&id)).await {
            Ok(_) => made.push(id),
            Err(error) => {
                assert_eq!(error.kind(), Kind::ResourceExhausted, "{error}");
                assert!(matches!(error, StoreError::Full { .. }), "{error}");
                return made;
            }
        }
    }
    panic!("a full disk takes 10,000 records")
}

#[tokio::test]
async fn everything_can_be_deleted_from_a_full_disk() {
    let site = Site::new();
    let Some(disk) = Disk::at(site.dir.path().join("disk")) else { return };
    let (ns, dir, state) = (ns("default"), disk.0.join("store"), site.state());
    let store = Store::open(&dir, &state).unwrap();
    let kept: Vec<_> = (0..200).map(|number| format!("kept{number}")).collect();
    for id in &kept {
        store.containers(&ns).create(large(id)).await.unwrap();
    }
    let mut made = make_until_full(&store, &disk).await;
    made.extend(kept);
    let lease = store.leases(&ns).create("l", Labels::new()).await;
    assert_eq!(lease.unwrap_err().kind(), Kind::ResourceExhausted);
    // What was refused has left nothing, and what is there is whole.
    assert_eq!(store.containers(&ns).list(&filters(&[])).await.unwrap().len(), made.len());

    let (first, second) = made.split_at(made.len() / 2);
    for id in first {
        store.containers(&ns).delete(id).await.unwrap();
        disk.fill();
    }
    // Also after a restart on the full disk.
    drop(store);
    disk.fill();
    let store = Store::open(&dir, &state).unwrap();
    for id in second {
        store.containers(&ns).delete(id).await.unwrap();
        disk.fill();
    }
    assert!(store.containers(&ns).list(&filters(&[])).await.unwrap().is_empty());
    store.namespaces().delete("default").await.unwrap();

    disk.clear();
    store.containers(&ns).create(large("again")).await.unwrap();
    drop(store);
    let store = Store::open(&dir, &state).unwrap();
    assert_eq!(store.containers(&ns).get("again").await.unwrap().id, "again");
}

#[tokio::test]
async fn one_record_that_is_too_large_spoils_no_other() {
    let site = Site::new();
    let Some(disk) = Disk::at(site.dir.path().join("disk")) else { return };
    let ns = ns("default");
    let store = Store::open(&disk.0.join("store"), &site.state()).unwrap();
    let containers = store.containers(&ns);
    let huge = Container { spec: Some(Any::new(SPEC, vec![b'x'; 15 << 20])), ..container("huge") };
    // Together, so that they may become one transaction.
    let (a, huge, b) =
        tokio::join!(containers.create(large("a")), containers.create(huge), containers.create(large("b")));
    assert_eq!(huge.unwrap_err().kind(), Kind::ResourceExhausted);
    assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
}

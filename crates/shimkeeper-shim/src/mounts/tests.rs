// SPDX-License-Identifier: Apache-2.0
//! Real mounts, for root.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::test_support::{Mounts, root_or_skip};

#[test]
fn everything_at_and_below_goes_deepest_and_latest_first() {
    if !root_or_skip("mounts tmpfs") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (at, link) = (dir.path().join("a b\\c"), dir.path().join("link"));
    let mounts = Mounts::new();
    fs::create_dir(&at).unwrap();
    mounts.tmpfs(&at);
    for name in ["x", "x/y", "z"] {
        fs::create_dir(at.join(name)).unwrap();
        mounts.tmpfs(&at.join(name));
        if name == "x" {
            mounts.tmpfs(&at.join(name));
        }
    }
    let sibling = dir.path().join("a b\\cd");
    fs::create_dir(&sibling).unwrap();
    mounts.tmpfs(&sibling);
    symlink(dir.path(), &link).unwrap();

    assert_eq!(unmount_below(&link.join("a b\\c")).unwrap(), 4, "links on the way are resolved");
    assert_eq!(unmount_recursive(&at).unwrap(), 1);
    assert_eq!(unmount_recursive(&at).unwrap(), 0);
    assert_eq!(mounted_below(dir.path()).unwrap(), [sibling], "a longer name is not below");
}

#[test]
fn what_is_busy_is_detached() {
    if !root_or_skip("mounts tmpfs") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("m");
    let mounts = Mounts::new();
    fs::create_dir(&at).unwrap();
    mounts.tmpfs(&at);
    let holder = fs::File::create(at.join("open")).unwrap();
    assert_eq!(unmount_recursive(&at).unwrap(), 1);
    drop(holder);
    assert!(mounted_below(dir.path()).unwrap().is_empty());
}

#[test]
fn a_link_in_the_place_of_a_mounts_parent_is_not_followed() {
    if !root_or_skip("mounts tmpfs") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mounts = Mounts::new();
    let host = dir.path().join("host");
    fs::create_dir_all(host.join("m")).unwrap();
    mounts.tmpfs(&host.join("m"));
    // What the table said a moment ago was `rootfs/m`; by now `rootfs` leads to the host's.
    symlink(&host, dir.path().join("rootfs")).unwrap();
    let real = dir.path().canonicalize().unwrap();
    assert_eq!(unmount(&real.join("rootfs/m"), false), Err(Errno::LOOP));
    assert_eq!(mounted_below(dir.path()).unwrap().len(), 1);
}

#[test]
fn a_missing_parent_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(mounted_below(&dir.path().join("no/such")).unwrap_err().kind(), Kind::NotFound);
    assert!(mounted_below(&dir.path().join("absent")).unwrap().is_empty());
}

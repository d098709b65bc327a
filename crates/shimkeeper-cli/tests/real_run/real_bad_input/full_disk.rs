// SPDX-License-Identifier: Apache-2.0
//! A full disk, with so much room left that another step fails each time.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use shimkeeper::Kind;

use super::input::{Input, Place};
use super::runtime;

/// How much room there is, in KiB. A page is four of them.
const ROOM: [usize; 10] = [0, 4, 8, 12, 16, 20, 24, 32, 48, 128];

/// A file system of one mebibyte.
struct Disk(PathBuf);

impl Disk {
    fn new(at: PathBuf) -> Self {
        std::fs::create_dir(&at).unwrap();
        mount("tmpfs", &at, "tmpfs", MountFlags::NODEV, Some(c"size=1m")).unwrap();
        Self(at)
    }

    /// Leaves this much room.
    fn fill(&self, room: usize) {
        let mut file = File::create(self.0.join("filling")).unwrap();
        let page = [1; 4096];
        while file.write_all(&page).is_ok() {}
        let size = file.metadata().unwrap().len();
        file.set_len(size - u64::try_from(room).unwrap() * 1024).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

/// Asks, both ways, with this much room; answers which of them succeeded.
fn ask(room: usize) -> [bool; 2] {
    let place = Place::new();
    let input = |disk: &Path| Input { state: disk.join("s"), own_dirs: true, ..Input::good(&place) };
    let told = ["command", "library"].map(|way| {
        let disk = Disk::new(place.dirs.path().join(way));
        disk.fill(room);
        let input = input(&disk.0);
        let told = if way == "command" {
            input.through_the_command(&place).1
        } else {
            runtime().block_on(input.through_the_library())
        };
        let bundles = disk.0.join("s/io.containerd.runtime.v2.task/default");
        let left: Vec<_> = std::fs::read_dir(bundles).into_iter().flatten().collect();
        assert!(left.is_empty(), "{room} KiB: {left:?}");
        (way, told)
    });
    place.assert_nothing_left("a full disk");
    told.map(|(way, told)| {
        let Some(told) = told else { return true };
        told.assert_readable("a full disk");
        assert_eq!(told.kind, Kind::ResourceExhausted.as_str(), "{room} KiB through the {way}: {told:?}");
        assert!(told.hint.contains("make room"), "{told:?}");
        false
    })
}

#[test]
fn whatever_step_has_no_room_it_is_told_and_undone() {
    let succeeded = ROOM.map(ask);
    assert_eq!(succeeded.first(), Some(&[false; 2]), "without any room nothing can be made");
    assert_eq!(succeeded.last(), Some(&[true; 2]), "with enough of it everything can");
}

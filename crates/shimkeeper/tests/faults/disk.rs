// SPDX-License-Identifier: Apache-2.0
//! A full disk, at every step: what cannot be made leaves nothing, and what is there can always be deleted.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};
use shimkeeper::{Kind, Manager};
use shimkeeper_testkit::{Script, TestDirs};

use crate::bench::{Bench, chain, config, exec_request};
use crate::oracle;

/// A file system of 1 MiB, and a file that fills it.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, with the reason printed, without the right to mount.
    fn at(path: &Path) -> Option<Self> {
        let mounted = rustix::mount::mount("shimkeeper-test", path, "tmpfs", MountFlags::empty(), c"size=1m");
        match mounted {
            Ok(()) => Some(Self(path.to_owned())),
            Err(errno) => {
                println!("skipped: the test mounts a small tmpfs, which is not allowed here: {errno}");
                None
            }
        }
    }

    /// Fills it but for so many KiB.
    fn fill(&self, spare: usize) {
        self.clear();
        let mut filler = File::create(self.0.join("filler")).unwrap();
        while filler.write_all(&[0; 4096]).is_ok() {}
        let len = filler.metadata().unwrap().len();
        filler.set_len(len - (spare as u64 * 1024).min(len)).unwrap();
    }

    fn clear(&self) {
        let _ = std::fs::remove_file(self.0.join("filler"));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.as_path(), UnmountFlags::DETACH);
    }
}

fn nothing_left(dirs: &TestDirs) {
    let mut left = oracle::leftovers(dirs);
    left.mounts.retain(|mount| *mount != dirs.state());
    assert!(left.is_empty(), "left behind:\n{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn that_is_full_at_any_step_of_a_create() {
    let dirs = TestDirs::new();
    let Some(disk) = SmallDisk::at(&dirs.state()) else { return };
    let manager = Manager::open(config(&dirs)).await.unwrap();
    let bench = Bench::of(dirs, manager);
    let mut refused = 0;
    for spare in (0..=32).step_by(4) {
        disk.fill(spare);
        match bench.create("one", &["sleep"], &Script::new()).await {
            Ok(task) => {
                // Room for one more file or not: it can be used, and deleted.
                disk.fill(0);
                task.start().await.unwrap();
                if let Err(error) = task.exec(exec_request("x", &["sleep"])).await {
                    assert_eq!(error.kind(), Kind::ResourceExhausted, "{}", chain(&error));
                }
                task.kill(9, true).await.unwrap();
                task.wait().await.unwrap();
                task.delete().await.unwrap();
            }
            Err(error) => {
                refused += 1;
                assert_eq!(error.kind(), Kind::ResourceExhausted, "{spare} KiB: {}", chain(&error));
                assert!(error.hint().unwrap().contains("make room"), "{}", chain(&error));
                oracle::refusal(&error);
            }
        }
        nothing_left(&bench.dirs);
        oracle::complete(&bench.events());
    }
    assert!(refused > 1, "the disk was never full");
    disk.clear();
    bench.create("one", &["sleep"], &Script::new()).await.unwrap().delete().await.unwrap();
    nothing_left(&bench.dirs);
    drop(disk);
}

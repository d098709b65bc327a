// SPDX-License-Identifier: Apache-2.0
//! The damage corpus, on real shims: whatever became of the files by which a shim is found again, its container runs on,
//! and is had back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use shimkeeper::oci::ContainerSpec;
use shimkeeper::{Config, CreateTask, Manager, Status, Task, TaskKey, Verdict};
use shimkeeper_testkit::deps::{self, Generation};
use shimkeeper_testkit::{TestDirs, oracle};

const PATIENCE: Duration = Duration::from_mins(1);

/// What was done to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Intact,
    Removed,
    Text(&'static str),
    Long,
    Directory,
    LinkToNowhere,
    Fifo,
}

use Damage::{Directory, Fifo, Intact, LinkToNowhere, Long, Removed, Text};

/// To `bootstrap.json`, to our record, and to the older file with nothing but the address.
const CORPUS: [[Damage; 3]; 16] = [
    [Removed, Intact, Intact],
    [Removed, Intact, Removed],
    [Text(""), Intact, Intact],
    [Text("{\"version\":3,\"addr"), Intact, Intact],
    [Text("{\"version\":9,\"address\":\"unix:///x\",\"protocol\":\"ttrpc\"}"), Intact, Intact],
    [Text("{\"version\":3,\"address\":\"unix:///nowhere\",\"protocol\":\"ttrpc\"}"), Intact, Intact],
    [Text("[]"), Intact, Intact],
    [Long, Intact, Intact],
    [Directory, Intact, Intact],
    [LinkToNowhere, Intact, Intact],
    [Fifo, Intact, Intact],
    [Intact, Removed, Intact],
    [Intact, Text("{"), Intact],
    [Intact, Text("{\"version\":9}"), Intact],
    [Removed, Removed, Removed],
    [Text(""), Text(""), Text("")],
];

impl Damage {
    fn inflict(self, file: &Path) {
        if let Self::Intact = self {
            return;
        }
        let _ = fs::remove_file(file);
        match self {
            Self::Intact | Self::Removed => {}
            Self::Text(text) => fs::write(file, text).unwrap(),
            Self::Long => fs::write(file, vec![b' '; 4 << 20]).unwrap(),
            Self::Directory => fs::create_dir(file).unwrap(),
            Self::LinkToNowhere => std::os::unix::fs::symlink("/nowhere", file).unwrap(),
            Self::Fifo => {
                let mode = rustix::fs::Mode::RWXU;
                rustix::fs::mknodat(rustix::fs::CWD, file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
            }
        }
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

async fn sleeper(manager: &Manager, dirs: &TestDirs, id: &str) -> Task {
    let spec = ContainerSpec::new(deps::rootfs(), ["sleep", "600"])
        .read_only(true)
        .env(format!("SHIMKEEPER_TEST={}", dirs.path().display()))
        .cgroups_path(format!("{}/{id}", dirs.cgroup()));
    let request = CreateTask::new(TaskKey::parse("real", id).unwrap(), spec.to_json().unwrap());
    let task = manager.create(request).await.unwrap();
    task.start().await.unwrap();
    task
}

async fn is_survived(generation: Generation) {
    let dirs = TestDirs::new();
    let config = || {
        let shims = deps::shim(generation).parent().unwrap().to_owned();
        Config::new(dirs.state(), dirs.root()).search_path(vec![shims])
    };
    let manager = Manager::open(config()).await.unwrap();
    let mut tasks = Vec::new();
    for (n, damages) in CORPUS.into_iter().enumerate() {
        let task = sleeper(&manager, &dirs, &format!("d{n}")).await;
        tasks.push((task.key().clone(), task.pid().unwrap(), task.bundle(), damages));
    }
    within("leaving", manager.detach()).await;
    for (_, _, bundle, damages) in &tasks {
        for (damage, file) in damages.iter().zip(["bootstrap.json", "shimkeeper.json", "address"]) {
            damage.inflict(&bundle.join(file));
        }
    }

    let manager = Manager::open(config()).await.unwrap();
    let adoption = within("adoption", manager.adopted()).await;
    for (key, pid, _, damages) in &tasks {
        assert_eq!(adoption.verdict(key), Some(&Verdict::Adopted), "{generation:?}: {damages:?}");
        let task = manager.get(key).unwrap();
        assert_eq!(task.pid(), Some(*pid), "{generation:?}: {damages:?}");
        assert_eq!(task.state().await.unwrap().status, Status::Running, "{generation:?}: {damages:?}");
        task.kill(9, false).await.unwrap();
        assert_eq!(within("the exit", task.wait()).await.unwrap().status, 137);
        within("the deletion", task.delete()).await.unwrap();
    }
    assert!(manager.list().is_empty());
    within("leaving", manager.detach()).await;
    oracle::nothing_left(&dirs, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn real_damage_is_survived_by_shim_1_6() {
    is_survived(Generation::V1_6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_damage_is_survived_by_shim_1_7() {
    is_survived(Generation::V1_7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_damage_is_survived_by_shim_2_1() {
    is_survived(Generation::V2_1).await;
}

// SPDX-License-Identifier: Apache-2.0
//! State directories of containerd's, with containers running in them, are taken over as they are, and given back: each
//! manager finds what the other left, and no container notices.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::time::{Duration, Instant};

use shimkeeper::events::{Filters, TaskEvent};
use shimkeeper::{Config, Kind, Manager, Provenance, Status, TaskKey, Verdict};
use shimkeeper_shim::{Address, BootstrapParams, Bundle, StateDirs};
use shimkeeper_testkit::deps::Generation;
use shimkeeper_testkit::{Containerd, TestDirs};

const PATIENCE: Duration = Duration::from_secs(30);

fn alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

async fn take_over(generation: Generation) {
    let dirs = TestDirs::new();
    let namespace = format!("takeover-{generation:?}").replace('_', "-");
    let containerd = Containerd::start(generation, &dirs, &namespace);
    for (id, script) in [("stays", "exec sleep 100"), ("ends", "exec sleep 100")] {
        containerd.run_detached(&dirs, id, script);
    }
    drop(containerd);

    let config = Config::new(dirs.state(), dirs.root());
    let (manager, mut events) = Manager::open_with_events(config, Filters::everything()).await.unwrap();
    let adoption = tokio::time::timeout(PATIENCE, manager.adopted()).await.unwrap();
    let key = |id: &str| TaskKey::parse(&namespace, id).unwrap();
    for id in ["stays", "ends"] {
        assert_eq!(adoption.verdict(&key(id)), Some(&Verdict::Adopted), "{generation:?}");
    }

    let (stays, ends) = (manager.get(&key("stays")).unwrap(), manager.get(&key("ends")).unwrap());
    let pid = stays.pid().unwrap();
    assert!(alive(pid) && alive(ends.pid().unwrap()), "{generation:?}: nothing was killed");
    stays.kill(15, false).await.unwrap_or_else(|e| panic!("{generation:?}: {e}"));
    stays.kill(9, false).await.ok();
    let exit = tokio::time::timeout(PATIENCE, stays.wait()).await.unwrap().unwrap();
    assert_eq!((exit.pid, exit.provenance), (pid, Provenance::Observed), "{generation:?}");
    assert!(matches!(exit.status, 137 | 143), "{generation:?}: {exit:?}");
    stays.delete().await.unwrap();

    let ends = manager.get(&key("ends")).unwrap();
    ends.kill(9, true).await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, ends.wait()).await.unwrap().unwrap().status, 137);
    ends.delete().await.unwrap();
    assert!(manager.list().is_empty());
    let mut exits = 0;
    while let Some(event) = events.try_next().unwrap() {
        exits += usize::from(matches!(TaskEvent::decode(&event), Ok(Some((_, TaskEvent::Exit { .. })))));
    }
    assert_eq!(exits, 2, "{generation:?}: one exit each");
    manager.detach().await;
    dirs.sweep().unwrap();
}

/// Where the shim of a container is by its bundle, and by the rule for its kind.
fn addresses(dirs: &TestDirs, containerd: &Path, key: &TaskKey) -> (Address, Address) {
    let state = StateDirs::new(dirs.state(), dirs.root()).unwrap();
    let bundle = Bundle::open(&state, key).unwrap();
    let written = BootstrapParams::read(&bundle).unwrap().address;
    (written, Address::by_rule(&bundle, containerd.to_str().unwrap()))
}

/// containerd lists each as running, ends it and removes it.
fn all_run_and_end(containerd: &Containerd, ids: &[&str], pids: &[u32]) {
    let listed = containerd.told(&["tasks", "ls"]);
    let words = |line: &str| line.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let listed: Vec<_> = listed.lines().map(words).collect();
    for (id, pid) in ids.iter().zip(pids) {
        let running = words(&format!("{id} {pid} RUNNING"));
        assert!(listed.contains(&running), "{running:?} is not in {listed:?}");
        containerd.told(&["tasks", "kill", "--signal", "SIGKILL", id]);
        let ends = Instant::now() + PATIENCE;
        while !containerd.ctr(&["tasks", "rm", id]).status.success() {
            assert!(Instant::now() < ends, "{id} does not go");
        }
        containerd.told(&["containers", "rm", id]);
        assert!(!alive(*pid), "{id}");
    }
}

async fn take_over_and_give_back(generation: Generation) {
    let dirs = TestDirs::new();
    let namespace = format!("rollback-{generation:?}-{}", std::process::id()).replace('_', "-");
    let start = || Containerd::start(generation, &dirs, &namespace);
    let containerd = start();
    let group = ["--annotation", "io.containerd.runc.v2.group=together"];
    let ids = ["alone", "first", "second"];
    for (id, options) in ids.into_iter().zip([&[][..], &group, &group]) {
        containerd.run_detached_with(&dirs, options, id, "exec sleep 600");
    }
    let key = |id: &str| TaskKey::parse(&namespace, id).unwrap();
    let address = dirs.socket("c.sock");
    let mut sockets = Vec::new();
    for id in ids {
        let (written, ruled) = addresses(&dirs, &address, &key(id));
        assert_eq!(written, ruled, "{generation:?}: {id}");
        sockets.push(ruled.path().unwrap().to_owned());
    }
    let config = || Config::new(dirs.state(), dirs.root()).address(address.to_str().unwrap());
    let refused = Manager::open(config()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::FailedPrecondition, "{refused}");
    assert!(refused.to_string().contains(&containerd.pid().to_string()), "{refused}");
    drop(containerd);

    // Its shim was started for the first of the group, so that only the rule is left.
    let bundle = StateDirs::new(dirs.state(), dirs.root()).unwrap().bundle_dir(&key("second"));
    for file in ["bootstrap.json", "address"] {
        let _ = std::fs::remove_file(bundle.join(file));
    }
    let mut pids = Vec::new();
    for _ in 0..2 {
        // The second time over what the first has written.
        let manager = Manager::open(config()).await.unwrap();
        let adoption = tokio::time::timeout(PATIENCE, manager.adopted()).await.unwrap();
        for id in ids {
            assert_eq!(adoption.verdict(&key(id)), Some(&Verdict::Adopted), "{generation:?}: {id}");
            let task = manager.get(&key(id)).unwrap();
            assert_eq!(task.state().await.unwrap().status, Status::Running, "{generation:?}: {id}");
            assert!(task.shim_pid().is_some(), "{generation:?}: {id}");
            pids.push(task.pid().unwrap());
        }
        manager.detach().await;
    }
    assert!(pids.iter().all(|pid| alive(*pid)));

    let containerd = start();
    all_run_and_end(&containerd, &ids, &pids);
    drop(containerd);
    // runc leaves the empty directory of a namespace.
    let _ = std::fs::remove_dir(Path::new("/run/containerd/runc").join(&namespace));
    dirs.sweep().unwrap();
    // A shim that containerd ends is sometimes gone before it has removed its socket, and containerd does not.
    for socket in sockets {
        let _ = std::fs::remove_file(socket);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_containerd_1_7_is_taken_over() {
    take_over(Generation::V1_7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_containerd_2_1_is_taken_over() {
    take_over(Generation::V2_1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_containerd_1_7_has_its_containers_back() {
    take_over_and_give_back(Generation::V1_7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_containerd_2_1_has_its_containers_back() {
    take_over_and_give_back(Generation::V2_1).await;
}

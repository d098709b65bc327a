// SPDX-License-Identifier: Apache-2.0
//! Two managers, one after another or at the same time, on directories that can or cannot be used.

use std::time::{Duration, Instant};

use shimkeeper::{Config, Kind, Manager, Status};
use shimkeeper_testkit::{Act, Method, Script, StartStep, TestDirs, When};
use tokio::time::timeout;

use crate::bench::{Bench, PATIENCE, chain, config, end, key, lives, request, until};
use crate::oracle;

#[tokio::test(flavor = "multi_thread")]
async fn the_second_manager_is_told_who_the_first_is() {
    let bench = Bench::new().await;
    let other = TestDirs::new();
    for config in [
        config(&bench.dirs),
        Config::new(bench.dirs.state(), other.root()),
        Config::new(other.state(), bench.dirs.root()),
    ] {
        let began = Instant::now();
        let error = Manager::open(config).await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(1));
        assert_eq!(error.kind(), Kind::FailedPrecondition, "{}", chain(&error));
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        assert!(error.hint().is_some());
        oracle::refusal(&error);
    }
    bench.id_is_free().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_that_cannot_be_used() {
    let dirs = TestDirs::new();
    let long = dirs.path().join("x".repeat(90));
    let file = dirs.path().join("file");
    std::fs::write(&file, "").unwrap();
    for (state, root, kind) in [
        (long, dirs.root(), Kind::InvalidArgument),
        ("relative".into(), dirs.root(), Kind::InvalidArgument),
        (dirs.state(), dirs.state(), Kind::InvalidArgument),
        (file.clone(), dirs.root(), Kind::FailedPrecondition),
        (file.join("below"), dirs.root(), Kind::FailedPrecondition),
    ] {
        let error = Manager::open(Config::new(&state, root)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}: {}", state.display(), chain(&error));
        assert!(error.hint().is_some(), "{}", chain(&error));
        oracle::refusal(&error);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_leaves_leaves_its_tasks() {
    let bench = Bench::new().await;
    let task = bench.honest("one", &["sleep"]).await;
    let pid = task.start().await.unwrap();
    let shim = task.shim_pid().unwrap();
    let Bench { dirs, manager, .. } = bench;
    // Handles of tasks are no reason to stay.
    timeout(PATIENCE, manager.detach()).await.expect("leaving is quick");
    assert!(lives(pid) && lives(shim));
    assert_eq!(task.wait().await.unwrap_err().kind(), Kind::Unavailable);
    let error = task.kill(9, false).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{}", chain(&error));
    let manager = Manager::open(config(&dirs)).await.unwrap();
    manager.adopted().await;
    let again = manager.get(&key("one")).unwrap();
    assert_eq!(again.pid(), Some(pid));
    assert_eq!(again.state().await.unwrap().status, Status::Running);
    end(&again).await;
    oracle::nothing_left(&dirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_leaves_waits_for_no_shim() {
    let bench = Bench::new().await;
    let hang = |method| Script::new().on(method, When::Before, Act::Hang);
    let slow = bench.create("slow", &["exit", "0"], &hang(Method::Delete)).await.unwrap();
    slow.start().await.unwrap();
    let making = request("made", &["sleep"], &hang(Method::Create));
    let launched = request("launched", &["sleep"], &Script::new().start([StartStep::Hang]));
    let Bench { dirs, manager, .. } = bench;
    let (other, third) = (manager.clone(), manager.clone());
    let bundle = |id: &str| dirs.state().join("io.containerd.runtime.v2.task/ns").join(id);
    let leaving = async {
        until(|| bundle("launched/fake-shim.json").exists() && bundle("made/bootstrap.json").exists()).await;
        let began = Instant::now();
        timeout(PATIENCE, manager.detach()).await.expect("leaving is quick");
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    };
    let (made, launched, deleted, ()) =
        tokio::join!(other.create(making), third.create(launched), slow.delete(), leaving);
    for error in [made.unwrap_err(), launched.unwrap_err()] {
        assert_eq!(error.kind(), Kind::Unavailable, "{}", chain(&error));
    }
    assert!(deleted.is_err());
    assert!(!bundle("launched").exists(), "nothing was made of it, so nothing is left");
    dirs.sweep().unwrap();
}

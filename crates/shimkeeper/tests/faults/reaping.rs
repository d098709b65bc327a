// SPDX-License-Identifier: Apache-2.0
//! When the shim binary's `delete` action runs after a clean end: not, unless somebody wants that of its runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shimkeeper::{Asked, Config, Dropped, Manager, Observer, Provenance};
use shimkeeper_testkit::{Script, TestDirs, fake_shim_binary};

use crate::bench::{Bench, config};

#[derive(Debug, Default)]
struct Reaps(AtomicUsize);

impl Observer for Reaps {
    fn asked(&self, asked: &Asked<'_>) {
        self.0.fetch_add(usize::from(asked.method == "reap"), Ordering::Relaxed);
    }

    fn exited(&self, _: Provenance) {}

    fn dropped(&self, _: Dropped) {}
}

/// How often the action ran in an honest life.
async fn reaps_with(change: impl FnOnce(Config) -> Config) -> usize {
    let (dirs, reaps) = (TestDirs::new(), Arc::new(Reaps::default()));
    let manager = Manager::open(change(config(&dirs)).observer(reaps.clone())).await.unwrap();
    let bench = Bench::of(dirs, manager);
    let task = bench.create("one", &["exit", "3"], &Script::new()).await.unwrap();
    task.start().await.unwrap();
    assert_eq!(task.wait().await.unwrap().status, 3);
    task.delete().await.unwrap();
    bench.is_clean();
    reaps.0.load(Ordering::Relaxed)
}

#[tokio::test]
async fn nothing_is_deleted_twice_unless_the_runtime_is_one_that_wants_it() {
    assert_eq!(reaps_with(|config| config).await, 0);
    assert_eq!(reaps_with(|config| config.always_reap_for("io.containerd.other.v2")).await, 0);
    assert_eq!(reaps_with(|config| config.always_reap(true)).await, 1);
    assert_eq!(reaps_with(|config| config.always_reap_for("io.containerd.fake.v2")).await, 1);
    let binary = fake_shim_binary().to_str().unwrap().to_owned();
    assert_eq!(reaps_with(|config| config.always_reap_for(binary)).await, 1);
}

#[tokio::test]
async fn a_runtime_that_cannot_be_one_is_refused_at_the_start() {
    let dirs = TestDirs::new();
    let refused = Manager::open(config(&dirs).always_reap_for("no runtime")).await;
    refused.expect_err("it is neither a name nor a path");
}

// SPDX-License-Identifier: Apache-2.0
//! Many runs, at once and one after the other: each works, and nothing of any is left.

use std::time::{Duration, Instant};

use shimkeeper_testkit::TestDirs;

use crate::support::Run;

/// For all that are made at once, on two busy cores.
const PATIENCE: Duration = Duration::from_secs(90);

fn run_one(dirs: &TestDirs) {
    let base = dirs.path().join("base");
    Run::new().with_own_places(&base, &dirs.sockets()).output(&["true"]).success();
}

fn with_places(runs: impl FnOnce(&TestDirs)) {
    let dirs = TestDirs::new();
    let base = dirs.path().join("base");
    std::fs::create_dir(&base).unwrap();
    runs(&dirs);
    let left: Vec<_> = std::fs::read_dir(&base).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    let left = dirs.leftovers();
    assert!(left.is_empty(), "{left}");
}

#[test]
fn a_hundred_at_once() {
    with_places(|dirs| {
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|| run_one(dirs));
            }
        });
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    });
}

#[test]
fn fifty_one_after_the_other() {
    with_places(|dirs| (0..50).for_each(|_| run_one(dirs)));
}

// SPDX-License-Identifier: Apache-2.0
//! No more files can be opened: at any step of a creation, and of what undoes it.

use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use shimkeeper_testkit::TestDirs;
use shimkeeper_testkit::deps::Generation;

use crate::real::{Host, outcome, with_shims, words};
use crate::support::{limited, until};

/// Enough for a daemon to live with, and for some of the many to begin.
const FEW: Option<u64> = Some(110);

#[test]
fn creations_fail_and_nothing_is_left_of_them() {
    let host = Host::start(Generation::V2_1);
    host.sleeper("files-before");
    let daemon = Pid::from_raw(host.daemon.pid().cast_signed());
    prlimit(daemon, Resource::Nofile, Rlimit { current: FEW, maximum: FEW }).unwrap();
    let ids: Vec<_> = (0..40).map(|number| format!("files-{number}")).collect();
    let clients: Vec<_> =
        ids.iter().map(|id| host.spawn(words(&host.run(&["-d"], id, &["/bin/sleep", "3600"])))).collect();
    let made = clients.into_iter().map(outcome).filter(|outcome| outcome.code == Some(0)).count();
    assert!(made < ids.len(), "there were enough");
    let listed = host.good(["tasks", "ls"]);
    assert_eq!(listed.lines().filter(|line| line.contains("RUNNING")).count(), 1 + made, "{listed}");
    host.remove("files-before");

    let dirs = &host.daemon.dirs;
    until("all are gone", || {
        for id in &ids {
            host.ctr(["tasks", "rm", "--force", id]);
            host.ctr(["containers", "rm", id]);
        }
        let bundles = dirs.state().join("io.containerd.runtime.v2.task/default");
        let scratch = dirs.root().join("io.containerd.runtime.v2.task/default");
        let left = [bundles, scratch].map(|dir| std::fs::read_dir(dir).map_or(0, Iterator::count));
        (left == [0, 0] && host.good(["containers", "ls", "-q"]).is_empty()).then_some(())
    });
    host.close();
}

/// Too few for what is taken over.
fn with_very_few(dirs: &TestDirs) -> Command {
    limited(&with_shims(dirs, Generation::V2_1), "ulimit -n 60")
}

#[test]
fn what_is_taken_over_leaves_some_to_clients() {
    let mut host = Host::start(Generation::V2_1);
    let ids: Vec<_> = (0..20).map(|number| format!("files-found-{number}")).collect();
    for id in &ids {
        host.sleeper(id);
    }
    host.daemon.kill();
    host.daemon.start_again_as(with_very_few);
    host.daemon.logged("kept for clients");
    // Each is a client by itself, and is answered.
    let running = || host.good(["tasks", "ls"]).lines().filter(|line| line.contains("RUNNING")).count();
    let clients: Vec<_> = (0..8).map(|_| host.spawn(["tasks", "ls", "-q"])).collect();
    assert!(clients.into_iter().map(outcome).all(|outcome| outcome.code == Some(0)));
    until("some are taken over", || (running() > 0).then_some(()));
    assert!(running() < ids.len(), "there were enough");
    // What goes makes room for the others.
    let mut left = ids.clone();
    until("all of them in turn", || {
        left.retain(|id| {
            let is_here = host.state(id).as_deref() == Some("RUNNING");
            is_here.then(|| host.remove(id)).is_none()
        });
        left.is_empty().then_some(())
    });
    assert!(!host.daemon.log().contains("cannot accept"), "{}", host.daemon.log());
    host.close();
}

// SPDX-License-Identifier: Apache-2.0
//! containerd 2.1 and we, told the same, answer the same: one script of calls, played to both with the same shim, and
//! every answer and every event compared. Where they differ, `docs/compatibility.md` says how and why; a difference
//! that is not there fails, and one that is there and does not occur does too.
//!
//! What crashes a shim (an exec without a specification, a second start of an exec) or containerd itself (a task whose
//! container has no specification) is not played: nothing would be left to compare.

mod listed;
mod records;
mod server;
mod tasks;
mod transcript;

use std::path::Path;
use std::time::Duration;

use shimkeeper_testkit::deps::Generation;
use shimkeeper_testkit::{Containerd, TestDirs};

use crate::real::Host;
use crate::support::PATIENCE;
use transcript::Transcript;

/// How long containerd gets for an event. Some it loses, and what it does not tell is not compared.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// Plays everything to the daemon that listens there.
async fn play(socket: &Path, dirs: &TestDirs, namespace: &str, events_within: Duration) -> Transcript {
    let mut script = Transcript::begin(socket, dirs, namespace).await;
    server::play(&mut script).await;
    records::namespaces(&mut script).await;
    records::containers(&mut script).await;
    records::leases(&mut script).await;
    records::sandboxes(&mut script).await;
    tasks::without_one(&mut script).await;
    tasks::that_never_start(&mut script).await;
    Box::pin(tasks::that_fail(&mut script)).await;
    tasks::a_life(&mut script).await;
    tasks::of_execs(&mut script).await;
    script.end(events_within).await;
    script
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_and_we_answer_the_same() {
    let host = Host::start(Generation::V2_1);
    let ours = Box::pin(play(&host.daemon.address(), &host.daemon.dirs, "diff-ours", PATIENCE)).await;
    host.close();

    let dirs = TestDirs::new();
    let containerd = Containerd::start(Generation::V2_1, &dirs, "diff-theirs");
    let theirs = Box::pin(play(&dirs.socket("c.sock"), &dirs, "diff-theirs", LOST_AFTER)).await;
    drop(containerd);
    dirs.sweep().unwrap();
    // What runc leaves of a namespace, where containerd has it keep its state.
    std::fs::remove_dir("/run/containerd/runc/diff-theirs").unwrap();

    listed::compare(&theirs, &ours);
}

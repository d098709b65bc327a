// SPDX-License-Identifier: Apache-2.0
//! The connection against real runc shims of three containerd generations, with real containers.
//!
//! Takes root, and what `cargo xtask deps --tests` prepares; without it these tests fail, they are not skipped.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "all of this is test code")]

#[path = "real_shims/container.rs"]
mod container;
#[path = "real_shims/generation.rs"]
mod generation;
#[path = "real_shims/host.rs"]
mod host;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use shimkeeper_core::{HasKind, Kind};
use shimkeeper_proto::containerd::task::v3 as task;
use shimkeeper_proto::containerd::v1::types::Status;
use shimkeeper_shim::{Call, Cause, CloseReason, Connection, TaskApi};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::container::Container;
use crate::generation::Generation;

const LONG: Duration = Duration::from_secs(20);

fn within() -> Call {
    Call::within(LONG)
}

macro_rules! for_every_generation {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $($(#[$doc])*
        mod $name {
            use crate::generation::Generation;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn installed() {
                super::check::$name(Generation::Installed).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn v1_7() {
                super::check::$name(Generation::V1_7).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn v2_1() {
                super::check::$name(Generation::V2_1).await;
            }
        })*
    };
}

for_every_generation! {
    /// Shims refuse a request whose stream id is below one they have seen; callers in a hurry must not cause that.
    many_callers;
    /// From create to shutdown, with an exec, and nothing left behind.
    lifecycle;
    /// A shim that is stopped costs time, one that is killed ends the connection.
    stopped_and_killed;
}

mod check {
    use super::*;

    pub(super) async fn many_callers(generation: Generation) {
        const CALLERS: usize = 16;
        let container = Container::launch(generation).await;
        container.create_and_start().await;
        let callers = TaskTracker::new();
        let end = Instant::now() + Duration::from_secs(3);
        let running: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (connection, id) = (container.connection.clone(), container.id.clone());
                callers.spawn(async move { call_until(end, caller, &connection, &id).await })
            })
            .collect();
        let (mut calls, mut errors) = (0, Vec::new());
        for caller in running {
            let (made, failed) = caller.await.unwrap();
            calls += made;
            errors.extend(failed);
        }
        println!("{generation:?}: {CALLERS} callers made {calls} calls in 3 s, {} errors", errors.len());
        assert_eq!(errors, Vec::<String>::new());
        assert!(calls > 1000, "{calls} calls are no load");
        assert_eq!(container.connection.close_reason(), None);
        container.finish().await;
    }

    /// Calls Connect and State in turn; gives the number of calls and what failed.
    async fn call_until(end: Instant, caller: usize, to: &Connection, id: &str) -> (usize, Vec<String>) {
        let (mut calls, mut errors) = (0, Vec::new());
        while Instant::now() < end {
            let outcome = if (caller + calls).is_multiple_of(2) {
                to.connect(&within(), &task::ConnectRequest { id: id.to_owned() }).await.map(drop)
            } else {
                let request = task::StateRequest { id: id.to_owned(), exec_id: String::new() };
                to.state(&within(), &request).await.map(drop)
            };
            calls += 1;
            errors.extend(outcome.err().map(|error| error.to_string()));
        }
        (calls, errors)
    }

    pub(super) async fn lifecycle(generation: Generation) {
        let container = Container::launch(generation).await;
        assert_eq!(container.connection.api(), generation.api());
        let missing = task::StateRequest { id: "no-such-task".into(), exec_id: String::new() };
        let error = container.connection.state(&within(), &missing).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{error}");

        let pid = container.create_and_start().await;
        let state = container.state().await;
        assert_eq!((state.pid, state.status()), (pid, Status::Running));
        assert_eq!(container.connect().await.task_pid, pid);

        assert_eq!(container.exec("exit 7").await, 7);
        let error = container.start("").await.unwrap_err();
        assert!(error.shim_message().is_some_and(|text| !text.is_empty()), "started twice: {error}");

        let waiting = container.spawn_wait();
        container.kill(Signal::KILL).await;
        let exit = timeout(LONG, waiting).await.expect("the wait ends").unwrap().unwrap();
        assert_eq!(exit.exit_status, 137);
        let deleted = container.delete().await;
        assert_eq!((deleted.pid, deleted.exit_status), (pid, 137));
        container.finish().await;
    }

    pub(super) async fn stopped_and_killed(generation: Generation) {
        let container = Container::launch(generation).await;
        container.create_and_start().await;
        let waiting = container.spawn_wait();
        let shim = container.shim();

        shim.signal(Signal::STOP);
        let limit = Duration::from_millis(200);
        let request = task::ConnectRequest { id: container.id.clone() };
        // It stands still a moment later: each of its threads has to hear of it.
        let error = loop {
            if let Err(error) = container.connection.connect(&Call::within(limit), &request).await {
                break error;
            }
        };
        assert_eq!(error.cause(), &Cause::Deadline(limit));
        assert_eq!(container.connection.close_reason(), None, "stopped is not dead");
        shim.signal(Signal::CONT);
        container.connect().await;

        shim.signal(Signal::KILL);
        let reason = timeout(LONG, container.connection.closed()).await.expect("its death is seen");
        assert!(matches!(reason, CloseReason::PeerClosed | CloseReason::Reset), "{reason}");
        let error = timeout(LONG, waiting).await.expect("the wait ends").unwrap().unwrap_err();
        assert!(error.is_closed(), "{error}");
        assert_eq!(error.kind(), Kind::Unavailable);
    }
}

/// An older shim behind a newer promise: what a bundle says after an upgrade in place.
#[tokio::test]
async fn a_version_2_shim_dialled_as_version_3_is_downgraded_on_the_same_wire() {
    let container = Container::launch_as(Generation::V1_7, TaskApi::TtrpcV3).await;
    let request = task::ConnectRequest { id: container.id.clone() };
    let error = container.connection.connect(&within(), &request).await.unwrap_err();
    assert!(error.is_not_implemented(), "{error}");
    let older = container.connection.downgraded().expect("ttrpc has a version 2");
    older.connect(&within(), &request).await.unwrap();
}

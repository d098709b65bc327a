// SPDX-License-Identifier: Apache-2.0
//! No shim holds a caller longer than it allowed, and none is given up for being silent.

use std::time::{Duration, Instant};

use shimkeeper_core::{HasKind, Kind};
use shimkeeper_proto::containerd::task::v3 as task;
use shimkeeper_shim::{Call, Cause, DialError, TaskApi};
use tokio_util::task::TaskTracker;

use crate::fake::{APIS, Behaviour, FakeShim, LONG, dial, drivers_end, params};

const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_shim_that_does_not_answer_costs_the_call_its_time_and_nothing_else() {
    for api in APIS {
        let shim = FakeShim::start(api, Behaviour::HangOnWait);
        let connection = shim.dial().await;
        let started = Instant::now();
        let error = connection.wait(&Call::within(SHORT), &task::WaitRequest::default()).await.unwrap_err();
        let elapsed = started.elapsed() + Duration::from_millis(10);
        assert!(elapsed >= SHORT, "{api}: not given up before its time ({elapsed:?})");
        assert_eq!(error.cause(), &Cause::Deadline(SHORT), "{api}");
        assert_eq!(error.kind(), Kind::DeadlineExceeded);
        assert_eq!(connection.close_reason(), None, "{api}");
        connection.connect(&Call::within(LONG), &task::ConnectRequest::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_shim_that_accepts_nothing_and_reads_nothing_costs_every_call_only_its_time() {
    for api in APIS {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let tasks = TaskTracker::new();
        let connection = dial(&params(api, &path), &tasks, LONG).await.expect("the kernel accepts for it");
        // Far more than the socket's buffer takes.
        let calls: Vec<_> = (0..300)
            .map(|_| {
                let connection = connection.clone();
                tasks.spawn(async move {
                    let id = "x".repeat(4096);
                    connection.pause(&Call::within(SHORT), &task::PauseRequest { id }).await
                })
            })
            .collect();
        for call in calls {
            let error = call.await.unwrap().unwrap_err();
            assert_eq!(error.cause(), &Cause::Deadline(SHORT), "{api}");
        }
        assert_eq!(connection.close_reason(), None, "{api}: silence is no end");
        drop(connection);
        drivers_end(&tasks).await;
    }
}

#[tokio::test]
async fn dialling_a_full_queue_ends_at_the_deadline_and_says_what_was_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let _queued = std::os::unix::net::UnixStream::connect(&path).unwrap();
    for api in APIS {
        let started = Instant::now();
        let error = dial(&params(api, &path), &TaskTracker::new(), SHORT).await.unwrap_err();
        assert!(started.elapsed() < LONG);
        assert!(matches!(&error, DialError::Deadline { obstacle: Some(_), .. }), "{error}");
        assert_eq!(error.kind(), Kind::DeadlineExceeded);
        assert!(error.to_string().contains("queue of connections is full"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_alive_for_ever() {
    for api in APIS {
        let shim = FakeShim::start(api, Behaviour::Answer);
        let connection = shim.dial().await;
        let tomorrow = tokio::time::sleep(Duration::from_hours(24));
        tokio::select! {
            biased;
            reason = connection.closed() => panic!("{api}: {reason}"),
            () = tomorrow => {}
        }
        assert_eq!(connection.close_reason(), None, "{api}");
        connection.connect(&Call::unbounded(), &task::ConnectRequest::default()).await.unwrap();
    }
}

#[tokio::test]
async fn an_idle_grpc_connection_is_alive_in_real_time_too() {
    let shim = FakeShim::start(TaskApi::GrpcV3, Behaviour::Answer);
    let connection = shim.dial().await;
    for _ in 0..3 {
        let closed = tokio::time::timeout(Duration::from_millis(150), connection.closed()).await;
        assert!(closed.is_err(), "{closed:?}");
        connection.connect(&Call::within(LONG), &task::ConnectRequest::default()).await.unwrap();
    }
}

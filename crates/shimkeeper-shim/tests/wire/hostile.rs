// SPDX-License-Identifier: Apache-2.0
//! Shims that speak something else, and stop in the middle of it.

use std::path::PathBuf;
use std::time::Duration;

use shimkeeper_core::{HasKind, Kind};
use shimkeeper_proto::containerd::task::v3 as task;
use shimkeeper_shim::{Call, Cause, CloseReason, TaskApi};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::fake::{APIS, LONG, dial, params};

fn listen() -> (TempDir, PathBuf, UnixListener) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    (dir, path, listener)
}

/// Accepts one connection, reads until something comes, says its piece, and keeps the connection open.
async fn say(listener: UnixListener, piece: &'static [u8]) -> UnixStream {
    let (mut stream, _address) = listener.accept().await.unwrap();
    let _first = stream.read_u8().await;
    stream.write_all(piece).await.unwrap();
    stream
}

#[tokio::test]
async fn a_shim_that_speaks_another_protocol_ends_the_connection() {
    let nonsense = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    for api in APIS {
        let (_dir, path, listener) = listen();
        let tasks = TaskTracker::new();
        let shim = tasks.spawn(say(listener, nonsense));
        let connection = dial(&params(api, &path), &tasks, LONG).await.unwrap();
        let request = task::ConnectRequest::default();
        let call = Call::within(LONG);
        let error = timeout(LONG, connection.connect(&call, &request)).await.unwrap().unwrap_err();
        assert!(error.is_closed(), "{api}: {error}");
        let reason = timeout(LONG, connection.closed()).await.unwrap();
        assert!(matches!(reason, CloseReason::Protocol { .. }), "{api}: {reason}");
        drop(shim.await);
    }
}

#[tokio::test]
async fn a_shim_that_accepts_and_closes_is_gone() {
    for api in APIS {
        let (_dir, path, listener) = listen();
        let tasks = TaskTracker::new();
        tasks.spawn(async move { drop(listener.accept().await) });
        let connection = dial(&params(api, &path), &tasks, LONG).await.unwrap();
        let reason = timeout(LONG, connection.closed()).await.expect("closed() fires without a call");
        assert!(matches!(reason, CloseReason::PeerClosed | CloseReason::Reset), "{api}: {reason}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_message_is_lost_data() {
    let (_dir, path, listener) = listen();
    let tasks = TaskTracker::new();
    // A response on stream 1 whose payload (field 2) is two bytes that no message begins with.
    let answer = b"\0\0\0\x04\0\0\0\x01\x02\0\x12\x02\xff\xff";
    let shim = tasks.spawn(say(listener, answer));
    let connection = dial(&params(TaskApi::TtrpcV3, &path), &tasks, LONG).await.unwrap();
    let error = connection.state(&Call::within(LONG), &task::StateRequest::default()).await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Decode { .. }), "{error}");
    assert_eq!(error.kind(), Kind::DataLoss);
    assert_eq!(connection.close_reason(), None);
    drop(shim.await);
}

#[tokio::test]
async fn a_shim_that_stops_inside_its_answer_costs_the_call_its_time() {
    // The beginning of a ttrpc frame, and the beginning of an HTTP/2 SETTINGS frame.
    for (api, beginning) in
        [(TaskApi::TtrpcV3, b"\0\0\0\x04\0".as_slice()), (TaskApi::GrpcV3, b"\0\0\x06\x04\0".as_slice())]
    {
        let (_dir, path, listener) = listen();
        let tasks = TaskTracker::new();
        let shim = tasks.spawn(say(listener, beginning));
        let connection = dial(&params(api, &path), &tasks, LONG).await.unwrap();
        let limit = Duration::from_millis(100);
        let error =
            connection.connect(&Call::within(limit), &task::ConnectRequest::default()).await.unwrap_err();
        assert_eq!(error.cause(), &Cause::Deadline(limit), "{api}");
        drop(shim.await);
    }
}

// SPDX-License-Identifier: Apache-2.0
//! What an HTTP/2 peer may do that no well-made gRPC server does, or only at its end.

use std::future::Future;

use bytes::Bytes;
use h2::server::{Connection as Session, SendResponse};
use hyper::http::{HeaderMap, HeaderValue, Request, Response};
use shimkeeper_core::{HasKind, Kind};
use shimkeeper_proto::containerd::task::v3 as task;
use shimkeeper_shim::{Call, Cause, CloseReason, Connection, TaskApi};
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::fake::{LONG, dial, params};

type Asked = (Request<h2::RecvStream>, SendResponse<Bytes>);

struct Shim {
    session: Session<UnixStream, Bytes>,
}

impl Shim {
    async fn accept(listener: UnixListener) -> Self {
        let (stream, _address) = listener.accept().await.unwrap();
        Self { session: h2::server::handshake(stream).await.unwrap() }
    }

    async fn asked(&mut self) -> Asked {
        self.session.accept().await.expect("a call comes").unwrap()
    }

    /// Lets the session send what it has to, until the peer is gone.
    async fn serve_on(mut self) {
        while let Some(Ok(_unexpected)) = self.session.accept().await {}
    }
}

/// Answers with one message of these bytes, and this status unless it is `None`.
fn answer(to: &mut SendResponse<Bytes>, message: &[u8], status: Option<&'static str>) {
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut body = to.send_response(head, false).unwrap();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let data = [b"\0".as_slice(), &length, message].concat();
    body.send_data(data.into(), status.is_none()).unwrap();
    if let Some(status) = status {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(status));
        body.send_trailers(trailers).unwrap();
    }
}

/// Dials a shim made of `script`; gives the connection and what keeps the shim there.
async fn with_shim<F, S>(script: F) -> (Connection, TaskTracker, TempDir)
where
    F: FnOnce(UnixListener) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let tasks = TaskTracker::new();
    tasks.spawn(script(listener));
    let connection = dial(&params(TaskApi::GrpcV3, &path), &tasks, LONG).await.unwrap();
    (connection, tasks, dir)
}

async fn connect(connection: &Connection) -> Result<task::ConnectResponse, shimkeeper_shim::CallError> {
    let (call, request) = (Call::within(LONG), task::ConnectRequest::default());
    timeout(LONG, connection.connect(&call, &request)).await.expect("the call ends in time")
}

#[tokio::test]
async fn an_answer_that_is_no_message_is_lost_data() {
    let (connection, _tasks, _dir) = with_shim(async |listener| {
        let mut shim = Shim::accept(listener).await;
        answer(&mut shim.asked().await.1, b"\xff\xff", Some("0"));
        shim.serve_on().await;
    })
    .await;
    let error = connect(&connection).await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Decode { .. }), "{error}");
    assert_eq!(error.kind(), Kind::DataLoss);
    assert_eq!(connection.close_reason(), None);
}

#[tokio::test]
async fn a_reset_stream_fails_its_call_and_no_other() {
    let (connection, _tasks, _dir) = with_shim(async |listener| {
        let mut shim = Shim::accept(listener).await;
        shim.asked().await.1.send_reset(h2::Reason::INTERNAL_ERROR);
        answer(&mut shim.asked().await.1, b"", Some("0"));
        shim.serve_on().await;
    })
    .await;
    let error = connect(&connection).await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Transport { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(!error.is_closed());
    connect(&connection).await.unwrap();
}

#[tokio::test]
async fn a_session_that_is_ended_ends_the_connection_and_none_is_opened_anew() {
    let (connection, _tasks, _dir) = with_shim(async |listener| {
        let mut shim = Shim::accept(listener).await;
        answer(&mut shim.asked().await.1, b"", Some("0"));
        shim.session.graceful_shutdown();
        shim.serve_on().await;
    })
    .await;
    connect(&connection).await.unwrap();
    let reason = timeout(LONG, connection.closed()).await.expect("the end is seen");
    assert!(matches!(reason, CloseReason::Protocol { .. } | CloseReason::PeerClosed), "{reason}");
    let error = connect(&connection).await.unwrap_err();
    assert_eq!(error.cause(), &Cause::Closed(reason));
}

#[tokio::test]
async fn the_last_answer_of_a_shim_that_goes_at_once_is_not_lost() {
    for _ in 0..50 {
        let (connection, _tasks, _dir) = with_shim(async |listener| {
            let mut shim = Shim::accept(listener).await;
            let (request, mut to) = shim.asked().await;
            drop(request);
            answer(&mut to, b"", Some("0"));
            drop(to);
            shim.session.graceful_shutdown();
            shim.serve_on().await;
        })
        .await;
        connect(&connection).await.expect("the answer was sent before the end");
        timeout(LONG, connection.closed()).await.expect("the end is seen");
    }
}

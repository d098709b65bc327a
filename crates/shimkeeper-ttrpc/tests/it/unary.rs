// SPDX-License-Identifier: Apache-2.0
//! Calls that are answered, in all the ways a server may answer.

use std::sync::Arc;
use std::time::Duration;

use shimkeeper_ttrpc::{
    CallError, CallOptions, Client, ClientLimits, Metadata, NAMESPACE_KEY, Server, ServerLimits, code,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{Blob, Pair, SERVICE, Script};

async fn call(client: &Client, method: &str, data: &'static [u8]) -> Result<Blob, CallError> {
    // What hangs shall fail, not hang the tests.
    let options = CallOptions { timeout: Some(Duration::from_secs(30)), ..CallOptions::default() };
    client.unary(SERVICE, method, &Blob::of(data), &options).await
}

fn status(error: &CallError) -> (i32, &str) {
    match error {
        CallError::Status(status) => (status.code, &status.message),
        other => panic!("not a status: {other:?}"),
    }
}

#[tokio::test]
async fn an_answer_comes_back_decoded() {
    let pair = Pair::new();
    assert_eq!(call(&pair.client, "Echo", b"hello").await.unwrap().data, "hello");
    assert_eq!(call(&pair.client, "Echo", b"").await.unwrap().data, "");
}

#[tokio::test]
async fn a_status_comes_back_untouched() {
    let pair = Pair::new();
    let error = call(&pair.client, "Fail", b"").await.unwrap_err();
    assert_eq!(status(&error), (code::NOT_FOUND, "no such thing: ∅"));
}

#[tokio::test]
async fn what_is_not_there_is_refused_in_the_words_of_go() {
    let pair = Pair::new();
    let error = call(&pair.client, "Nope", b"").await.unwrap_err();
    assert_eq!(status(&error), (code::UNIMPLEMENTED, "method Nope"));
    let answer: Result<Blob, _> =
        pair.client.unary("test.Nope", "Echo", &Blob::default(), &CallOptions::default()).await;
    assert_eq!(status(&answer.unwrap_err()), (code::UNIMPLEMENTED, "service test.Nope"));
}

#[tokio::test]
async fn an_answer_above_the_limit_is_resource_exhausted() {
    let pair = Pair::new();
    let error = call(&pair.client, "Large", b"").await.unwrap_err();
    let text = "message length 5242890 exceed maximum message size of 4194304";
    assert_eq!(status(&error), (code::RESOURCE_EXHAUSTED, text));
    assert_eq!(call(&pair.client, "Echo", b"still here").await.unwrap().data, "still here");
}

#[tokio::test]
async fn a_request_above_the_limit_is_not_sent() {
    let pair = Pair::new();
    let request = Blob::of(vec![0; 4 << 20]);
    let answer: Result<Blob, _> = pair.client.unary(SERVICE, "Echo", &request, &CallOptions::default()).await;
    assert!(matches!(answer, Err(CallError::TooLarge { what: "a request", .. })), "{answer:?}");
    assert_eq!(pair.script.entered(), 0);
}

#[tokio::test]
async fn the_largest_request_passes_both_ways() {
    let pair = Pair::new();
    let request = Blob::of(vec![7; (4 << 20) - 64]);
    let answer: Blob = pair.client.unary(SERVICE, "Echo", &request, &CallOptions::default()).await.unwrap();
    assert!(answer == request);
}

#[tokio::test]
async fn a_panicking_handler_fails_its_own_call_only() {
    let pair = Pair::new();
    for method in ["Panic", "PanicAtOnce"] {
        let error = call(&pair.client, method, b"").await.unwrap_err();
        assert_eq!(status(&error).0, code::INTERNAL, "{method}");
    }
    assert_eq!(call(&pair.client, "Echo", b"fine").await.unwrap().data, "fine");
}

#[tokio::test]
async fn an_answer_that_is_no_message_is_a_decode_error() {
    let pair = Pair::new();
    let answer = call(&pair.client, "Garbage", b"").await;
    assert!(matches!(answer, Err(CallError::Decode { part: "message", .. })), "{answer:?}");
}

#[tokio::test]
async fn metadata_travels_in_order_and_in_lower_case() {
    let pair = Pair::new();
    let metadata = Metadata::new().with(NAMESPACE_KEY, "default").with("TraceParent", "00-Ab");
    let options = CallOptions { metadata, ..CallOptions::default() };
    let answer: Blob = pair.client.unary(SERVICE, "Metadata", &Blob::default(), &options).await.unwrap();
    assert_eq!(answer.data, "containerd-namespace-ttrpc=default;traceparent=00-Ab");
}

#[tokio::test(start_paused = true)]
async fn the_server_honours_the_timeout_it_is_told() {
    let pair = Pair::new();
    let options = CallOptions { timeout: Some(Duration::from_secs(3)), ..CallOptions::default() };
    let start = tokio::time::Instant::now();
    let answer: Result<Blob, _> = pair.client.unary(SERVICE, "Hang", &Blob::default(), &options).await;
    // Either side may be the first to say so; neither before its time.
    match answer.unwrap_err() {
        CallError::Deadline { timeout } => assert_eq!(timeout, Duration::from_secs(3)),
        error => assert_eq!(status(&error), (code::DEADLINE_EXCEEDED, "context deadline exceeded")),
    }
    assert!(start.elapsed() >= Duration::from_secs(3));
}

#[tokio::test]
async fn answers_come_in_any_order() {
    let pair = Pair::new();
    let gated = call(&pair.client, "Gated", b"first");
    let other = async {
        let answer = call(&pair.client, "Echo", b"second").await.unwrap();
        pair.script.gate.add_permits(1);
        answer
    };
    let (gated, other) = tokio::join!(gated, other);
    assert_eq!((gated.unwrap().data, other.data), ("first".into(), "second".into()));
}

#[tokio::test]
async fn a_listener_is_served_to_peers_of_our_user() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let stop = CancellationToken::new();
    let server = Server::new(ServerLimits::default()).service(SERVICE, Script::new() as Arc<_>);
    let mut tasks = JoinSet::new();
    tasks.spawn(server.serve(listener, stop.clone()));
    let (client, driver) = Client::new(UnixStream::connect(&path).await.unwrap(), ClientLimits::default());
    tasks.spawn(driver.run());
    let peer = call(&client, "Peer", b"").await.unwrap();
    let text = String::from_utf8(peer.data.to_vec()).unwrap();
    assert!(text.contains(&format!("pid: Some({})", std::process::id())), "{text}");
    stop.cancel();
    client.closed().await;
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn an_unknown_peer_is_refused_where_the_same_user_is_required() {
    let (near, far) = tokio::io::duplex(1024);
    let server = Server::new(ServerLimits::default()).service(SERVICE, Script::new() as Arc<_>);
    let (client, driver) = Client::new(near, ClientLimits::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(driver.run());
    server.serve_stream(far, None, CancellationToken::new()).await;
    assert!(matches!(call(&client, "Echo", b"").await, Err(CallError::Closed(_))));
}

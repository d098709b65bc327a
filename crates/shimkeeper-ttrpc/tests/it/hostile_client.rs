// SPDX-License-Identifier: Apache-2.0
//! A server in front of a client that breaks the rules.

use std::sync::Arc;
use std::time::Duration;

use shimkeeper_ttrpc::frame::{Flags, MAX_PAYLOAD, MessageType};
use shimkeeper_ttrpc::{CloseReason, ProtocolError, Server, ServerLimits, code};
use tokio::io::duplex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{Raw, SERVICE, Script, envelope};

const REQUEST: MessageType = MessageType::REQUEST;

fn connected() -> (Raw, JoinSet<CloseReason>) {
    serving(Script::new(), ServerLimits::default())
}

fn serving(script: Arc<Script>, limits: ServerLimits) -> (Raw, JoinSet<CloseReason>) {
    let (near, far) = duplex(64 << 10);
    let server = Server::new(limits).service(SERVICE, script as Arc<_>).require_same_user(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { server.serve_stream(far, None, CancellationToken::new()).await });
    (Raw::new(near), tasks)
}

/// The code and text of the next answer, which must be on `id`.
async fn refusal(raw: &mut Raw, id: u32) -> (i32, String) {
    let (stream_id, response) = raw.response().await.expect("an answer");
    assert_eq!(stream_id, id);
    let status = response.status.expect("a refusal");
    (status.code, status.message)
}

#[tokio::test]
async fn the_rules_of_streams_are_held_per_stream_in_the_words_of_go() {
    let (mut raw, _tasks) = connected();
    let invalid = |text: &str| (code::INVALID_ARGUMENT, text.to_owned());
    raw.request(5, "Echo", b"five").await;
    assert_eq!(raw.response().await.unwrap().0, 5);
    let increase = invalid("StreamID cannot be re-used and must increment");
    raw.request(5, "Echo", b"").await;
    assert_eq!(refusal(&mut raw, 5).await, increase);
    raw.request(3, "Echo", b"").await;
    assert_eq!(refusal(&mut raw, 3).await, increase);
    let odd = invalid("StreamID must be odd for client initiated streams");
    for id in [0, 8] {
        raw.request(id, "Echo", b"").await;
        assert_eq!(refusal(&mut raw, id).await, odd);
    }
    raw.send_frame(9, MessageType::DATA, Flags::REMOTE_CLOSED, b"data").await;
    assert_eq!(refusal(&mut raw, 9).await, invalid("StreamID is no longer active"));
    // None of these took a number.
    raw.request(7, "Echo", b"seven").await;
    let (id, response) = raw.response().await.unwrap();
    assert_eq!((id, response.status), (7, None));
}

#[tokio::test]
async fn envelopes_and_methods_that_cannot_be_served_are_refused_one_by_one() {
    let (mut raw, _tasks) = connected();
    raw.send_frame(1, REQUEST, Flags::NONE, &[0xff; 4]).await;
    let (status, text) = refusal(&mut raw, 1).await;
    assert_eq!(status, code::INVALID_ARGUMENT);
    assert!(text.starts_with("unmarshal request: "), "{text}");

    let open = envelope(SERVICE, "Echo", b"");
    raw.send_frame(3, REQUEST, Flags::REMOTE_OPEN, &open).await;
    let streaming = "method Echo: streaming is not supported".to_owned();
    assert_eq!(refusal(&mut raw, 3).await, (code::UNIMPLEMENTED, streaming));
    // A client that says it is done is as good as unary.
    raw.send_frame(5, REQUEST, Flags::REMOTE_CLOSED, &open).await;
    assert_eq!(raw.response().await.unwrap().1.status, None);
    // An empty envelope names the empty service.
    raw.send_frame(7, REQUEST, Flags::NONE, b"").await;
    assert_eq!(refusal(&mut raw, 7).await, (code::UNIMPLEMENTED, "service ".to_owned()));
}

#[tokio::test]
async fn an_oversize_request_is_refused_and_read_past() {
    let (mut raw, _tasks) = connected();
    let length = u32::try_from(MAX_PAYLOAD + 1).unwrap();
    raw.send_header(length, 1, 1, 0).await;
    let text = "message length 4194305 exceed maximum message size of 4194304".to_owned();
    assert_eq!(refusal(&mut raw, 1).await, (code::RESOURCE_EXHAUSTED, text));
    raw.send(&vec![0; MAX_PAYLOAD + 1]).await;
    raw.request(3, "Echo", b"next").await;
    assert_eq!(raw.response().await.unwrap().0, 3);
}

#[tokio::test]
async fn what_cannot_be_a_frame_ends_the_connection() {
    for (length, kind, flags) in [(u32::MAX, 1, 0), (0, 0, 0), (0, 9, 0), (0, 1, 0x10), (0, 2, 0)] {
        let (mut raw, mut tasks) = connected();
        raw.send_header(length, 1, kind, flags).await;
        let reason = tasks.join_next().await.unwrap().unwrap();
        assert!(matches!(reason, CloseReason::Protocol(_)), "{length} {kind} {flags}: {reason:?}");
        assert!(raw.frame().await.is_none());
    }
}

#[tokio::test]
async fn frames_that_make_no_call_end_the_connection_after_a_number() {
    let (mut raw, mut tasks) = connected();
    for _ in 0..1024 {
        raw.send_frame(1, MessageType::DATA, Flags::NO_DATA, b"").await;
    }
    let reason = tasks.join_next().await.unwrap().unwrap();
    assert!(
        matches!(reason, CloseReason::Protocol(ProtocolError::StrayFrames { count: 1024 })),
        "{reason:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_arrive_ends_the_connection() {
    for begun in [&[0][..], &[0, 0, 0, 9, 0, 0, 0, 1, 1, 0, 0]] {
        let (mut raw, mut tasks) = connected();
        let start = tokio::time::Instant::now();
        raw.send(begun).await;
        let reason = tasks.join_next().await.unwrap().unwrap();
        let late = matches!(reason, CloseReason::Protocol(ProtocolError::FrameTimeout { .. }));
        assert!(late, "{begun:?}: {reason:?}");
        assert_eq!(start.elapsed(), Duration::from_secs(10));
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_a_request_waits_for_its_turn_is_not_held_against_it() {
    let script = Script::new();
    let limits = ServerLimits { in_flight: 1, ..ServerLimits::default() };
    let (mut raw, mut tasks) = serving(Arc::clone(&script), limits);
    raw.request(1, "Gated", b"").await;
    // The second begins to arrive while the first is in its handler, and its clock with it.
    let payload = envelope(SERVICE, "Echo", b"second");
    raw.send(&[0, 0, 0]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let length = u8::try_from(payload.len()).unwrap();
    raw.send(&[length, 0, 0, 0, 3, 1, 0]).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(tasks.try_join_next().is_none(), "it is our turn that it waits for");
    script.gate.add_permits(1);
    assert_eq!(raw.response().await.unwrap().0, 1);
    tokio::time::sleep(Duration::from_secs(9)).await;
    raw.send(&payload).await;
    assert_eq!(raw.response().await.unwrap().0, 3);
}

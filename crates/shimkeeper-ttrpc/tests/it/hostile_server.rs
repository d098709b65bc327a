// SPDX-License-Identifier: Apache-2.0
//! A client in front of a shim that breaks the rules.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use shimkeeper_ttrpc::frame::{Flags, Header, MAX_DISCARD, MAX_PAYLOAD, MessageType};
use shimkeeper_ttrpc::{CallError, CallOptions, Client, ClientLimits, CloseReason, ProtocolError};
use tokio::io::duplex;
use tokio::task::JoinSet;

use crate::support::{Blob, Raw, SERVICE};

fn connected(limits: ClientLimits) -> (Client, Raw, JoinSet<()>) {
    let (near, far) = duplex(64 << 10);
    let (client, driver) = Client::new(near, limits);
    let mut tasks = JoinSet::new();
    tasks.spawn(driver.run());
    (client, Raw::new(far), tasks)
}

async fn call(client: &Client) -> Result<Blob, CallError> {
    client.unary(SERVICE, "Echo", &Blob::of("x"), &CallOptions::default()).await
}

fn header(length: usize, stream_id: u32, kind: u8, flags: u8) -> Vec<u8> {
    Header::new(stream_id, MessageType(kind), Flags(flags), length).to_bytes().to_vec()
}

#[tokio::test(start_paused = true)]
async fn whatever_cannot_be_a_frame_ends_the_connection_at_once() {
    let impossible = |length| ProtocolError::ImpossibleLength { length, stream_id: 1 };
    let max = u32::try_from(MAX_PAYLOAD).unwrap();
    let table = [
        (vec![0xff; 10], ProtocolError::UnknownType { value: 0xff, stream_id: u32::MAX }),
        (
            b"HTTP/1.1 400 Bad Request\r\n".to_vec(),
            ProtocolError::UnknownType { value: b' ', stream_id: 791_752_241 },
        ),
        (header(u32::MAX as usize, 1, 2, 0), impossible(u32::MAX)),
        (header(MAX_DISCARD + 1, 1, 2, 0), impossible(max * 16 + 1)),
        (header(MAX_PAYLOAD + 1, 1, 2, 1), impossible(max + 1)),
        (header(MAX_PAYLOAD + 1, 1, 3, 0), impossible(max + 1)),
        (header(0, 1, 0, 0), ProtocolError::UnknownType { value: 0, stream_id: 1 }),
        (header(0, 1, 4, 0), ProtocolError::UnknownType { value: 4, stream_id: 1 }),
        (header(0, 1, 2, 0x80), ProtocolError::UnknownFlags { value: 0x80, stream_id: 1 }),
        (header(0, 1, 1, 0), ProtocolError::UnexpectedType { value: 1, stream_id: 1 }),
        (header(MAX_PAYLOAD, 1, 1, 0), ProtocolError::UnexpectedType { value: 1, stream_id: 1 }),
        (header(0, 1, 3, 0), ProtocolError::UnexpectedType { value: 3, stream_id: 1 }),
        (header(0, 1, 3, 5), ProtocolError::UnexpectedType { value: 3, stream_id: 1 }),
    ];
    for (bytes, expected) in table {
        let (client, mut raw, _tasks) = connected(ClientLimits::default());
        let start = tokio::time::Instant::now();
        let (answer, ()) = tokio::join!(call(&client), async {
            raw.frame().await.unwrap();
            raw.send(&bytes).await;
        });
        let Err(CallError::Closed(CloseReason::Protocol(error))) = answer else { panic!("{answer:?}") };
        assert_eq!(error, expected, "{bytes:?}");
        assert!(matches!(client.closed().await, CloseReason::Protocol(error) if error == expected));
        assert_eq!(start.elapsed(), Duration::ZERO, "{bytes:?}");
        assert!(raw.frame().await.is_none(), "hung up");
    }
}

#[tokio::test]
async fn frames_that_belong_to_no_call_are_ignored_up_to_a_number() {
    let (client, mut raw, _tasks) = connected(ClientLimits::default());
    let (answer, ()) = tokio::join!(call(&client), async {
        let request = raw.frame().await.unwrap();
        for n in 0..1023 {
            raw.respond([0, 2, 99, u32::MAX][n % 4], b"?").await;
        }
        raw.respond(request.header.stream_id, b"!").await;
    });
    assert_eq!(answer.unwrap().data, "!");

    // The answer was the end of that row, so one more row fits, and no more.
    for _ in 0..1024 {
        raw.respond(99, b"?").await;
    }
    let reason = client.closed().await;
    assert!(
        matches!(reason, CloseReason::Protocol(ProtocolError::StrayFrames { count: 1024 })),
        "{reason:?}"
    );
}

#[tokio::test]
async fn the_second_answer_to_a_call_is_a_stray() {
    let (client, mut raw, _tasks) = connected(ClientLimits { stray_frames: 1, ..ClientLimits::default() });
    let (answer, ()) = tokio::join!(call(&client), async {
        let id = raw.frame().await.unwrap().header.stream_id;
        raw.respond(id, b"one").await;
        raw.respond(id, b"two").await;
    });
    assert_eq!(answer.unwrap().data, "one");
    let reason = client.closed().await;
    assert!(matches!(reason, CloseReason::Protocol(ProtocolError::StrayFrames { .. })), "{reason:?}");
}

#[tokio::test]
async fn an_envelope_that_is_none_fails_its_own_call() {
    let (client, mut raw, _tasks) = connected(ClientLimits::default());
    let (answer, ()) = tokio::join!(call(&client), async {
        let id = raw.frame().await.unwrap().header.stream_id;
        raw.send_frame(id, MessageType::RESPONSE, Flags::NONE, &[0xff; 4]).await;
    });
    assert!(matches!(answer, Err(CallError::Decode { part: "envelope", .. })), "{answer:?}");
    assert!(client.close_reason().is_none());
}

#[tokio::test]
async fn an_oversize_answer_fails_its_own_call_and_is_read_past() {
    let (client, mut raw, _tasks) = connected(ClientLimits::default());
    let length = MAX_PAYLOAD + 12_345;
    let (large, ()) = tokio::join!(call(&client), async {
        let id = raw.frame().await.unwrap().header.stream_id;
        raw.send(&header(length, id, 2, 0)).await;
    });
    let is_its =
        |error| matches!(error, CallError::TooLarge { what: "an answer", length: l, .. } if l == length);
    assert!(is_its(large.unwrap_err()), "told before the bytes come");

    let (answer, ()) = tokio::join!(call(&client), async {
        raw.send(&vec![0xff; length]).await;
        let id = raw.frame().await.unwrap().header.stream_id;
        raw.respond(id, b"next").await;
    });
    assert_eq!(answer.unwrap().data, "next");
}

#[tokio::test(start_paused = true)]
async fn an_oversize_answer_that_does_not_come_ends_the_connection() {
    let (client, mut raw, _tasks) = connected(ClientLimits::default());
    let start = tokio::time::Instant::now();
    raw.send(&header(MAX_DISCARD, 1, 2, 0)).await;
    let reason = client.closed().await;
    assert!(matches!(reason, CloseReason::Protocol(ProtocolError::FrameTimeout { .. })), "{reason:?}");
    assert_eq!(start.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn the_clock_of_an_oversize_answer_is_not_that_of_the_next() {
    let (client, mut raw, _tasks) = connected(ClientLimits::default());
    let mut bytes = BytesMut::from(&header(MAX_PAYLOAD + 1, 1, 2, 0)[..]);
    raw.send(&bytes.split()).await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    // The rest of it, and half a header behind it in one piece.
    bytes.put_bytes(0, MAX_PAYLOAD + 1);
    bytes.put_slice(&header(0, 99, 2, 0)[..5]);
    raw.send(&bytes).await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(client.close_reason().is_none());
    raw.send(&header(0, 99, 2, 0)[5..]).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(client.close_reason().is_none());
}

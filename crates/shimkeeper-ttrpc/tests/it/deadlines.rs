// SPDX-License-Identifier: Apache-2.0
//! A call's time covers all of it, and giving it up costs the connection nothing.

use std::sync::Arc;
use std::time::Duration;

use shimkeeper_ttrpc::frame::{Flags, MessageType};
use shimkeeper_ttrpc::{CallError, CallOptions, Client, ClientLimits, CloseReason, ProtocolError, Request};
use tokio::io::{AsyncReadExt, duplex};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::{Blob, Pair, Raw, SERVICE};

const SECOND: Duration = Duration::from_secs(1);

fn within(timeout: Duration) -> CallOptions {
    CallOptions { timeout: Some(timeout), ..CallOptions::default() }
}

async fn call(client: &Client, data: Vec<u8>, options: &CallOptions) -> Result<Blob, CallError> {
    client.unary(SERVICE, "Echo", &Blob::of(data), options).await
}

fn connected(limits: ClientLimits) -> (Client, Raw, JoinSet<()>) {
    let (near, far) = duplex(4 << 10);
    let (client, driver) = Client::new(near, limits);
    let mut tasks = JoinSet::new();
    tasks.spawn(driver.run());
    (client, Raw::new(far), tasks)
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_costs_each_caller_its_own_time_only() {
    let (client, mut raw, _tasks) = connected(ClientLimits::default());
    let start = Instant::now();
    // Written in part; in the buffer; waiting for room: 8 MiB hold two of these.
    let mut calls = JoinSet::new();
    for seconds in 1..=4 {
        let client = client.clone();
        calls.spawn(async move {
            let answer = call(&client, vec![0; 3 << 20], &within(seconds * SECOND)).await;
            (seconds, answer)
        });
    }
    while let Some(ended) = calls.join_next().await {
        let (seconds, answer) = ended.unwrap();
        assert!(matches!(answer, Err(CallError::Deadline { timeout }) if timeout == seconds * SECOND));
        assert_eq!(start.elapsed(), seconds * SECOND);
    }
    assert!(client.close_reason().is_none(), "a stopped peer is not a dead one");
    // When it reads again, whole frames come, with rising ids, and calls work.
    let answering = async {
        loop {
            let frame = raw.frame().await.unwrap();
            let request: Request = prost::Message::decode(frame.payload).unwrap();
            if request.payload.len() < 100 {
                raw.respond(frame.header.stream_id, b"back").await;
                break frame.header.stream_id;
            }
        }
    };
    let options = CallOptions::default();
    let (answer, id) = tokio::join!(call(&client, vec![1], &options), answering);
    assert_eq!((answer.unwrap().data, id), ("back".into(), 5), "those that waited for room took no id");
}

#[tokio::test(start_paused = true)]
async fn the_peer_is_told_the_time_of_the_call() {
    let (client, mut raw, _tasks) = connected(ClientLimits::default());
    let options = within(Duration::from_millis(1500));
    let (_, frame) = tokio::join!(call(&client, vec![], &options), raw.frame());
    let frame = frame.unwrap();
    let request: Request = prost::Message::decode(frame.payload).unwrap();
    assert_eq!(request.timeout_nano, 1_500_000_000);
    assert_eq!((frame.header.message_type, frame.header.flags), (MessageType::REQUEST, Flags::NONE));
}

#[tokio::test]
async fn a_request_given_up_half_way_through_its_write_leaves_the_others_alone() {
    let (client, mut raw, _tasks) = connected(ClientLimits::default());
    let small = {
        let client = client.clone();
        async move { call(&client, vec![1], &CallOptions::default()).await }
    };
    let mut calls = JoinSet::new();
    calls.spawn(small);
    let first = raw.frame().await.unwrap();
    let large = {
        let client = client.clone();
        calls.spawn(async move { call(&client, vec![2; 2 << 20], &CallOptions::default()).await })
    };
    // Some of it has arrived, so it is being written.
    let mut some = [0; 10];
    raw.stream.read_exact(&mut some).await.unwrap();
    large.abort();
    assert!(calls.join_next().await.unwrap().unwrap_err().is_cancelled());

    raw.respond(first.header.stream_id, b"unharmed").await;
    assert_eq!(calls.join_next().await.unwrap().unwrap().unwrap().data, "unharmed");
    // The frame that was begun is completed, and what follows is a frame.
    let length = u32::from_be_bytes(some[..4].try_into().unwrap());
    let mut rest = vec![0; usize::try_from(length).unwrap()];
    let options = CallOptions::default();
    let (answer, ()) = tokio::join!(call(&client, vec![3], &options), async {
        raw.stream.read_exact(&mut rest).await.unwrap();
        let next = raw.frame().await.unwrap();
        assert_eq!(next.header.stream_id, 5);
        raw.respond(3, b"too late").await;
        raw.respond(5, b"in time").await;
    });
    assert_eq!(answer.unwrap().data, "in time");
}

#[tokio::test]
async fn late_answers_are_never_too_many() {
    let limits = ClientLimits { stray_frames: 4, ..ClientLimits::default() };
    let (client, mut raw, _tasks) = connected(limits);
    let mut ids = Vec::new();
    for _ in 0..32 {
        let options = CallOptions::default();
        tokio::select! {
            _ = call(&client, vec![], &options) => panic!("nobody answers"),
            frame = raw.frame() => ids.push(frame.unwrap().header.stream_id),
        }
    }
    for id in ids {
        raw.respond(id, b"late").await;
    }
    let options = CallOptions::default();
    let (answer, ()) = tokio::join!(call(&client, vec![], &options), async {
        let frame = raw.frame().await.unwrap();
        raw.respond(frame.header.stream_id, b"fine").await;
    });
    assert_eq!(answer.unwrap().data, "fine");
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_trickles_in_ends_the_connection_and_an_idle_peer_does_not() {
    let (client, mut raw, _tasks) = connected(ClientLimits::default());
    tokio::time::sleep(3600 * SECOND).await;
    assert!(client.close_reason().is_none(), "nothing has begun");
    let start = Instant::now();
    let trickle = async {
        // A byte a second, for header and payload alike.
        raw.send_header(100, 1, 2, 0).await;
        loop {
            tokio::time::sleep(SECOND).await;
            tokio::io::AsyncWriteExt::write_all(&mut raw.stream, &[0]).await.ok();
        }
    };
    let reason = tokio::select! {
        reason = client.closed() => reason,
        () = trickle => unreachable!(),
    };
    let late = matches!(reason, CloseReason::Protocol(ProtocolError::FrameTimeout { .. }));
    assert!(late, "{reason:?}");
    assert_eq!(start.elapsed(), 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_its_answers_does_not_hold_up_another() {
    let pair = Pair::new();
    let (near, far) = duplex(64);
    let mut tasks = JoinSet::new();
    let (script, stop) = (Arc::clone(&pair.script), pair.stop.clone());
    tasks.spawn(crate::support::serve(far, script, shimkeeper_ttrpc::ServerLimits::default(), stop));
    let mut deaf = Raw::new(near);
    for id in (1..64).step_by(2) {
        deaf.request(id, "Echo", &[0; 1000]).await;
    }
    let answer = call(&pair.client, vec![1], &within(SECOND)).await;
    assert_eq!(answer.unwrap().data[..], [1]);
}

// SPDX-License-Identifier: Apache-2.0
//! How a connection ends, and who learns of it.

use std::time::Duration;

use shimkeeper_ttrpc::{CallError, CallOptions, Client, ClientLimits, CloseReason};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::support::{Blob, Pair, SERVICE, until};

async fn echo(client: &Client) -> Result<Blob, CallError> {
    client.unary(SERVICE, "Echo", &Blob::of("x"), &CallOptions::default()).await
}

fn connected() -> (Client, DuplexStream, JoinSet<()>) {
    let (near, far) = duplex(1 << 10);
    let (client, driver) = Client::new(near, ClientLimits::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(driver.run());
    (client, far, tasks)
}

#[tokio::test]
async fn every_waiter_and_every_call_gets_the_one_reason() {
    let (client, far, mut tasks) = connected();
    let mut waiters = JoinSet::new();
    for _ in 0..4 {
        let watch = client.close_watch();
        let client = client.clone();
        waiters.spawn(async move { client.closed().await });
        waiters.spawn(async move { watch.closed().await });
    }
    let mut calls = JoinSet::new();
    for _ in 0..4 {
        let client = client.clone();
        calls.spawn(async move { echo(&client).await });
    }
    // All are on their way before the peer goes.
    tokio::task::yield_now().await;
    assert!(client.close_reason().is_none());
    drop(far);
    while let Some(reason) = waiters.join_next().await {
        assert!(matches!(reason.unwrap(), CloseReason::PeerClosed));
    }
    while let Some(answer) = calls.join_next().await {
        let answer = answer.unwrap();
        assert!(matches!(answer, Err(CallError::Closed(CloseReason::PeerClosed))), "{answer:?}");
    }
    client.close();
    assert!(matches!(client.closed().await, CloseReason::PeerClosed), "also after the fact, and for good");
    assert!(matches!(client.close_reason(), Some(CloseReason::PeerClosed)));
    tasks.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn closing_fails_the_calls_in_flight_and_ends_the_driver() {
    let (client, _far, mut tasks) = connected();
    let closing = async {
        tokio::task::yield_now().await;
        client.close();
        client.close();
    };
    let (answer, ()) = tokio::join!(echo(&client), closing);
    assert!(matches!(answer, Err(CallError::Closed(CloseReason::Local))), "{answer:?}");
    tasks.join_next().await.unwrap().unwrap();
    assert!(matches!(echo(&client).await, Err(CallError::Closed(CloseReason::Local))));
}

#[tokio::test]
async fn the_driver_ends_with_the_last_client_and_a_watch_does_not_hold_it() {
    let (client, mut far, mut tasks) = connected();
    let watch = client.close_watch();
    let clone = client.clone();
    drop(client);
    tokio::task::yield_now().await;
    assert!(tasks.try_join_next().is_none(), "one is left");
    drop(clone);
    tasks.join_next().await.unwrap().unwrap();
    assert!(matches!(watch.closed().await, CloseReason::Local));
    assert!(far.write_all(b"x").await.is_err(), "the stream is closed");
}

#[tokio::test]
async fn a_driver_that_is_dropped_or_aborted_leaves_nobody_waiting() {
    let (near, _far) = duplex(64);
    let (client, driver) = Client::new(near, ClientLimits::default());
    drop(driver);
    assert!(matches!(echo(&client).await, Err(CallError::Closed(CloseReason::Local))));

    let (client, _far, mut tasks) = connected();
    let aborting = async {
        tokio::task::yield_now().await;
        tasks.abort_all();
    };
    let (answer, ()) = tokio::join!(echo(&client), aborting);
    assert!(matches!(answer, Err(CallError::Closed(CloseReason::Local))), "{answer:?}");
}

#[tokio::test]
async fn a_peer_that_closes_without_reading_is_a_reset() {
    let (near, far) = UnixStream::pair().unwrap();
    let (client, driver) = Client::new(near, ClientLimits::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(driver.run());
    let closing = async {
        far.readable().await.unwrap();
        drop(far);
    };
    let (answer, ()) = tokio::join!(echo(&client), closing);
    assert!(matches!(answer, Err(CallError::Closed(CloseReason::Reset))), "{answer:?}");
    assert!(matches!(client.closed().await, CloseReason::Reset));
}

#[tokio::test]
async fn writing_to_a_peer_that_is_gone_is_its_closing_too() {
    let (near, far) = UnixStream::pair().unwrap();
    let (client, driver) = Client::new(near, ClientLimits::default());
    drop(far);
    // The driver does not run yet, so it is the write that finds out.
    let (answer, ()) = tokio::join!(echo(&client), async {
        tokio::task::yield_now().await;
        driver.run().await;
    });
    assert!(matches!(answer, Err(CallError::Closed(CloseReason::PeerClosed))), "{answer:?}");
}

#[tokio::test]
async fn a_peer_that_closes_in_the_middle_of_a_frame_has_closed() {
    let (client, mut far, _tasks) = connected();
    far.write_all(&[0, 0, 0, 9, 0, 0]).await.unwrap();
    drop(far);
    assert!(matches!(client.closed().await, CloseReason::PeerClosed));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_finishes_the_calls_in_flight() {
    let mut pair = Pair::new();
    let gated = pair.client.clone();
    let mut calls = JoinSet::new();
    calls.spawn(async move {
        gated.unary::<_, Blob>(SERVICE, "Gated", &Blob::of("kept"), &CallOptions::default()).await
    });
    until("the call is in its handler", || pair.script.entered() == 1).await;
    pair.stop.cancel();
    tokio::time::sleep(Duration::from_secs(1)).await;
    pair.script.gate.add_permits(1);
    assert_eq!(calls.join_next().await.unwrap().unwrap().unwrap().data, "kept");
    assert!(matches!(pair.client.closed().await, CloseReason::PeerClosed));
    while pair.tasks.join_next().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_sends_answers_that_fill_its_buffer_more_than_once() {
    let pair = Pair::new();
    let mut calls = JoinSet::new();
    for _ in 0..4 {
        let client = pair.client.clone();
        calls.spawn(async move {
            let request = Blob::of(vec![7; (4 << 20) - 100]);
            client.unary::<_, Blob>(SERVICE, "Gated", &request, &CallOptions::default()).await
        });
    }
    until("all are in their handlers", || pair.script.entered() == 4).await;
    pair.stop.cancel();
    tokio::task::yield_now().await;
    pair.script.gate.add_permits(4);
    while let Some(answer) = calls.join_next().await {
        assert_eq!(answer.unwrap().unwrap().data.len(), (4 << 20) - 100);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_waits_for_calls_no_longer_than_its_limit() {
    let pair = Pair::new();
    let (request, options) = (Blob::default(), CallOptions::default());
    let hang = pair.client.unary::<_, Blob>(SERVICE, "Hang", &request, &options);
    let start = tokio::time::Instant::now();
    let stopping = async {
        until("the call is in its handler", || pair.script.entered() == 1).await;
        pair.stop.cancel();
    };
    let (answer, ()) = tokio::join!(hang, stopping);
    assert!(matches!(answer, Err(CallError::Closed(CloseReason::PeerClosed))), "{answer:?}");
    assert_eq!(start.elapsed(), Duration::from_secs(5));
}

// SPDX-License-Identifier: Apache-2.0
//! What a client keeps of calls that are over, seen from inside.

use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{DuplexStream, ReadBuf, duplex};
use tokio::task::JoinSet;

use super::*;
use crate::frame::{Flags, MessageType, encode_into};
use crate::sync::lock;

fn options(timeout: Option<Duration>) -> CallOptions {
    CallOptions { timeout, ..CallOptions::default() }
}

async fn call(client: &Client, timeout: Option<Duration>) -> Result<Bytes, CallError> {
    client.unary_bytes("s", "m", b"", &options(timeout)).await
}

fn client(limits: ClientLimits) -> (Client, DuplexStream, JoinSet<()>) {
    let (near, far) = duplex(1 << 10);
    let (client, driver) = Client::new(near, limits);
    let mut tasks = JoinSet::new();
    tasks.spawn(driver.run());
    (client, far, tasks)
}

#[tokio::test(start_paused = true)]
async fn a_call_leaves_nothing_behind_however_it_ends() {
    let (client, far, _tasks) = client(ClientLimits::default());
    let shared = &client.shared;
    let late = call(&client, Some(Duration::from_secs(1))).await;
    assert!(matches!(late, Err(CallError::Deadline { .. })), "{late:?}");
    assert_eq!(shared.in_flight(), 0, "after its deadline");

    tokio::select! {
        biased;
        _ = call(&client, None) => panic!("nobody answers"),
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(shared.in_flight(), 0, "after it was dropped");

    let pending = call(&client, None);
    let ending = async {
        tokio::task::yield_now().await;
        assert_eq!(shared.in_flight(), 1, "while it waits");
        drop(far);
    };
    let (answer, ()) = tokio::join!(pending, ending);
    assert!(matches!(answer, Err(CallError::Closed(CloseReason::PeerClosed))), "{answer:?}");
    assert_eq!(shared.in_flight(), 0, "after the connection");
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_limit_are_refused_and_those_given_up_make_room() {
    let (client, _far, _tasks) = client(ClientLimits { calls: 1, ..ClientLimits::default() });
    let (first, second) = tokio::join!(call(&client, Some(Duration::from_secs(1))), call(&client, None));
    assert!(matches!(first, Err(CallError::Deadline { .. })), "{first:?}");
    assert!(matches!(second, Err(CallError::Busy { limit: 1 })), "{second:?}");
    let third = call(&client, Some(Duration::from_secs(1))).await;
    assert!(matches!(third, Err(CallError::Deadline { .. })), "{third:?}");
}

/// Refuses every write; its other side answers stream 1 afterwards, unless it is never to answer.
struct Deaf {
    answer: Option<Vec<u8>>,
    written: Arc<Mutex<Option<std::task::Waker>>>,
    refused: bool,
}

impl AsyncWrite for Deaf {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        self.refused = true;
        if let Some(reader) = lock(&self.written).take() {
            reader.wake();
        }
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Deaf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.refused
            && let Some(answer) = self.answer.take()
        {
            buf.put_slice(&answer);
            return Poll::Ready(Ok(()));
        }
        *lock(&self.written) = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_came_before_the_peer_hung_up_is_still_read() {
    let mut answer = bytes::BytesMut::new();
    encode_into(&mut answer, 1, MessageType::RESPONSE, Flags::NONE, b"");
    for (answer, expected) in [(Some(answer.to_vec()), true), (None, false)] {
        let (client, driver) = Client::new(
            Deaf { answer, written: Arc::default(), refused: false },
            ClientLimits { last_words: Duration::from_secs(1), ..ClientLimits::default() },
        );
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.run());
        let start = tokio::time::Instant::now();
        let outcome = call(&client, None).await;
        assert_eq!(outcome.is_ok(), expected, "{outcome:?}");
        assert!(matches!(client.closed().await, CloseReason::PeerClosed));
        assert_eq!(start.elapsed(), Duration::from_secs(1), "no longer than for the last words");
        let after = call(&client, None).await;
        assert!(matches!(after, Err(CallError::Closed(CloseReason::PeerClosed))), "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_closed_at_once_also_while_the_peer_takes_nothing() {
    for is_full in [false, true] {
        let (client, _far, mut tasks) = client(ClientLimits::default());
        let start = tokio::time::Instant::now();
        let request = if is_full { vec![0; 1 << 12] } else { Vec::new() };
        let options = options(None);
        let pending = client.unary_bytes("s", "m", &request, &options);
        let closing = async {
            // The driver has come as far as it can.
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            assert_eq!(client.shared.outbox.is_empty(), !is_full);
            client.close();
        };
        let (answer, ()) = tokio::join!(pending, closing);
        assert!(matches!(answer, Err(CallError::Closed(CloseReason::Local))), "{answer:?}");
        while tasks.join_next().await.is_some() {}
        assert_eq!(start.elapsed(), Duration::ZERO, "no last words are waited for");
    }
}

/// Takes everything, notes how much at a time, and never has anything to read.
struct Notes(Arc<Mutex<Vec<usize>>>);

impl AsyncRead for Notes {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Notes {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).push(bytes.len());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_another_one_follows_leaves_with_it() {
    for (more_follow, writes) in [(false, 2), (true, 1)] {
        let notes = Arc::<Mutex<Vec<usize>>>::default();
        let (client, driver) = Client::new(Notes(Arc::clone(&notes)), ClientLimits::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.run());
        let patience = Some(Duration::from_secs(1));
        let options = CallOptions { more_follow, ..options(patience) };
        let outcomes = tokio::join!(client.unary_bytes("s", "m", b"", &options), call(&client, patience));
        assert!(matches!(outcomes, (Err(CallError::Deadline { .. }), Err(CallError::Deadline { .. }))));
        assert_eq!(lock(&notes).len(), writes);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_leave_together_do_not_wait_for_the_driver() {
    let notes = Arc::<Mutex<Vec<usize>>>::default();
    let (client, _never_run) = Client::new(Notes(Arc::clone(&notes)), ClientLimits::default());
    let patience = Some(Duration::from_secs(1));
    let followed = CallOptions { more_follow: true, ..options(patience) };
    let first = client.unary_bytes("s", "m", b"", &followed);
    let second = client.unary_bytes("s", "m", b"", &followed);
    let _late = tokio::join!(first, second, call(&client, patience));
    assert_eq!(lock(&notes).len(), 1);
}

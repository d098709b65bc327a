// SPDX-License-Identifier: Apache-2.0
//! What a connection keeps of its calls, seen from inside, and when its silence ends it. With a paused clock, a sleep
//! ends only once nothing else can go on.

use std::collections::HashMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::{Instant, sleep};

use super::*;
use crate::message::Request;
use crate::server::{Answer, Context, MayClose, ServerLimits, Service};

const SECOND: Duration = Duration::from_secs(1);

/// Answers after a minute.
struct Slow;

impl Service for Slow {
    fn call<'a>(&'a self, _: &'a str, _: Bytes, _: &'a Context) -> Answer<'a> {
        Box::pin(async {
            sleep(60 * SECOND).await;
            Ok(Bytes::new())
        })
    }
}

fn connection(may_close: fn(PeerCred) -> MayClose) -> (Connection, DuplexStream) {
    let shared = Shared {
        limits: ServerLimits::default(),
        services: HashMap::from([("slow".to_owned(), Arc::new(Slow) as Arc<dyn Service>)]),
        same_user: false,
        idle: Some(Idle { after: 5 * SECOND, may_close }),
    };
    let (near, far) = duplex(4096);
    let peer = PeerCred { pid: None, uid: 0, gid: 0 };
    (Connection::new(Arc::new(shared), near, Some(peer)), far)
}

fn yes(_: PeerCred) -> MayClose {
    Box::pin(std::future::ready(true))
}

fn no(_: PeerCred) -> MayClose {
    Box::pin(std::future::ready(false))
}

fn request(stream_id: u32, service: &str) -> Vec<u8> {
    let request = Request { service: service.to_owned(), ..Request::default() };
    let header = Header::new(stream_id, MessageType::REQUEST, Flags::REMOTE_CLOSED, request.encoded_len());
    [&header.to_bytes()[..], &request.encode_to_vec()].concat()
}

/// Serves for so long; why the connection has ended, if it has.
async fn serve(connection: &mut Connection, time: Duration) -> Option<CloseReason> {
    let outbox = Arc::clone(&connection.outbox);
    tokio::select! {
        reason = connection.read() => Some(reason),
        reason = outbox.drive() => Some(reason),
        () = sleep(time) => None,
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_a_call_that_was_answered() {
    let (mut connection, mut far) = connection(no);
    far.write_all(&request(1, "nobody's")).await.unwrap();
    assert!(serve(&mut connection, SECOND).await.is_none());
    assert_ne!(far.read_u32().await.unwrap(), 0, "an answer has come");
    assert!(connection.handlers.is_empty(), "its task is still there");
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_that_comes_back_is_hung_up_on_and_others_are_not() {
    let (mut silent, _far) = connection(yes);
    let begun = Instant::now();
    assert!(matches!(serve(&mut silent, 100 * SECOND).await, Some(CloseReason::Local)));
    assert_eq!(begun.elapsed(), 5 * SECOND);
    let (mut other, mut far) = connection(no);
    assert!(serve(&mut other, 100 * SECOND).await.is_none());
    far.write_all(&request(1, "nobody's")).await.unwrap();
    assert!(serve(&mut other, 100 * SECOND).await.is_none());
    assert_ne!(far.read_u32().await.unwrap(), 0, "it is served still");
}

#[tokio::test(start_paused = true)]
async fn silence_begins_when_nothing_is_under_way_in_either_direction() {
    let (mut connection, mut far) = connection(yes);
    let begun = Instant::now();
    let (first, rest) = (request(1, "slow"), request(3, "nobody's"));
    far.write_all(&first[..4]).await.unwrap();
    assert!(serve(&mut connection, 6 * SECOND).await.is_none(), "a frame has begun");
    far.write_all(&first[4..]).await.unwrap();
    assert!(serve(&mut connection, 59 * SECOND).await.is_none(), "a call is owed its answer");
    assert!(serve(&mut connection, 4 * SECOND).await.is_none());
    far.write_all(&rest).await.unwrap();
    assert!(matches!(serve(&mut connection, 100 * SECOND).await, Some(CloseReason::Local)));
    assert_eq!(begun.elapsed(), (6 + 59 + 4 + 5) * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_takes_long_keeps_nobody_waiting() {
    // Whether the peer comes back is known after a minute.
    let (mut connection, mut far) = connection(|_| {
        Box::pin(async {
            sleep(60 * SECOND).await;
            true
        })
    });
    let begun = Instant::now();
    let says_something = async {
        sleep(6 * SECOND).await;
        far.write_all(&request(1, "nobody's")).await.unwrap();
        assert_ne!(far.read_u32().await.unwrap(), 0);
        begun.elapsed()
    };
    let (reason, answered) = tokio::join!(serve(&mut connection, 1000 * SECOND), says_something);
    assert_eq!(answered, 6 * SECOND);
    assert!(matches!(reason, Some(CloseReason::Local)));
    assert_eq!(begun.elapsed(), (6 + 5 + 60) * SECOND, "what was said has ended the silence");
}

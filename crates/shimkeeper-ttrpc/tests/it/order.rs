// SPDX-License-Identifier: Apache-2.0
//! Stream ids leave in rising order, however many callers there are: Go's server refuses all others.

use std::time::Duration;

use shimkeeper_ttrpc::frame::{Decoded, Decoder, Flags, MessageType, encode_into};
use shimkeeper_ttrpc::{CallOptions, Client, ClientLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

const CALLERS: u32 = 16;
const CALLS: u32 = 2_000;

/// Answers every request at once with nothing; gives back the stream ids as they came.
async fn record(mut stream: UnixStream, requests: u32) -> Vec<u32> {
    let mut decoder = Decoder::new();
    let (mut ids, mut out) = (Vec::new(), bytes::BytesMut::new());
    while ids.len() < requests as usize {
        while let Some(decoded) = decoder.decode().expect("in order") {
            let Decoded::Frame(frame) = decoded else { panic!("small") };
            ids.push(frame.header.stream_id);
            encode_into(&mut out, frame.header.stream_id, MessageType::RESPONSE, Flags::NONE, b"");
        }
        stream.write_all_buf(&mut out).await.expect("the client reads");
        if ids.len() < requests as usize {
            assert_ne!(stream.read_buf(&mut decoder.space()).await.expect("reads"), 0);
        }
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ids_rise_on_the_wire_with_many_callers_on_many_threads() {
    let (near, far) = UnixStream::pair().unwrap();
    let (client, driver) = Client::new(near, ClientLimits::default());
    let mut driving = JoinSet::new();
    driving.spawn(driver.run());
    let mut recording = JoinSet::new();
    recording.spawn(record(far, CALLERS * CALLS));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let client = client.clone();
        callers.spawn(async move {
            // Of different lengths, so that some frames leave in parts.
            let request = vec![0; (caller as usize * 397) % 6_000];
            // What hangs shall fail, not hang the tests.
            let options = CallOptions { timeout: Some(Duration::from_secs(30)), ..CallOptions::default() };
            for _ in 0..CALLS {
                client.unary_bytes("s", "m", &request, &options).await.unwrap();
            }
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    let ids = recording.join_next().await.unwrap().unwrap();
    assert!(ids.is_sorted_by(|a, b| a < b));
    assert_eq!(ids.len(), (CALLERS * CALLS) as usize);
}

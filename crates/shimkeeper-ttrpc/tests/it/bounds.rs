// SPDX-License-Identifier: Apache-2.0
//! What a client may make a server hold.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use shimkeeper_ttrpc::ServerLimits;
use shimkeeper_ttrpc::frame::{Decoder, Flags, MessageType, encode_into};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, duplex};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{SERVICE, Script, envelope, serve};

/// Bytes the duplex holds each way.
const PIPE: usize = 64 << 10;
/// What the server may have read beyond the calls it admitted, being in the middle of one step.
const SLACK: usize = 64 << 10;

/// Sends requests of `size` to a handler that waits; says how many bytes the server took before it stopped
/// reading, and how many handlers it had entered by then. In the end all must be answered.
async fn flood(limits: ServerLimits, requests: u32, size: usize) -> (usize, usize) {
    let (mut near, far) = duplex(PIPE);
    let script = Script::new();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(far, Arc::clone(&script), limits, stop));

    let payload = envelope(SERVICE, "Gated", &vec![0; size]);
    let mut wire = BytesMut::new();
    let (mut taken, mut next) = (0, 0);
    loop {
        if wire.is_empty() && next < requests {
            encode_into(&mut wire, next * 2 + 1, MessageType::REQUEST, Flags::NONE, &payload);
            next += 1;
        }
        // With a paused clock this elapses only when the server has nothing left to do.
        match tokio::time::timeout(Duration::from_mins(1), near.write(&wire)).await {
            Ok(written) => {
                let written = written.expect("the server does not hang up");
                taken += written;
                drop(wire.split_to(written));
            }
            Err(_stuck) => break,
        }
        if wire.is_empty() && next == requests {
            break;
        }
    }
    let entered = script.entered();

    // Let go, and every request is answered.
    script.gate.add_permits(requests as usize);
    let (reader, mut writer) = tokio::io::split(near);
    let writing = async {
        writer.write_all(&wire).await.expect("the server reads on");
        for id in next..requests {
            wire.clear();
            encode_into(&mut wire, id * 2 + 1, MessageType::REQUEST, Flags::NONE, &payload);
            writer.write_all(&wire).await.expect("the server reads on");
        }
    };
    let reading = count_frames(reader, requests);
    let all = async { tokio::join!(writing, reading) };
    tokio::time::timeout(Duration::from_mins(1), all).await.expect("all are answered");
    assert_eq!(script.entered(), requests as usize);
    (taken, entered)
}

async fn count_frames(mut reader: impl AsyncRead + Unpin, mut left: u32) {
    let mut decoder = Decoder::new();
    while left > 0 {
        while decoder.decode().expect("in order").is_some() {
            left -= 1;
        }
        if left > 0 {
            let read = reader.read_buf(&mut decoder.space()).await.expect("a duplex reads");
            assert_ne!(read, 0, "{left} answers are missing");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pipelined_large_requests_to_a_slow_handler_stay_in_the_socket() {
    let size = (4 << 20) - 100;
    let (taken, entered) = flood(ServerLimits::default(), 128, size).await;
    assert_eq!(entered, 4, "16 MiB of payloads at a time");
    assert!(taken <= 4 * (4 << 20) + PIPE + SLACK, "{taken}");
}

#[tokio::test(start_paused = true)]
async fn pipelined_small_requests_are_bounded_by_their_number() {
    let limits = ServerLimits { in_flight: 8, ..ServerLimits::default() };
    let (taken, entered) = flood(limits, 1000, 1000).await;
    assert_eq!(entered, 8);
    assert!(taken <= 8 * 1100 + PIPE + SLACK, "{taken}");
}

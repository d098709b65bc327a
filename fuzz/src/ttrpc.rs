// SPDX-License-Identifier: Apache-2.0
//! What the ttrpc targets do with their bytes. Ordinary tests run the same over a seeded corpus.

use std::time::Duration;

use shimkeeper_ttrpc::frame::{Decoded, Decoder, HEADER_LEN, MAX_DISCARD, MAX_PAYLOAD};
use shimkeeper_ttrpc::{CallError, CallOptions, Client, ClientLimits, CloseReason};
use tokio::io::{AsyncWriteExt, duplex};

/// The decoder must come to the same in pieces as in one, and never give more than it got.
///
/// The first byte sets the size of the pieces.
pub fn frames(data: &[u8]) {
    let Some((&piece, bytes)) = data.split_first() else { return };
    let whole = decode(bytes, usize::MAX);
    let pieces = decode(bytes, usize::from(piece) + 1);
    assert_eq!(whole, pieces, "the chunking shows");
    let given: usize = whole.0.iter().map(size).sum();
    assert!(given <= bytes.len(), "{given} bytes out of {}", bytes.len());
}

fn size(decoded: &Decoded) -> usize {
    match decoded {
        Decoded::Frame(frame) => {
            assert_eq!(frame.payload.len(), frame.header.payload_len());
            HEADER_LEN + frame.payload.len()
        }
        Decoded::Oversize(header) => {
            assert!((MAX_PAYLOAD + 1..=MAX_DISCARD).contains(&header.payload_len()));
            HEADER_LEN
        }
    }
}

fn decode(bytes: &[u8], piece: usize) -> (Vec<Decoded>, Option<String>) {
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    for piece in bytes.chunks(piece.min(bytes.len()).max(1)) {
        decoder.feed(piece);
        loop {
            match decoder.decode() {
                Ok(Some(item)) => seen.push(item),
                Ok(None) => break,
                Err(error) => return (seen, Some(error.to_string())),
            }
        }
    }
    (seen, None)
}

/// A client that is sent these bytes must answer its call, give the connection a reason to end, or both; it
/// must do so before the peer hangs up and for all of its calls.
pub fn client_input(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime starts").block_on(feed_client(data));
}

async fn feed_client(data: &[u8]) {
    let (near, mut far) = duplex(1 << 10);
    let (client, driver) = Client::new(near, ClientLimits { stray_frames: 8, ..ClientLimits::default() });
    let options = CallOptions { timeout: Some(Duration::from_mins(1)), ..CallOptions::default() };
    let calls = async {
        let call = || client.unary_bytes("s", "m", b"q", &options);
        let (first, second) = tokio::join!(call(), call());
        // A paused clock moves only when nobody has anything to do: a deadline here is a call forgotten.
        assert!(!matches!(first, Err(CallError::Deadline { .. })), "{first:?}");
        assert!(!matches!(second, Err(CallError::Deadline { .. })), "{second:?}");
    };
    let peer = async {
        // A client that has heard enough stops listening.
        let _heard = far.write_all(data).await;
        drop(far);
    };
    let reason = async {
        let reason = client.closed().await;
        assert!(!matches!(reason, CloseReason::Local | CloseReason::Io { .. }), "{reason:?}");
    };
    tokio::join!(driver.run(), calls, peer, reason);
}

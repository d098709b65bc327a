// SPDX-License-Identifier: Apache-2.0
//! What a frame costs to encode and to decode, without any I/O.

use bytes::{BufMut, BytesMut};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use shimkeeper_ttrpc::frame::{Decoder, Flags, HEADER_LEN, MessageType, encode_into};

const SIZES: [usize; 4] = [64, 300, 64 << 10, 4 << 20];

fn main() {
    divan::main();
}

#[divan::bench(args = SIZES)]
fn encode(bencher: Bencher<'_, '_>, size: usize) {
    let payload = vec![7; size];
    let mut out = BytesMut::with_capacity(HEADER_LEN + size);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        out.clear();
        encode_into(&mut out, 1, MessageType::RESPONSE, Flags::NONE, black_box(&payload));
        out.len()
    });
}

#[divan::bench(args = SIZES)]
fn decode(bencher: Bencher<'_, '_>, size: usize) {
    let mut wire = BytesMut::new();
    encode_into(&mut wire, 1, MessageType::RESPONSE, Flags::NONE, &vec![7; size]);
    let mut decoder = Decoder::new();
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        // As reads do it: in the steps the decoder asks for.
        let mut rest = &wire[..];
        let mut frames = 0;
        while !rest.is_empty() {
            let mut space = decoder.space();
            let (now, later) = rest.split_at(rest.len().min(space.remaining_mut()));
            space.put_slice(now);
            rest = later;
            frames += usize::from(decoder.decode().expect("in order").is_some());
        }
        frames
    });
}

/// Sixty-four small answers out of one buffer, as they come when calls overlap.
#[divan::bench]
fn decode_batch(bencher: Bencher<'_, '_>) {
    let mut wire = BytesMut::new();
    for id in 0..64 {
        encode_into(&mut wire, id * 2 + 1, MessageType::RESPONSE, Flags::NONE, &[7; 300]);
    }
    let mut decoder = Decoder::new();
    bencher.counter(ItemsCount::new(64usize)).bench_local(|| {
        decoder.feed(&wire);
        let mut frames = 0;
        while decoder.decode().expect("in order").is_some() {
            frames += 1;
        }
        frames
    });
}

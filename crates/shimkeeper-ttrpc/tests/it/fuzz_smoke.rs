// SPDX-License-Identifier: Apache-2.0
//! The bodies of the fuzz targets over a seeded corpus: noise, and frames with a little noise in them.

use bytes::BytesMut;
use shimkeeper_ttrpc::frame::{Flags, MessageType, encode_into};

#[expect(unreachable_pub, reason = "the file is a public module of the fuzz crate")]
#[path = "../../../../fuzz/src/ttrpc.rs"]
mod bodies;

/// A small generator of the xorshift kind: the corpus must be the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).expect("fits")).expect("below the bound")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }

    /// Pure noise is refused at its first header; frames with a byte or two changed get further in.
    fn input(&mut self) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        if self.below(4) == 0 {
            return (0..self.below(64)).map(|_| self.byte()).collect();
        }
        for _ in 0..self.below(12) {
            let id = u32::try_from(self.below(6)).expect("small");
            let payload: Vec<_> = (0..self.below(40)).map(|_| self.byte() & 0x1f).collect();
            let kind = if self.below(8) == 0 { MessageType::DATA } else { MessageType::RESPONSE };
            encode_into(&mut bytes, id, kind, Flags::NONE, &payload);
        }
        for _ in 0..self.below(3) {
            if !bytes.is_empty() {
                let at = self.below(bytes.len());
                bytes[at] = self.byte();
            }
        }
        bytes.to_vec()
    }
}

fn smoke(seed: u64, inputs: u32, body: fn(&[u8])) {
    let mut random = Random(seed);
    for n in 0..inputs {
        let input = random.input();
        let outcome = std::panic::catch_unwind(|| body(&input));
        assert!(outcome.is_ok(), "input {n} of seed {seed:#x}: {input:02x?}");
    }
}

#[test]
fn frames() {
    bodies::frames(&[]);
    smoke(0x5eed_0001, 20_000, bodies::frames);
}

#[test]
fn client_input() {
    bodies::client_input(&[]);
    smoke(0x5eed_0002, 3_000, bodies::client_input);
}

// SPDX-License-Identifier: Apache-2.0
//! The codec against itself in any chunking, and against everything it must refuse.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What one could see of a run: frames and oversize headers, in order.
fn run(bytes: &[u8], mut cuts: impl FnMut() -> usize) -> (Vec<Decoded>, Result<(), ProtocolError>) {
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = decoder.space().remaining_mut();
        let (now, later) = rest.split_at(cuts().clamp(1, rest.len()).min(space));
        decoder.space().put_slice(now);
        rest = later;
        loop {
            match decoder.decode() {
                Ok(Some(item)) => seen.push(item),
                Ok(None) => break,
                Err(error) => return (seen, Err(error)),
            }
        }
    }
    (seen, Ok(()))
}

fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let payload = prop_oneof![
        4 => vec(any::<u8>(), 0..600),
        1 => (READ_STEP - 20..READ_STEP * 3).prop_map(|length| vec![0xa5; length]),
    ];
    let frame = (any::<u32>(), 1..=3u8, 0..=7u8, payload).prop_map(|(id, kind, flags, payload)| Frame {
        header: Header::new(id, MessageType(kind), Flags(flags), payload.len()),
        payload: payload.into(),
    });
    vec(frame, 0..8)
}

proptest! {
    #[test]
    fn frames_survive_any_chunking(frames in frames(), cuts in vec(1..9000usize, 1..20)) {
        let mut wire = BytesMut::new();
        for Frame { header, payload } in &frames {
            encode_into(&mut wire, header.stream_id, header.message_type, header.flags, payload);
        }
        let mut cuts = cuts.into_iter().cycle();
        let (seen, outcome) = run(&wire, || cuts.next().expect("a cycle"));
        prop_assert_eq!(outcome, Ok(()));
        prop_assert_eq!(seen, frames.into_iter().map(Decoded::Frame).collect::<Vec<_>>());
    }

    #[test]
    fn any_bytes_mean_the_same_in_any_chunking(bytes in vec(any::<u8>(), 0..200), cut in 1..40usize) {
        prop_assert_eq!(run(&bytes, || cut), run(&bytes, || usize::MAX));
    }

    #[test]
    fn a_header_is_its_ten_bytes(bytes in any::<[u8; HEADER_LEN]>()) {
        prop_assert_eq!(Header::from_bytes(bytes).to_bytes(), bytes);
    }
}

#[test]
fn the_wire_is_big_endian_and_in_this_order() {
    let mut wire = BytesMut::new();
    encode_into(&mut wire, 0x0102_0304, MessageType::RESPONSE, Flags::NO_DATA, b"xy");
    assert_eq!(wire[..], [0, 0, 0, 2, 1, 2, 3, 4, 2, 4, b'x', b'y']);
}

#[test]
fn headers_that_no_peer_means_are_refused_before_their_payload() {
    let max = u32::try_from(MAX_PAYLOAD).unwrap();
    let discard = u32::try_from(MAX_DISCARD).unwrap();
    let stream_id = 7;
    let length = |length| ProtocolError::ImpossibleLength { length, stream_id };
    let table = [
        ((0, 0, 0), ProtocolError::UnknownType { value: 0, stream_id }),
        ((0, 4, 0), ProtocolError::UnknownType { value: 4, stream_id }),
        ((u32::MAX, 255, 0), ProtocolError::UnknownType { value: 255, stream_id }),
        ((0, 2, 8), ProtocolError::UnknownFlags { value: 8, stream_id }),
        ((0, 2, 255), ProtocolError::UnknownFlags { value: 255, stream_id }),
        ((u32::MAX, 2, 0), length(u32::MAX)),
        ((discard + 1, 2, 0), length(discard + 1)),
        ((max + 1, 3, 0), length(max + 1)),
        ((max + 1, 2, 1), length(max + 1)),
        ((max + 1, 1, 2), length(max + 1)),
    ];
    for ((length, kind, flags), error) in table {
        let header = Header { length, stream_id, message_type: MessageType(kind), flags: Flags(flags) };
        let mut decoder = Decoder::new();
        decoder.feed(&header.to_bytes());
        assert_eq!(decoder.decode(), Err(error), "{header:?}");
    }
}

#[test]
fn the_limit_itself_is_within_it() {
    let header = Header::new(1, MessageType::RESPONSE, Flags::NONE, MAX_PAYLOAD);
    let mut decoder = Decoder::new();
    decoder.feed(&header.to_bytes());
    assert_eq!(decoder.header(), Ok(Some(header)));
    assert_eq!(decoder.decode(), Ok(None));
    decoder.feed(&vec![1; MAX_PAYLOAD]);
    let Ok(Some(Decoded::Frame(frame))) = decoder.decode() else { panic!("complete") };
    assert_eq!((frame.header, frame.payload.len()), (header, MAX_PAYLOAD));
    assert!(!decoder.in_frame());
}

#[test]
fn an_oversize_message_is_told_at_once_and_thrown_away() {
    let length = MAX_PAYLOAD + 1;
    let header = Header::new(1, MessageType::RESPONSE, Flags::NONE, length);
    let mut decoder = Decoder::new();
    decoder.feed(&header.to_bytes());
    assert_eq!(decoder.decode(), Ok(Some(Decoded::Oversize(header))));
    assert!(decoder.discarding());
    let mut left = length;
    while left > 0 {
        let now = left.min(decoder.space().remaining_mut());
        decoder.space().put_bytes(0xff, now);
        left -= now;
        assert_eq!(decoder.decode(), Ok(None));
        assert!(decoder.capacity() <= 2 * READ_STEP, "{}", decoder.capacity());
    }
    assert!(!decoder.in_frame(), "the next bytes are a header");
    let mut next = BytesMut::new();
    encode_into(&mut next, 3, MessageType::RESPONSE, Flags::NONE, b"ok");
    decoder.feed(&next);
    assert!(matches!(decoder.decode(), Ok(Some(Decoded::Frame(frame))) if frame.payload == "ok"));
}

#[test]
fn a_header_alone_gets_no_memory_for_what_it_promises() {
    let mut decoder = Decoder::new();
    decoder.feed(&Header::new(1, MessageType::REQUEST, Flags::NONE, MAX_PAYLOAD).to_bytes());
    assert_eq!(decoder.decode(), Ok(None));
    assert_eq!(decoder.space().remaining_mut(), READ_STEP);
    assert!(decoder.capacity() <= 2 * READ_STEP, "{}", decoder.capacity());
}

#[test]
fn the_memory_of_a_large_frame_goes_with_it() {
    let mut decoder = Decoder::new();
    let mut wire = BytesMut::new();
    encode_into(&mut wire, 1, MessageType::RESPONSE, Flags::NONE, &vec![0; MAX_PAYLOAD]);
    encode_into(&mut wire, 3, MessageType::RESPONSE, Flags::NONE, b"small");
    decoder.feed(&wire);
    assert!(matches!(decoder.decode(), Ok(Some(Decoded::Frame(_)))));
    assert!(decoder.capacity() <= READ_STEP, "{}", decoder.capacity());
    assert!(matches!(decoder.decode(), Ok(Some(Decoded::Frame(frame))) if frame.payload == "small"));
    // Nobody holds the large payload any more, and yet its memory is not taken back for the next read.
    assert_eq!(decoder.space().remaining_mut(), READ_STEP);
    assert!(decoder.capacity() <= 2 * READ_STEP, "{}", decoder.capacity());
}

#[test]
fn between_two_frames_there_is_no_buffer() {
    let mut decoder = Decoder::new();
    for payload in [0, 300, READ_STEP, READ_STEP * 3] {
        let mut wire = BytesMut::new();
        encode_into(&mut wire, 1, MessageType::RESPONSE, Flags::NONE, &vec![0; payload]);
        let mut rest = &wire[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(decoder.space().remaining_mut()));
            decoder.space().put_slice(now);
            rest = later;
            assert_eq!(decoder.decode().unwrap().is_some(), rest.is_empty());
        }
        assert_eq!((decoder.capacity(), decoder.in_frame()), (0, false), "{payload}");
    }
}

#[test]
fn a_read_goes_no_further_than_a_step_beyond_the_frame_at_hand() {
    let mut decoder = Decoder::new();
    decoder.feed(&Header::new(1, MessageType::REQUEST, Flags::NONE, 3 * READ_STEP).to_bytes());
    assert_eq!(decoder.header().unwrap().unwrap().payload_len(), 3 * READ_STEP);
    decoder.feed(&vec![0; READ_STEP]);
    assert_eq!(decoder.space().remaining_mut(), READ_STEP);
    decoder.feed(&vec![0; 2 * READ_STEP - 1]);
    assert_eq!(decoder.space().remaining_mut(), READ_STEP);
}

// SPDX-License-Identifier: Apache-2.0
//! What comes in is checked; what goes out is what came in.

use std::time::{Duration, UNIX_EPOCH};

use super::*;

fn wire() -> WireEnvelope {
    WireEnvelope {
        timestamp: Some(protobuf::Timestamp { seconds: 1_700_000_000, nanos: 5 }),
        namespace: "default".into(),
        topic: "/tasks/exit".into(),
        event: Some(protobuf::Any {
            type_url: "containerd.events.TaskExit".into(),
            value: Bytes::from_static(b"\x0a\x01x"),
        }),
    }
}

#[test]
fn an_envelope_goes_out_as_it_came_in() {
    let envelope = Envelope::try_from(wire()).unwrap();
    assert_eq!(envelope.namespace().as_str(), "default");
    assert_eq!(envelope.topic(), &Topic::TASK_EXIT);
    assert_eq!(envelope.at(), UNIX_EPOCH + Duration::new(1_700_000_000, 5));
    assert!(!envelope.timestamp_was_missing());
    assert_eq!(WireEnvelope::decode(envelope.wire()).unwrap(), wire());
}

#[test]
fn an_envelope_is_encoded_once() {
    let envelope = Envelope::try_from(wire()).unwrap();
    assert_eq!(envelope.wire().as_ptr(), envelope.wire().as_ptr());
}

#[test]
fn every_missing_part_is_an_error_and_never_a_crash() {
    let request = ForwardRequest { envelope: None };
    assert_eq!(Envelope::try_from(request).unwrap_err(), EnvelopeError::Missing);
    let request = ForwardRequest { envelope: Some(WireEnvelope::default()) };
    assert!(matches!(Envelope::try_from(request), Err(EnvelopeError::Namespace { .. })));
    let error = Envelope::try_from(WireEnvelope { event: None, ..wire() }).unwrap_err();
    assert_eq!(error, EnvelopeError::NoEvent);
    let error = Envelope::try_from(WireEnvelope { topic: "/tasks/?".into(), ..wire() }).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    let error = Envelope::try_from(WireEnvelope { namespace: "a/b".into(), ..wire() }).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
}

#[test]
fn a_time_that_is_none_becomes_now_and_says_so() {
    let before = SystemTime::now();
    let unusable = [
        None,
        Some(protobuf::Timestamp { seconds: 0, nanos: 0 }),
        Some(protobuf::Timestamp { seconds: time::GO_ZERO_SECONDS, nanos: 0 }),
        Some(protobuf::Timestamp { seconds: 1, nanos: -1 }),
    ];
    for timestamp in unusable {
        let envelope = Envelope::try_from(WireEnvelope { timestamp, ..wire() }).unwrap();
        assert!(envelope.timestamp_was_missing());
        assert!(envelope.at() >= before);
    }
}

#[test]
fn an_event_of_more_than_a_mebibyte_is_refused() {
    let with = |len: usize| {
        let value = Bytes::from(vec![0; len]);
        Envelope::try_from(WireEnvelope {
            event: Some(protobuf::Any { type_url: "t".into(), value }),
            ..wire()
        })
    };
    assert!(with(Envelope::MAX_EVENT_BYTES - 1).is_ok());
    let error = with(Envelope::MAX_EVENT_BYTES).unwrap_err();
    assert_eq!(error.kind(), Kind::ResourceExhausted);
}

#[test]
fn an_envelope_keeps_its_first_number() {
    let envelope = Envelope::try_from(wire()).unwrap();
    assert_eq!(envelope.sequence(), None);
    envelope.number(7);
    envelope.number(8);
    assert_eq!(envelope.sequence(), NonZeroU64::new(7));
}
